"""Each notebook's first cell works on a machine that has everything but the package."""

import nbformat
import pytest

from scripts import colab_check
from scripts.execute_notebooks import find_notebooks
from scripts.set_repository import current

GUARD = 'import sys\nif "google.colab" in sys.modules:\n    {line}\n'
LINE = current().install_line()
OTHER = LINE.replace("git+", "git+ssh://")
# name: (the set-up cell, what must be said about it)
SETUPS = {
    "good": (GUARD.format(line=LINE) + "import recsys_tutorial", ""),
    "no guard": ("import numpy", "not by"),
    "other line": (GUARD.format(line=OTHER) + "import recsys_tutorial", "not by"),
    "no import": (GUARD.format(line=LINE), "the package was never imported"),
    "from elsewhere": (
        GUARD.format(line=LINE)
        + "import types\nsys.modules['recsys_tutorial.x'] = types.ModuleType('x')\n"
        "sys.modules['recsys_tutorial.x'].__file__ = '/elsewhere/x.py'",
        "imported from elsewhere: ['/elsewhere/x.py']",
    ),
    "fails": (GUARD.format(line=LINE) + "import recsys_tutorial\n1 / 0", "ZeroDivisionError"),
}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A machine like Colab's."""
    return colab_check.StandIn.make(tmp_path_factory.mktemp("colab"))


def write(path, *cells):
    made = []
    for source, tags in cells:
        made.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


@pytest.mark.slow
def test_the_set_up_cell_of_every_notebook_installs_and_imports_the_wheel(stand_in):
    paths = find_notebooks([], left_out=())
    names = {path.parent.name for path in paths}
    assert {"notebooks", "exercises", "capstone"} <= names  # solutions may be hidden
    found = colab_check.replay_setups(stand_in, paths)
    assert {path.name: error for path, error in found.items() if error} == {}
    assert len(found) == len(paths)


def test_a_short_notebook_runs_to_its_end_alone(stand_in):
    found = find_notebooks(["solutions/01"])
    if not found:
        pytest.skip("the solutions are hidden")
    (path,) = found
    assert colab_check.replay(stand_in, path) == ""


def test_set_up_cells_with_a_fault_are_found(stand_in, tmp_path):
    for name, (source, _) in SETUPS.items():
        write(tmp_path / f"{name}.ipynb", (source, ["setup"]))
    write(tmp_path / "none.ipynb", ("import recsys_tutorial", []))
    found = colab_check.replay_setups(stand_in, sorted(tmp_path.glob("*.ipynb")))
    for name, (_, message) in SETUPS.items():
        error = found[tmp_path / f"{name}.ipynb"]
        assert message in error if message else error == "", name
    assert "installs by []" in found[tmp_path / "none.ipynb"]


def test_a_notebook_that_needs_a_file_beside_it_fails(stand_in, tmp_path):
    path = write(
        tmp_path / "needs.ipynb",
        (GUARD.format(line=LINE) + "import recsys_tutorial", ["setup"]),
        ("open('beside.csv')", []),
    )
    (tmp_path / "beside.csv").write_text("x")
    error = colab_check.replay(stand_in, path)
    assert error.startswith("FileNotFoundError")
    assert "cell starting \"open('beside.csv')\"" in error


def test_words_choose_and_exercises_are_for_set_up_only():
    assert [p.stem for p in find_notebooks(["capstone"], left_out=["exercises"])]
    assert colab_check.main(["exercises"]) == 1
    assert colab_check.main(["no such notebook"]) == 1
