"""Frames of ratings and items: checked, put in order, and turned into matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.ranking import tie_key

_COLUMNS = ("user_id", "item_id", "rating", "timestamp")


def in_time(ratings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The rows by user, and each user's by time; a hash orders equal times.

    Parameters
    ----------
    ratings : DataFrame with user_id, item_id and timestamp, in any order
    seed : int, another seed is another order of equal times

    Returns
    -------
    DataFrame, the same rows with their index
    """
    users, items = ratings["user_id"].to_numpy(), ratings["item_id"].to_numpy()
    key = tie_key(users, items, seed=seed)
    return ratings.iloc[np.lexsort((items, key, ratings["timestamp"], users))]


def in_arrival(ratings: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """The users by the time of their first rating; a hash orders those of one second."""
    first = ratings.groupby("user_id")["timestamp"].min()
    users = first.index.to_numpy()
    return users[np.lexsort((users, tie_key(users, seed=seed), first))]


def to_matrix(
    frame: pd.DataFrame, user_ids: np.ndarray, item_ids: np.ndarray, values: np.ndarray
) -> sparse.csr_matrix:
    """One row per user, one column per item, `values` at the frame's pairs.

    Parameters
    ----------
    frame : DataFrame with user_id, item_id, each pair at most once
    user_ids, item_ids : ndarray, ascending: what the rows and columns stand for
    values : ndarray (len(frame),)

    Returns
    -------
    csr_matrix (n_users, n_items), float64, columns of a row ascending; a value of 0 is stored

    Raises
    ------
    ValueError
        For a pair that stands in the frame twice, or an id that is not among the known ones.
    """
    refuse_repeats(frame, "the frame")
    rows = _positions(user_ids, frame["user_id"], "user_id")
    columns = _positions(item_ids, frame["item_id"], "item_id")
    shape = (len(user_ids), len(item_ids))
    values = np.asarray(values, dtype=np.float64)
    return sparse.csr_matrix((values, (rows, columns)), shape=shape)


def liked(
    frame: pd.DataFrame, user_ids: np.ndarray, item_ids: np.ndarray, min_rating: float
) -> sparse.csr_matrix:
    """`to_matrix` with 1.0 where the rating is at least `min_rating`."""
    likes = frame[frame["rating"] >= min_rating]
    return to_matrix(likes, user_ids, item_ids, np.ones(len(likes)))


def rated(frame: pd.DataFrame, user_ids: np.ndarray, item_ids: np.ndarray) -> sparse.csr_matrix:
    """`to_matrix` with every rating."""
    return to_matrix(frame, user_ids, item_ids, frame["rating"].to_numpy())


def in_columns(items: pd.DataFrame) -> pd.DataFrame:
    """The items in the order of their columns, by ascending id, index 0 to n_items - 1."""
    if "item_id" not in items:
        raise ValueError(f"items has no column item_id, only {list(items.columns)}")
    if len(items) == 0:
        raise ValueError("items is empty")
    items = items.sort_values("item_id", ignore_index=True)
    repeated = items["item_id"].duplicated()
    if repeated.any():
        raise ValueError(f"items holds item_id {items['item_id'][repeated].iloc[0]} more than once")
    return items


def check_ratings(ratings: pd.DataFrame) -> None:
    """ValueError unless there are ratings and all their columns, of finite numbers."""
    missing = [c for c in _COLUMNS if c not in ratings]
    if missing:
        raise ValueError(f"ratings lacks the columns {missing}; it has {list(ratings.columns)}")
    if len(ratings) == 0:
        raise ValueError("ratings is empty")
    for column in _COLUMNS:
        values = ratings[column].to_numpy()
        if values.dtype.kind not in "iuf":
            raise ValueError(f"ratings: {column} must hold numbers, got dtype {values.dtype}")
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"ratings: {column} {values[row]} in row {row} is not a finite number")


def refuse_repeats(frame: pd.DataFrame, where: str) -> None:
    """ValueError if a user rates an item twice in the frame, which is called `where`."""
    repeated = frame.duplicated(["user_id", "item_id"]).to_numpy()
    if repeated.any():
        user_id, item_id = frame[["user_id", "item_id"]].to_numpy()[int(np.argmax(repeated))]
        raise ValueError(
            f"user_id {user_id} rates item_id {item_id} more than once in {where}: keep one of them"
        )


def _positions(known: np.ndarray, ids: pd.Series, name: str) -> np.ndarray:
    positions = pd.Index(known).get_indexer(ids)
    if (positions < 0).any():
        unknown = ids.iloc[int(np.argmin(positions))]
        raise ValueError(f"{name} {unknown} is not among the {len(known)} known ones")
    return positions


def check_fractions(**fractions: float) -> None:
    """ValueError unless each is within (0, 1), and those of users leave some to train on."""
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value}")
    of_users = {name: value for name, value in fractions.items() if name != "history_fraction"}
    if sum(of_users.values()) >= 1:
        raise ValueError(f"{' + '.join(of_users)} must leave some training users")
