"""Negatives: items that a user did not like, to hold against those they did.

    UniformNegatives       every other item alike
    PopularityNegatives    by popularity ** alpha: 0 uniform, 1 as in a batch of likes

and in `hard_negatives` those that the present model finds hard, and mixtures. All draw as
`protocols.Negatives` says; those with a known distribution have `log_q(users, items)` for the
correction that `losses.info_nce` describes.
"""

import numpy as np
from scipy import sparse

from recsys_tutorial._likes import as_likes


class _WeightedNegatives:
    """Draws items in proportion to whole weights, never one that the user liked.

    No rejection and no loop: item i fills a stretch of w_i whole numbers, one stretch after the
    other. Without those of the liked items, m_u numbers are left to user u. A number r uniform in
    0..m_u - 1 is the r-th of them: it is stepped over the stretches that it passes. With l_0 < l_1
    < ... the liked items, l_j's stretch starts after start_j - (w_l_0 + ... + w_l_j-1) numbers that
    are left; so the stretches passed are those where this is <= r, found by one binary search for
    all draws, and the item is then found by a second one.
    """

    def __init__(self, likes: sparse.csr_matrix, weight: np.ndarray):
        n_users, self.n_items = likes.shape
        self._weight, self._total = weight, weight.sum()
        self._ends = np.cumsum(weight)  # item i fills ends[i - 1] ... ends[i] - 1
        users = np.repeat(np.arange(n_users), np.diff(likes.indptr))
        liked = weight[likes.indices]
        self._start, self._before = likes.indptr, np.concatenate([[0], np.cumsum(liked)])
        taken = self._before[likes.indptr]  # by the liked items of all earlier users
        self.n_left_ = self._total - np.diff(taken)
        if n_users and self.n_left_.min() == 0:
            user = int(self.n_left_.argmin())
            raise ValueError(f"user row {user} likes all {self.n_items} items: no negative is left")
        starts = self._ends[likes.indices] - liked
        within = self._before[:-1] - taken[users]  # by the same user's earlier liked items
        self._keys = users * self._total + starts - within  # ascending over the whole matrix

    def draw(self, users, rng, n_negatives=None, *, positives=None) -> np.ndarray:
        """Item columns, int64, (batch,) or (batch, n_negatives); see `protocols.Negatives`."""
        users = np.asarray(users, dtype=np.int64)
        if users.size and not 0 <= users.min() <= users.max() < len(self.n_left_):
            raise ValueError(
                f"users must be rows 0..{len(self.n_left_) - 1}, got {users.min()}..{users.max()}"
            )
        if n_negatives is not None:
            users = np.repeat(users[:, None], n_negatives, axis=1)  # (batch, n_negatives)
        return self.pick(users, rng.integers(self.n_left_[users]))

    def pick(self, users: np.ndarray, r: np.ndarray) -> np.ndarray:
        """The item that holds the r-th number which is left to each user.

        Parameters
        ----------
        users, r : int ndarrays that broadcast; rows of users, and 0 <= r < ``n_left_[users]``

        Returns
        -------
        int ndarray of their common shape: item columns
        """
        passed = np.searchsorted(self._keys, users * self._total + r, side="right")
        number = r + self._before[passed] - self._before[self._start[users]]
        return np.searchsorted(self._ends, number, side="right")

    def log_q(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Log probability with which one draw for `users` (batch,) gives `items` (batch, n)."""
        return np.log(self._weight[items]) - np.log(self.n_left_[users])[:, None]


class UniformNegatives(_WeightedNegatives):
    """Draws items uniformly from those that a user has not liked, without rejection.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items), > 0 where liked

    Attributes
    ----------
    n_left_ : int ndarray (n_users,), how many items each user has not liked; ``pick(users, r)``
        gives the r-th of them, from 0

    Raises
    ------
    ValueError when a user likes every item.
    """

    def __init__(self, train: sparse.csr_matrix):
        likes = as_likes(train, "train")
        super().__init__(likes, np.ones(likes.shape[1], dtype=np.int64))


class PopularityNegatives(_WeightedNegatives):
    """Draws items in proportion to (likes + 1) ** alpha, never one that the user liked.

    Every item is given one like more, so that all can be drawn. Weights are rounded to one part in
    2^20 of the smallest, so that sums are exact.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items), > 0 where liked
    alpha : float; 0 is uniform, 1 in proportion to the likes, 0.75 what word2vec uses
        (Mikolov et al. 2013, arXiv:1310.4546, section 2.2)

    Raises
    ------
    ValueError when a user likes every item, and for an alpha that is not finite or so large that
    the sums overflow.
    """

    def __init__(self, train: sparse.csr_matrix, alpha: float = 0.75):
        if not np.isfinite(alpha):
            raise ValueError(f"alpha must be finite, got {alpha}")
        likes = as_likes(train, "train")
        weight = (np.bincount(likes.indices, minlength=likes.shape[1]) + 1.0) ** alpha
        weight = np.rint(2**20 * weight / weight.min())
        if not weight.sum() * (likes.shape[0] + 1) < 2**62:
            raise ValueError(f"alpha={alpha} spreads the weights too far: make it smaller")
        super().__init__(likes, weight.astype(np.int64))
