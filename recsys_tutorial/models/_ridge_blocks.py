"""How `BatchedRidge` solves a block of b rows, padded to w observations of k features.

All take features (n_columns + 1, k + 1), whose last row and column are free; columns, y and the
weights w (or None for ones), (b, w); and the penalty d, (k,) or (b, k). They return x (b, k), and
explained (b,).
"""

from __future__ import annotations

import numpy as np

SMALL = 7  # with fewer unknowns, many systems are faster solved together than one by one
_STEPS = 3  # of conjugate gradients: as many as the `implicit` library takes


def narrow(features, columns, y, w, d):
    """Rows with fewer observations than features: (F D^-1 F' + W^-1) a = y, then x = D^-1 F' a."""
    n = columns.shape[1]
    f = features.take(columns, axis=0)[:, :, :-1]  # (b, n, k)
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
    f = features.take(columns, axis=0)[:, :, :-1]  # (b, w, k)
    w = 1.0 if w is None else w
    s = _times(f, x)  # (b, w)
    residual = _transposed_times(f, w * (y - s)) - d * x  # (b, k)
    p = scaled = residual / d
    size = (residual * scaled).sum(axis=1, keepdims=True)  # (b, 1)
    for _ in range(_STEPS):
        fp = _times(f, p)
        ap = _transposed_times(f, w * fp) + d * p
        # A row that has arrived has p = 0 and stays.
        rate = size / np.maximum((p * ap).sum(axis=1, keepdims=True), 1e-300)
        x, s, residual = x + rate * p, s + rate * fp, residual - rate * ap
        scaled = residual / d
        before, size = size, (residual * scaled).sum(axis=1, keepdims=True)
        p = scaled + size / np.maximum(before, 1e-300) * p
    # The objective at x, not its minimum: A x = F'Wy - residual.
    return x, (w * y * s).sum(axis=1) + (residual * x).sum(axis=1)


def _times(f: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (f @ x[..., None])[..., 0]  # (b, w, k) @ (b, k, 1)


def _transposed_times(f: np.ndarray, e: np.ndarray) -> np.ndarray:
    return (e[:, None] @ f)[:, 0]  # (b, 1, w) @ (b, w, k)
