"""What item neighbours are found with: weights of likes, and the largest numbers of each row."""

import numpy as np
from scipy import sparse


def shortest(x: sparse.csr_matrix) -> sparse.csr_matrix:
    """In the shortest type that holds sums of products of two columns exactly."""
    most = x.shape[0] * x.data.max() ** 2
    if most >= 2**24 or (x.data != np.rint(x.data)).any():
        return x
    return x.astype(np.int16 if most < 2**15 else np.float32)


def candidates(matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What may be among a row's k largest above 0, though a little rounded.

    Rising places in the flattened matrix, and their rows.
    """
    n_rows, n_columns = matrix.shape
    least = np.full((n_rows, 1), np.finfo(matrix.dtype).smallest_subnormal)
    size = n_columns // (3 * k)
    if size > 1:
        # The maxima of groups of `size` columns: k of them, hence k values, reach the k-th largest.
        groups = matrix[:, : n_columns // size * size].reshape(n_rows, size, -1).max(axis=1)
        highest = np.partition(groups, -k, axis=1)[:, -k, None]
        least = np.maximum(least, highest * matrix.dtype.type(1 - 1e-5))  # rounding: below 1e-6
    flat = np.flatnonzero(matrix >= least)
    ends = np.searchsorted(flat, n_columns * np.arange(n_rows + 1))
    return flat, np.repeat(np.arange(n_rows), np.diff(ends))


def largest(row: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Places of each row's k largest values > 0, where rows rise; of equal ones the earlier."""
    counts = np.bincount(row)
    width = counts.max(initial=0)
    if width <= k:
        return np.arange(len(row))
    # Few are left of each row: put them side by side.
    starts = np.cumsum(counts) - counts
    flat = np.arange(len(row)) + np.repeat(width * np.arange(len(counts)) - starts, counts)
    table = np.zeros((len(counts), width))
    table.ravel()[flat] = values
    least = np.sort(table, axis=1)[:, -k, None]
    above, equal = table > least, table == least
    room = k - above.sum(axis=1, keepdims=True)
    best = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
    return np.flatnonzero(best.ravel()[flat])


def bm25(train: sparse.csr_matrix, k1: float, b: float) -> sparse.csr_matrix:
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
