"""The disturbed last bit: small enough to be rounding, large enough to find what hangs on it."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scripts import portability, run_tests
from scripts.shake import Rewrite, Shaker

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [7, 3 * 2**20])
def test_floats_move_by_one_unit_in_the_last_place_at_most(dtype, size):
    values = np.random.default_rng(0).normal(size=size).astype(dtype)
    before = values.copy()
    moved = Shaker(1)(values)
    assert moved.dtype == dtype and moved.shape == values.shape
    np.testing.assert_array_equal(values, before)
    steps = (moved - values) / np.spacing(values)
    assert set(np.unique(steps)) <= {-1, 0, 1}
    if size > 100:  # a third each
        shares = [np.mean(steps == step) for step in (-1, 0, 1)]
        np.testing.assert_allclose(shares, 1 / 3, atol=0.01)


def test_what_is_exact_everywhere_is_left_alone():
    shaker = Shaker(1)
    for exact in (np.arange(5.0), np.array([0.5, 3.25]), np.array([np.nan, np.inf, -np.inf]),
                  np.array([1, 2]), np.array([]), "text", None, [0.1]):  # fmt: skip
        assert shaker(exact) is exact or np.array_equal(shaker(exact), exact, equal_nan=True)
    assert shaker.n_shaken == 0


def test_every_kind_of_value_keeps_its_kind():
    shaker = Shaker(2)
    table = pd.DataFrame({"a": [0.1] * 50, "n": range(50), "s": ["x"] * 50}, index=range(50, 100))
    moved = shaker(table)
    pd.testing.assert_frame_equal(moved, table)  # within pandas' tolerance
    assert (moved["a"] != table["a"]).any() and moved["n"].equals(table["n"])
    assert type(shaker(np.float64(0.1))) is np.float64
    matrix = sparse.csr_matrix(np.full((9, 9), 0.1))
    assert (shaker(matrix) != matrix).nnz > 0 and matrix.data.tolist() == [0.1] * 81
    left, right = shaker((np.full(50, 0.1), True))
    assert (left != 0.1).any() and right is True


def test_products_and_reductions_are_rewritten_and_nothing_else():
    found = []
    code = "a = x @ y; b = x.mean(0); c = x + y; d = sum([1]); e = np.linalg.norm(x, axis=1)"
    names = {"x": np.eye(2), "y": np.eye(2), "np": np}
    names["__shake__"] = lambda value: (found.append(value), value)[1]
    exec(compile(Rewrite().visit(ast.parse(code)), "cell", "exec"), names)
    assert [np.shape(value) for value in found] == [(2, 2), (2,), (2,)]


SCRIPT = """
import json, sys
sys.path.insert(0, {root!r})
from scripts.shake import install
shaker = install(seed=3)
import numpy as np
import torch
from scipy import sparse
from recsys_tutorial import metrics
torch.manual_seed(0)
u = torch.randn(50, 40, dtype=torch.float64, requires_grad=True)
v = torch.randn(40, 30, dtype=torch.float64)
products = [u @ v for _ in range(2)]
gradients = [torch.autograd.grad((u @ v).tanh().sum(), u)[0] for _ in range(2)]
whole = torch.ones(3, 3) @ torch.ones(3, 3)
by_torch = shaker.n_shaken
ranked, relevant = np.arange(60).reshape(6, 10), sparse.csr_matrix(np.eye(6, 60, 3))
ndcg = [metrics.ndcg_at_k(ranked, relevant, 10) for _ in range(9)]
print(json.dumps({{
    "products": float((products[0] - products[1]).abs().max()),
    "gradients": float((gradients[0] - gradients[1]).abs().max()),
    "whole": bool((whole == 3).all()), "torch": by_torch, "package": shaker.n_shaken - by_torch,
    "ndcg": float(np.nanmax(np.ptp(ndcg, axis=0)))}}))
try:
    install(seed=3)
except RuntimeError as error:
    print(error)
"""


def test_torch_forward_and_backward_and_the_package_are_shaken():
    code = SCRIPT.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line, refusal = done.stdout.splitlines()
    found = json.loads(line)
    for name in ("products", "gradients", "ndcg"):
        assert 0 < found[name] < 1e-12, name
    assert found["whole"] and found["torch"] > 0 and found["package"] > 0
    assert "is imported already" in refusal


NOTEBOOK = {
    "hangs on the last bit": "print(int((x @ y).argmax()))",
    "holds": "print(int((x @ y).round(6).argmax()), f'{(x @ y).mean():.6f}')",
}


@pytest.mark.parametrize("name", NOTEBOOK)
def test_a_stored_output_that_hangs_on_the_last_bit_is_found(name, tmp_path, monkeypatch):
    import nbformat

    # Three hundred equal numbers: the largest is the first, unless the last bit says otherwise.
    cells = ["import numpy as np\nx, y = np.full((300, 3), 0.1), np.full(3, 0.7)", NOTEBOOK[name]]
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        cells=[nbformat.v4.new_code_cell(c, execution_count=n + 1) for n, c in enumerate(cells)],
    )
    stored = {"hangs on the last bit": "0\n", "holds": "0 0.210000\n"}[name]
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=stored)]
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nbformat.write(notebook, folder / "01_planted.ipynb")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.nbval_tolerance"]\n')
    monkeypatch.setattr(portability, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = portability.parser().parse_args(["shake", "--workers", "1"])
    _, failed = portability.run("planted", {"SHAKE": "1"}, options)
    assert len(failed) == (1 if name == "hangs on the last bit" else 0), failed


def test_the_plan_names_only_kernels_that_this_processor_has(monkeypatch):
    monkeypatch.setattr(portability, "processor_flags", lambda: {"avx2"})
    names = [name for name, _ in portability.plan(["shake", "kernels", "busy"], seeds=2)]
    assert names[:2] == ["shake, seed 1", "shake, seed 2"]
    assert "OpenBLAS Haswell" in names and "OpenBLAS SkylakeX" not in names
    assert len(set(names)) == len(names) and "two threads" in names
    monkeypatch.setattr(portability, "processor_flags", set)
    assert "OpenBLAS Haswell" not in [name for name, _ in portability.plan(["kernels"], 1)]


def test_a_run_that_is_slower_than_usual_has_time():
    options = portability.parser().parse_args(["shake"])
    line = portability.command(options, shaken=True)
    cell, test = (int(line[line.index(name) + 1]) for name in ("--nbval-cell-timeout", "--timeout"))
    assert test > cell == 3 * run_tests.CELL_LIMIT
    options = portability.parser().parse_args(["shake", "--tests"])
    line = portability.command(options, shaken=True)
    assert int(line[line.index("--timeout") + 1]) == 3 * run_tests.TEST_LIMIT


def test_a_run_without_a_report_is_a_failure(tmp_path):
    assert portability.failures(tmp_path / "none.xml") == ["no report: pytest itself failed"]
