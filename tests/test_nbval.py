"""The comparison of stored notebook outputs: a good notebook passes, each bad one fails."""

import copy
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbclient
import nbformat
import pytest

from scripts.machine_speed import kernel_limits, limit
from tests.nbval_tolerance import difference, tolerance_of

ROOT = Path(__file__).resolve().parents[1]

SAME = [
    ("", ""),
    ("NDCG@10 0.144", "NDCG@10 0.144"),
    ("0.1440000", "0.1440001"),
    ("ends with 0.1440000.", "ends with 0.1440001."),
    ("1.00000e-05", "1.00001e-05"),
    ("-0.000", "0.000"),
    ("[0.5 0.33333333]", "[0.5        0.33333334]"),
    ("took 1.234567s", "took 1.234568s"),
    ("12,345.678901", "12,345.678902"),
    ("<td>0.12345678</td>", "<td>0.12345679</td>"),
    ("x=1.5000001, y", "x=1.5000002, y"),
    ("1.5000000-2.5000000", "1.5000001-2.5000001"),
    ("nan inf", "nan inf"),
]
DIFFERENT = [
    ("0.144", "0.145", "float 1 differs"),
    ("0.14400", "0.14401", "float 1 differs"),
    ("1.0 0.14400", "1.0 0.14401", "float 2 differs"),
    ("1e-05", "2e-05", "float 1 differs"),
    ("0.5", "-0.5", "float 1 differs"),
    ("100004 ratings", "100005 ratings", "text differs"),
    ("1000000", "1000001", "text differs"),
    ("user 5", "user 5.0", "text differs"),
    ("a film", "a movie", "text differs"),
    ("0.5 good", "0.5 bad", "text differs after '0.5'"),
    ("a\nb", "a b", "text differs"),
    ("v1.20000", "v1.20001", "text differs"),
    ("1.2.30000001", "1.2.30000002", "text differs"),
    ("0.5", "0.5 0.5", "text differs"),
    ("0.5", "nan", "text differs"),
    ("(2, 3)", "(2, 4)", "text differs"),
    ("x10.5", "x10.6", "text differs"),
    ("2026-11-24", "2026-11-25", "text differs"),
]


@pytest.mark.parametrize("stored, new", SAME)
def test_texts_that_agree(stored, new):
    assert difference(stored, new) is None
    assert difference(new, stored) is None


@pytest.mark.parametrize("stored, new, message", DIFFERENT)
def test_texts_that_differ(stored, new, message):
    assert message in difference(stored, new)
    assert difference(new, stored) is not None


def test_a_wider_tolerance_is_for_floats_alone():
    assert difference("0.1440", "0.1441", rtol=1e-3) is None
    assert difference("0.1440", "0.1442", rtol=1e-3) is not None
    assert difference("1440", "1441", rtol=1e-3) is not None


def test_one_unit_in_the_last_digit_and_not_two():
    for stored, one, two in [("0.14", "0.15", "0.16"), ("2.9e-3", "3.0e-3", "3.1e-3")]:
        assert difference(stored, one, last_digit=True) is None
        assert difference(stored, two, last_digit=True) is not None
    assert difference("14", "15", last_digit=True) is not None


@pytest.mark.parametrize("tag", ["rtol", "rtol=", "rtol=high", "rtol=0", "rtol=1", "rtol=nan"])
def test_a_tag_that_is_no_tolerance_is_refused(tag):
    with pytest.raises(ValueError, match="must read like rtol=1e-3"):
        tolerance_of([tag])


def test_tags_are_read():
    assert tolerance_of([]) == (1e-5, False)
    assert tolerance_of(["setup", "rtol=1e-3"]) == (1e-3, False)
    assert tolerance_of(["last-digit"]) == (1e-5, True)


# End to end: one notebook that is really run, then spoiled in one place at a time.

CELLS = {
    "stream": "print('users', 671, 'NDCG@10', 1 / 7)",
    "table": "import pandas as pd\n"
    "pd.DataFrame({'model': ['EASE'], 'users': [199], 'ndcg': [1 / 7]})",
    "figure": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    "stderr": "import sys\nprint('a warning', id(object()), file=sys.stderr)",
    "wide": "# rtol: stands for a float32 result\nprint(0.14401)",
    "ignored": "import time\nprint(time.time())",
    "raises": "print(1 / 1)",
}
ORDER = list(CELLS)


def cell(notebook, name):
    return notebook.cells[ORDER.index(name)]


def replace_in_output(notebook, name, kind, old, new):
    (output,) = [o for o in cell(notebook, name).outputs if o.output_type != "error"]
    holder, key = (output, "text") if kind == "stdout" else (output.data, kind)
    assert old in holder[key]
    holder[key] = holder[key].replace(old, new)


def unrun(notebook):
    cell(notebook, "stream").execution_count = None
    cell(notebook, "stream").outputs = []


