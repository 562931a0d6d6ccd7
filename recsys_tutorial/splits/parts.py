"""What every split is made of: matrices to train on, and users who are judged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import sparse

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

    def ages(self) -> np.ndarray:
        """Years from each training like to `start`: > 0, since nothing later is known.

        Returns
        -------
        float64 ndarray (train.nnz,), in the order of `train.indices`

        Raises
        ------
        ValueError
            For a split whose training part does not end before its users arrive.
        """
        if self.start is None:
            raise ValueError("this split is not one in time: its likes have no age")
        return (self.start - self.like_times) / YEAR

    def user_ages(self) -> np.ndarray:
        """Years from each training user's last like to `start`; inf for who liked nothing.

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
        np.minimum.at(last, users, self.ages())
        return last

    def faded(self, years: float) -> sparse.csr_matrix:
        """The training likes, each weighing less the older it is: exp(-age / years).

        What takes weighted likes takes these: popularity, item neighbours, ALS. For EASE, which
        weighs whole users, there is ``np.exp(-split.user_ages() / years)``.

        Parameters
        ----------
        years : float > 0, the age at which a like counts 1 / e

        Returns
        -------
        csr_matrix (n_train_users, n_items), float64, > 0 where liked

        Raises
        ------
        ValueError
            When `years` is not positive; and as `ages`.
        """
        if not years > 0:
            raise ValueError(f"years must be positive, got {years}")
        # A like so old that its weight would be 0 is still a like: the matrix stores no zeros.
        weights = np.maximum(np.exp(-self.ages() / years), np.finfo(np.float64).tiny)
        return sparse.csr_matrix((weights, self.train.indices, self.train.indptr), self.train.shape)

    def recent(self, years: float) -> sparse.csr_matrix:
        """The training likes of the last years; older ones are left out.

        Parameters
        ----------
        years : float > 0

        Returns
        -------
        csr_matrix (n_train_users, n_items), 1.0 where liked

        Raises
        ------
        ValueError
            When `years` is not positive; and as `ages`.
        """
        if not years > 0:
            raise ValueError(f"years must be positive, got {years}")
        likes, kept = self.train.tocoo(), self.ages() <= years
        rows, columns = likes.row[kept], likes.col[kept]
        return sparse.csr_matrix((likes.data[kept], (rows, columns)), self.train.shape)
