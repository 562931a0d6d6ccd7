"""The list that a reader gets: a model's scores, a wish, and what the sliders ask for.

    1. s = (1 - a) standardised model + a standardised wish       a = 0 without a wish
    2. s = s + p standardised log(1 + likes)                      the popularity slider
    3. s = s + T g, with g from a Gumbel distribution             the temperature slider
    4. of the 100 best, brought to 0..1, those that are unlike what stands above   diversity

With 3 the order is a draw without replacement from the softmax of s / T (the Gumbel-top-k trick:
Kool et al. 2019, arXiv:1903.06059). Numbers are rounded before they are compared, so that the last
bit of a sum decides nothing, here or in the page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_shape, check_within
from recsys_tutorial.ranking import rank, standardize, tie_key
from recsys_tutorial.trust import mmr

__all__ = ["Wanted", "page_list", "reasons"]

N_CANDIDATES = 100  # that diversity may choose from
DIGITS = 9  # behind the point, of scores that are compared


@dataclass(frozen=True)
class Wanted:
    """Where the page's sliders stand.

    Attributes
    ----------
    wish : float, 0 to 1, the say of the wish in words; the model has the rest
    popularity : float, how much popular films are preferred; below 0, avoided
    temperature : float >= 0; at 0 nothing is drawn
    diversity : float, 0 to 1; at 0 scores alone decide
    seed : int, another one is another draw

    Raises
    ------
    ValueError
        For a number out of range.
    """

    wish: float = 0.5
    popularity: float = 0.0
    temperature: float = 0.0
    diversity: float = 0.0
    seed: int = 0

    def __post_init__(self):
        check_within(0, 1, wish=self.wish, diversity=self.diversity)
        check_at_least(0, temperature=self.temperature)
        check_within(-100, 100, popularity=self.popularity)


def page_list(
    scores: np.ndarray,
    liked: np.ndarray,
    log_likes: np.ndarray,
    units: np.ndarray,
    wanted: Wanted,
    k: int = 10,
    wish_scores: np.ndarray | None = None,
) -> np.ndarray:
    """The k films that one reader is shown.

    Parameters
    ----------
    scores : ndarray (n_items,), a model's
    liked : int ndarray, columns of what the reader likes: left out
    log_likes : ndarray (n_items,), log(1 + likes)
    units : ndarray (n_items, dim) of length 1, whose cosines say how alike two items are
    wanted : Wanted
    k : int, 1 to 100
    wish_scores : ndarray (n_items,) or None, how well each item suits the wish

    Returns
    -------
    int ndarray (k,), columns, the best first

    Raises
    ------
    ValueError
        For arrays of other shapes, or a k out of range.
    """
    n = len(scores)
    check_within(1, min(N_CANDIDATES, n - len(liked)), k=k)
    check_shape("log_likes", log_likes, (n,))
    total = standardize(scores[None])[0]
    if wish_scores is not None:
        check_shape("wish_scores", wish_scores, (n,))
        # Without likes a model knows nothing of the reader, and the wish says all.
        share = wanted.wish if len(liked) else 1.0
        total = (1 - share) * total + share * standardize(wish_scores[None])[0]
    total = total + wanted.popularity * standardize(log_likes[None])[0]
    if wanted.temperature:
        total = total + wanted.temperature * gumbel(n, wanted.seed)
    total = total.round(DIGITS)
    seen = sparse.csr_matrix(
        (np.ones(len(liked)), (np.zeros(len(liked), int), liked)), shape=(1, n)
    )
    if not wanted.diversity:
        return rank(total[None], seen, k)[0]
    best = rank(total[None], seen, min(N_CANDIDATES, n - len(liked)))[0]
    high, low = total[best[0]], total[best[-1]]
    relevance = (total[best] - low) / (high - low if high > low else 1.0)
    alike = (units[best] @ units[best].T).round(DIGITS)
    return best[mmr(relevance, alike, 1 - wanted.diversity, k)]


def gumbel(n: int, seed: int) -> np.ndarray:
    """Numbers from the standard Gumbel distribution, the same on every machine.

    Parameters
    ----------
    n : int
    seed : int

    Returns
    -------
    float64 ndarray (n,): -log(-log(u)), u from the upper 53 bits of `ranking.tie_key`
    """
    uniform = ((tie_key(np.arange(n), seed=seed) >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    return -np.log(-np.log(uniform))


def reasons(weights: np.ndarray, liked: np.ndarray, n: int = 3) -> list[tuple[int, float]]:
    """Which of a reader's likes speak for an item, of a model that adds up likes.

    Parameters
    ----------
    weights : ndarray (n_liked,), what each like adds to the item's score
    liked : int ndarray (n_liked,), columns
    n : int >= 1, at most

    Returns
    -------
    list of (column, share of all that speaks for the item), the largest first; of equal ones the
    earlier like

    Raises
    ------
    ValueError
        For another number of weights than of likes.
    """
    check_at_least(1, n=n)
    check_shape("weights", weights, (len(liked),))
    speaking = np.maximum(np.round(weights, DIGITS), 0)
    order = np.argsort(-speaking, kind="stable")[:n]
    total = speaking.sum()
    return [(int(liked[i]), float(speaking[i] / total)) for i in order if speaking[i] > 0]
