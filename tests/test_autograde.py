"""otter-grader takes the exercises as they are: full marks for the solution, none for the stubs."""

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
    assert autograde.solution_of("01").stem == CHAPTER
    with pytest.raises(SystemExit, match="found none"):
        autograde.solution_of("99")
    with pytest.raises(SystemExit, match="found 01_data"):
        autograde.solution_of("0")
    with pytest.raises(SystemExit, match="no notebook in"):
        autograde.main(["01", str(tmp_path)])


def test_one_broken_submission_loses_nobody_elses_points(tmp_path):
    def grade_one(path):
        if path.stem == "b":
            raise autograde.GradingError("took more than 10 minutes")
        return {"q1": 1.0, "q2": 0.0}

    out = tmp_path / "graded" / "grades.csv"
    names = [Path(f"{name}.ipynb") for name in "abc"]
    rows = autograde.grade_all(names, ["q1", "q2"], out, grade_one)
    assert [row["submission"] for row in rows] == ["a", "b", "c"]
    assert out.read_text("utf-8").splitlines() == [
        "submission,q1,q2,error",
        "a,1.0,0.0,",
        "b,0.0,0.0,took more than 10 minutes",
        "c,1.0,0.0,",
    ]


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


@pytest.mark.slow
def test_the_solution_gets_full_marks_and_the_empty_exercise_none(tmp_path):
    try:
        python = autograde.environment()
    except SystemExit as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"otter-grader cannot be installed here: {error}")
    solution = autograde.solution_of(CHAPTER)
    autograder = autograde.assign(solution, python, tmp_path)  # fails if the solution does
    full = autograde.grade(autograder, solution, python)
    assert full == {f"q{n}": 1.0 for n in range(1, 5)}
    empty = autograde.grade(autograder, ROOT / "notebooks" / "exercises" / solution.name, python)
    assert empty == dict.fromkeys(full, 0.0)
