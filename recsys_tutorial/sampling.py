"""Negatives: items that a user did not like, to hold against those they did; and batches.

    UniformNegatives       every other item alike
    PopularityNegatives    by popularity ** alpha: 0 uniform, 1 as in a batch of likes

and in `hard_negatives` those that the present model finds hard, and mixtures. All draw as
`protocols.Negatives` says; those with a known distribution have `log_q(users, items)` for the
correction that `losses.info_nce` describes. In-batch negatives need no sampler, but batches in
which no item is the positive of two examples: `distinct_batches`.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._likes import as_likes

__all__ = ["PopularityNegatives", "UniformNegatives", "distinct_batches"]


class UniformNegatives:
    """Draws items uniformly from those that a user has not liked.

    No rejection and no loop: user u has m = n_items - n_u items left. A number r uniform in
    0..m-1 is turned into the r-th of them by adding the number of liked items that stand before
    it, found by one binary search for all draws. With l_0 < l_1 < ... the liked columns, l_j - j
    of the others stand before l_j; so the r-th is r + #{j : l_j - j <= r}.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items), > 0 where liked

    Raises
    ------
    ValueError when a user likes every item.
    """

    def __init__(self, train: sparse.csr_matrix):
        train = as_likes(train, "train")
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
        self,
        users: np.ndarray,
        rng: np.random.Generator,
        n_negatives: int | None = None,
        *,
        positives: np.ndarray | None = None,
    ) -> np.ndarray:
        """Item columns, int64, (batch,) or (batch, n_negatives); see `protocols.Negatives`."""
        users = repeated(users, n_negatives, len(self.n_left_))
        return self.pick(users, rng.integers(self.n_left_[users]))

    def log_q(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Log probability with which one draw for `users` (batch,) gives `items` (batch, n)."""
        return np.broadcast_to(-np.log(self.n_left_[users])[:, None], np.shape(items))

    def pick(self, users: np.ndarray, r: np.ndarray) -> np.ndarray:
        """The r-th item, from 0, that each user has not liked; arrays that broadcast."""
        liked_before = np.searchsorted(self._keys, users * self.n_items + r, side="right")
        return r + liked_before - self._start[users]


class PopularityNegatives:
    """Draws items in proportion to (likes + smoothing) ** alpha, never one that the user liked.

    As for `UniformNegatives`, but each item fills a stretch of whole numbers as long as its weight.
    Weights are rounded to one part in 2^20 of the smallest, so that sums are exact.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items), > 0 where liked
    alpha : float; 0 is uniform, 1 in proportion to the likes, 0.75 what word2vec uses
        (Mikolov et al. 2013, arXiv:1310.4546, section 2.2)
    smoothing : float > 0, likes that every item is given, so that all can be drawn
    """

    def __init__(self, train: sparse.csr_matrix, alpha: float = 0.75, smoothing: float = 1.0):
        if not (np.isfinite(alpha) and np.isfinite(smoothing) and smoothing > 0):
            raise ValueError(
                f"alpha must be finite and smoothing positive, got {alpha} and {smoothing}"
            )
        train = as_likes(train, "train")
        weight = (np.bincount(train.indices, minlength=train.shape[1]) + smoothing) ** alpha
        weight = np.rint(2**20 * weight / weight.min())
        n_users = train.shape[0]
        if not weight.sum() * (n_users + 1) < 2**62:
            raise ValueError(f"alpha={alpha} spreads the weights too far: make it smaller")
        self._weight = weight.astype(np.int64)
        self._ends = np.cumsum(self._weight)  # item i fills ends[i - 1] ... ends[i] - 1
        users = np.repeat(np.arange(n_users), np.diff(train.indptr))
        liked = self._weight[train.indices]
        before = np.concatenate([[0], np.cumsum(liked)])  # of liked items, over all users
        within = before[:-1] - before[train.indptr[users]]  # of the same user's liked items
        self._left = self._ends[-1] - (before[train.indptr[1:]] - before[train.indptr[:-1]])
        if n_users and self._left.min() == 0:
            raise ValueError(f"user row {int(self._left.argmin())} likes all items: none is left")
        self._start, self._before = train.indptr, before
        starts = self._ends[train.indices] - liked  # where each liked item's stretch starts
        self._keys = users * self._ends[-1] + starts - within

    def draw(
        self,
        users: np.ndarray,
        rng: np.random.Generator,
        n_negatives: int | None = None,
        *,
        positives: np.ndarray | None = None,
    ) -> np.ndarray:
        """Item columns, int64; see `protocols.Negatives`."""
        users = repeated(users, n_negatives, len(self._left))
        r = rng.integers(self._left[users])
        place = np.searchsorted(self._keys, users * self._ends[-1] + r, side="right")
        r = r + self._before[place] - self._before[self._start[users]]  # steps over liked items
        return np.searchsorted(self._ends, r, side="right")

    def log_q(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Log probability with which one draw for `users` (batch,) gives `items` (batch, n)."""
        return np.log(self._weight[items]) - np.log(self._left[users])[:, None]


def distinct_batches(
    items: np.ndarray, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of examples in which no item occurs twice; for the `batches` of `training.train`.

    Examples are sorted by item, the items in random order, and dealt out like cards to the
    batches: examples of one item stand side by side, so they go to different ones.

    Parameters
    ----------
    items : int ndarray (n_examples,), the positive of each example
    batch_size : int >= 2, at most; smaller where an item has more examples than there would be
        batches. Only an odd number of examples in batches of 2 makes one of 3.
    rng : numpy Generator

    Returns
    -------
    list of int64 ndarray, the numbers of the examples: each once, sizes that differ by at most 1,
    none below 2: an example alone has no negative. An item with c examples is in c of the batches:
    its chance to be met is c / len(batches).

    Raises
    ------
    ValueError for a batch_size below 2, or when more than half of the examples are of one item:
    then some of them would have to be alone.
    """
    items = np.asarray(items)
    if items.ndim != 1 or not len(items) or batch_size < 2:
        raise ValueError(
            "items must be (n_examples,), batch_size at least 2 (an example alone has no "
            f"negative); got {items.shape}, {batch_size}"
        )
    names, kind, counts = np.unique(items, return_inverse=True, return_counts=True)
    n, most = len(items), counts.max()
    if 2 * most > n:
        raise ValueError(
            f"item {names[counts.argmax()]} has {most} of the {n} examples, {most / n:.1%}: with "
            "more than half, it cannot have another item beside it in every batch. Keep at most "
            f"{n - most} of its examples, or use batches in random order and give info_nce the "
            "items as positive_ids"
        )
    n_batches = max(min(-(-n // batch_size), n // 2), most)
    order = np.lexsort([rng.random(n), rng.permutation(len(counts))[kind]])
    return [order[b::n_batches] for b in rng.permutation(n_batches)]


def repeated(users: np.ndarray, n_negatives: int | None, n_users: int) -> np.ndarray:
    """Checked rows of users, once per negative to be drawn."""
    users = np.asarray(users, dtype=np.int64)
    if users.size and not 0 <= users.min() <= users.max() < n_users:
        raise ValueError(f"users must be rows 0..{n_users - 1}")
    return users if n_negatives is None else np.repeat(users[:, None], n_negatives, axis=1)
