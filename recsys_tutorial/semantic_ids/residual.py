"""Codes by residual k-means: each level clusters what the levels before it left over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans

from recsys_tutorial._checks import check_at_least, finite_vectors

__all__ = ["nearest_codewords", "residual_kmeans"]

_BLOCK = 4096  # vectors whose distances are held at a time


def residual_kmeans(
    vectors: np.ndarray, sizes: Sequence[int] = (64, 64, 64), *, seed: int = 0
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Cluster the vectors, then what their centres leave over, and so on.

        r_0 = x,   c_l = argmin_c |r_l - e_lc|,   r_{l+1} = r_l - e_{l,c_l},   x ~ sum_l e_{l,c_l}

    (Residual vector quantisation: Juang & Gray 1982; faiss has it as ``ResidualQuantizer``, which
    keeps several candidates a level where this keeps the nearest.)

    Parameters
    ----------
    vectors : ndarray (n_items, dim)
    sizes : int for each level, how many centres
    seed : int, of k-means' start

    Returns
    -------
    codes : int64 ndarray (n_items, n_levels)
    codebooks : list of float64 ndarray (size, dim), e, one for each level

    Raises
    ------
    ValueError
        For vectors that are not finite, and fewer of them than centres.
    """
    left = finite_vectors("vectors", vectors).astype(np.float64)
    if not len(sizes):
        raise ValueError("sizes must name at least one level")
    for size in sizes:
        check_at_least(1, size=size)
        if size > len(left):
            raise ValueError(f"{len(left)} vectors cannot have {size} centres")
    words, codebooks = [], []
    for level, size in enumerate(sizes):
        centres = KMeans(size, n_init=1, random_state=seed + level).fit(left).cluster_centers_
        word = nearest_codewords(left, centres)
        words.append(word)
        codebooks.append(centres)
        left = left - centres[word]
    return np.column_stack(words), codebooks


def nearest_codewords(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """argmin_c |x - e_c| for each vector; of equally near ones the first.

    Distances are rounded to 1e-9 of the vectors' size first: which of two centres is nearer must
    not hang on the last bit.

    Parameters
    ----------
    vectors : ndarray (n, dim)
    centres : ndarray (size, dim)

    Returns
    -------
    int64 ndarray (n,)
    """
    squared = (centres**2).sum(1)
    found = np.empty(len(vectors), np.int64)
    scale = max(float(squared.max()), float((vectors**2).sum(1).max(initial=0)), 1e-30)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distances = squared - 2 * vectors[rows] @ centres.T  # |x|^2 is the same for all centres
        found[rows] = np.round(distances / scale, 9).argmin(1)
    return found
