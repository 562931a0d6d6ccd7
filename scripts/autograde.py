"""Grade a folder of filled exercise notebooks with otter-grader, without Docker.

    .venv/bin/python scripts/autograde.py 01 --out graded              # make the autograder
    .venv/bin/python scripts/autograde.py 01 submissions --out graded  # grade submissions/*.ipynb
    .venv/bin/python scripts/autograde.py 01 submissions --minutes 5   # at most, for each of them
    ... --variants handed_out/variants.csv   # each with its author's data: scripts/hand_out.py
    ... --solutions ../private               # where the solutions were moved to

From ``notebooks/solutions/NN_topic.ipynb`` it writes an otter master notebook, in which each cell
tagged ``check`` is a question's test; `otter assign` proves that the solution passes and makes the
autograder; `otter run` then grades each submission. ``graded/grades.csv`` has a row per submission
and a column per question; ``graded/feedback/NAME.txt`` says what each failed check said.

Otter stands in an environment of its own, ``.venv-otter``, that sees the course's packages: it
brings ipywidgets, with which some libraries print progress bars as widgets into stored outputs.

A submission that cannot be graded (a truncated file, an endless loop) gets 0 for every question and
a word in the column ``error``; the others are graded all the same, and so are the other tasks of
one in which a cell raises. The table is written anew after each submission.

A submission's code is run as it is: grade what strangers hand in on a machine that may be lost.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recsys_tutorial._files import whole  # noqa: E402
from scripts.hand_out import read_variants, with_variant  # noqa: E402
from scripts.machine_speed import limit  # noqa: E402
from scripts.setup import python_of  # noqa: E402

SOLUTIONS = ROOT / "notebooks" / "solutions"
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
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
ERROR_LINE = re.compile(r"\s*\w*(?:Error|Exception|Interrupt)\b")
MINUTES = 10  # at most, for making the autograder and for each submission


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
    return nbformat.v4.new_notebook(cells=cells, metadata=solution.metadata | KERNEL)


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


def solution_of(words: str, folder: Path = SOLUTIONS) -> Path:
    """Return the one solution notebook of a folder whose name starts with these words."""
    there = sorted(folder.glob("*.ipynb"))
    if not there:
        raise SystemExit(f"autograde: no solutions in {folder}: name their folder by --solutions")
    found = [path for path in there if path.name.startswith(words)]
    if len(found) != 1:
        names = ", ".join(p.stem for p in found) or "none"
        raise SystemExit(f"autograde: {words!r} should be the start of one solution, found {names}")
    return found[0]


class GradingError(Exception):
    """One submission, or the solution itself, cannot be graded; the text says why in a line."""


def otter(python: Path, *arguments: str, cwd: Path, minutes: float = MINUTES) -> None:
    """Run otter and whatever it starts.

    Raises
    ------
    GradingError
        When it fails, with its last line, and when it takes more than `minutes` (longer on a slow
        machine); nothing that it started goes on running.
    """
    command = [str(python), "-m", "otter", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit(60 * minutes))
        except subprocess.TimeoutExpired:
            raise GradingError(f"took more than {minutes:g} minutes") from None
        finally:
            stop(process)
        output.seek(0)
        said = output.read().strip().splitlines()
    if code:
        raise GradingError(f"otter {arguments[0]} failed: {said[-1] if said else 'without a word'}")


def stop(process: subprocess.Popen) -> None:
    """Kill a process and the kernels that it has started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


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


