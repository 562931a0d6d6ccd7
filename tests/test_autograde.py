"""otter-grader takes the exercises as they are: full marks for the solution, none for the stubs."""

import os
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
