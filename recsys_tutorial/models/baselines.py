"""Baselines that every later model must beat: popularity and item neighbours; see also `ease`."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.ranking import rank

_BLOCK_BYTES = 8 * 2**20  # of the dense item-item similarity at a time; 32 MB took twice as long


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
        self.item_counts_ = np.asarray(train.sum(axis=0), dtype=np.float64).ravel()
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the same counts for everyone, as a read-only view of one row."""
        history = check_history(history, len(self.item_counts_))
        return np.broadcast_to(self.item_counts_, history.shape)


class ItemKNN:
    """Item-based nearest neighbours: score = history @ similarity.

    Two items are similar when the same users liked both (Sarwar et al. 2001,
    doi:10.1145/371920.372071). Per item only its `k` most similar others count.

    Parameters
    ----------
    k : int >= 1, neighbours kept per item
    weighting : "cosine" for |U_i & U_j| / (sqrt(|U_i| |U_j|) + shrink), U_i the users who liked i;
        "bm25" weighs a like by Okapi BM25, the user being the document and the item the term
        (a user who likes everything says less), and takes the inner product over users
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
        if weighting not in ("cosine", "bm25"):
            raise ValueError(f'weighting must be "cosine" or "bm25", got {weighting!r}')
        check_at_least(1, k=k)
        check_at_least(0, shrink=shrink, k1=k1)
        if not 0 <= b <= 1:
            raise ValueError(f"b must be from 0 to 1, got {b}")
        self.k, self.weighting, self.shrink, self.k1, self.b = k, weighting, shrink, k1, b

    def fit(self, train: sparse.csr_matrix) -> ItemKNN:
        """Find neighbours, a block of items at a time."""
        train = check_train(train)
        active = np.unique(train.indices)  # columns somebody liked; the others have no neighbours
        x = train[:, active]
        weighted = sparse.csc_matrix(_bm25(x, self.k1, self.b) if self.weighting == "bm25" else x)
        norm = np.sqrt(np.bincount(x.indices, weights=x.data**2))
        block = max(1, _BLOCK_BYTES // (8 * len(active)))
        rows, columns, values = [], [], []
        for start in range(0, len(active), block):
            stop = min(start + block, len(active))
            similarity = (weighted[:, start:stop].T @ weighted).tocsr()  # (block, n_active)
            here = np.repeat(np.arange(start, stop), np.diff(similarity.indptr))
            if self.weighting == "cosine":
                similarity.data /= norm[here] * norm[similarity.indices] + self.shrink
            similarity.data[here == similarity.indices] = 0.0  # an item does not recommend itself
            similarity = similarity.toarray()
            neighbours = rank(similarity, None, min(self.k, len(active)))  # (block, k)
            near = np.take_along_axis(similarity, neighbours, axis=1)
            rows.append(neighbours[near > 0])
            columns.append(np.repeat(np.arange(start, stop), np.count_nonzero(near > 0, axis=1)))
            values.append(near[near > 0])
        # Column i holds the neighbours of i: what was liked speaks for i if it is among them.
        rows, columns = active[np.concatenate(rows)], active[np.concatenate(columns)]
        shape = (train.shape[1], train.shape[1])
        self.similarity_ = sparse.csr_matrix((np.concatenate(values), (rows, columns)), shape=shape)
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the summed similarity of each item to what the user liked."""
        history = check_history(history, self.similarity_.shape[0])
        return (history @ self.similarity_).toarray()


def _bm25(train: sparse.csr_matrix, k1: float, b: float) -> sparse.csr_matrix:
    """Okapi BM25 weights of a user-item matrix: users are documents, items terms, counts the data.

    w_ui = idf_i * x_ui (k1 + 1) / (x_ui + k1 (1 - b + b n_u / mean n)), with
    idf_i = log(1 + (N - N_i + 0.5) / (N_i + 0.5)) (Robertson & Zaragoza 2009,
    doi:10.1561/1500000019; the 1 inside the log keeps it positive).
    """
    n_users, n_items = train.shape
    item_counts = np.bincount(train.indices, minlength=n_items)
    lengths = np.asarray(train.sum(axis=1)).ravel()
    idf = np.log1p((n_users - item_counts + 0.5) / (item_counts + 0.5))
    saturation = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-300))
    x = train.data
    weights = idf[train.indices] * x * (k1 + 1) / (x + np.repeat(saturation, np.diff(train.indptr)))
    return sparse.csr_matrix((weights, train.indices, train.indptr), shape=train.shape)
