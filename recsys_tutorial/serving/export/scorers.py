"""Models that score from exported tables alone: in NumPy what the page does in JavaScript.

They were fitted elsewhere, so there is no `fit`; `score` is that of `protocols.Recommender`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial._likes import check_history
from recsys_tutorial.models import unit_rows
from recsys_tutorial.serving.export.tables import Neighbours, ShortVectors

__all__ = ["ContentScores", "NeighbourScores", "TowerScores"]


@dataclass(frozen=True)
class NeighbourScores:
    """score(u, i) = sum over j liked by u of w_ji: EASE and item neighbours, cut to the strongest.

    Attributes
    ----------
    neighbours : Neighbours (n_items,)
    """

    neighbours: Neighbours

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """Sums of weights.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)

        Returns
        -------
        float64 ndarray (n_users, n_items)
        """
        history = check_history(history, len(self.neighbours.counts))
        return (history @ self.neighbours.matrix).toarray()


@dataclass(frozen=True)
class TowerScores:
    """score(u, i) = sum over j liked of a_j . b_i / sqrt(n liked) + w log(1 + n_i): a two-tower.

    Attributes
    ----------
    users : ShortVectors (n_items, dim), a: what a liked item says about the user
    items : ShortVectors (n_items, dim), b
    prior : float64 ndarray (n_items,), w log(1 + n_i)
    """

    users: ShortVectors
    items: ShortVectors
    prior: np.ndarray

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """Dot products of the two sides, and the prior.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), 1 where liked

        Returns
        -------
        float64 ndarray (n_users, n_items)
        """
        history = check_history(history, len(self.prior))
        length = np.sqrt(np.maximum(np.asarray(history.sum(axis=1)), 1))  # (n_users, 1)
        users = history @ self.users.vectors / length  # (n_users, dim)
        return users @ self.items.vectors.T + self.prior


@dataclass(frozen=True)
class ContentScores:
    """score(u, i) = sum over j liked by u of max(0, cos(v_i, v_j)): chapter 3's kernel.

    Attributes
    ----------
    short : ShortVectors (n_items, dim)
    """

    short: ShortVectors

    @property
    def units(self) -> np.ndarray:
        """The vectors, each of length 1: float64 ndarray (n_items, dim)."""
        return unit_rows(self.short.vectors)

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """Sums of cosines.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)

        Returns
        -------
        float64 ndarray (n_users, n_items)
        """
        history = check_history(history, len(self.short.scales))
        liked, units = np.unique(history.indices), self.units
        cosines = np.maximum(units[liked] @ units.T, 0)  # (n_liked, n_items)
        return history[:, liked] @ cosines
