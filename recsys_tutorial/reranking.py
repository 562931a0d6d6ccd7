"""Retrieve, then rerank: the candidates of a first stage, and how good other orders of them are."""

from __future__ import annotations

import numpy as np

from recsys_tutorial._checks import check_within
from recsys_tutorial.evaluation import Evaluation, evaluate
from recsys_tutorial.ranking import rank, standardize
from recsys_tutorial.splits import Holdout


class Candidates:
    """The retriever's best items of held-out users, to be put into another order.

    Parameters
    ----------
    scores : ndarray (n_users, n_items), the retriever's
    holdout : Holdout; what a user has seen is no candidate
    n : int, candidates per user

    Attributes
    ----------
    ranked : int ndarray (n_users, n), columns, the retriever's best first
    scores : ndarray (n_users, n), what the retriever says of them
    liked : float ndarray (n_users, n), 1 where the candidate is a target: the order of an oracle

    Raises
    ------
    ValueError
        For a user with fewer than n items left, or scores of another shape than the holdout's.
    """

    def __init__(self, scores: np.ndarray, holdout: Holdout, n: int):
        self.holdout, self.ranked = holdout, rank(scores, holdout.seen, n)
        if (self.ranked < 0).any():
            row = int(np.flatnonzero((self.ranked < 0).any(axis=1))[0])
            raise ValueError(f"user row {row} has fewer than {n} candidates")
        self.scores = self.take(scores)
        self.liked = self.take(holdout.targets.toarray())

    def take(self, scores: np.ndarray) -> np.ndarray:
        """What another model says of the candidates.

        Parameters
        ----------
        scores : ndarray (n_users, n_items), the model's of the whole catalogue

        Returns
        -------
        ndarray (n_users, n), float64
        """
        return np.take_along_axis(np.asarray(scores, dtype=float), self.ranked, axis=1)

    def judge(self, scores: np.ndarray, depth: int | None = None) -> Evaluation:
        """Evaluate the lists in which the first `depth` candidates stand in the order of `scores`.

        The candidates behind them keep the retriever's order, and so do equal scores. Items that
        are no candidates are not recommended.

        Parameters
        ----------
        scores : ndarray (n_users, n) or (n_users, depth)
        depth : int, all candidates by default

        Returns
        -------
        Evaluation

        Raises
        ------
        ValueError
            For a depth outside 1 to n, or scores that are not finite or of another shape.
        """
        n_users, n = self.ranked.shape
        depth = n if depth is None else depth
        check_within(1, n, depth=depth)
        scores = np.asarray(scores, dtype=float)[:, :depth]
        if scores.shape != (n_users, depth) or not np.isfinite(scores).all():
            raise ValueError(f"scores must be finite and (n_users, {depth}), got {scores.shape}")
        order = np.argsort(-scores, axis=1, kind="stable")  # (n_users, depth)
        lists = np.hstack([np.take_along_axis(self.ranked, order, 1), self.ranked[:, depth:]])
        full = np.full(self.holdout.targets.shape, -np.inf)
        np.put_along_axis(full, lists, -np.arange(n)[None], axis=1)
        return evaluate(full, self.holdout)

    def mix(self, scores: np.ndarray, weight: float, depth: int | None = None) -> Evaluation:
        """Judge (1 - weight) retriever + weight `scores`, both standardised within the list.

        Parameters
        ----------
        scores : ndarray (n_users, n) or (n_users, depth), finite
        weight : float, 0 keeps the retriever's order
        depth : int, all candidates by default

        Returns
        -------
        Evaluation

        Raises
        ------
        ValueError
            As `judge` does.
        """
        retriever, other = standardize(self.scores[:, :depth]), standardize(scores[:, :depth])
        return self.judge((1 - weight) * retriever + weight * other, depth)
