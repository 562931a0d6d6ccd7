"""Ranking and rating metrics: pure functions of arrays, one value per user.

Relevance is yes or no. The definitions are trec_eval's: recall and average precision divide by
*all* relevant items, precision divides by k even where the list is shorter. Discounts are
1 / log2(rank + 1), ranks from 1 (Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418). An item
that stands twice among the first k would be counted twice: such a list is refused.

The module is long by its docstrings alone: six metrics with the same three arguments.
"""

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least
from recsys_tutorial._likes import as_likes


def precision_at_k(ranked: np.ndarray, relevant: sparse.csr_matrix, k: int) -> np.ndarray:
    """Share of the first k places that hold a relevant item.

    Parameters
    ----------
    ranked : int ndarray (n_users, >= k), item columns, best first; -1 pads a shorter list
    relevant : csr_matrix (n_users, n_items), > 0 where the user liked the item
    k : int >= 1, how far down the list one looks

    Returns
    -------
    ndarray (n_users,), float64; nan for a user without a relevant item

    Raises
    ------
    ValueError
        For k < 1, other shapes, or an item that is no column or stands in a list twice.

    Examples
    --------
    >>> relevant = sparse.csr_matrix([[1, 0, 1, 0]])
    >>> precision_at_k(np.array([[2, 1, 0]]), relevant, k=2)
    array([0.5])
    """
    hits, n_relevant = _hits(ranked, relevant, k)
    return _nan_where_none(hits.sum(axis=1) / k, n_relevant)


def recall_at_k(ranked: np.ndarray, relevant: sparse.csr_matrix, k: int) -> np.ndarray:
    """Share of the user's relevant items that stand in the first k places.

    Parameters
    ----------
    ranked : int ndarray (n_users, >= k), item columns, best first; -1 pads a shorter list
    relevant : csr_matrix (n_users, n_items), > 0 where the user liked the item
    k : int >= 1, how far down the list one looks

    Returns
    -------
    ndarray (n_users,), float64; nan for a user without a relevant item

    Raises
    ------
    ValueError
        For k < 1, other shapes, or an item that is no column or stands in a list twice.
    """
    hits, n_relevant = _hits(ranked, relevant, k)
    return _nan_where_none(hits.sum(axis=1) / np.maximum(n_relevant, 1), n_relevant)


def hit_rate_at_k(ranked: np.ndarray, relevant: sparse.csr_matrix, k: int) -> np.ndarray:
    """1 where the first k places hold at least one relevant item, else 0.

    Parameters
    ----------
    ranked : int ndarray (n_users, >= k), item columns, best first; -1 pads a shorter list
    relevant : csr_matrix (n_users, n_items), > 0 where the user liked the item
    k : int >= 1, how far down the list one looks

    Returns
    -------
    ndarray (n_users,), float64; nan for a user without a relevant item

    Raises
    ------
    ValueError
        For k < 1, other shapes, or an item that is no column or stands in a list twice.
    """
    hits, n_relevant = _hits(ranked, relevant, k)
    return _nan_where_none(hits.any(axis=1).astype(np.float64), n_relevant)


def ndcg_at_k(ranked: np.ndarray, relevant: sparse.csr_matrix, k: int) -> np.ndarray:
    """Normalised discounted cumulative gain.

    DCG = sum over places j <= k of hit_j / log2(j + 1), divided by the DCG of the best list, which
    puts the min(k, number relevant) first places right.

    Parameters
    ----------
    ranked : int ndarray (n_users, >= k), item columns, best first; -1 pads a shorter list
    relevant : csr_matrix (n_users, n_items), > 0 where the user liked the item
    k : int >= 1, how far down the list one looks

    Returns
    -------
    ndarray (n_users,), float64; nan for a user without a relevant item

    Raises
    ------
    ValueError
        For k < 1, other shapes, or an item that is no column or stands in a list twice.
    """
    hits, n_relevant = _hits(ranked, relevant, k)
    discount = 1.0 / np.log2(np.arange(2, k + 2))  # (k,)
    ideal = np.cumsum(discount)  # ideal[m - 1]: m relevant
    # Not hits @ discount: BLAS's last digit depends on which other users are in the matrix.
    dcg = (hits * discount[: hits.shape[1]]).sum(axis=1)  # (n_users,)
    return _nan_where_none(dcg / ideal[np.clip(n_relevant, 1, k) - 1], n_relevant)


def average_precision_at_k(ranked: np.ndarray, relevant: sparse.csr_matrix, k: int) -> np.ndarray:
    """Mean of the precision at each relevant item's place; 0 for one outside the first k.

    Parameters
    ----------
    ranked : int ndarray (n_users, >= k), item columns, best first; -1 pads a shorter list
    relevant : csr_matrix (n_users, n_items), > 0 where the user liked the item
    k : int >= 1, how far down the list one looks

    Returns
    -------
    ndarray (n_users,), float64; nan for a user without a relevant item

    Raises
    ------
    ValueError
        For k < 1, other shapes, or an item that is no column or stands in a list twice.
    """
    hits, n_relevant = _hits(ranked, relevant, k)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)  # (n_users, k)
    return _nan_where_none((precision * hits).sum(axis=1) / np.maximum(n_relevant, 1), n_relevant)


