"""otter-grader takes the exercises as they are: full marks for the solution, none for the stubs."""

import csv
import os
import sys
import time
from pathlib import Path

import nbformat
import pytest

from scripts import autograde

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = "01_data_and_evaluation"


def cell(kind, source, *tags):
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return make(source, metadata={"tags": list(tags)})


def a_solution():
    return nbformat.v4.new_notebook(
        cells=[
            cell("markdown", "# Exercises 9"),
            cell("code", "import math", "setup"),
            cell("markdown", "## 1. One *(easy)*"),
            cell("code", "one = ..."),
            cell("code", "one = 1", "solution"),
            cell("code", 'assert one == 1, "it\'s \\"one\\""', "check"),
            cell("markdown", "Because.", "solution"),
            cell("markdown", "## 2. Open *(open)*"),
        ]
    )


def test_a_task_becomes_a_question_whose_test_is_the_check():
    cells = autograde.master_of(a_solution()).cells
    kinds = [c.source.split("\n")[0] for c in cells if c.cell_type == "raw"]
    inside = ["BEGIN SOLUTION", "END SOLUTION", "BEGIN TESTS", "END TESTS"]
    expected = ["ASSIGNMENT CONFIG", "BEGIN QUESTION", *inside, "END QUESTION"]
    assert kinds == [f"# {line}" for line in expected]
    sources = [c.source for c in cells]
    assert sources.index("one = ...") < sources.index("# SOLUTION NO PROMPT\none = 1")
    assert "Because." not in sources  # remarks on the answer are for after the grading
    (test,) = [s for s in sources if s.startswith("def test_q1(env)")]
    names = {"one": 2}
    exec(test, names)
    with pytest.raises(AssertionError, match='it\'s "one"'):
        names["test_q1"](names)
    names["one"] = 1
    names["test_q1"](names)


def test_a_notebook_without_checks_or_with_one_too_early_is_refused():
    solution = a_solution()
    solution.cells = [c for c in solution.cells if "check" not in c.metadata.get("tags", [])]
    with pytest.raises(ValueError, match="no cell is tagged 'check'"):
        autograde.master_of(solution)
    solution.cells.insert(1, cell("code", "assert True", "check"))
    with pytest.raises(ValueError, match="before the first task"):
        autograde.master_of(solution)


def test_the_words_must_name_one_solution(tmp_path):
    with pytest.raises(SystemExit, match="name their folder by --solutions"):
        autograde.solution_of("01", tmp_path)
    for name in (CHAPTER, "02_matrix_factorization"):
        (tmp_path / f"{name}.ipynb").write_text("{}")
    assert autograde.solution_of("01", tmp_path).stem == CHAPTER
    with pytest.raises(SystemExit, match="found none"):
        autograde.solution_of("99", tmp_path)
    with pytest.raises(SystemExit, match="found 01_data"):
        autograde.solution_of("0", tmp_path)


def test_a_wrong_command_is_refused_before_anything_is_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(autograde, "environment", lambda: pytest.fail("installs"))
    (tmp_path / "01_x.ipynb").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "v.csv").write_text("a,b\n")
    words = ["01", "--solutions", str(tmp_path)]
    with pytest.raises(SystemExit, match="no notebook in"):
        autograde.main([*words, str(tmp_path / "empty")])
    for name, message in (("v.csv", "needs the columns"), ("w.csv", "No such file")):
        with pytest.raises(SystemExit, match=message):
            autograde.main([*words, str(tmp_path), "--variants", str(tmp_path / name)])
    with pytest.raises(SystemExit):
        autograde.main([*words, "--minutes", "0"])
    assert "--minutes must be above 0" in capsys.readouterr().err


