"""Item vectors under four indexes: exact, a graph, one byte a number, codes of products."""

from __future__ import annotations

import faiss
import numpy as np

from recsys_tutorial._checks import check_one_of, finite_vectors
from recsys_tutorial.retrieval import FaissIndex, best_of_proposed, top_k

KINDS = ("exact", "hnsw", "int8", "pq")
_SUBVECTOR = 2  # numbers of a vector that share a code of one byte


class VectorIndex:
    """The items with the largest dot product with a user's vector.

    "exact" and "hnsw" are those of `retrieval.FaissIndex`: their scores are exact, what the graph
    misses is missed. "int8" keeps a byte for each number (Jacob et al. 2018, arXiv:1712.05877, in
    faiss with a range for each dimension), "pq" a byte for each two (product quantisation; Jegou,
    Douze & Schmid 2011, doi:10.1109/TPAMI.2010.57): their scores are those of the coded vectors.
    Fewer than 16 items have bytes instead of such codes.

    Parameters
    ----------
    items : ndarray (n_items, dim)
    kind : "exact", "hnsw", "int8" or "pq"

    Attributes
    ----------
    n_bytes : int, size of the index as faiss would write it

    Raises
    ------
    ValueError for another kind, and for items that are not finite.
    """

    def __init__(self, items: np.ndarray, kind: str = "exact"):
        check_one_of(KINDS, kind=kind)
        items = finite_vectors("items", items, least=1)
        self.kind, self.n_items = kind, len(items)
        if kind in ("exact", "hnsw"):
            self._index = FaissIndex(items, "flat" if kind == "exact" else "hnsw")
            inner = self._index._index
        else:
            self._index = inner = _coded(np.ascontiguousarray(items, dtype=np.float32), kind)
        self.n_bytes = int(faiss.serialize_index(inner).nbytes)

    def search(self, users: np.ndarray, k: int, seen) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each user, without those seen.

        Parameters
        ----------
        users : ndarray (n_users, dim)
        k : int >= 1
        seen : csr_matrix (n_users, n_items), left out

        Returns
        -------
        columns : int64 ndarray (n_users, k), -1 where the index has found fewer
        scores : float64 ndarray (n_users, k), -inf there
        """
        if isinstance(self._index, FaissIndex):
            return top_k(users, self._index, k, seen=seen)
        n = min(self.n_items, k + int(np.diff(seen.indptr).max(initial=0)))
        users = np.ascontiguousarray(users, dtype=np.float32)
        scores, columns = self._index.search(users, n)  # (n_users, n)
        return best_of_proposed(scores.astype(np.float64), columns, seen, k)


def _coded(items: np.ndarray, kind: str):
    """An index of faiss that holds codes of the vectors, of inner products."""
    dim = items.shape[1]
    if kind == "int8" or len(items) < 2**4:  # faiss has no smaller book of codes
        quantizer = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexScalarQuantizer(dim, quantizer, faiss.METRIC_INNER_PRODUCT)
    else:
        n_bits = 8 if len(items) >= 39 * 256 else max(4, int(np.log2(max(2, len(items) // 39))))
        step = _SUBVECTOR if dim % _SUBVECTOR == 0 else 1
        index = faiss.IndexPQ(dim, dim // step, n_bits, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.seed = 1
    index.train(items)
    index.add(items)
    return index
