"""Notebooks run in place: stored whole or left alone, without what differs from run to run."""

import base64
import io
import os

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from scripts import execute_notebooks
from scripts.execute_notebooks import find_notebooks, main, with_palette

OLD_KERNEL = {"name": "old", "display_name": "Old", "language": "python"}


def make(path, *sources):
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": OLD_KERNEL})
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook.cells[0].metadata = {"tags": ["setup"], "ExecuteTime": {"start_time": "yesterday"}}
    nbformat.write(notebook, path)
    return path


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_outputs_are_stored_and_noise_is_not(tmp_path, capsys):
    path = make(
        tmp_path / "notebooks" / "01_a.ipynb",
        "import os, sys, time\nblock = bytes(300_000_000) + b'x'\ntime.sleep(0.3)\n"
        "print(os.environ['RECSYS_TUTORIAL_RECORD'])",
        "print('a warning', file=sys.stderr)\nprint('one')\nprint('two', flush=True)\n6 * 7",
        "os.path.basename(os.getcwd())",
    )
    assert main([], root=tmp_path) == 0
    notebook = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3]
    assert notebook.cells[0].outputs[0].text == "1\n"
    stream, result = notebook.cells[1].outputs
    assert (stream.name, stream.text) == ("stdout", "one\ntwo\n")
    assert result.data["text/plain"] == "42"
    assert notebook.cells[2].outputs[0].data["text/plain"] == "'notebooks'"
    assert dict(notebook.cells[0].metadata) == {"tags": ["setup"]}
    assert dict(notebook.cells[1].metadata) == {}
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info
    printed = capsys.readouterr()
    assert "stderr, not stored: a warning" in printed.err
    peak = float(printed.out.split("peak ")[1].split(" MB")[0])
    assert 286 < peak < 2000  # 300 MB were touched; a kernel alone takes about 80


def test_a_second_run_changes_nothing(tmp_path):
    path = make(tmp_path / "notebooks" / "01_a.ipynb", "print(1 / 7)")
    main([], root=tmp_path)
    first = path.read_bytes()
    main([], root=tmp_path)
    assert path.read_bytes() == first


def test_a_failing_notebook_is_left_as_it_was_and_the_others_run(tmp_path, capsys):
    bad = make(tmp_path / "notebooks" / "01_bad.ipynb", "print('before')", "1 / 0")
    good = make(tmp_path / "notebooks" / "02_good.ipynb", "print('good')")
    before = bad.read_bytes()
    assert main([], root=tmp_path) == 1
    assert bad.read_bytes() == before
    assert nbformat.read(good, as_version=4).cells[0].outputs[0].text == "good\n"
    printed = capsys.readouterr().err
    assert "ZeroDivisionError" in printed
    assert "failed: notebooks/01_bad.ipynb" in printed
    assert sorted(p.name for p in (tmp_path / "notebooks").iterdir()) == [bad.name, good.name]


def test_a_kernel_that_dies_is_a_failure(tmp_path, capsys):
    make(tmp_path / "notebooks" / "01_a.ipynb", "import os\nos._exit(1)")
    assert main([], root=tmp_path) == 1
    assert "01_a.ipynb: failed" in capsys.readouterr().err


def test_words_choose_and_exercises_are_left_out(tmp_path):
    left_out = ("exercises/02_b", "capstone/02_b", ".ipynb_checkpoints/02_b")
    for name in ("01_a", "02_b", "solutions/02_b", *left_out):
        make(tmp_path / "notebooks" / f"{name}.ipynb", "1")

    def chosen(*words):
        folder = tmp_path / "notebooks"
        return [str(p.relative_to(folder)) for p in find_notebooks(list(words), tmp_path)]

    assert chosen() == ["01_a.ipynb", "02_b.ipynb", "solutions/02_b.ipynb"]
    assert chosen("02") == ["02_b.ipynb", "solutions/02_b.ipynb"]
    assert chosen("01", "solutions") == ["01_a.ipynb", "solutions/02_b.ipynb"]
    assert chosen("09") == []


def test_no_notebook_is_said(tmp_path, capsys):
    assert main(["09"], root=tmp_path) == 1
    assert "no notebook whose path contains 09" in capsys.readouterr().out


def test_a_cell_that_hangs_is_stopped(tmp_path, monkeypatch):
    path = make(tmp_path / "notebooks" / "01_a.ipynb", "import time\ntime.sleep(60)")
    with pytest.raises(execute_notebooks.CellTimeoutError):
        execute_notebooks.execute(path, timeout=2)


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(int)


def test_figures_are_stored_with_few_colours_and_look_the_same():
    figure = Figure(figsize=(6, 3), dpi=80, facecolor="white")
    axes, x = figure.subplots(), np.linspace(0, 20, 200)
    for k in range(5):
        axes.plot(x, np.sin(x + k), label=f"line {k}")
        axes.fill_between(x, np.sin(x + k) - 0.3, np.sin(x + k) + 0.3, alpha=0.2)
    axes.legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    png = base64.b64encode(drawn.getvalue()).decode() + "\n"
    stored = with_palette(png)
    assert len(stored) < 0.5 * len(png) and with_palette(stored) == stored
    off = np.abs(pixels_of(stored) - pixels_of(png))
    assert off.mean() < 1 and np.quantile(off, 0.999) < 32
    assert (pixels_of(stored)[0] == 255).all()  # white stays white
