"""Ways to hold data out: at random, each user's last items, or new users in time.

Which of them a result was measured on decides what it means; chapter 1 measures how much each
flatters the same models. The course's leaderboard stands on `new_user_split`.

Many ratings share a second with another of the same user (on MovieLens latest-small 32 %), in no
order that means anything. Wherever time decides, a hash orders them (`seed=` draws another order),
never the item id: that would be an order by age of the film, which a sequence model can learn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._ties import tie_key

COLUMNS = ("user_id", "item_id", "rating", "timestamp")


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
    n_left_out : users of this part without a liked item to show or to find, left out
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
    """

    item_ids: np.ndarray
    items: pd.DataFrame
    train: sparse.csr_matrix
    train_ratings: sparse.csr_matrix
    train_user_ids: np.ndarray
    validation: Holdout | None
    test: Holdout
    _refit_ratings: pd.DataFrame | None = field(default=None, repr=False)
    _min_rating: float = field(default=4.0, repr=False)

    def refit(self) -> Split:
        """The same test users, with the validation users' ratings moved into `train`.

        Tune on `validation`, then fit the chosen setting once more on everything that was known
        when the first test user arrived. The result has no validation part, so that nobody tunes
        on users that the model has seen.
        """
        if self._refit_ratings is None:
            raise ValueError("this split has no validation users to move into its training part")
        user_ids, train, train_ratings = _train_matrices(
            self._refit_ratings, self.item_ids, self._min_rating
        )
        return Split(self.item_ids, self.items, train, train_ratings, user_ids, None, self.test)