def reciprocal_rank_at_k(ranked: np.ndarray, relevant: sparse.csr_matrix, k: int) -> np.ndarray:
    """1 / place of the first relevant item; 0 where there is none in the first k.

    Parameters
    ----------
    ranked : int ndarray (n_users, >= k), item columns, best first; -1 pads a shorter list
    relevant : csr_matrix (n_users, n_items), > 0 where the user liked the item
    k : int >= 1, how far down the list one looks

    Returns
    -------
    ndarray (n_users,), float64; nan for a user without a relevant item

    Raises
    ------
    ValueError
        For k < 1, other shapes, or an item that is no column or stands in a list twice.
    """
    hits, n_relevant = _hits(ranked, relevant, k)
    first = hits.argmax(axis=1)  # 0 where there is no hit, hence the mask below
    return _nan_where_none(np.where(hits.any(axis=1), 1.0 / (first + 1), 0.0), n_relevant)


def rmse(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Root mean squared error.

    Parameters
    ----------
    y_true, y_pred : ndarray of one shape, ratings and what was predicted of them

    Returns
    -------
    float, in the unit of the ratings

    Raises
    ------
    ValueError
        For different shapes, or no ratings at all.
    """
    y_true, y_pred = np.asarray(y_true, dtype=np.float64), np.asarray(y_pred, dtype=np.float64)
    if y_true.shape != y_pred.shape:
        raise ValueError(f"y_true has shape {y_true.shape}, y_pred {y_pred.shape}")
    if y_true.size == 0:
        raise ValueError("no ratings to compare")
    return float(np.sqrt(np.mean((y_true - y_pred) ** 2)))


def coverage(ranked: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that stands in at least one of the lists.

    Parameters
    ----------
    ranked : int ndarray (n_users, k), item columns; -1 pads a list
    n_items : int, of the catalogue

    Returns
    -------
    float in [0, 1]
    """
    return float((_exposure(ranked, n_items) > 0).mean())


def gini(ranked: np.ndarray, n_items: int) -> float:
    """Inequality of exposure over the catalogue: 0 all items equal, near 1 a few take all.

    G = sum_j (2j - n - 1) x_j / (n sum x) for exposures x sorted ascending, j from 1.

    Parameters
    ----------
    ranked : int ndarray (n_users, k), item columns; -1 pads a list
    n_items : int, of the catalogue

    Returns
    -------
    float in [0, 1)

    Raises
    ------
    ValueError
        When the lists hold no item.
    """
    exposure = np.sort(_exposure(ranked, n_items))
    if not exposure.any():
        raise ValueError("the lists hold no item, only -1: there is no exposure to share")
    place = np.arange(1, n_items + 1)
    return float(((2 * place - n_items - 1) @ exposure) / (n_items * exposure.sum()))


def novelty(ranked: np.ndarray, item_counts: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information of each list in bits, -log2(share of users who liked the item).

    Parameters
    ----------
    ranked : int ndarray (n_lists, k), item columns; -1 pads a list
    item_counts : ndarray (n_items,), how many training users liked each item; items that nobody
        liked count as half a user (their information would be infinite)
    n_users : int, training users

    Returns
    -------
    ndarray (n_lists,), float64, in bits; nan for an empty list
    """
    share = np.maximum(np.asarray(item_counts, dtype=np.float64), 0.5) / n_users
    ranked = _columns(ranked, len(share))
    listed = ranked >= 0
    total = np.where(listed, -np.log2(share)[ranked], 0.0).sum(axis=1)  # (n_users,)
    n_listed = listed.sum(axis=1)
    return _nan_where_none(total / np.maximum(n_listed, 1), n_listed)


def _hits(ranked: np.ndarray, relevant: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_users, <= k) bool: is the item at this place relevant; and the number relevant."""
    relevant = as_likes(relevant, "relevant")
    n_users, n_items = relevant.shape
    ranked = np.asarray(ranked)
    check_at_least(1, k=k)
    if ranked.ndim != 2 or len(ranked) != n_users:
        raise ValueError(f"ranked has shape {ranked.shape}, but relevant has {n_users} users")
    if ranked.shape[1] < min(k, n_items):
        raise ValueError(f"ranked is {ranked.shape[1]} wide, too short for k={k}; pad with -1")
    top = _columns(ranked[:, :k], n_items)
    ordered = np.sort(top, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row, place = np.argwhere(twice)[0]
        raise ValueError(f"row {row} of ranked holds item column {ordered[row, place]} twice")
    n_relevant = np.diff(relevant.indptr)
    # One sorted array of keys user * n_items + item answers "is it relevant" for all at once.
    keys = np.repeat(np.arange(n_users) * n_items, n_relevant) + relevant.indices
    wanted = np.arange(n_users)[:, None] * n_items + top  # (n_users, k)
    place = np.searchsorted(keys, wanted.ravel()).reshape(top.shape)
    hits = np.append(keys, -1)[place] == wanted
    hits &= top >= 0
    return hits, n_relevant


def _columns(ranked: np.ndarray, n_items: int) -> np.ndarray:
    """`ranked` as int64, every entry a column or -1.

    Converted first: unsigned beside signed would become float, and NumPy 2.1 crashes where a view
    of unsigned integers is compared with -1.
    """
    ranked = np.asarray(ranked)
    if ranked.dtype.kind not in "iu":
        raise ValueError(f"ranked must hold whole item columns, got dtype {ranked.dtype}")
    ranked = ranked.astype(np.int64)
    wrong = (ranked >= n_items) | (ranked < -1)
    if wrong.any():
        raise ValueError(f"ranked holds {ranked[wrong][0]}, outside the columns -1..{n_items - 1}")
    return ranked


def _nan_where_none(values: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    return np.where(n_relevant > 0, values, np.nan)


def _exposure(ranked: np.ndarray, n_items: int) -> np.ndarray:
    ranked = _columns(ranked, n_items)
    return np.bincount(ranked[ranked >= 0], minlength=n_items)
