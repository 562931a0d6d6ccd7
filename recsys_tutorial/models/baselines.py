"""Baselines that every later model must beat: popularity and item neighbours; see also `ease`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial._ties import column_key
from recsys_tutorial.models._threads import usable_cores

_BLOCK_BYTES = 4 * 2**20  # of the dense item-item similarity that a thread holds at a time


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
        # Columns somebody liked, the only ones with neighbours; of equal ones the first is kept.
        active = np.unique(train.indices)
        active = active[np.argsort(column_key(len(active)))]
        x = train[:, active]
        norm = np.sqrt(np.bincount(x.indices, weights=x.data**2))
        weighted = _bm25(x, self.k1, self.b) if self.weighting == "bm25" else x
        by_item = weighted.T.tocsr()
        block = max(1, _BLOCK_BYTES // (8 * len(active)))

        def nearest(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            items = np.arange(start, min(start + block, len(active)))
            similarity = (by_item[start : start + block] @ weighted).toarray()  # (block, n_active)
            if self.weighting == "cosine":
                similarity /= np.outer(norm[items], norm) + self.shrink
            similarity[items - start, items] = 0.0  # an item does not recommend itself
            item, neighbour = _largest(similarity, self.k)
            return items[item], neighbour, similarity[item, neighbour]

        with ThreadPoolExecutor(usable_cores()) as pool:
            blocks = list(pool.map(nearest, range(0, len(active), block)))
        items, neighbour, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
        # Column i holds the neighbours of i: what was liked speaks for i if it is among them.
        shape = (train.shape[1], train.shape[1])
        places = (active[neighbour], active[items])
        self.similarity_ = sparse.csr_matrix((values, places), shape=shape)
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the summed similarity of each item to what the user liked."""
        history = check_history(history, self.similarity_.shape[0])
        return (history @ self.similarity_).toarray()


def _largest(matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of each row's k largest values above 0, row by row; of equal ones the earlier."""
    n_rows, n_columns = matrix.shape
    least = np.full((n_rows, 1), np.nextafter(0.0, 1.0))
    size = n_columns // (4 * k)
    if size > 1:
        # The maxima of groups of `size` columns: k of them, hence k values, reach the k-th largest.
        groups = matrix[:, : n_columns // size * size].reshape(n_rows, size, -1).max(axis=1)
        least = np.maximum(least, np.partition(groups, -k, axis=1)[:, -k, None])
    row, column = np.divmod(np.flatnonzero(matrix >= least), n_columns)
    counts = np.bincount(row, minlength=n_rows)
    width = counts.max()
    if width <= k:
        return row, column
    # Few are left of each row: put them side by side and sort.
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    candidates = np.zeros((n_rows, width))
    candidates[row, place] = -matrix[row, column]
    best = np.zeros(candidates.shape, dtype=bool)
    order = np.argsort(candidates, axis=1, kind="stable")[:, :k]
    np.put_along_axis(best, order, True, axis=1)
    kept = best[row, place]
    return row[kept], column[kept]


def _bm25(train: sparse.csr_matrix, k1: float, b: float) -> sparse.csr_matrix:
    """Okapi BM25 weights of a user-item matrix: users are documents, items terms, counts the data.

    w_ui = idf_i * x_ui (k1 + 1) / (x_ui + k1 (1 - b + b n_u / mean n)), with
    idf_i = log(1 + (N - N_i + 0.5) / (N_i + 0.5)) (Robertson & Zaragoza 2009,
    doi:10.1561/1500000019; the 1 inside the log keeps it positive).
    """
    n_users, item_counts = train.shape[0], np.bincount(train.indices)  # each has a user
    lengths = np.asarray(train.sum(axis=1)).ravel()
    idf = np.log1p((n_users - item_counts + 0.5) / (item_counts + 0.5))
    saturation = k1 * (1 - b + b * lengths / lengths.mean())
    x = train.data
    weights = idf[train.indices] * x * (k1 + 1) / (x + np.repeat(saturation, np.diff(train.indptr)))
    return sparse.csr_matrix((weights, train.indices, train.indptr), shape=train.shape)