def random_split(
    ratings: pd.DataFrame, test_fraction: float = 0.2, seed: int = 42
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Withhold a random `test_fraction` of all ratings: the split of most tutorials.

    Returns (train, test), both in the order of `ratings`. A user's later ratings may land in
    `train` and their earlier ones in `test`: it measures filling gaps, not predicting the future.
    """
    _check_ratings(ratings)
    _check_fraction("test_fraction", test_fraction)
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
    """Withhold each user's `n_last` latest ratings; `seed` orders those of one second.

    Returns (train, test). Users with `n_last` ratings or fewer stay in `train` whole. "Last" is
    each user's own: the training part still holds ratings made years after another user's test.
    """
    _check_ratings(ratings)
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

    Users are ordered by their first rating. The last `test_fraction` of them are
    test users, the `validation_fraction` before them validation users. Training data are the
    ratings of the users before those, and of these only the ones made before the first validation
    user arrived (after `refit`: of all users before the test users, made before the first test
    user arrived): nothing from the future leaks. Each held-out user shows the first
    floor(n * history_fraction) of their n ratings in time, and is judged on the items they liked
    (rating >= min_rating) among the rest. Users without a liked item on either side are left out
    and counted in `Holdout.n_left_out`. Equal times are ordered by a hash that `seed` draws.
    """
    _check_ratings(ratings)
    for name, value in [
        ("validation_fraction", validation_fraction),
        ("test_fraction", test_fraction),
        ("history_fraction", history_fraction),
    ]:
        _check_fraction(name, value)
    if validation_fraction + test_fraction >= 1:
        raise ValueError("validation_fraction + test_fraction must leave some training users")
    items = _catalogue(items)
    item_ids = items["item_id"].to_numpy()
    first = ratings.groupby("user_id")["timestamp"].min()
    users = first.index.to_numpy()
    arrival = first.iloc[np.lexsort((users, tie_key(users, seed=seed), first))]
    n_test = round(test_fraction * len(arrival))
    n_validation = round(validation_fraction * len(arrival))
    if min(n_test, n_validation, len(arrival) - n_test - n_validation) < 1:
        raise ValueError(f"{len(arrival)} users are too few for these fractions")
    train_users = arrival.index[: len(arrival) - n_test - n_validation]
    validation_users = arrival.index[len(train_users) : len(arrival) - n_test]
    test_users = arrival.index[len(arrival) - n_test :]

    def known_before(users: pd.Index, later: pd.Index) -> pd.DataFrame:
        return ratings[
            ratings["user_id"].isin(users) & (ratings["timestamp"] < arrival[later].min())
        ]

    def held_out(users: pd.Index) -> Holdout:
        own = in_time(ratings[ratings["user_id"].isin(users)], seed)
        by_user = own.groupby("user_id")
        # 0.29 * 100 is 28.999999999999996: a rounding error must not cost the user a rating.
        n_shown = np.floor(by_user["item_id"].transform("size") * history_fraction + 1e-9)
        shown = by_user.cumcount() < n_shown
        return _holdout(own[shown], own[~shown], item_ids, min_rating)

    train_frame = known_before(train_users, validation_users)
    user_ids, train, train_ratings = _train_matrices(train_frame, item_ids, min_rating)
    return Split(
        item_ids,
        items,
        train,
        train_ratings,
        user_ids,
        held_out(validation_users),
        held_out(test_users),
        _refit_ratings=known_before(train_users.append(validation_users), test_users),
        _min_rating=min_rating,
    )


def to_split(
    train: pd.DataFrame, test: pd.DataFrame, items: pd.DataFrame, min_rating: float = 4.0
) -> Split:
    """A `Split` from a pair of frames such as `random_split` returns.

    The test users' history is their own part of `train` (these are not new users); users without
    a liked item on either side are left out of `test` and counted. There is no validation part.
    """
    _check_ratings(train)
    _check_ratings(test)
    _refuse_repeats(pd.concat([train, test]), "train and test together")
    items = _catalogue(items)
    item_ids = items["item_id"].to_numpy()
    user_ids, liked, rated = _train_matrices(train, item_ids, min_rating)
    shown = train[train["user_id"].isin(test["user_id"].unique())]
    test_users = _holdout(shown, test, item_ids, min_rating)
    return Split(item_ids, items, liked, rated, user_ids, None, test_users)


def in_time(ratings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The rows by user, and each user's by time; a hash drawn by `seed` orders equal times."""
    users, items = ratings["user_id"].to_numpy(), ratings["item_id"].to_numpy()
    key = tie_key(users, items, seed=seed)
    return ratings.iloc[np.lexsort((items, key, ratings["timestamp"], users))]


def to_matrix(
    frame: pd.DataFrame, user_ids: np.ndarray, item_ids: np.ndarray, values: np.ndarray
) -> sparse.csr_matrix:
    """One row per user, one column per item, `values` at the frame's pairs; float64.

    Parameters
    ----------
    frame : DataFrame with user_id, item_id, each pair at most once
    user_ids, item_ids : ndarray, ascending: what the rows and columns stand for
    values : ndarray (len(frame),)
    """
    _refuse_repeats(frame, "the frame")
    rows = _positions(user_ids, frame["user_id"].to_numpy(), "user_id")
    columns = _positions(item_ids, frame["item_id"].to_numpy(), "item_id")
    shape = (len(user_ids), len(item_ids))
    matrix = sparse.csr_matrix((np.asarray(values, dtype=np.float64), (rows, columns)), shape=shape)
    matrix.sort_indices()
    return matrix


def _train_matrices(
    frame: pd.DataFrame, item_ids: np.ndarray, min_rating: float
) -> tuple[np.ndarray, sparse.csr_matrix, sparse.csr_matrix]:
    user_ids = np.unique(frame["user_id"].to_numpy())
    rated = to_matrix(frame, user_ids, item_ids, frame["rating"].to_numpy())
    return user_ids, _liked(frame, user_ids, item_ids, min_rating), rated


def _liked(
    frame: pd.DataFrame, user_ids: np.ndarray, item_ids: np.ndarray, min_rating: float
) -> sparse.csr_matrix:
    liked = frame[frame["rating"] >= min_rating]
    return to_matrix(liked, user_ids, item_ids, np.ones(len(liked)))


def _holdout(
    shown: pd.DataFrame, hidden: pd.DataFrame, item_ids: np.ndarray, min_rating: float
) -> Holdout:
    everyone = np.unique(np.concatenate([shown["user_id"], hidden["user_id"]]))
    history = _liked(shown, everyone, item_ids, min_rating)
    targets = _liked(hidden, everyone, item_ids, min_rating)
    rated = to_matrix(shown, everyone, item_ids, shown["rating"].to_numpy())
    seen = to_matrix(shown, everyone, item_ids, np.ones(len(shown)))
    judged = (np.diff(history.indptr) > 0) & (np.diff(targets.indptr) > 0)
    kept = [m[judged] for m in (history, rated, seen, targets)]
    return Holdout(everyone[judged], *kept, n_left_out=int((~judged).sum()))


def _catalogue(items: pd.DataFrame) -> pd.DataFrame:
    """The items in the order of their columns."""
    if "item_id" not in items:
        raise ValueError(f"items has no column item_id, only {list(items.columns)}")
    if len(items) == 0:
        raise ValueError("items is empty")
    items = items.sort_values("item_id", ignore_index=True)
    repeated = items["item_id"].duplicated()
    if repeated.any():
        raise ValueError(f"items holds item_id {items['item_id'][repeated].iloc[0]} more than once")
    return items


def _positions(sorted_ids: np.ndarray, ids: np.ndarray, name: str) -> np.ndarray:
    position = np.searchsorted(sorted_ids, ids)
    inside = np.minimum(position, max(len(sorted_ids) - 1, 0))
    unknown = ids[sorted_ids[inside] != ids] if len(sorted_ids) else ids
    if len(unknown):
        raise ValueError(f"{name} {unknown[0]} is not among the {len(sorted_ids)} known ones")
    return position


def _check_ratings(ratings: pd.DataFrame) -> None:
    missing = [c for c in COLUMNS if c not in ratings]
    if missing:
        raise ValueError(f"ratings lacks the columns {missing}; it has {list(ratings.columns)}")
    if len(ratings) == 0:
        raise ValueError("ratings is empty")
    for column in COLUMNS:
        values = ratings[column].to_numpy()
        if values.dtype.kind not in "iuf":
            raise ValueError(f"ratings: {column} must hold numbers, got dtype {values.dtype}")
        finite = np.isfinite(values)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"ratings: {column} {values[row]} in row {row} is not a finite number")


def _refuse_repeats(frame: pd.DataFrame, where: str) -> None:
    repeated = frame.duplicated(["user_id", "item_id"]).to_numpy()
    if repeated.any():
        user_id, item_id = frame[["user_id", "item_id"]].to_numpy()[int(np.argmax(repeated))]
        raise ValueError(
            f"user_id {user_id} rates item_id {item_id} more than once in {where}: keep one of them"
        )


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
