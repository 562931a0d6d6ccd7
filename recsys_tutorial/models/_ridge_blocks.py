"""How `BatchedRidge` solves a block of b rows, padded to w observations of k features.

Both take features (n_columns + 1, k or more), of which k count and the last row is of zeros;
columns, y and the weights w (or None for ones), (b, w); and the penalty d, (k,) or (b, k). They
return x (b, k), and explained (b,).
"""

from __future__ import annotations

import numpy as np

SMALL = 7  # with fewer unknowns, many systems are faster solved together than one by one
_STEPS = 2  # of conjugate gradients: so preconditioned, they go as far as three without
_TINY = 1e-30  # a square of a length that is none, in either precision


def narrow(features, columns, y, w, d):
    """Rows with fewer observations than features: (F D^-1 F' + W^-1) a = y, then x = D^-1 F' a."""
    n = columns.shape[1]
    f = features.take(columns, axis=0)[:, :, : d.shape[-1]]  # (b, n, k)
    fd = f / (d if d.ndim == 1 else d[:, None])
    kernel = fd @ f.transpose(0, 2, 1)  # (b, n, k) @ (b, k, n) -> (b, n, n)
    kernel[:, range(n), range(n)] += 1.0 if w is None else 1.0 / w
    a = _eliminate(kernel, y) if n <= SMALL else _solve(kernel, y)
    x = (a[:, None] @ fd)[:, 0]  # (b, 1, n) @ (b, n, k) -> (b, k)
    # F x = y - W^-1 a, by the system just solved; so (F' W y) . x needs no product with F.
    return x, (y * ((y if w is None else w * y) - a)).sum(axis=1)


def _solve(kernel: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.solve(kernel, y[..., None])[..., 0]


def _eliminate(kernel: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Solve positive definite systems (b, n, n), (b, n) by Gauss's elimination of all b at once.

    For a few unknowns, LAPACK's call for each system takes longer than the arithmetic.
    """
    kernel, a = np.ascontiguousarray(kernel.transpose(1, 2, 0)), y.T.copy()  # (n, n, b), (n, b)
    n = len(a)
    for i in range(n):
        ratio = kernel[i + 1 :, i] / kernel[i, i]  # (n - i - 1, b)
        kernel[i + 1 :, i + 1 :] -= ratio[:, None] * kernel[i, i + 1 :]
        a[i + 1 :] -= ratio * a[i]
    for i in reversed(range(n)):
        a[i] /= kernel[i, i]
        a[:i] -= kernel[:i, i] * a[i]
    return a.T


def descend(features, columns, y, w, d, *, x):
    """Steps of conjugate gradients from x (b, k), preconditioned by the penalty.

    Without F'WF, a step takes two products with F, where the exact solution takes k of them.
    """
    f = features.take(columns, axis=0)  # (b, w, k)
    s = _products(f, x)  # (b, w)
    residual = _transposed_products(f, _weighted(w, y - s)) - d * x  # (b, k)
    p = scaled = residual / d
    size = np.vecdot(residual, scaled)[:, None]  # (b, 1)
    for left in reversed(range(_STEPS)):
        fp, dp = _products(f, p), d * p
        wfp = _weighted(w, fp)
        # A row that has arrived has p = 0 and stays.
        rate = size / np.maximum(np.vecdot(wfp, fp) + np.vecdot(p, dp), _TINY)[:, None]
        x, s = x + rate * p, s + rate * fp
        if left:
            residual = residual - rate * (_transposed_products(f, wfp) + dp)
            scaled = residual / d
            before, size = size, np.vecdot(residual, scaled)[:, None]
            p = scaled + size / np.maximum(before, _TINY) * p
    # At x, not at the minimum: by how much the objective is below the sum of w y^2.
    explained = np.vecdot(_weighted(w, s), 2 * y - s) - np.vecdot(d * x, x)
    return x, explained


def _weighted(w: np.ndarray | None, e: np.ndarray) -> np.ndarray:
    return e if w is None else w * e


def _products(f: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (f @ x[..., None])[..., 0]  # (b, w, k) @ (b, k, 1)


def _transposed_products(f: np.ndarray, e: np.ndarray) -> np.ndarray:
    return (e[:, None] @ f)[:, 0]  # (b, 1, w) @ (b, w, k)
