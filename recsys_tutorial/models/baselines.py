"""Baselines that every later model must beat: popularity and item neighbours; see also `ease`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_one_of
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.models._largest import bm25, candidates, largest, shortest
from recsys_tutorial.models._threads import usable_cores
from recsys_tutorial.ranking import column_key

_BLOCK_BYTES = 4 * 2**20  # of the dense item-item similarity that a thread holds at a time
_DENSE_BYTES = 128 * 2**20  # of likes in a dense matrix, with which products are faster


class Popularity:
    """Everybody gets the items that most users liked: score_i = number of likes of i in training.

    Examples
    --------
    >>> train = sparse.csr_matrix([[1, 1, 0], [0, 1, 0]])
    >>> Popularity().fit(train).score(train[:1])
    array([[1., 2., 0.]])
    """

    def fit(self, train: sparse.csr_matrix) -> Popularity:
        """Count likes."""
        train = check_train(train)
        self.item_counts_ = np.asarray(train.sum(axis=0)).ravel()
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the same counts for everyone, as a read-only view of one row."""
        history = check_history(history, len(self.item_counts_))
        return np.broadcast_to(self.item_counts_, history.shape)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `fit` learned, for a file: {"item_counts": ndarray (n_items,)}."""
        return {"item_counts": self.item_counts_}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Popularity:
        """A fitted model of what `arrays` gave.

        Parameters
        ----------
        arrays : dict of ndarray

        Returns
        -------
        Popularity
        """
        model = cls()
        model.item_counts_ = arrays["item_counts"]
        return model


class ItemKNN:
    """Item-based nearest neighbours: score = history @ similarity.

    Two items are similar when the same users liked both (Sarwar et al. 2001,
    doi:10.1145/371920.372071). Per item only its `k` most similar others count.

    Parameters
    ----------
    k : int >= 1, neighbours kept per item
    weighting : "cosine" for |U_i & U_j| / (sqrt(|U_i| |U_j|) + shrink), U_i the users who liked i;
        "bm25" weighs a like by Okapi BM25 (best match 25), the user being the document and the
        item the term (a user who likes everything says less), and takes the inner product over
        users
    shrink : float >= 0, added to the cosine's denominator, so that a coincidence of two users does
        not look like a perfect match; not used by "bm25"
    k1, b : floats, k1 >= 0 and b from 0 to 1: BM25's saturation and length normalisation

    Attributes
    ----------
    similarity_ : csr_matrix (n_items, n_items); column i holds the neighbours of item i

    Raises
    ------
    ValueError for a setting out of its range.
    """

    def __init__(
        self,
        k: int = 100,
        weighting: str = "cosine",
        shrink: float = 0.0,
        k1: float = 1.2,
        b: float = 0.75,
    ):
        check_one_of(("cosine", "bm25"), weighting=weighting)
        check_at_least(1, k=k)
        check_at_least(0, shrink=shrink, k1=k1)
        if not 0 <= b <= 1:
            raise ValueError(f"b must be from 0 to 1, got {b}")
        self.k, self.weighting, self.shrink, self.k1, self.b = k, weighting, shrink, k1, b

    def fit(self, train: sparse.csr_matrix) -> ItemKNN:
        """Find neighbours, a block of items at a time."""
        train = check_train(train)
        liked = np.unique(train.indices)  # by somebody: the only ones with neighbours
        blocks = self._neighbours(train[:, liked])
        items, neighbours, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
        # Column i holds the neighbours of i: what was liked speaks for i if it is among them.
        n_items = train.shape[1]
        ends = np.cumsum(np.bincount(liked[items], minlength=n_items))
        columns = (values, liked[neighbours], np.append(0, ends))
        self.similarity_ = sparse.csc_matrix(columns, shape=(n_items, n_items)).tocsr()
        return self

    def _neighbours(self, x: sparse.csr_matrix) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Items, rising, with their neighbours and how similar they are, block after block."""
        norm = np.sqrt(np.bincount(x.indices, weights=x.data**2))
        x = bm25(x, self.k1, self.b) if self.weighting == "bm25" else shortest(x)
        short = np.float32 if x.dtype.itemsize < 8 else np.float64
        order = np.argsort(column_key(x.shape[1]))  # of equal neighbours the first is kept
        place, other = np.argsort(order), norm[order]
        norm_short, other_short = norm.astype(short), other.astype(short)
        inverse_short = 1 / other_short
        by_item, x = x.T.tocsr(), x[:, order]
        n_users, n = x.shape
        if short == np.float32 and x.dtype.itemsize * n_users * n <= _DENSE_BYTES:
            x = x.toarray()

        def nearest(items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            shared = by_item[items[0] : items[-1] + 1] @ x  # (block, n)
            shared = shared.toarray() if sparse.issparse(shared) else shared
            shared[items - items[0], place[items]] = 0.0  # an item does not recommend itself
            if self.weighting == "cosine" and not self.shrink:
                nearly = shared * inverse_short  # within a row its own norm orders nothing
            else:
                nearly = self._similarity(shared, norm_short[items, None], other_short)
            flat, row = candidates(nearly, self.k)
            column = flat - row * n
            values = shared.ravel()[flat].astype(np.float64)
            values = self._similarity(values, norm[items[row]], other[column])
            kept = largest(row, values, self.k)
            return items[row[kept]], order[column[kept]], values[kept]

        step = max(1, _BLOCK_BYTES // (8 * n))
        with ThreadPoolExecutor(usable_cores()) as pool:
            return list(pool.map(nearest, np.split(np.arange(n), range(step, n, step))))

    def _similarity(
        self, shared: np.ndarray, norm: np.ndarray, other_norm: np.ndarray
    ) -> np.ndarray:
        if self.weighting == "bm25":
            return shared
        product = norm * other_norm
        if self.shrink:
            product += self.shrink
        return np.divide(shared, product, out=product)

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the summed similarity of each item to what the user liked."""
        history = check_history(history, self.similarity_.shape[0])
        return (history @ self.similarity_).toarray()
