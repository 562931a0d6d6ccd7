"""Ratings as `BiasedMF` is given them, in a frame or a matrix, in the one form that it fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._likes import as_ratings


def ratings_matrix(
    ratings: pd.DataFrame | sparse.csr_matrix, item_ids: np.ndarray | None
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """The ratings as csr, and the ids of its rows and columns, ascending.

    Arguments and errors as of `BiasedMF.fit`.
    """
    if not sparse.issparse(ratings):
        return _from_frame(ratings, item_ids)
    if item_ids is not None:
        raise ValueError("item_ids goes with a frame: a matrix's columns are its items")
    matrix = as_ratings(ratings, "ratings")
    if matrix.nnz == 0:
        raise ValueError(f"ratings {matrix.shape} holds no rating")
    return matrix, np.arange(matrix.shape[0]), np.arange(matrix.shape[1])


def _from_frame(ratings: pd.DataFrame, item_ids: np.ndarray | None):
    missing = [c for c in ("user_id", "item_id", "rating") if c not in ratings]
    if missing:
        raise ValueError(f"ratings lacks the columns {missing}; it has {list(ratings.columns)}")
    if len(ratings) == 0:
        raise ValueError("ratings is empty")
    values = ratings["rating"].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"rating {values[row]} in row {row} is not a finite number")
    rows, user_ids = pd.factorize(ratings["user_id"].to_numpy(), sort=True)
    if item_ids is None:
        columns, item_ids = pd.factorize(ratings["item_id"].to_numpy(), sort=True)
    else:
        item_ids = np.unique(item_ids)
        columns = pd.Index(item_ids).get_indexer(ratings["item_id"].to_numpy())
    if min(rows.min(), columns.min()) < 0:
        row = int(np.flatnonzero((rows < 0) | (columns < 0))[0])
        pair = ratings.iloc[row][["user_id", "item_id"]].tolist()
        raise ValueError(f"row {row}: the user or item of {pair} is missing or unknown")
    shape = (len(user_ids), len(item_ids))
    matrix = sparse.csr_matrix((values, (rows, columns)), shape=shape)
    if matrix.nnz < len(values):
        raise ValueError(
            f"{len(values) - matrix.nnz} (user_id, item_id) pairs occur more than once: keep "
            'one rating each, for example ratings.drop_duplicates(["user_id", "item_id"])'
        )
    return matrix, user_ids, item_ids
