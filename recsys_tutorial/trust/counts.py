"""How often each item is liked, told with noise."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_positive
from recsys_tutorial._likes import as_likes

__all__ = ["laplace_counts"]


def laplace_counts(
    likes: sparse.csr_matrix, epsilon: float, most: int, rng: np.random.Generator
) -> np.ndarray:
    """How many users like each item, with (epsilon, 0)-differential privacy for each user.

    A user counts with `most` likes at most, drawn evenly, so that they change the counts by `most`
    altogether; each count gets noise of Laplace's law with scale most / epsilon (Dwork et al. 2006,
    doi:10.1007/11681878_14). That holds for real numbers: the noise is made of floats, whose last
    bits can give a count away to who sees all of them (Mironov 2012, doi:10.1145/2382196.2382264);
    his mend clamps the noisy numbers and rounds them to a coarse grid.

    Parameters
    ----------
    likes : csr_matrix (n_users, n_items), > 0 where liked
    epsilon : float > 0
    most : int >= 1, likes of one user that count
    rng : numpy Generator

    Returns
    -------
    ndarray (n_items,), also below 0 and not whole. What is made of it alone stays private: cut it
    off at 0, round it, rank by it

    Raises
    ------
    ValueError for numbers out of range.
    """
    likes = as_likes(likes, "likes")
    check_positive(epsilon=epsilon)
    check_at_least(1, most=most)
    rows = np.repeat(np.arange(likes.shape[0]), np.diff(likes.indptr))
    order = np.lexsort([rng.random(likes.nnz), rows])  # each row's likes in a random order
    kept = order[np.arange(likes.nnz) - likes.indptr[rows] < most]
    counts = np.bincount(likes.indices[kept], minlength=likes.shape[1])
    return counts + rng.laplace(scale=most / epsilon, size=likes.shape[1])
