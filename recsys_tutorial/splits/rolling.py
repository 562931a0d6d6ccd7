"""New users in time, with a model that is made anew again and again: what a service does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recsys_tutorial.splits import _tables as tables
from recsys_tutorial.splits._making import window
from recsys_tutorial.splits.parts import Split

__all__ = ["Rolling", "SteadyRows", "rolling_split"]


@dataclass(frozen=True)
class Rolling:
    """Windows in time. Each is a `Split`: its own users, and all that was known when they came.

    Attributes
    ----------
    tuning : tuple of Split, the windows in which settings are chosen
    test : tuple of Split, the windows that a result is reported on; nobody is in both
    """

    tuning: tuple[Split, ...]
    test: tuple[Split, ...]


def rolling_split(
    ratings: pd.DataFrame,
    items: pd.DataFrame,
    tuning_fraction: float = 0.25,
    test_fraction: float = 0.55,
    n_tuning: int = 6,
    n_test: int = 12,
    history_fraction: float = 0.5,
    min_rating: float = 4.0,
    seed: int = 0,
) -> Rolling:
    """Hold out the users who arrive last, in windows; before each, everything known is learned.

    Users are ordered by their first rating. The last `test_fraction` of them are test users, dealt
    in this order into `n_test` windows of equally many; those before them tune, likewise. A window
    starts when its first user arrives. Its training part is every rating made before, also by test
    users of earlier windows: a service learns from them, too. What its users rated later, and what
    anybody rated after the window's start, is not in it.

    Parameters
    ----------
    ratings : DataFrame with user_id, item_id, rating and timestamp (seconds)
    items : DataFrame with item_id: the whole catalogue, in any order
    tuning_fraction : float in (0, 1), of the users: those who arrive just before the test users
    test_fraction : float in (0, 1), of the users: the last to arrive
    n_tuning, n_test : int >= 1, windows
    history_fraction : float in (0, 1): each held-out user shows the first
        floor(n * history_fraction) of their n ratings in time, and is judged on the rest
    min_rating : float, from which on a rating says that the item was liked
    seed : int, another seed is another order of equal times

    Returns
    -------
    Rolling, of splits without a validation part

    Raises
    ------
    ValueError
        For bad ratings or items, a rated item that is not among `items`, a pair rated twice,
        fractions outside (0, 1) or with a sum that leaves no training users, or fewer users than
        windows.
    """
    tables.check_ratings(ratings)
    tables.check_fractions(
        tuning_fraction=tuning_fraction,
        test_fraction=test_fraction,
        history_fraction=history_fraction,
    )
    items = tables.in_columns(items)
    users = tables.in_arrival(ratings, seed)
    n_late, n_early = round(test_fraction * len(users)), round(tuning_fraction * len(users))
    _, early, late = np.split(users, [len(users) - n_late - n_early, len(users) - n_late])
    for name, part, n in (("tuning", early, n_tuning), ("test", late, n_test)):
        if not 1 <= n <= len(part):
            raise ValueError(f"{len(part)} {name} users cannot be dealt into {n} windows")
    ordered = tables.in_time(ratings, seed)
    settings = (ordered, items, history_fraction, min_rating)
    return Rolling(
        tuple(_windows(np.array_split(early, n_tuning), *settings)),
        tuple(_windows(np.array_split(late, n_test), *settings)),
    )


def _windows(
    parts: list[np.ndarray],
    ordered: pd.DataFrame,
    items: pd.DataFrame,
    history_fraction: float,
    min_rating: float,
) -> Iterator[Split]:
    item_ids = items["item_id"].to_numpy(copy=True)
    for users in parts:
        train, test = window(ordered, users, item_ids, history_fraction, min_rating)
        yield Split(item_ids, items, **train, validation=None, test=test)


class SteadyRows:
    """Keep each training user in one row, window after window, and give new ones the next rows.

    A split has its users in ascending order, so that a newcomer moves others. A model that goes on
    from its last `fit` and has something for each user, such as a vector, needs them to stay.

    Attributes
    ----------
    user_ids_ : int64 ndarray (n_users,), who each row is, by first training window

    Examples
    --------
    >>> from recsys_tutorial.datasets import load_movielens
    >>> rows, (first, *_, last) = SteadyRows(), rolling_split(*load_movielens()).test
    >>> n = len(rows(first))
    >>> users = last.train_user_ids[rows(last)]
    >>> bool((users[:n] == first.train_user_ids).all()), len(users) - n
    (True, 339)
    """

    def __init__(self):
        self.user_ids_ = np.empty(0, dtype=np.int64)

    def __call__(self, split: Split) -> np.ndarray:
        """Which rows of `split.train` to take, in which order.

        Parameters
        ----------
        split : Split, the next window

        Returns
        -------
        int64 ndarray (n_train_users,): ``split.train[rows(split)]`` has the users in steady rows

        Raises
        ------
        ValueError
            When a known user is not in the split: windows must come in their order.
        """
        users = split.train_user_ids
        gone = np.setdiff1d(self.user_ids_, users)
        if len(gone):
            raise ValueError(f"user_id {gone[0]} was in an earlier window and is not in this one")
        self.user_ids_ = np.append(self.user_ids_, np.setdiff1d(users, self.user_ids_))
        return np.searchsorted(users, self.user_ids_)
