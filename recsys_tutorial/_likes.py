"""What goes into every model: a sparse matrix of users' likes, checked and in one form."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def as_likes(
    matrix: sparse.sparray | sparse.spmatrix, name: str, n_items: int | None = None
) -> sparse.csr_matrix:
    """The same likes in the one form that models read; the caller's matrix stays as it is.

    Each like is stored once, and nothing else is: so `nnz`, `indices` and `np.diff(indptr)` are the
    likes, their columns, and the number of each user. A stored zero is no like; an entry that is
    stored in parts means their sum, as everywhere in SciPy.

    Parameters
    ----------
    matrix : sparse matrix or array (n_users, n_items), of any format, real dtype and order
    name : what errors call it, such as "train" or "history"
    n_items : what its width must be; any by default

    Returns
    -------
    csr_matrix (n_users, n_items), float64, all values finite and > 0, columns of a row ascending

    Raises
    ------
    ValueError
        For another type, dtype or width, and for a nan, infinite or negative value, with its place.

    Examples
    --------
    >>> likes = as_likes(sparse.csr_matrix(([1, 0], ([0, 1], [2, 0])), shape=(2, 3)), "train")
    >>> likes.nnz, likes.dtype.name
    (1, 'float64')
    """
    likes = _canonical(matrix, name, n_items)
    negative = np.signbit(likes.data)
    if negative.any():
        place = int(negative.argmax())
        raise ValueError(
            f"{name} holds the negative value {likes.data[place]} in {_place(likes, place)}: likes "
            "are >= 0. Leave out what was not liked"
        )
    return likes


def as_ratings(
    matrix: sparse.sparray | sparse.spmatrix, name: str, n_items: int | None = None
) -> sparse.csr_matrix:
    """`as_likes` for rating values: they may be negative, and there is one for each pair.

    A stored zero is no rating here either: what a matrix does not hold is 0, too.

    Raises
    ------
    ValueError
        Also for a pair that is stored twice, whose ratings would be added up.
    """
    ratings = _canonical(matrix, name, n_items)
    n_stored = int(np.count_nonzero(matrix.tocoo(copy=False).data))
    if n_stored > ratings.nnz:
        raise ValueError(
            f"{name} holds {n_stored - ratings.nnz} ratings of a pair that has one already: keep "
            "one each"
        )
    return ratings


def check_train(train: sparse.csr_matrix) -> sparse.csr_matrix:
    """What `fit` was given, `as_likes`; ValueError if nobody likes anything."""
    likes = as_likes(train, "train")
    if likes.nnz == 0:
        raise ValueError(f"train {likes.shape} holds no interaction")
    return likes


def check_history(history: sparse.csr_matrix, n_items: int) -> sparse.csr_matrix:
    """What `score` was given, `as_likes`; a user may have none."""
    return as_likes(history, "history", n_items)


def only_entries(matrix: sparse.csr_matrix, kept: np.ndarray) -> sparse.csr_matrix:
    """Some entries of a matrix, as a matrix of its own without stored zeros.

    Parameters
    ----------
    matrix : csr_matrix (n_users, n_items)
    kept : bool ndarray (matrix.nnz,), in the order of `matrix.data`

    Returns
    -------
    csr_matrix of the same shape, which shares nothing with `matrix`
    """
    part = matrix.copy()  # eliminate_zeros works in place, also on arrays that it shares
    part.data = part.data * kept
    part.eliminate_zeros()
    return part


def _canonical(matrix, name: str, n_items: int | None) -> sparse.csr_matrix:
    if not sparse.issparse(matrix):
        raise ValueError(f"{name} must be a sparse matrix, got {type(matrix).__name__}")
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be (n_users, n_items), got shape {matrix.shape}")
    if matrix.dtype.kind not in "buif":
        raise ValueError(f"{name} must hold real numbers, got dtype {matrix.dtype}")
    if n_items is not None and matrix.shape[1] != n_items:
        raise ValueError(
            f"{name} has {matrix.shape[1]} items, the model was fitted on {n_items}: give it one "
            "column for each of them"
        )
    result = sparse.csr_matrix(matrix, dtype=np.float64)
    if not (result.has_canonical_format and result.data.all()):
        result = result.copy()
        result.sum_duplicates()
        result.eliminate_zeros()
    bad = ~np.isfinite(result.data)
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"{name} holds a nan or infinite value in {_place(result, place)}: {result.data[place]}"
        )
    return result


def _place(matrix: sparse.csr_matrix, place: int) -> str:
    row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
    return f"row {row}, column {matrix.indices[place]}"
