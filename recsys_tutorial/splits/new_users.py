"""New users in time: train on what was known before they came."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsys_tutorial.splits import _tables as tables
from recsys_tutorial.splits._making import window
from recsys_tutorial.splits.parts import Split

__all__ = ["new_user_split"]


def new_user_split(
    ratings: pd.DataFrame,
    items: pd.DataFrame,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.3,
    history_fraction: float = 0.5,
    min_rating: float = 4.0,
    seed: int = 0,
) -> Split:
    """Hold out the users who arrive last; train on what was known before they came.

    Users are ordered by their first rating. Training data are the ratings of the users before the
    validation users, and of these only the ones made before the first validation user arrived
    (after `refit`: of all users before the test users, made before the first test user arrived):
    nothing from the future leaks. Users without a liked item on either side are left out and
    counted in `Holdout.n_left_out`.

    Parameters
    ----------
    ratings : DataFrame with user_id, item_id, rating and timestamp (seconds)
    items : DataFrame with item_id: the whole catalogue, in any order
    validation_fraction : float in (0, 1), of the users: those who arrive just before the test users
    test_fraction : float in (0, 1), of the users: the last to arrive
    history_fraction : float in (0, 1): each held-out user shows the first
        floor(n * history_fraction) of their n ratings in time, and is judged on the rest
    min_rating : float, from which on a rating says that the item was liked
    seed : int, another seed is another order of equal times

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        For bad ratings or items, a rated item that is not among `items`, a pair rated twice,
        fractions outside (0, 1) or with a sum that leaves no training users, or too few users.
    """
    tables.check_ratings(ratings)
    tables.check_fractions(
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        history_fraction=history_fraction,
    )
    items = tables.in_columns(items)
    item_ids = items["item_id"].to_numpy(copy=True)
    parts = _arrivals(ratings, validation_fraction, test_fraction, seed)
    settings = (item_ids, history_fraction, min_rating)
    ordered = tables.in_time(ratings, seed)
    train, validation = window(ordered, parts[1], *settings)
    refit, test = window(ordered, parts[2], *settings)
    return Split(item_ids, items, **train, validation=validation, test=test, _refit=refit)


def _arrivals(
    ratings: pd.DataFrame, validation_fraction: float, test_fraction: float, seed: int
) -> list[np.ndarray]:
    """Ids of the training, validation and test users, in the order of their first ratings."""
    users = tables.in_arrival(ratings, seed)
    n_test, n_validation = (
        round(test_fraction * len(users)),
        round(validation_fraction * len(users)),
    )
    parts = np.split(users, [len(users) - n_test - n_validation, len(users) - n_test])
    if min(map(len, parts)) < 1:
        raise ValueError(f"{len(users)} users are too few for these fractions")
    return parts
