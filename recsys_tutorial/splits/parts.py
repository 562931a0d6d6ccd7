"""What every split is made of: matrices to train on, and users who are judged.

More than half of the lines are what these two classes promise, which all models and scripts rely
on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._checks import check_one_of
from recsys_tutorial._likes import only_entries

__all__ = ["Holdout", "Split"]

YEAR = 365.25 * 86400  # seconds


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
    history_times : csr_matrix (n_users, n_items) or None, when each shown item that was liked was
        rated, in seconds since 1970: for models that read the history in its order
    """

    user_ids: np.ndarray
    history: sparse.csr_matrix
    history_ratings: sparse.csr_matrix
    seen: sparse.csr_matrix
    targets: sparse.csr_matrix
    n_left_out: int = 0
    history_times: sparse.csr_matrix | None = None

    def __len__(self) -> int:
        return len(self.user_ids)

    def without_history(self) -> Holdout:
        """The same users before they liked anything: all that they liked is to be found.

        For models that know a user by something else, such as the words they came with.

        Returns
        -------
        Holdout, with an empty history, nothing seen, and the history's likes among the targets
        """
        nothing = sparse.csr_matrix(self.history.shape)
        return replace(
            self,
            history=nothing,
            history_ratings=nothing,
            seen=nothing,
            targets=(self.targets + self.history).tocsr(),
            history_times=None,
        )


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==: a split equals itself
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
    like_times : int64 ndarray (train.nnz,) or None, when each like was given, in seconds since 1970
        and in the order of `train.indices`
    start : int or None, when the first user arrives who is held out from `train`, in seconds since
        1970: everything in `train` was known before
    _refit : dict or None, the training attributes that `refit` puts in place of these
    """

    item_ids: np.ndarray
    items: pd.DataFrame
    train: sparse.csr_matrix
    train_ratings: sparse.csr_matrix
    train_user_ids: np.ndarray
    validation: Holdout | None
    test: Holdout
    like_times: np.ndarray | None = None
    start: int | None = None
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

    def ages(self, unit: str = "years") -> np.ndarray:
        """How long before `start` each training like was given: > 0, since nothing later is known.

        A year means little where a site's life changes: a hundred users of MovieLens' small release
        came in its first nine months, and one every two weeks in later years. There the number of
        likes that everybody gave since is the steadier clock.

        Parameters
        ----------
        unit : "years" to `start`, or "likes": how many training likes were given at a later time

        Returns
        -------
        float64 ndarray (train.nnz,), in the order of `train.indices`

        Raises
        ------
        ValueError
            For another unit, and for a split whose training part does not end before its users
            arrive.
        """
        if self.start is None:
            raise ValueError("this split is not one in time: its likes have no age")
        check_one_of(("years", "likes"), unit=unit)
        if unit == "years":
            return (self.start - self.like_times) / YEAR
        until = np.searchsorted(np.sort(self.like_times), self.like_times, side="right")
        return (len(self.like_times) - until).astype(np.float64)

    def user_ages(self, unit: str = "years") -> np.ndarray:
        """The age of each training user's last like; inf for who liked nothing.

        Parameters
        ----------
        unit : "years" or "likes", as for `ages`

        Returns
        -------
        float64 ndarray (n_train_users,)

        Raises
        ------
        ValueError
            As `ages`.
        """
        users = np.repeat(np.arange(self.train.shape[0]), np.diff(self.train.indptr))
        last = np.full(self.train.shape[0], np.inf)
        np.minimum.at(last, users, self.ages(unit))
        return last

    def faded(self, scale: float, unit: str = "years") -> sparse.csr_matrix:
        """The training likes, each weighing less the older it is: exp(-age / scale).

        What takes weighted likes takes these: popularity, item neighbours, ALS. For EASE, which
        weighs whole users, there is ``np.exp(-split.user_ages(unit) / scale)``.

        Parameters
        ----------
        scale : float > 0, the age at which a like counts 1 / e
        unit : "years" or "likes", as for `ages`

        Returns
        -------
        csr_matrix (n_train_users, n_items), float64, > 0 where liked

        Raises
        ------
        ValueError
            When `scale` is not positive; and as `ages`.
        """
        _check_scale(scale)
        # A like so old that its weight would be 0 is still a like: the matrix stores no zeros.
        weights = np.maximum(np.exp(-self.ages(unit) / scale), np.finfo(np.float64).tiny)
        faded = self.train.astype(np.float64, copy=True)  # shares nothing with the split
        faded.data[:] = weights
        return faded

    def recent(self, scale: float, unit: str = "years") -> sparse.csr_matrix:
        """The training likes of the last years, or the last likes; older ones are left out.

        Parameters
        ----------
        scale : float > 0, the age from which on a like is left out
        unit : "years" or "likes", as for `ages`

        Returns
        -------
        csr_matrix (n_train_users, n_items), 1.0 where liked

        Raises
        ------
        ValueError
            When `scale` is not positive; and as `ages`.
        """
        _check_scale(scale)
        return only_entries(self.train, self.ages(unit) < scale)


def _check_scale(scale: float) -> None:
    """ValueError unless an age at which likes fade is positive."""
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
