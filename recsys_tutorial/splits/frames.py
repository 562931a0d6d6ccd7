"""Splits of a frame of ratings: at random, and each user's last ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsys_tutorial.splits import _tables as tables
from recsys_tutorial.splits._making import holdout, train_part
from recsys_tutorial.splits._tables import in_time
from recsys_tutorial.splits.parts import Split

__all__ = ["leave_last_out", "random_split", "to_split"]


def random_split(
    ratings: pd.DataFrame, test_fraction: float = 0.2, seed: int = 42
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Withhold a random `test_fraction` of all ratings: the split of most tutorials.

    A user's later ratings may land in `train` and their earlier ones in `test`: it measures filling
    gaps, not predicting the future.

    Parameters
    ----------
    ratings : DataFrame with user_id, item_id, rating and timestamp (seconds)
    test_fraction : float in (0, 1), of the ratings, rounded up to a whole number
    seed : int, of the draw

    Returns
    -------
    train, test : DataFrame, both in the order of `ratings`

    Raises
    ------
    ValueError
        For bad ratings, a fraction outside (0, 1), or one that leaves nothing to train on.
    """
    tables.check_ratings(ratings)
    tables.check_fractions(test_fraction=test_fraction)
    n_test = int(np.ceil(test_fraction * len(ratings)))
    if n_test == len(ratings):
        raise ValueError(
            f"test_fraction={test_fraction} of {n_test} ratings leaves none to train on"
        )
    held_out = np.zeros(len(ratings), dtype=bool)
    held_out[np.random.default_rng(seed).permutation(len(ratings))[:n_test]] = True
    return ratings[~held_out], ratings[held_out]


def leave_last_out(
    ratings: pd.DataFrame, n_last: int = 1, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Withhold each user's latest ratings.

    Users with `n_last` ratings or fewer stay in `train` whole. "Last" is each user's own: the
    training part still holds ratings made years after another user's test.

    Parameters
    ----------
    ratings : DataFrame with user_id, item_id, rating and timestamp (seconds)
    n_last : int >= 1, ratings to withhold from each user
    seed : int, another seed is another order of ratings of one second

    Returns
    -------
    train, test : DataFrame, both by user and time

    Raises
    ------
    ValueError
        For bad ratings or `n_last` below 1.
    """
    tables.check_ratings(ratings)
    if n_last < 1:
        raise ValueError(f"n_last must be at least 1, got {n_last}")
    ordered = in_time(ratings, seed)
    by_user = ordered.groupby("user_id")
    from_end = by_user.cumcount(ascending=False)
    size = by_user["item_id"].transform("size")
    held_out = (from_end < n_last) & (size > n_last)
    return ordered[~held_out], ordered[held_out]


def to_split(
    train: pd.DataFrame, test: pd.DataFrame, items: pd.DataFrame, min_rating: float = 4.0
) -> Split:
    """A `Split` from a pair of frames such as `random_split` returns.

    The test users' history is their own part of `train` (these are not new users); users without
    a liked item on either side are left out of `test` and counted.

    Parameters
    ----------
    train, test : DataFrame with user_id, item_id, rating and timestamp
    items : DataFrame with item_id: the whole catalogue, in any order
    min_rating : float, from which on a rating says that the item was liked

    Returns
    -------
    Split without a validation part

    Raises
    ------
    ValueError
        For bad frames, a pair that is rated twice in both together, or an item not among `items`.
    """
    tables.check_ratings(train)
    tables.check_ratings(test)
    tables.refuse_repeats(pd.concat([train, test]), "train and test together")
    items = tables.in_columns(items)
    item_ids = items["item_id"].to_numpy(copy=True)
    shown = train[train["user_id"].isin(test["user_id"])]
    return Split(
        item_ids,
        items,
        **train_part(train, item_ids, min_rating),
        validation=None,
        test=holdout(shown, test, item_ids, min_rating),
    )
