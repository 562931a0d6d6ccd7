"""Other lists than the best-scored ones: diverse, or calibrated to a user's genres.

Each takes candidates with scores and says in which order to show them, `reranking.Candidates` what
that costs:

    candidates = Candidates(model.score(holdout.history), holdout, n=50)
    orders = [mmr(s, similarity[np.ix_(c, c)], 0.7, 10)
              for s, c in zip(candidates.scores, candidates.ranked)]
    candidates.judge(order_scores(orders, n=50))

Half of the lines are docstrings; the ways stand side by side, to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_tutorial._checks import check_positive, check_shape, check_within

__all__ = [
    "calibrated",
    "dpp_greedy",
    "mmr",
    "order_scores",
    "taste_divergence",
]


def mmr(scores: np.ndarray, similarity: np.ndarray, weight: float, k: int) -> np.ndarray:
    """Maximal marginal relevance: each place goes to what is good and unlike what stands above it.

        next = argmax over what is left of weight s_i - (1 - weight) max over chosen j of sim_ij

    (Carbonell & Goldstein 1998, doi:10.1145/290941.291025.)

    Parameters
    ----------
    scores : ndarray (n,), of the candidates, in the unit of the similarities
    similarity : ndarray (n, n)
    weight : float, 0 to 1; 1 is the order of the scores
    k : int, 1 to n, places

    Returns
    -------
    int ndarray (k,), candidates in their new order; of equal ones the first

    Raises
    ------
    ValueError for numbers out of range, and other shapes.
    """
    n = len(scores)
    check_within(0, 1, weight=weight)
    check_within(1, n, k=k)
    check_shape("similarity", similarity, (n, n))
    gain, nearest = weight * np.asarray(scores, dtype=float), np.full(n, -np.inf)
    chosen: list[int] = []
    for _ in range(k):
        # Before anything stands above, nothing is near.
        value = gain - (1 - weight) * nearest if chosen else gain.copy()
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        nearest = np.maximum(nearest, similarity[chosen[-1]])
    return np.array(chosen)


def dpp_greedy(kernel: np.ndarray, k: int) -> np.ndarray:
    """A likely set of a determinantal point process, found greedily: P(set) ~ det of its kernel.

    With L_ij = q_i q_j cos(i, j) a set is likely whose items are good (long) and unlike each other
    (at right angles). Each place goes to the item that multiplies the determinant most, by

        d_i^2 = L_ii - |c_i|^2

    where c_i are the item's coordinates in the chosen ones' span, which grow by one number each
    step: O(n k) a step (Chen, Zhang & Zhou 2018, arXiv:1709.05135, algorithm 1).

    Parameters
    ----------
    kernel : ndarray (n, n), L, symmetric and positive semi-definite
    k : int, 1 to n

    Returns
    -------
    int ndarray (at most k,), candidates in the order in which they were chosen. Fewer than k where
        whatever is left lies in the span of the chosen ones

    Raises
    ------
    ValueError for a k out of range, and a kernel that is not square.
    """
    kernel = np.asarray(kernel, dtype=float)
    n = len(kernel)
    check_shape("kernel", kernel, (n, n))
    check_within(1, n, k=k)
    coordinates = np.zeros((k, n))  # c
    left = np.diag(kernel).copy()  # d^2
    least = 1e-10 * left  # of each item's own length: below it there is rounding
    chosen: list[int] = []
    for step in range(k):
        left[left <= least] = -np.inf
        item = int(left.argmax())
        if np.isneginf(left[item]):
            break
        chosen.append(item)
        span = coordinates[:step]  # (step, n)
        coordinates[step] = (kernel[item] - span[:, item] @ span) / np.sqrt(left[item])
        left -= coordinates[step] ** 2
        left[chosen] = -np.inf
    return np.array(chosen, dtype=int)


def taste_divergence(taste: np.ndarray, shares: np.ndarray, smoothing: float = 0.01) -> float:
    """How far a list's genres are from the user's: KL(p || q~), q~ = (1 - a) q + a p.

    (Steck 2018, doi:10.1145/3240323.3240372, equations 4 and 5, with a = 0.01.)

    Parameters
    ----------
    taste : ndarray (n_genres,), p, the genres' shares of what the user liked; sums to 1
    shares : ndarray (n_genres,), q, their shares of the list; sums to 1
    smoothing : float in (0, 1), a: a genre that is not in the list costs no infinity

    Returns
    -------
    float >= 0, in nats; 0 for the same shares

    Raises
    ------
    ValueError for other shapes, or a smoothing out of range.
    """
    taste, shares = np.asarray(taste, dtype=float), np.asarray(shares, dtype=float)
    check_shape("shares", shares, taste.shape)
    if not 0 < smoothing < 1:
        raise ValueError(f"smoothing must be in (0, 1), got {smoothing}")
    return float(_divergences(taste, shares[None], smoothing)[0])


def _divergences(taste: np.ndarray, shares: np.ndarray, smoothing: float = 0.01) -> np.ndarray:
    """`taste_divergence` of many lists (n, n_genres)."""
    some = taste > 0
    mixed = (1 - smoothing) * shares[:, some] + smoothing * taste[some]
    return (taste[some] * np.log(taste[some] / mixed)).sum(axis=1)


def calibrated(
    scores: np.ndarray, genres: np.ndarray, taste: np.ndarray, weight: float, k: int
) -> np.ndarray:
    """A list whose genres come in the proportions of the user's likes, found greedily.

        argmax over sets of (1 - weight) sum of s_i - weight KL(p || q of the set)

    (Steck 2018, equation 6; greedy, as he does. His 1 - 1 / e is of a monotone submodular objective
    and counted from the empty set. Here each place is judged by the shares of the list so far, so
    that the steps do not share one objective: nothing is promised, only measured.)

    Parameters
    ----------
    scores : ndarray (n,)
    genres : ndarray (n, n_genres), each candidate's shares, rows sum to 1
    taste : ndarray (n_genres,), p
    weight : float, 0 to 1; 0 is the order of the scores
    k : int, 1 to n

    Returns
    -------
    int ndarray (k,)

    Raises
    ------
    ValueError for numbers out of range, and other shapes.
    """
    n = len(scores)
    check_within(0, 1, weight=weight)
    check_within(1, n, k=k)
    check_shape("genres", genres, (n, len(taste)))
    scores, taste = np.asarray(scores, dtype=float), np.asarray(taste, dtype=float)
    chosen: list[int] = []
    total = np.zeros(len(taste))
    for step in range(k):
        shares = (total + genres) / (step + 1)  # (n, n_genres), with each candidate added
        value = (1 - weight) * scores - weight * _divergences(taste, shares)
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
        total += genres[chosen[-1]]
    return np.array(chosen)


def order_scores(orders: Sequence[np.ndarray], n: int) -> np.ndarray:
    """What `reranking.Candidates.judge` takes, from the order of each user's first candidates.

    Parameters
    ----------
    orders : sequence of int ndarray (k,), places among the candidates, the first one first; what is
        not in it keeps its order behind
    n : int, candidates per user

    Returns
    -------
    ndarray (n_users, n), higher for what comes first

    Examples
    --------
    >>> order_scores([np.array([2, 0])], n=4)
    array([[3., 0., 4., 0.]])
    """
    check_positive(n=n)
    scores = np.zeros((len(orders), n))
    for row, order in zip(scores, orders, strict=True):
        row[order] = n - np.arange(len(order), dtype=float)
    return scores
