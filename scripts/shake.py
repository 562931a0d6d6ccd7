"""Disturb the last bit of what another processor would round differently, to see what hangs on it.

Products and reductions add their terms in an order that depends on the processor, its vector width
and the number of threads, so their last bit is no property of the data. Where a discrete choice
reads it (the hardest negative, the best epoch, a rank among near ties), another machine trains
another model. One machine cannot show that by running twice. Here every result of such an operation
moves by at most one unit in the last place, at random: what then changes more than rounding does
would change on somebody's machine.

- torch: a `TorchDispatchMode` sees every operation below autograd, the backward pass included;
- numpy, scipy, pandas: calls in the notebook's cells and in `recsys_tutorial` are rewritten when
  they are compiled, `a @ b` to `__shake__(a @ b)`, `x.mean()` to `__shake__(x.mean())`.

Whole numbers and halves, quarters ... are left alone: sums of them are exact everywhere.

`SHAKE=7` in the environment is the seed. In a kernel: an IPython startup file that calls
`install(get_ipython())`; under pytest: `-p scripts.shake` shakes the package and torch.
"""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import os
import sys

import numpy as np
import pandas as pd

PACKAGE = "recsys_tutorial"
# Methods and functions whose result depends on the order of additions, or on the approximation of
# an elementary function that the processor's vector unit is given.
CALLS = {
    "average", "cdist", "cho_factor", "cho_solve", "cholesky", "corr", "corrcoef", "cov", "cumsum",
    "dot", "eigh", "einsum", "exp", "expit", "expm1", "inner", "inv", "lstsq", "log", "log10",
    "log1p", "log2", "log_softmax", "logaddexp", "logsumexp", "lu_solve", "matmul", "mean", "norm",
    "pinv", "power", "qr", "softmax", "solve", "solve_triangular", "spsolve", "std", "sum", "svd",
    "tanh", "tensordot", "trace", "var", "vecdot",
}  # fmt: skip
TORCH_OPS = {
    "addbmm", "addmm", "addmv", "baddbmm", "bmm", "cholesky_solve", "convolution",
    "convolution_backward", "cumsum", "dot", "einsum", "embedding_dense_backward", "exp",
    "gelu", "gelu_backward", "layer_norm", "linalg_cholesky_ex", "linalg_lu_solve",
    "linalg_solve_ex", "linalg_vector_norm", "linear", "log", "log_softmax", "_log_softmax",
    "_log_softmax_backward_data", "logsumexp", "matmul", "mean", "mm", "mv", "native_layer_norm",
    "native_layer_norm_backward", "norm", "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward", "sigmoid", "softmax", "_softmax",
    "_softmax_backward_data", "softplus", "std", "sum", "tanh", "var", "vdot",
}  # fmt: skip
GRID = 1024.0  # multiples of 1 / 1024 are taken for exact


class Shaker:
    """Moves floats by -1, 0 or 1 unit in the last place; `n_shaken` counts the arrays."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.noise = self.rng.integers(-1, 2, size=2**20)
        self.n_shaken = 0

    def draw(self, n: int) -> np.ndarray:
        """Return n steps: the stored noise, from a random place on."""
        start = int(self.rng.integers(len(self.noise) // 2))
        return np.resize(self.noise[start:], n)

    def array(self, values: np.ndarray) -> np.ndarray:
        """Return a disturbed copy of a float array of any shape."""
        exact = ~np.isfinite(values) | (values * GRID == np.rint(values * GRID))
        if exact.all():
            return values
        self.n_shaken += 1
        steps = self.draw(values.size).reshape(values.shape) * ~exact
        return values + steps.astype(values.dtype) * np.spacing(np.where(exact, 1, values))

    def __call__(self, value):
        """Return what an operation gave, its floats disturbed; anything else as it is."""
        if type(value) is tuple:
            return tuple(self(part) for part in value)
        if isinstance(value, np.ndarray | np.floating):
            if value.dtype.kind != "f" or value.size == 0:
                return value
            shaken = self.array(np.asarray(value))
            return shaken if isinstance(value, np.ndarray) else value.dtype.type(shaken)
        if isinstance(value, pd.DataFrame):
            return value.apply(self) if value.size else value
        if isinstance(value, pd.Series):
            if value.dtype not in (np.float64, np.float32) or not len(value):
                return value
            return pd.Series(self.array(value.to_numpy()), value.index, name=value.name)
        if hasattr(value, "tocsr") and value.dtype.kind == "f":  # a sparse matrix
            value = value.copy()
            value.data = self(value.data)
        return value


class Rewrite(ast.NodeTransformer):
    """Hand the results of products and reductions to `__shake__`."""

    def visit_BinOp(self, node):
        """Wrap a @ b."""
        self.generic_visit(node)
        return self._wrap(node) if isinstance(node.op, ast.MatMult) else node

    def visit_Call(self, node):
        """Wrap x.mean(...), np.mean(x, ...) and the like; the builtin sum() adds in order."""
        self.generic_visit(node)
        named = isinstance(node.func, ast.Attribute) and node.func.attr in CALLS
        return self._wrap(node) if named else node

    def _wrap(self, node):
        call = ast.Call(ast.Name("__shake__", ast.Load()), [node], [])
        return ast.fix_missing_locations(ast.copy_location(call, node))


class Loader(importlib.machinery.SourceFileLoader):
    """Compiles a module of the package anew, rewritten; no .pyc is read or written."""

    def get_code(self, fullname):
        """Return the rewritten code."""
        path = self.get_filename(fullname)
        tree = Rewrite().visit(ast.parse(self.get_data(path), path))
        return compile(tree, path, "exec", dont_inherit=True)


class Finder:
    """Finds the package's modules where they are and loads them with `Loader`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return the spec of a module of the package, None for all others."""
        if name.split(".")[0] != PACKAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def shake_torch(shaker: Shaker) -> None:
    """Enter a dispatch mode in this thread, for good."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            name = function.overloadpacket.__name__
            if name not in TORCH_OPS:
                return out
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if not isinstance(tensor, torch.Tensor) or not tensor.numel():
                    continue
                if name in ("sum", "mean") and args[0].numel() == tensor.numel():
                    continue  # nothing was added
                if tensor.dtype in (torch.float32, torch.float64) and tensor.device.type == "cpu":
                    values = tensor.numpy()
                    values[...] = shaker.array(values)
            return out

    Mode().__enter__()


def install(shell=None, seed: int | None = None) -> Shaker:
    """Shake this process: the package from now on, torch, and the cells of an IPython shell."""
    loaded = [name for name in sys.modules if name.split(".")[0] == PACKAGE]
    if loaded:
        raise RuntimeError(f"{loaded[0]} is imported already: install the shaker before it")
    shaker = Shaker(int(os.environ["SHAKE"]) if seed is None else seed)
    builtins.__shake__ = shaker
    sys.meta_path.insert(0, Finder)
    if shell is not None:
        shell.ast_transformers.append(Rewrite())
    shake_torch(shaker)
    return shaker


def pytest_configure(config):
    """As a plugin: `python -m pytest -p scripts.shake` with SHAKE set."""
    install()
