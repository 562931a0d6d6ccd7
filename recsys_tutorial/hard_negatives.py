"""Negatives from the model itself, and mixtures; the plain samplers are in `sampling`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least
from recsys_tutorial._likes import as_likes
from recsys_tutorial.retrieval import top_k
from recsys_tutorial.sampling import UniformNegatives

__all__ = ["HardNegatives", "MixedNegatives"]


class HardNegatives:
    """Draws from the items that the present model scores highest for a user, liked ones left out.

    Call `refresh` now and then while the model learns: what is hard changes. An item that scores
    close to the positive, or above it, may well be one that the user would like: with `margin`
    only items are drawn that score at least that much below the positive (Moreira et al. 2024,
    arXiv:2407.15831, section 3.1.1: TopK-MarginPos). Where none is left, the draw is uniform.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items), > 0 where liked
    depth : int, from how many of the best items to draw
    margin : float or None, in units of the score
    skip : int, the best items that are never drawn: another guard against false negatives

    Attributes
    ----------
    items_, scores_ : ndarray (n_users, depth), what `refresh` found; -1 and -inf where a user has
        fewer items left

    Raises
    ------
    ValueError for a depth below 1 or a skip below 0, and when a user likes every item.
    """

    def __init__(
        self, train: sparse.csr_matrix, depth: int = 50, margin: float | None = None, skip: int = 0
    ):
        check_at_least(1, depth=depth)
        check_at_least(0, skip=skip)
        self.train = as_likes(train, "train")
        self.depth, self.margin, self.skip = depth, margin, skip
        self._uniform = UniformNegatives(self.train)
        self.items_: np.ndarray | None = None

    def refresh(self, user_vectors: np.ndarray, item_vectors: np.ndarray) -> HardNegatives:
        """Search again, with the vectors of the present model; return the sampler.

        The search reads the vectors rounded to a millionth of the largest number in them. What
        another processor computes differs in the last bit, and here that bit would choose: another
        negative is another training run.

        Parameters
        ----------
        user_vectors : ndarray (n_users, dim)
        item_vectors : ndarray (n_items, dim); a score is the dot product of the two

        Raises
        ------
        ValueError as `retrieval.top_k`.
        """
        self._vectors = on_grid(user_vectors), on_grid(item_vectors)
        items, scores = top_k(*self._vectors, self.skip + self.depth, seen=self.train)
        self.items_, self.scores_ = items[:, self.skip :], scores[:, self.skip :]
        return self

    def draw(self, users, rng, n_negatives=None, *, positives=None) -> np.ndarray:
        """Item columns, int64; see `protocols.Negatives`. The margin is below `positives`.

        Raises
        ------
        ValueError before `refresh`, and for a margin without positives.
        """
        if self.items_ is None:
            raise ValueError("there is no index yet: call refresh(user_vectors, item_vectors)")
        if self.margin is not None and positives is None:
            raise ValueError("a margin needs the positives whose score it is measured from")
        wide = self._uniform.draw(users, rng, n_negatives or 1)  # (batch, n), where none is left
        users = np.asarray(users, dtype=np.int64)
        able = self.items_[users] >= 0  # (batch, depth)
        if self.margin is not None:
            u, v = self._vectors[0][users], self._vectors[1][positives]
            able &= self.scores_[users] <= (u * v).sum(1, keepdims=True) - self.margin
        n_able = able.sum(1, keepdims=True)
        # the r-th able one of each row, for r uniform: able ones to the front, in their order
        order = np.argsort(~able, axis=1, kind="stable")
        r = rng.integers(np.maximum(n_able, 1), size=wide.shape)
        hard = np.take_along_axis(self.items_[users], np.take_along_axis(order, r, 1), 1)
        drawn = np.where(n_able > 0, hard, wide)
        return drawn[:, 0] if n_negatives is None else drawn


def on_grid(values: np.ndarray, bits: int = 20) -> np.ndarray:
    """Round to multiples of 2^-bits times the power of two above the largest magnitude.

    With 20 bits the products of such numbers, and sums of up to 2^13 products, are exact in
    float64: a dot product is then the same in whatever order it is added up.

    Parameters
    ----------
    values : ndarray of any shape, finite
    bits : int

    Returns
    -------
    float64 ndarray of that shape
    """
    values = np.asarray(values, dtype=np.float64)
    _, exponent = np.frexp(np.abs(values).max(initial=0.0))
    step = np.ldexp(1.0, int(exponent) - bits)
    return np.rint(values / step) * step


class MixedNegatives:
    """Draws each negative from one of several samplers.

    Popular negatives teach what is popular, uniform ones reach every item, hard ones the border
    (mixed negative sampling, Yang et al. 2020, doi:10.1145/3366424.3386195, of the first two).

    Parameters
    ----------
    samplers : sequence of samplers
    shares : sequence of float >= 0, one each, that sum to 1

    Raises
    ------
    ValueError for another number of shares than of samplers, and for shares that are negative or do
    not sum to 1.
    """

    def __init__(self, samplers: Sequence, shares: Sequence[float]):
        self.samplers, self.shares = list(samplers), np.asarray(shares, dtype=np.float64)
        if len(self.samplers) != len(self.shares) or not len(self.shares):
            raise ValueError(f"{len(self.samplers)} samplers need as many shares, got {shares}")
        if (self.shares < 0).any() or not np.isclose(self.shares.sum(), 1):
            raise ValueError(f"shares must not be negative and sum to 1, got {shares}")

    def draw(self, users, rng, n_negatives=None, *, positives=None) -> np.ndarray:
        """Item columns, int64; see `protocols.Negatives`."""
        drawn = [s.draw(users, rng, n_negatives, positives=positives) for s in self.samplers]
        which = rng.choice(len(drawn), p=self.shares, size=drawn[0].shape)
        return np.choose(which, drawn)

    def log_q(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Log probability of one draw; ValueError if a sampler, such as hard ones, has none."""
        if not all(hasattr(s, "log_q") for s in self.samplers):
            raise ValueError("hard negatives have no known probability: there is no log_q")
        parts = [s.log_q(users, items) for s in self.samplers]
        return np.logaddexp.reduce(
            [np.log(w) + p for w, p in zip(self.shares, parts, strict=True) if w > 0]
        )