def test_one_broken_submission_loses_nobody_elses_points(tmp_path, capsys):
    def grade_one(path):
        if path.stem == "b":
            raise autograde.GradingError("took more than 10 minutes")
        if path.stem == "c":
            raise OSError("no space left")  # whatever nobody has thought of
        return {"q1": 1.0, "q2": 0.0, "q7": 1.0}  # q7: a task of the student's own

    out = tmp_path / "graded" / "grades.csv"
    names = [Path(f"{name}.ipynb") for name in "abcd"]
    rows = autograde.grade_all(names, ["q1", "q2"], out, grade_one)
    assert [row["submission"] for row in rows] == ["a", "b", "c", "d"]
    assert out.read_text("utf-8").splitlines() == [
        "submission,q1,q2,error",
        "a,1.0,0.0,",
        "b,0.0,0.0,took more than 10 minutes",
        "c,0.0,0.0,OSError: no space left",
        "d,1.0,0.0,",
    ]
    said = capsys.readouterr().out
    assert "1 of 4: a: 1 of 2; about" in said and "2 of 4: b: took more than" in said


def test_what_was_graded_is_on_disk_when_the_machine_stops(tmp_path):
    def grade_one(path):
        if path.stem == "b":
            raise KeyboardInterrupt
        return {"q1": 1.0}

    out = tmp_path / "grades.csv"
    with pytest.raises(KeyboardInterrupt):
        autograde.grade_all([Path("a.ipynb"), Path("b.ipynb")], ["q1"], out, grade_one)
    assert out.read_text("utf-8").splitlines()[1:] == ["a,1.0,"]


@pytest.mark.parametrize("content", ["", '{"cells": [', "[]", '{"nbformat": 4, "cells": 1}'])
def test_a_truncated_file_is_no_notebook(tmp_path, content):
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(autograde.GradingError, match=r"is not a notebook: \S"):
        autograde.grade(tmp_path / "a.zip", path, Path(sys.executable))


def fake_otter(folder, body):
    """A stand-in for `python -m otter`: a package of that name on the path."""
    (folder / "otter").mkdir()
    (folder / "otter" / "__main__.py").write_text(body)


