"""Parts of histories, as training needs them: some shown and some hidden, a few of many, counts."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

HISTORY_SHARE = 0.0, 0.9  # of a user's likes, how many are shown in training: from, to


def divide_likes(likes, share, rng, hidden=None) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Show a random share of each row's likes, but never column `hidden`.

    Parameters
    ----------
    likes : csr_matrix (n, n_items)
    share : (low, high), within 0 to 1; each row's share is drawn evenly from it
    rng : numpy Generator
    hidden : int ndarray (n,), optional: a column for each row

    Returns
    -------
    (shown, the others) : csr_matrix (n, n_items) both
    """
    n = np.diff(likes.indptr)
    wanted = np.repeat(rng.uniform(*share, size=len(n)), n)
    shown = rng.random(likes.nnz) < wanted
    if hidden is not None:
        shown &= likes.indices != np.repeat(hidden, n)

    def only(kept: np.ndarray) -> sparse.csr_matrix:
        ends = np.concatenate([[0], np.cumsum(kept)])[likes.indptr]
        return sparse.csr_matrix((likes.data[kept], likes.indices[kept], ends), shape=likes.shape)

    return only(shown), only(~shown)


def choose_likes(likes, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Up to n columns of each row: all of a short row, a choice of a long one.

    Parameters
    ----------
    likes : csr_matrix (n_rows, n_items)
    n : int
    rng : numpy Generator; None for a choice that is spaced evenly: of n equal parts of the row,
        the first column of each

    Returns
    -------
    columns : int64 ndarray (n_rows, width), 0 where there are fewer; width is n with an rng, else
        at most n
    there : bool ndarray (n_rows, width), True for a real column
    """
    counts = np.diff(likes.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(likes.nnz) - likes.indptr[rows]
    if rng is None:
        step = n / counts[rows]  # 1 or more for a short row, of which all is taken
        order = np.flatnonzero(np.floor(place * step) > np.floor((place - 1) * step))
        width = min(n, int(counts.max(initial=1)))
    else:
        order = np.lexsort([rng.random(likes.nnz), rows])[place < n]
        width = n
    rows, kept = rows[order], np.minimum(counts, n)
    place = np.arange(len(order)) - (np.cumsum(kept) - kept)[rows]
    columns = np.zeros((len(counts), width), np.int64)
    columns[rows, place] = likes.indices[order]
    return columns, np.arange(width) < kept[:, None]


def checked_popularity(values, train) -> tuple[np.ndarray, Tensor]:
    """The n_i of a popularity prior, and log(1 + n_i).

    Parameters
    ----------
    values : ndarray (n_items,) >= 0; None for the number of likes
    train : csr_matrix (n_users, n_items)

    Returns
    -------
    n : ndarray (n_items,), float64
    log_popularity : Tensor (n_items,), float64

    Raises
    ------
    ValueError
        Unless there are n_items finite numbers, none below 0.
    """
    n_items = train.shape[1]
    values = np.bincount(train.indices, minlength=n_items) if values is None else values
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n_items,) or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"popularity must be {n_items} finite numbers, none below 0")
    return values, torch.from_numpy(np.log1p(values))
