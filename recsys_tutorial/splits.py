"""Ways to hold data out: at random, each user's last items, or new users in time.

Which of them a result was measured on decides what it means; chapter 1 measures how much each
flatters the same models. The course's leaderboard stands on `new_user_split`.

Many ratings share a second with another of the same user (on MovieLens latest-small 32 %), in no
order that means anything. Wherever time decides, a hash orders them (`seed=` draws another order),
never the item id: that would be an order by age of the film, which a sequence model can learn.

The module is somewhat long because its three splits make the same two things, `Split` and
`Holdout`, whose docstrings define them for all chapters.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial import _rating_tables as tables
from recsys_tutorial._rating_tables import in_time, to_matrix
from recsys_tutorial._ties import tie_key

__all__ = [
    "Holdout",
    "Split",
    "in_time",
    "leave_last_out",
    "new_user_split",
    "random_split",
    "to_matrix",
    "to_split",
]


@dataclass(frozen=True)
class Holdout:
    """Users who are judged: what they show, and what they are to be given.

    Attributes
    ----------
    user_ids : ndarray (n_users,), int64
    history : csr_matrix (n_users, n_items), 1.0 where the shown item was liked
    history_ratings : csr_matrix (n_users, n_items), the rating of each shown item
    seen : csr_matrix (n_users, n_items), 1.0 for every shown item, liked or not: never recommended
    targets : csr_matrix (n_users, n_items), 1.0 for each withheld item that the user liked
    n_left_out : int, users of this part without a liked item to show or to find, left out
    """

    user_ids: np.ndarray
    history: sparse.csr_matrix
    history_ratings: sparse.csr_matrix
    seen: sparse.csr_matrix
    targets: sparse.csr_matrix
    n_left_out: int = 0

    def __len__(self) -> int:
        return len(self.user_ids)


@dataclass(frozen=True)
class Split:
    """Training matrices beside held-out users; columns are `item_ids` everywhere.

    Attributes
    ----------
    item_ids : ndarray (n_items,), int64, ascending: the whole catalogue
    items : DataFrame, a row for each column of `train`, index 0 to n_items - 1: the frame of items
        that the split was made with, in the order of `item_ids`
    train : csr_matrix (n_train_users, n_items), 1.0 where liked
    train_ratings : csr_matrix (n_train_users, n_items), every rating of the training part
    train_user_ids : ndarray (n_train_users,), int64, ascending
    validation : Holdout or None (None after `refit`, and where a pair of frames has none)
    test : Holdout
    _refit : dict or None, the training attributes that `refit` puts in place of these
    """

    item_ids: np.ndarray
    items: pd.DataFrame
    train: sparse.csr_matrix
    train_ratings: sparse.csr_matrix
    train_user_ids: np.ndarray
    validation: Holdout | None
    test: Holdout
    _refit: dict | None = field(default=None, repr=False)

    def refit(self) -> Split:
        """The same test users, with the validation users' ratings moved into `train`.

        Tune on `validation`, then fit the chosen setting once more on everything that was known
        when the first test user arrived. The result has no validation part, so that nobody tunes
        on users that the model has seen.

        Raises
        ------
        ValueError
            When there are no validation users: in a refitted split, or one of `to_split`.
        """
        if self._refit is None:
            raise ValueError("this split has no validation users to move into its training part")
        return replace(self, **self._refit, validation=None, _refit=None)


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
    _check_fractions(test_fraction=test_fraction)
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
    _check_fractions(
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        history_fraction=history_fraction,
    )
    items = tables.in_columns(items)
    item_ids = items["item_id"].to_numpy(copy=True)
    parts = _arrivals(ratings, validation_fraction, test_fraction, seed)
    users = ratings["user_id"]

    def known_before(part: int) -> dict:
        start = ratings["timestamp"][users.isin(parts[part])].min()
        earlier = users.isin(np.concatenate(parts[:part])) & (ratings["timestamp"] < start)
        return _train_part(ratings[earlier], item_ids, min_rating)

    def held_out(part: int) -> Holdout:
        own = in_time(ratings[users.isin(parts[part])], seed)
        return _holdout(*_history_and_rest(own, history_fraction), item_ids, min_rating)

    return Split(
        item_ids,
        items,
        **known_before(1),
        validation=held_out(1),
        test=held_out(2),
        _refit=known_before(2),
    )


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
        **_train_part(train, item_ids, min_rating),
        validation=None,
        test=_holdout(shown, test, item_ids, min_rating),
    )


def _arrivals(
    ratings: pd.DataFrame, validation_fraction: float, test_fraction: float, seed: int
) -> list[np.ndarray]:
    """Ids of the training, validation and test users, in the order of their first ratings."""
    first = ratings.groupby("user_id")["timestamp"].min()
    users = first.index.to_numpy()
    users = users[np.lexsort((users, tie_key(users, seed=seed), first))]
    n_test, n_validation = (
        round(test_fraction * len(users)),
        round(validation_fraction * len(users)),
    )
    parts = np.split(users, [max(len(users) - n_test - n_validation, 0), len(users) - n_test])
    if min(map(len, parts)) < 1:
        raise ValueError(f"{len(users)} users are too few for these fractions")
    return parts


def _history_and_rest(ordered: pd.DataFrame, fraction: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first `fraction` of each user's rows, rounded down, and the other rows."""
    by_user = ordered.groupby("user_id")
    # 0.29 * 100 is 28.999999999999996: a rounding error must not cost the user a rating.
    n_shown = np.floor(by_user["item_id"].transform("size") * fraction + 1e-9)
    shown = by_user.cumcount() < n_shown
    return ordered[shown], ordered[~shown]


def _train_part(frame: pd.DataFrame, item_ids: np.ndarray, min_rating: float) -> dict:
    """A `Split`'s training attributes."""
    user_ids = np.unique(frame["user_id"])
    return {
        "train": tables.liked(frame, user_ids, item_ids, min_rating),
        "train_ratings": tables.rated(frame, user_ids, item_ids),
        "train_user_ids": user_ids,
    }


def _holdout(
    shown: pd.DataFrame, hidden: pd.DataFrame, item_ids: np.ndarray, min_rating: float
) -> Holdout:
    everyone = np.unique(np.concatenate([shown["user_id"], hidden["user_id"]]))
    history = tables.liked(shown, everyone, item_ids, min_rating)
    targets = tables.liked(hidden, everyone, item_ids, min_rating)
    rated = tables.rated(shown, everyone, item_ids)
    seen = to_matrix(shown, everyone, item_ids, np.ones(len(shown)))
    judged = (np.diff(history.indptr) > 0) & (np.diff(targets.indptr) > 0)
    kept = [m[judged] for m in (history, rated, seen, targets)]
    return Holdout(everyone[judged], *kept, n_left_out=int((~judged).sum()))


def _check_fractions(**fractions: float) -> None:
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value}")
    if fractions.get("validation_fraction", 0) + fractions["test_fraction"] >= 1:
        raise ValueError("validation_fraction + test_fraction must leave some training users")
