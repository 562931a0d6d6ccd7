"""Likes by their age: what was liked long ago says less about what will be liked next."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsys_tutorial._likes import as_likes
from recsys_tutorial.splits import Split

YEAR = 365.25 * 86400  # seconds


def like_ages(part: Split, ratings: pd.DataFrame) -> np.ndarray:
    """Years from each like in training to the latest one.

    Parameters
    ----------
    part : Split
    ratings : DataFrame with user_id, item_id and timestamp (seconds), for example of
        `load_movielens`; a row for each like at least

    Returns
    -------
    ndarray (part.train.nnz,), in the order of `part.train.indices`

    Raises
    ------
    ValueError
        When a like has no row in `ratings`, or several.
    """
    if as_likes(part.train, "train").nnz != part.train.nnz:
        raise ValueError("train stores zeros or a like in parts, which have no age: mend it first")
    likes = part.train.tocoo()
    frame = pd.DataFrame(
        {"user_id": part.train_user_ids[likes.row], "item_id": part.item_ids[likes.col]}
    )
    columns = ["user_id", "item_id", "timestamp"]
    time = frame.merge(ratings[columns], "left", ["user_id", "item_id"])["timestamp"].to_numpy()
    if len(time) != likes.nnz or np.isnan(time).any():
        raise ValueError(f"ratings must have one row for each of {likes.nnz} likes in training")
    return (time.max() - time) / YEAR


def fading_popularity(part: Split, ratings: pd.DataFrame, years: float = 4.0) -> np.ndarray:
    """Likes of each item, a like of age a counting exp(-a / years).

    Parameters
    ----------
    part : Split
    ratings : DataFrame, as for `like_ages`
    years : float > 0, the age at which a like counts 1 / e

    Returns
    -------
    ndarray (n_items,), float64

    Raises
    ------
    ValueError
        When `years` is not positive, or from `like_ages`.
    """
    if not years > 0:
        raise ValueError(f"years must be positive, got {years}")
    weights = np.exp(-like_ages(part, ratings) / years)
    return np.bincount(part.train.indices, weights, minlength=len(part.item_ids))