def raising(notebook):
    cell(notebook, "raises").source = "print(1 / 0)"


def without_figure(notebook):
    output = cell(notebook, "figure").outputs[0]
    del output.data["image/png"]


def bad_tag(notebook):
    cell(notebook, "wide").metadata["tags"] = ["rtol=wide"]


def stored_error(notebook):
    cell(notebook, "stream").outputs = []


def spoil(name, kind, old, new):
    return lambda notebook: replace_in_output(notebook, name, kind, old, new)


GOOD = {
    "as_stored": lambda notebook: None,
    "last_bits": spoil("stream", "stdout", "0.14285714285714285", "0.14285714299999999"),
    "table_last_bits": spoil("table", "text/html", "0.142857", "0.142858"),
    "other_picture": lambda nb: cell(nb, "figure").outputs[0].data.update({"image/png": "AAAA"}),
    "within_tag": spoil("wide", "stdout", "0.14401", "0.14407"),
    "no_stderr": lambda nb: cell(nb, "stderr").update(outputs=[]),
    "empty_cell": lambda nb: nb.cells.append(nbformat.v4.new_code_cell("")),
}
# name: (how to spoil it, a part of the message, the cell that must fail)
BAD = {
    "changed_number": (spoil("stream", "stdout", "0.142857", "0.142957"), "float 1 differs", 0),
    "changed_integer": (spoil("stream", "stdout", "671", "672"), "text differs", 0),
    "changed_text": (spoil("stream", "stdout", "users", "people"), "text differs", 0),
    "changed_table_number": (spoil("table", "text/html", "0.142857", "0.152857"), "float", 1),
    "changed_table_integer": (spoil("table", "text/html", ">199<", ">198<"), "text differs", 1),
    "changed_table_text": (spoil("table", "text/plain", "EASE", "ALS"), "text differs", 1),
    "no_figure": (without_figure, "image: 0 outputs stored, 1 new", 2),
    "outside_tag": (spoil("wide", "stdout", "0.14401", "0.14431"), "rtol 0.001", 4),
    "no_output": (stored_error, "stdout: 0 outputs stored, 1 new", 0),
    "unrun_cell": (unrun, "Stored without having been run", 0),
    "raising_cell": (raising, "ZeroDivisionError", 6),
    "bad_tag": (bad_tag, "must read like rtol=1e-3", 4),
}


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    cell(notebook, "wide").metadata["tags"] = ["rtol=1e-3"]
    cell(notebook, "ignored").metadata["tags"] = ["nbval-ignore-output"]
    nbclient.NotebookClient(notebook, kernel_name="python3", **kernel_limits(120)).execute()
    return notebook


@pytest.fixture(scope="module")
def outcomes(executed, tmp_path_factory):
    """{notebook: {cell number: message or None}} of one real run over all the notebooks."""
    folder = tmp_path_factory.mktemp("notebooks")
    for filled_by_readers in ("exercises", "capstone"):
        (folder / filled_by_readers).mkdir()
    for name, spoiler in {**GOOD, **{name: row[0] for name, row in BAD.items()}}.items():
        notebook = copy.deepcopy(executed)
        spoiler(notebook)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    empty = copy.deepcopy(executed)
    raising(empty)
    unrun(empty)
    nbformat.write(empty, folder / "exercises" / "empty.ipynb")
    nbformat.write(empty, folder / "capstone" / "empty.ipynb")
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.nbval_tolerance", "--nbval",
               "--nbval-current-env", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider",
               "--junitxml", "report.xml", "."]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=limit(300),
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "seconds of each notebook" in done.stdout
    found = {}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        notebook = Path(case.get("classname").replace(".ipynb", "").replace(".", "/")).name
        failure = case.find("failure") if case.find("failure") is not None else case.find("error")
        message = None if failure is None else f"{failure.get('message')}\n{failure.text}"
        found.setdefault(notebook, {})[int(case.get("name").split()[-1])] = message
    return found


@pytest.mark.parametrize("name", GOOD)
def test_a_good_notebook_passes(outcomes, name):
    assert len(outcomes[name]) == len(CELLS) + (name == "empty_cell")
    assert [message for message in outcomes[name].values() if message] == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_notebook_fails_in_its_bad_cell_alone(outcomes, name):
    _, message, number = BAD[name]
    failed = {n: text for n, text in outcomes[name].items() if text}
    assert list(failed) == [number]
    assert message in failed[number]


def test_exercises_are_not_run(outcomes):
    assert set(outcomes) == set(GOOD) | set(BAD)


def test_the_comparison_is_loaded_for_the_notebooks_folder():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--trace-config", "--collect-only", "-q", "notebooks"],
        cwd=ROOT, capture_output=True, text=True, timeout=limit(120), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "tests.nbval_tolerance" in done.stdout
