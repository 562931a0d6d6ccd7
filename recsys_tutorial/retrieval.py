"""The best items for query vectors: exactly, block by block, and by faiss indexes behind one call.

    top_k(users, items, k=10)                              # exact; items is (n_items, dim)
    top_k(users, FaissIndex(items, kind="hnsw"), k=10)     # approximate

Scores are dot products, as of `TwoTower.encode_users(history)` and `TwoTower.encode_items()`.
Search and index are one module of more than 200 lines, since either is read with the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import faiss
import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_one_of, check_shape, finite_vectors
from recsys_tutorial.ranking import column_key, rank

_BLOCK_BYTES = 32 * 2**20  # of candidate vectors, or of scores, that are held at a time
_MARGIN = 6  # candidates more than are needed: the border is then seldom a near tie
_EFFORTS = {"flat": 1, "hnsw": 64, "ivf": 8}


def top_k(
    users: np.ndarray,
    items: np.ndarray | FaissIndex,
    k: int = 10,
    *,
    seen: sparse.csr_matrix | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k items with the largest dot product with each user, best first.

    With an array of items the result is exact: ``evaluation.rank(users @ items.T, seen, k)``, ties
    in its order, without ever holding the whole score matrix. faiss proposes candidates in
    float32, these are scored in float64, and where the error bound of float32 leaves open whether
    a better item was passed over (near ties at the border), all of that user's scores are computed.

    Parameters
    ----------
    users : ndarray (n_users, dim)
    items : ndarray (n_items, dim), or a `FaissIndex` of them
    k : int
    seen : csr_matrix (n_users, n_items), optional: its stored items are left out

    Returns
    -------
    columns : ndarray (n_users, k), int64; -1 where fewer than k items are left, or, in an
        approximate index, were found
    scores : ndarray (n_users, k), float64; -inf there

    Raises
    ------
    ValueError for wrong shapes, k < 1, or values that are not finite.

    Examples
    --------
    >>> items = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> top_k(np.array([[2.0, 1.0]]), items, k=2)
    (array([[2, 0]]), array([[3., 2.]]))
    """
    users = _vectors("users", users)
    index = items if isinstance(items, FaissIndex) else FaissIndex(items, kind="flat")
    items, shape = index.items, (len(users), len(index.items))
    if users.shape[1] != items.shape[1]:
        raise ValueError(f"users have {users.shape[1]} dimensions, items {items.shape[1]}")
    check_at_least(1, k=k)
    seen = sparse.csr_matrix(shape if seen is None else seen)
    check_shape("seen", seen, shape)
    columns = np.full((len(users), k), -1)
    scores = np.full((len(users), k), -np.inf)
    n_wanted = k + (_MARGIN if index.kind == "flat" else 0)
    for rows, n in _blocks(n_wanted, np.diff(seen.indptr), items.shape):
        proposed, bound = index.propose(users[rows], n)
        columns[rows], scores[rows] = _best(users[rows], items, proposed, seen[rows], k)
        if bound is not None and n < len(items):
            left_open = rows[scores[rows, -1] <= bound]
            step = max(1, _BLOCK_BYTES // (32 * len(items)))  # ranking needs copies
            for start in range(0, len(left_open), step):
                few = left_open[start : start + step]
                columns[few], scores[few] = _best_of_all(users[few], items, seen[few], k)
    return columns, scores


class FaissIndex:
    """Item vectors in an index of faiss, for `top_k` (Douze et al. 2024, arXiv:2401.08281).

    Graph and cluster indexes are built for distances. A largest dot product becomes a smallest
    distance when each item gets one more coordinate, sqrt(M^2 - |v|^2) with M the longest vector's
    length, and each user a 0 there: |u - v|^2 = |u|^2 + M^2 - 2 u.v (Bachrach et al. 2014,
    doi:10.1145/2645710.2645741).

    Built by one thread, so that the same items give the same index.

    Parameters
    ----------
    items : ndarray (n_items, dim)
    kind : "flat", "hnsw" or "ivf"
        "flat" compares with every item, exactly. "hnsw" walks a graph of near neighbours, 32 of
        each item (Malkov & Yashunin 2020, doi:10.1109/TPAMI.2018.2889473). "ivf" looks into the
        nearest of about 4 sqrt(n_items) clusters, of 39 items each at least.
    effort : int; more finds more and takes longer: candidates kept on the walk (hnsw, 64), clusters
        looked into (ivf, 8). May be changed at any time.

    Raises
    ------
    ValueError for items of another shape or none, values that are not finite, an unknown kind, and
    an effort below 1.
    """

    def __init__(self, items: np.ndarray, kind: str = "hnsw", *, effort: int | None = None):
        check_one_of(_EFFORTS, kind=kind)
        self.items, self.kind = _vectors("items", items), kind
        if not len(self.items):
            raise ValueError("there are no items to search")
        self.effort = _EFFORTS[kind] if effort is None else effort
        check_at_least(1, effort=self.effort)
        lengths = _lengths(self.items)
        self.longest = float(lengths.max()) or 1.0
        if kind == "flat":
            self._index = faiss.IndexFlatIP(self.items.shape[1])
            self._index.add(_float32(self.items / self.longest))
            return
        rest = np.sqrt(np.maximum(self.longest**2 - lengths**2, 0.0))
        vectors = _float32(np.column_stack([self.items, rest]))
        n, dim = vectors.shape
        with _one_thread():
            if kind == "hnsw":
                self._index = faiss.IndexHNSWFlat(dim, 32)
                self._index.hnsw.efConstruction = 100
            else:
                n_clusters = max(1, min(round(4 * n**0.5), n // 39))
                self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, n_clusters)
                self._index.cp.seed = 1
                self._index.train(vectors)
            self._index.add(vectors)

    def propose(self, users: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Candidates for `top_k` to judge.

        Parameters
        ----------
        users : ndarray (n_users, dim), finite
        n : int, 1 to n_items, candidates per user

        Returns
        -------
        columns : ndarray (n_users, n), int64, -1 pads
        bound : ndarray (n_users,), float64, above the exact score of every other item; None for an
            approximate index
        """
        if self.kind == "flat":
            lengths = _lengths(users)
            unit = _float32(users / np.where(lengths > 0, lengths, 1.0)[:, None])
            scores, columns = self._index.search(unit, n)
            # A float32 dot product of vectors of length 1 is off by at most about dim * 2^-24.
            worst = scores[:, -1] + (self.items.shape[1] + 4) * 2.0**-23
            return columns, worst * lengths * self.longest
        if self.kind == "hnsw":
            settings = faiss.SearchParametersHNSW(efSearch=max(self.effort, n))
        else:
            settings = faiss.SearchParametersIVF(nprobe=min(self.effort, self._index.nlist))
        users = np.pad(_float32(users), ((0, 0), (0, 1)))
        return self._index.search(users, n, params=settings)[1], None


def _blocks(n_wanted: int, n_seen, shape) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of users, a block at a time, and how many candidates each of the block is offered.

    Who has seen much must be offered more: users with about equally many share a block.
    """
    (n_items, dim), order, start = shape, np.argsort(n_seen, kind="stable"), 0
    while start < len(order):
        n = min(n_items, n_wanted + int(n_seen[order[start]]))
        rows = order[start : start + max(1, _BLOCK_BYTES // (8 * dim * n))]
        start += len(rows)
        yield rows, min(n_items, n_wanted + int(n_seen[rows[-1]]))


def _best(users, items, proposed, seen, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each user's proposed columns, by scores in float64."""
    vectors = items[proposed].astype(np.float64, copy=False)  # (n_users, n, dim)
    return best_of_proposed(np.einsum("ud,und->un", users, vectors), proposed, seen, k)


def best_of_proposed(
    scores: np.ndarray, proposed: np.ndarray, seen: sparse.csr_matrix, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of the columns that an index proposes for each user, without those seen.

    Parameters
    ----------
    scores : float64 ndarray (n_users, n), of the proposed columns; changed in place
    proposed : int64 ndarray (n_users, n), different columns of each user; -1 pads
    seen : csr_matrix (n_users, n_items), left out
    k : int >= 1

    Returns
    -------
    columns, scores : as of `top_k`
    """
    n_users, n_items = seen.shape
    scores[proposed < 0] = -np.inf
    if seen.nnz:
        keys = np.repeat(np.arange(n_users), np.diff(seen.indptr)) * n_items + seen.indices
        own = np.arange(n_users)[:, None] * n_items + proposed
        scores[np.isin(own, keys)] = -np.inf
    # by score, equal ones as `rank` orders them
    order = np.lexsort((column_key(n_items)[proposed], -scores), axis=1)[:, :k]
    columns, values = np.full((n_users, k), -1), np.full((n_users, k), -np.inf)
    n = order.shape[1]
    values[:, :n] = np.take_along_axis(scores, order, axis=1)
    columns[:, :n] = np.take_along_axis(proposed, order, axis=1)
    columns[np.isneginf(values)] = -1
    return columns, values


def _best_of_all(users, items, seen, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of all columns, from all scores."""
    scores = users @ items.T  # (n_users, n_items)
    columns = rank(scores, seen, k)
    values = np.take_along_axis(scores, np.maximum(columns, 0), axis=1)
    return columns, np.where(columns < 0, -np.inf, values)


def _vectors(name: str, vectors: np.ndarray) -> np.ndarray:
    vectors = finite_vectors(name, vectors)
    return vectors if vectors.dtype == np.float32 else vectors.astype(np.float64, copy=False)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))


def _float32(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, dtype=np.float32)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """By the switch of faiss: threadpoolctl's limit on OpenMP was seen to miss its copy."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
