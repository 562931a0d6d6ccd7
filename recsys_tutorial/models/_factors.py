"""What the models with a vector per user and item share: where they start."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def check_same(factors: np.ndarray, shape: tuple[int, int]) -> None:
    """ValueError for a warm start from vectors of other sizes."""
    if factors.shape != shape:
        raise ValueError(f"warm_start: the last fit left vectors {factors.shape}, not {shape}")


def leading_directions(
    matrix: sparse.csr_matrix, k: int, rng: np.random.Generator, power_iterations: int = 3
) -> np.ndarray:
    """Orthonormal columns that nearly span the k leading left singular vectors: a start for ALS.

    A randomised range finder with power iterations (Halko, Martinsson & Tropp 2011,
    doi:10.1137/090771806, algorithm 4.4). It costs a few sparse products, about one ALS
    iteration, and saves several of those that a random start would need.

    Parameters
    ----------
    matrix : csr_matrix (n_rows, n_columns)
    k : int >= 1
    rng : numpy Generator
    power_iterations : int, products with the matrix and its transpose; more separate the
        directions better

    Returns
    -------
    ndarray (n_rows, min(k, n_rows))
    """
    transposed = matrix.T.tocsr()
    x = matrix @ rng.normal(size=(matrix.shape[1], k))  # (n_rows, k)
    for _ in range(power_iterations):
        x = matrix @ (transposed @ np.linalg.qr(x)[0])
    return np.linalg.qr(x)[0]
