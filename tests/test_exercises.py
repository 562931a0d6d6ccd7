"""Exercises are their solutions without the answers, and their checks notice an empty answer."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from scripts import make_exercises
from scripts.machine_speed import kernel_limits
from scripts.set_repository import notebooks

ROOT = Path(__file__).resolve().parents[1]
EXERCISES, SOLUTIONS = notebooks(ROOT, "exercises"), notebooks(ROOT, "solutions")


def cell(kind, source, *tags):
    made = {"cell_type": kind, "id": "a", "metadata": {"tags": list(tags)}, "source": [source]}
    if kind == "code":
        made |= {"outputs": [{"output_type": "stream"}], "execution_count": 3}
    return made


def a_solution():
    return {
        "cells": [
            cell("markdown", "# Exercises 9"),
            cell("code", "answer = ..."),
            cell("code", "answer = 42", "solution"),
            cell("markdown", "Because.", "solution"),
            cell("code", "assert answer == 42", "check"),
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def test_the_answers_go_and_the_rest_stays_without_outputs():
    solution = a_solution()
    exercise = make_exercises.exercise_of(solution, "[Open in Colab](x)")
    sources = ["".join(c["source"]) for c in exercise["cells"]]
    assert sources == [
        "# Exercises 9\n\n[Open in Colab](x)\n",
        "answer = ...",
        "assert answer == 42",
    ]
    code = exercise["cells"][1:]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    assert solution == a_solution()  # the solution is not changed


@pytest.mark.parametrize("tag", ["solution", "check"])
def test_a_notebook_without_answers_or_checks_is_refused(tag):
    solution = a_solution()
    solution["cells"] = [c for c in solution["cells"] if tag not in c["metadata"]["tags"]]
    with pytest.raises(ValueError, match=f"no cell is tagged '{tag}'"):
        make_exercises.exercise_of(solution, "")


def test_check_reports_what_is_out_of_step_and_changes_nothing(tmp_path, capsys):
    folder = tmp_path / "notebooks" / "solutions"
    folder.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (folder / "09_x.ipynb").write_text(json.dumps(a_solution()))
    target = tmp_path / "notebooks" / "exercises" / "09_x.ipynb"
    assert make_exercises.main(["--check"], tmp_path) == 1
    assert not target.exists()
    assert make_exercises.main([], tmp_path) == 0
    assert make_exercises.main(["--check"], tmp_path) == 0
    target.with_name("10_y.ipynb").write_text("{}")
    assert make_exercises.main(["--check"], tmp_path) == 1
    assert "no solution of this name" in capsys.readouterr().out


def test_hidden_solutions_leave_the_exercises_as_they_are(tmp_path, capsys):
    root, private = tmp_path / "fork", tmp_path / "private"
    folder = root / "notebooks" / "solutions"
    folder.mkdir(parents=True)
    (root / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (folder / "09_x.ipynb").write_text(json.dumps(a_solution()))
    assert make_exercises.main([], root) == 0
    exercise = (root / "notebooks" / "exercises" / "09_x.ipynb").read_bytes()
    with pytest.raises(SystemExit, match="inside the repository"):
        make_exercises.main(["--hide", str(root / "secret")], root)
    assert make_exercises.main(["--hide", str(private)], root) == 0
    assert list(folder.iterdir()) == [] and (private / "09_x.ipynb").is_file()
    capsys.readouterr()
    assert make_exercises.main(["--check"], root) == 0
    assert make_exercises.main([], root) == 0
    assert "are hidden" in capsys.readouterr().out
    assert (root / "notebooks" / "exercises" / "09_x.ipynb").read_bytes() == exercise
    assert make_exercises.main(["--check", "--solutions", str(private)], root) == 0
    with pytest.raises(SystemExit, match="hidden already"):
        make_exercises.main(["--hide", str(private)], root)
    with pytest.raises(SystemExit, match="no solutions in"):
        make_exercises.main(["--solutions", str(tmp_path / "nowhere")], root)
    (folder / "09_x.ipynb").write_text(json.dumps(a_solution()))
    with pytest.raises(SystemExit, match=r"already holds 09_x\.ipynb"):
        make_exercises.main(["--hide", str(private)], root)
    assert (folder / "09_x.ipynb").is_file()


def test_the_exercises_are_in_step():
    assert make_exercises.main(["--check"]) == 0, "run python3 scripts/make_exercises.py"


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_a_solution_belongs_to_a_chapter_and_is_graded(path):
    assert (ROOT / "notebooks" / path.name).is_file()
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    tasks = [line for line in text.split("\n") if line.startswith("## ")]
    assert 3 <= len(tasks) <= 5
    assert all(line.endswith(("*(easy)*", "*(medium)*", "*(hard)*", "*(open)*")) for line in tasks)
    checks = [c for c in notebook.cells if "check" in c.metadata.get("tags", [])]
    assert len(checks) == sum("*(open)*" not in line for line in tasks)
    assert "<details>" in text
    setup = next(c for c in notebook.cells if c.cell_type == "code")
    assert '"google.colab" in sys.modules' in setup.source


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_every_check_fails_on_the_empty_exercise_and_says_what_to_do(path):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        **kernel_limits(300),
        allow_errors=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    first = True
    for code in (c for c in notebook.cells if c.cell_type == "code"):
        errors = [o for o in code.outputs if o.output_type == "error"]
        if "check" not in code.metadata.get("tags", []):
            assert not errors, code.source
            continue
        assert errors, f"passes without an answer: {code.source}"
        # A later check may also miss what an earlier answer would have made.
        assert errors[0].ename == "AssertionError" or not first, errors[0].evalue
        if errors[0].ename == "AssertionError":
            assert len(errors[0].evalue) > 15, "an assertion without a message helps nobody"
        first = False
    assert not first, "no cell is tagged check"