def read_submission(path: Path, variant: int | None = None):
    """Return a filled notebook, with the data of its author.

    Raises
    ------
    GradingError
        When it is no notebook, or has lost the line that says whose data it is to use.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # whatever a broken file makes nbformat raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise GradingError(f"is not a notebook: {reason[0]}") from None
    notebook.metadata |= KERNEL  # some editors leave it out, and otter needs it
    if variant is None:
        return notebook
    try:
        return nbformat.from_dict(with_variant(notebook, variant))
    except ValueError as error:
        raise GradingError(str(error)) from None


def grade(
    autograder: Path,
    submission: Path,
    python: Path,
    minutes: float = MINUTES,
    *,
    variant: int | None = None,
    feedback: Path | None = None,
) -> dict[str, float]:
    """Return {question: points} of one filled notebook.

    Parameters
    ----------
    autograder : path of the zip that `assign` made
    submission : path
    python : otter's
    minutes : float, at most
    variant : int, optional, what stands in its line ``VARIANT =`` when it is run
    feedback : path, optional, of a text for the student: what each check said

    Raises
    ------
    GradingError
        When it is no notebook, does not end in time, or ends otter.
    """
    notebook = read_submission(submission, variant)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        copy = folder / "submission.ipynb"  # a student's name may be one that otter trips over
        nbformat.write(notebook, copy)
        arguments = ["--no-logo", "-a", str(autograder.resolve()), "-o", "out"]
        otter(python, "run", *arguments, str(copy), cwd=folder, minutes=minutes)
        try:
            results = json.loads((folder / "out" / "results.json").read_text("utf-8"))
        except (OSError, ValueError):
            raise GradingError("otter left no results") from None
    tests = {
        test["name"].split()[0]: test for test in results["tests"] if test["name"].startswith("q")
    }
    if feedback is not None:
        with whole(feedback) as temporary:
            temporary.write_text(feedback_of(tests), encoding="utf-8")
    return {name: float(test["score"]) for name, test in tests.items()}


def feedback_of(tests: dict[str, dict]) -> str:
    """Return what the checks said, a paragraph for each question."""
    parts = []
    for name, test in tests.items():
        verdict = "passed" if test["score"] == test["max_score"] else "not passed"
        lines = test.get("output", "").splitlines()
        said = [line.strip() for line in lines if ERROR_LINE.match(line)]
        parts.append("\n".join([f"{name}: {verdict}", *said[-1:]]))
    return "\n\n".join(parts) + "\n"


def grade_all(
    submissions: list[Path],
    questions: list[str],
    out: Path,
    grade_one: Callable[[Path], dict[str, float]],
) -> list[dict]:
    """Grade one after the other and write `out` after each.

    Parameters
    ----------
    submissions : paths of filled notebooks
    questions : the columns
    out : the table's path; a row for each submission: its name, points, and what went wrong
    grade_one : callable path -> {question: points}, raises GradingError

    Returns
    -------
    list of dict, the rows
    """
    rows, start = [], time.monotonic()
    for number, path in enumerate(submissions, start=1):
        row = {"submission": path.stem, **dict.fromkeys(questions, 0.0), "error": ""}
        try:
            found = grade_one(path)
            row |= {name: found.get(name, 0.0) for name in questions}
        except GradingError as error:
            row["error"] = str(error)
        except Exception as error:  # the next submission is graded all the same
            row["error"] = f"{type(error).__name__}: {error}"
        rows.append(row)
        with (
            whole(out) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, ["submission", *questions, "error"])
            writer.writeheader()
            writer.writerows(rows)
        left = (time.monotonic() - start) / number * (len(submissions) - number)
        points = row["error"] or f"{sum(row[name] for name in questions):g} of {len(questions)}"
        print(f"autograde: {number} of {len(submissions)}: {path.stem}: {points};",
              f"about {left / 60:.0f} minutes left", flush=True)  # fmt: skip
    return rows


def options_of(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", help="the start of a solution's name, such as 01")
    parser.add_argument("submissions", nargs="?", type=Path, help="a folder of filled notebooks")
    parser.add_argument("--out", type=Path, default=Path("graded"), help="where results go")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="at most, for each submission"
    )
    parser.add_argument("--variants", type=Path, help="variants.csv of scripts/hand_out.py")
    parser.add_argument("--solutions", type=Path, default=SOLUTIONS, help="their folder")
    options = parser.parse_intermixed_args(argv)
    if options.minutes <= 0:
        parser.error("--minutes must be above 0")
    return options


def main(argv: list[str] | None = None) -> int:
    """Make the autograder, grade the submissions if there are any, return the exit code."""
    options = options_of(argv)
    solution = solution_of(options.chapter, options.solutions)
    submissions = sorted(options.submissions.glob("*.ipynb")) if options.submissions else []
    if options.submissions and not submissions:
        raise SystemExit(f"autograde: no notebook in {options.submissions}")
    try:
        variants = read_variants(options.variants) if options.variants else None
    except (OSError, ValueError) as error:
        raise SystemExit(f"autograde: {error}") from None
    python = environment()
    try:
        autograder = assign(solution, python, options.out)
    except GradingError as error:
        raise SystemExit(f"autograde: the solution itself: {error}") from None
    print(f"autograde: {autograder}")
    n_questions = sum(
        cell.source.startswith("# BEGIN QUESTION")
        for cell in master_of(nbformat.read(solution, as_version=4)).cells
    )
    questions = [f"q{number}" for number in range(1, n_questions + 1)]

    def grade_one(path: Path) -> dict[str, float]:
        variant = None
        if variants is not None:
            variant = variants.get(path.stem)
            if variant is None:
                raise GradingError(f"{options.variants} has no student of this name")
        feedback = options.out / "feedback" / f"{path.stem}.txt"
        return grade(autograder, path, python, options.minutes, variant=variant, feedback=feedback)

    if submissions:
        rows = grade_all(submissions, questions, options.out / "grades.csv", grade_one)
        failed = [row["submission"] for row in rows if row["error"]]
        print(f"autograde: {len(rows)} rows in {options.out / 'grades.csv'}", end="")
        print(f"; not graded: {', '.join(failed)}" if failed else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
