"""New users who come with words and no likes: their neighbours among the training users vote."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_positive
from recsys_tutorial._likes import check_train
from recsys_tutorial.models.content import unit_rows

__all__ = ["NeighbourVotes"]

_BLOCK = 512  # users whose similarities are held at a time


class NeighbourVotes:
    """The k training users most like a new user vote for what they like.

        score(u, i) = sum over the k nearest v of max(0, cos(f_u, f_v)) ^ power  x_vi

    f are vectors of whatever is known of users without a like, such as their descriptions. Nothing
    is trained: a good f is all that it has.

    Parameters
    ----------
    vectors : ndarray or csr_matrix (n_train_users, dim), one row per training user, of any length
    k : int >= 1, neighbours; all of the training users if there are fewer
    power : float > 0: a larger one lets the nearest speak

    Attributes
    ----------
    train_ : csr_matrix (n_train_users, n_items), what they like

    Raises
    ------
    ValueError for settings out of range, and for vectors as `unit_rows`.

    Examples
    --------
    >>> likes = sparse.csr_matrix(np.eye(3))
    >>> model = NeighbourVotes(np.array([[1.0, 0], [0, 1], [1, 1]]), k=1).fit(likes)
    >>> model.score(np.array([[2.0, 0.1]])).argmax()  # likes what the first one likes
    np.int64(0)
    """

    def __init__(self, vectors: np.ndarray | sparse.csr_matrix, k: int = 50, power: float = 4.0):
        check_at_least(1, k=k)
        check_positive(power=power)
        self.k, self.power = k, power
        self._vectors = unit_rows(vectors)

    def fit(self, train: sparse.csr_matrix) -> NeighbourVotes:
        """Keep what the training users like; return self.

        Parameters
        ----------
        train : csr_matrix (n_train_users, n_items), > 0 where liked

        Raises
        ------
        ValueError unless there is a row for each vector.
        """
        self.train_ = check_train(train)
        if self.train_.shape[0] != self._vectors.shape[0]:
            n = self._vectors.shape[0]
            raise ValueError(f"train has {self.train_.shape[0]} users, there are {n} vectors")
        return self

    def score(self, vectors: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        """The votes.

        Parameters
        ----------
        vectors : ndarray or csr_matrix (n_users, dim), made as those of the training users were

        Returns
        -------
        ndarray (n_users, n_items), float64; 0 where no neighbour likes an item

        Raises
        ------
        ValueError for vectors of another length, and as `unit_rows`.
        """
        vectors = unit_rows(vectors)
        if vectors.shape[1] != self._vectors.shape[1]:
            raise ValueError(f"vectors have {vectors.shape[1]}, not {self._vectors.shape[1]}")
        scores = np.empty((vectors.shape[0], self.train_.shape[1]))
        for start in range(0, len(scores), _BLOCK):
            rows = slice(start, start + _BLOCK)
            scores[rows] = (self._votes(vectors[rows]) @ self.train_).toarray()
        return scores

    def _votes(self, vectors) -> sparse.csr_matrix:
        """The weights of the k nearest (n_users, n_train_users)."""
        cosine = vectors @ self._vectors.T
        cosine = cosine.toarray() if sparse.issparse(cosine) else cosine
        # Equal texts have equal cosines but for rounding, which must not choose between them.
        cosine = cosine.round(6)
        n_users, n_train = cosine.shape
        k = min(self.k, n_train)
        border = np.partition(cosine, n_train - k, axis=1)[:, n_train - k, None]
        row, column = np.nonzero((cosine >= border) & (cosine > 0))  # ties at the border all vote
        weights = cosine[row, column] ** self.power
        return sparse.csr_matrix((weights, (row, column)), shape=(n_users, n_train))
