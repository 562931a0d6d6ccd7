"""Large matrices made small: vectors of int8 with a scale, and each item's strongest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_shape, finite_vectors
from recsys_tutorial.ranking import rank

__all__ = ["Neighbours", "ShortVectors", "item_weights", "short_vectors", "strongest"]

_LARGEST = 127  # of int8; -128 is not used, so that a vector and its negative are equally exact
_BLOCK = 256  # items at a time


@dataclass(frozen=True)
class ShortVectors:
    """Vectors as whole numbers from -127 to 127, and a scale for each.

    Attributes
    ----------
    numbers : int8 ndarray (n, dim)
    scales : float32 ndarray (n,): a vector is its numbers times its scale
    """

    numbers: np.ndarray
    scales: np.ndarray

    @property
    def vectors(self) -> np.ndarray:
        """float64 ndarray (n, dim)."""
        return self.numbers * self.scales.astype(np.float64)[:, None]


def short_vectors(vectors: np.ndarray) -> ShortVectors:
    """Round each vector to 127 steps of its own largest number.

    No number moves by more than half a step, that is 1 / 254 of the row's largest.

    Parameters
    ----------
    vectors : ndarray (n, dim)

    Returns
    -------
    ShortVectors; a row of zeros has the scale 0

    Raises
    ------
    ValueError
        For another shape, and a row with nan or infinity.

    Examples
    --------
    >>> short_vectors(np.array([[0.5, -1.0], [0.0, 0.0]])).numbers.tolist()
    [[64, -127], [0, 0]]
    """
    vectors = finite_vectors("vectors", vectors).astype(np.float64, copy=False)
    scales = (np.abs(vectors).max(axis=1) / _LARGEST).astype(np.float32)
    steps = np.where(scales > 0, scales, 1).astype(np.float64)[:, None]
    numbers = np.clip(np.rint(vectors / steps), -_LARGEST, _LARGEST)
    return ShortVectors(numbers.astype(np.int8), scales)


@dataclass(frozen=True)
class Neighbours:
    """For each item the items whose likes speak most for or against it.

    Attributes
    ----------
    counts : uint16 ndarray (n_items,), how many neighbours each item has
    sources : uint16 ndarray (counts.sum(),), the neighbours' columns, item after item, ascending
        within one
    weights : int8 ndarray (counts.sum(),)
    scales : float32 ndarray (n_items,): a weight is its number times the scale of its item
    """

    counts: np.ndarray
    sources: np.ndarray
    weights: np.ndarray
    scales: np.ndarray

    @property
    def matrix(self) -> sparse.csr_matrix:
        """csr_matrix (n_items, n_items), float64: row j says what a like of j adds to each item."""
        n = len(self.counts)
        items = np.repeat(np.arange(n), self.counts)
        values = self.weights * self.scales.astype(np.float64)[items]
        return sparse.csr_matrix((values, (self.sources, items)), shape=(n, n))


def item_weights(model, items: np.ndarray, n_items: int) -> np.ndarray:
    """What one like adds to the score of each item, of a model that adds up likes.

    EASE and item neighbours are such: score = history @ weights. The weights are what the model
    says of users who liked one item each.

    Parameters
    ----------
    model : with `score(history)`, linear in the history
    items : int ndarray (n,), the columns asked for: those that somebody liked
    n_items : int, columns of the catalogue

    Returns
    -------
    float64 ndarray (n, n): row j is a like of items[j]

    Raises
    ------
    ValueError
        For a model whose scores of two likes are not the sum of their weights.
    """
    n = len(items)
    ones = sparse.csr_matrix((np.ones(n), (np.arange(n), items)), shape=(n, n_items))
    weights = np.empty((n, n))
    for start in range(0, n, _BLOCK):
        weights[start : start + _BLOCK] = model.score(ones[start : start + _BLOCK])[:, items]
    both = sparse.csr_matrix(ones[: min(n, 20)].sum(axis=0))
    total, said = weights[: min(n, 20)].sum(axis=0), model.score(both)[0, items]
    # 1e-6 of the largest: sums in another order differ by 1e-12, a square root by far more.
    if not np.allclose(said, total, rtol=0, atol=1e-6 * max(np.abs(total).max(), 1e-12)):
        raise ValueError("the model does not add up likes: it has no weights between items")
    return weights


def strongest(weights: np.ndarray, items: np.ndarray, n_items: int, k: int) -> Neighbours:
    """Keep each item's k weights of the largest amount, rounded to int8.

    Parameters
    ----------
    weights : ndarray (n, n), as `item_weights` gives them
    items : int ndarray (n,), the columns that rows and columns of `weights` stand for, ascending
    n_items : int, at most 65,536
    k : int >= 1, neighbours of an item; of equal ones a fixed hash decides

    Returns
    -------
    Neighbours (n_items,); weights that round to 0 are left out

    Raises
    ------
    ValueError
        For numbers out of range, weights of another shape, and items that do not ascend.
    """
    check_at_least(1, k=k)
    check_shape("weights", weights, (len(items), len(items)))
    if n_items > 2**16:
        raise ValueError(f"n_items must be at most 65,536, got {n_items}: columns are uint16")
    if len(items) and (np.any(np.diff(items) <= 0) or items[0] < 0 or items[-1] >= n_items):
        raise ValueError(f"items must ascend from 0 to {n_items - 1}")
    counts, scales = np.zeros(n_items, np.uint16), np.zeros(n_items, np.float32)
    sources, numbers = [], []
    for start in range(0, len(items), _BLOCK):
        block = np.ascontiguousarray(weights[:, start : start + _BLOCK].T)  # (b, n)
        kept = np.sort(rank(np.abs(block), None, min(k, len(items))), axis=1)
        short = short_vectors(np.take_along_axis(block, kept, axis=1))
        there = short.numbers != 0
        columns = items[start : start + _BLOCK]
        counts[columns], scales[columns] = there.sum(axis=1), short.scales
        sources.append(items[kept[there]].astype(np.uint16))
        numbers.append(short.numbers[there])
    empty = [np.empty(0, np.uint16)], [np.empty(0, np.int8)]
    return Neighbours(
        counts, np.concatenate(sources or empty[0]), np.concatenate(numbers or empty[1]), scales
    )