def test_an_endless_submission_is_stopped_with_all_it_started(tmp_path, monkeypatch):
    """The kernel, a grandchild, would go on for ever and keep a core busy."""
    started = tmp_path / "pid"
    fake_otter(
        tmp_path,
        "import pathlib, subprocess, sys\n"
        "loop = 'import time\\nwhile True: time.sleep(1)'\n"
        "child = subprocess.Popen([sys.executable, '-c', loop])\n"
        f"pathlib.Path({str(started)!r}).write_text(str(child.pid))\n"
        "child.wait()\n",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(autograde, "limit", lambda seconds: 5)
    with pytest.raises(autograde.GradingError, match="took more than 3 minutes"):
        autograde.otter(Path(sys.executable), "run", cwd=tmp_path, minutes=3)
    pid = int(started.read_text())
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the kernel still runs")


def test_what_otter_said_last_is_told(tmp_path, monkeypatch):
    fake_otter(tmp_path, "import sys\nprint('one')\nsys.exit('no such test')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(autograde.GradingError, match="otter run failed: no such test"):
        autograde.otter(Path(sys.executable), "run", cwd=tmp_path)


@pytest.fixture(scope="module")
def python():
    """Otter's Python."""
    try:
        return autograde.environment()
    except SystemExit as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"otter-grader cannot be installed here: {error}")


TASKS = {  # stub, solution, check
    "double": ("def double(x): ...", "def double(x): return 2 * x",
               "assert double(VARIANT) == 2 * VARIANT, 'twice the number, please'"),
    "root": ("root = ...", "root = math.sqrt(VARIANT + 4)",
             "assert root == math.sqrt(VARIANT + 4), 'the root of VARIANT + 4'"),
    "name": ("name = ...", "name = 'ada'", "assert name == 'ada', 'whose name?'"),
}  # fmt: skip
FILLED = {  # what a student wrote -> the points that it must get
    "wrong": (
        {
            "double": "def double(x): return x + x + 1",
            "root": "VARIANT = 5\nroot = 3.0  # copied from somebody whose VARIANT is 5",
        },
        [0, 0, 1],
    ),
    "raises": ({"double": "1 / 0\ndef double(x): return 2 * x", "name": None}, [0, 1, 0]),
    "endless": ({"root": "while True: pass"}, "took more than"),
    "ends the kernel": ({"name": "import os\nos._exit(0)"}, "otter run failed"),
    "no number": ({"setup": "import math"}, "no code cell has a line that begins VARIANT ="),
}


def filled(changes, answers=True):
    cells = [cell("markdown", "# Exercises 9")]
    cells.append(cell("code", changes.get("setup", "import math\nVARIANT = 0"), "setup"))
    for name, (stub, solution, check) in TASKS.items():
        cells.append(cell("markdown", f"## {name} *(easy)*"))
        if answers:
            cells += [cell("code", stub), cell("code", solution, "solution")]
        elif changes.get(name, solution) is None:
            continue  # the student deleted the task with its check
        else:
            cells.append(cell("code", changes.get(name, solution)))
        cells.append(cell("code", check, "check"))
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.slow
def test_a_class_with_broken_submissions_is_graded(tmp_path, python, monkeypatch, capsys):
    """Real notebooks through the real otter; nobody's fault costs anybody else a point."""
    (tmp_path / "solutions").mkdir()
    nbformat.write(filled({}), tmp_path / "solutions" / "09_x.ipynb")
    class_ = tmp_path / "class"
    class_.mkdir()
    for name, (changes, _) in FILLED.items():
        nbformat.write(filled(changes, answers=False), class_ / f"{name}.ipynb")
    whole = (class_ / "wrong.ipynb").read_text("utf-8")
    (class_ / "truncated.ipynb").write_text(whole[: len(whole) // 2], encoding="utf-8")
    (class_ / "stranger.ipynb").write_text(whole, encoding="utf-8")
    table = "student,variant\n" + "".join(f"{name},12\n" for name in [*FILLED, "truncated"])
    (tmp_path / "variants.csv").write_text(table)
    words = ["09", str(class_), "--solutions", str(tmp_path / "solutions"), "--minutes", "0.5"]
    words += ["--out", str(tmp_path), "--variants", str(tmp_path / "variants.csv")]
    assert autograde.main(words) == 0
    with open(tmp_path / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {row.pop("submission"): row for row in csv.DictReader(file)}
    expected = {name: points for name, (_, points) in FILLED.items()}
    expected |= {"truncated": "is not a notebook", "stranger": "has no student of this name"}
    assert sorted(rows) == sorted(expected)
    for name, points in expected.items():
        found = [float(rows[name][f"q{n}"]) for n in (1, 2, 3)]
        if isinstance(points, str):
            assert found == [0, 0, 0] and points in rows[name]["error"], (name, rows[name])
        else:
            assert (found, rows[name]["error"]) == (points, ""), name
    said = (tmp_path / "feedback" / "wrong.txt").read_text("utf-8")
    assert "q1: not passed\nAssertionError: twice the number, please" in said
    assert said.count(": passed") == 1
    assert "not graded: endless, ends the kernel, no number, stranger, truncated" in (
        capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.skipif(not list(autograde.SOLUTIONS.glob("*.ipynb")), reason="hidden")
def test_the_solution_gets_full_marks_and_the_empty_exercise_none(tmp_path, python):
    solution = autograde.solution_of(CHAPTER)
    autograder = autograde.assign(solution, python, tmp_path)  # fails if the solution does
    full = autograde.grade(autograder, solution, python)
    assert full == {f"q{n}": 1.0 for n in range(1, 5)}
    empty = autograde.grade(autograder, ROOT / "notebooks" / "exercises" / solution.name, python)
    assert empty == dict.fromkeys(full, 0.0)
