"""Negatives: items that a user did not like, to hold against those they did."""

from __future__ import annotations

import numpy as np
from scipy import sparse


class UniformNegatives:
    """Draws items uniformly from those that a user has not liked.

    No rejection and no loop: user u has m = n_items - n_u items left. A number r uniform in
    0..m-1 is turned into the r-th of them by adding the number of liked items that stand before
    it, found by one binary search for all draws. With l_0 < l_1 < ... the liked columns, l_j - j
    of the others stand before l_j; so the r-th is r + #{j : l_j - j <= r}.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items); stored entries are the liked items

    Raises
    ------
    ValueError when a user likes every item.
    """

    def __init__(self, train: sparse.csr_matrix):
        train = sparse.csr_matrix(train)
        if not train.has_canonical_format:
            train = train.copy()
            train.sum_duplicates()  # also sorts the columns of each row
        n_liked = np.diff(train.indptr)
        self.n_items = train.shape[1]
        self.n_left_ = self.n_items - n_liked
        if len(n_liked) and self.n_left_.min() == 0:
            user = int(self.n_left_.argmin())
            raise ValueError(f"user row {user} likes all {self.n_items} items: no negative is left")
        users = np.repeat(np.arange(len(n_liked)), n_liked)
        before = train.indices - (np.arange(train.nnz) - train.indptr[users])  # l_j - j
        self._keys = users * self.n_items + before  # ascending over the whole matrix
        self._start = train.indptr

    def draw(
        self, users: np.ndarray, rng: np.random.Generator, n_negatives: int | None = None
    ) -> np.ndarray:
        """Item columns, int64.

        Parameters
        ----------
        users : ndarray (batch,), rows of `train`
        rng : numpy Generator
        n_negatives : None for one each, result (batch,); or int, result (batch, n_negatives),
            drawn with replacement
        """
        users = np.asarray(users, dtype=np.int64)
        if users.size and not 0 <= users.min() <= users.max() < len(self.n_left_):
            raise ValueError(f"users must be rows 0..{len(self.n_left_) - 1}")
        if n_negatives is not None:
            users = np.repeat(users[:, None], n_negatives, axis=1)
        return self.pick(users, rng.integers(self.n_left_[users]))

    def pick(self, users: np.ndarray, r: np.ndarray) -> np.ndarray:
        """The r-th item, from 0, that each user has not liked; arrays that broadcast."""
        liked_before = np.searchsorted(self._keys, users * self.n_items + r, side="right")
        return r + liked_before - self._start[users]
