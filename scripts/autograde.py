"""Grade a folder of filled exercise notebooks with otter-grader, without Docker.

    .venv/bin/python scripts/autograde.py 01 --out graded              # make the autograder
    .venv/bin/python scripts/autograde.py 01 submissions --out graded  # grade submissions/*.ipynb

From ``notebooks/solutions/NN_topic.ipynb`` it writes an otter master notebook, in which each cell
tagged ``check`` is a question's test; `otter assign` proves that the solution passes and makes the
autograder; `otter run` then grades each submission. ``graded/grades.csv`` has a row per submission
and a column per question.

Otter stands in an environment of its own, ``.venv-otter``, that sees the course's packages: it
brings ipywidgets, with which some libraries print progress bars as widgets into stored outputs.

A submission's code is run as it is: grade what strangers hand in on a machine that may be lost.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recsys_tutorial._files import whole  # noqa: E402
from scripts.machine_speed import limit  # noqa: E402
from scripts.set_repository import notebooks  # noqa: E402
from scripts.setup import python_of  # noqa: E402

OTTER = "otter-grader==7.0.0"
CONFIG = """# ASSIGNMENT CONFIG
export_cell: false
check_all_cell: false
init_cell: false
solutions_pdf: false
template_pdf: false
run_tests: true
generate:
  pdf: false
tests:
  ok_format: false
"""
TIMEOUT = 600


def environment(folder: Path = ROOT / ".venv-otter") -> Path:
    """Return the Python of otter's environment, made on first use."""
    python = python_of(folder)
    done = folder / "complete"
    if not done.is_file():
        print(f"autograde: installing {OTTER} into {folder.name}", file=sys.stderr)
        venv.create(folder, clear=True, symlinks=sys.platform != "win32", with_pip=False)
        command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        site = Path(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        )
        # The course's packages, pip among them, are seen but never changed; addsitedir also follows
        # the link of an editable install.
        course = sysconfig.get_path("purelib")
        (site / "course.pth").write_text(f"import site; site.addsitedir({course!r})\n")
        constraints = ["-c", str(ROOT / "constraints.txt")]
        install = [str(python), "-m", "pip", "install", "-q", *constraints, OTTER]
        if subprocess.run(install).returncode:
            raise SystemExit(f"autograde: pip could not install {OTTER}, see above")
        done.write_text(OTTER + "\n")
    return python


def master_of(solution):
    """Return the otter master notebook of a solution notebook.

    A question is what stands under a heading of the second level that has a check: its text, its
    stub, its solution, and the check as its test.

    Raises
    ------
    ValueError
        When no cell is tagged ``check``, or a check stands before the first heading.
    """
    cells, parts = [], [[]]
    for cell in solution.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            parts.append([])
        parts[-1].append(cell)
    if any("check" in tags(cell) for cell in parts[0]):
        raise ValueError("a check stands before the first task")
    cells = [nbformat.v4.new_raw_cell(CONFIG), *map(plain, parts[0])]
    number = 0
    for part in parts[1:]:
        checks = [cell for cell in part if "check" in tags(cell)]
        answers = [c for c in part if "solution" in tags(c) and c.cell_type == "code"]
        rest = [c for c in part if not {"check", "solution"} & set(tags(c))]
        if not checks:
            cells += map(plain, rest)
            continue
        number += 1
        cells += [raw(f"# BEGIN QUESTION\nname: q{number}\npoints: 1"), *map(plain, rest)]
        cells += [raw("# BEGIN SOLUTION")]
        cells += [code("# SOLUTION NO PROMPT\n" + cell.source) for cell in answers]
        cells += [raw("# END SOLUTION"), raw("# BEGIN TESTS")]
        # The test runs in the notebook's own names, as the check does.
        source = "\n".join(cell.source for cell in checks)
        cells += [code(f"def test_q{number}(env):\n    exec({source!r}, env)")]
        cells += [raw("# END TESTS"), raw("# END QUESTION")]
        cells += map(plain, checks)  # also visible, and later checks use what earlier ones made
    if not number:
        raise ValueError("no cell is tagged 'check'")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=solution.metadata)
    return notebook


def tags(cell) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def raw(source: str):
    """A raw cell, in which otter is told what follows."""
    return nbformat.v4.new_raw_cell(source)


def code(source: str):
    """A code cell."""
    return nbformat.v4.new_code_cell(source)


def plain(cell):
    """A copy of a cell without outputs and tags."""
    if cell.cell_type == "code":
        return code(cell.source)
    return nbformat.v4.new_markdown_cell(cell.source)


def solution_of(words: str, root: Path = ROOT) -> Path:
    """Return the one solution notebook whose name starts with these words."""
    found = [path for path in notebooks(root, "solutions") if path.name.startswith(words)]
    if len(found) != 1:
        names = ", ".join(p.stem for p in found) or "none"
        raise SystemExit(f"autograde: {words!r} should be the start of one solution, found {names}")
    return found[0]


def otter(python: Path, *arguments: str, cwd: Path) -> None:
    """Run otter; SystemExit with its last lines when it fails."""
    done = subprocess.run(
        [str(python), "-m", "otter", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=limit(TIMEOUT), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(
            f"autograde: otter {arguments[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}"
        )


def assign(solution: Path, python: Path, out: Path) -> Path:
    """Write the autograder's zip into `out` and return its path; fails if the solution does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notebook = master_of(nbformat.read(solution, as_version=4))
        nbformat.write(notebook, folder / solution.name)
        otter(python, "assign", solution.name, "dist", cwd=folder)
        (made,) = (folder / "dist" / "autograder").glob("*.zip")
        target = out / f"{solution.stem}-autograder.zip"
        with whole(target) as temporary:
            shutil.copyfile(made, temporary)
    return target


def grade(autograder: Path, submission: Path, python: Path) -> dict[str, float]:
    """Return {question: points} of one filled notebook."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        arguments = ["--no-logo", "-a", str(autograder.resolve()), "-o", "out"]
        otter(python, "run", *arguments, str(submission.resolve()), cwd=folder)
        results = json.loads((folder / "out" / "results.json").read_text("utf-8"))
    return {
        test["name"].split()[0]: float(test["score"])
        for test in results["tests"]
        if test["name"].startswith("q")
    }


def main(argv: list[str] | None = None) -> int:
    """Make the autograder, grade the submissions if there are any, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", help="the start of a solution's name, such as 01")
    parser.add_argument("submissions", nargs="?", type=Path, help="a folder of filled notebooks")
    parser.add_argument("--out", type=Path, default=Path("graded"), help="where results go")
    options = parser.parse_args(argv)
    solution = solution_of(options.chapter)
    submissions = sorted(options.submissions.glob("*.ipynb")) if options.submissions else []
    if options.submissions and not submissions:
        raise SystemExit(f"autograde: no notebook in {options.submissions}")
    python = environment()
    autograder = assign(solution, python, options.out)
    print(f"autograde: {autograder}")
    rows = []
    for path in submissions:
        rows.append({"submission": path.stem, **grade(autograder, path, python)})
        print("autograde:", rows[-1])
    if rows:
        with (
            whole(options.out / "grades.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
