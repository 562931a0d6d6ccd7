"""The contracts of the package, each defined once: what fits together, and what may be left out.

They are `typing.Protocol`s: a class need not inherit from them, it has to have the methods. So a
model of your own, or another library's with a thin wrapper, stands beside those of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Negatives", "Policy", "Recommender", "Tower"]


@runtime_checkable
class Recommender(Protocol):
    """Scores every item for users it knows by their history alone; new users need no retraining.

    `models` are recommenders, with two exceptions. A `CrossEncoder` scores pairs of texts: it is
    the second stage of a recommender, over the candidates of a first (`reranking.Candidates`). A
    model with ``reads_times = True`` (`SASRec`, `MarkovChain`) reads a history in its order: its
    `fit` and `score` take the times of the likes as a second argument.
    """

    def fit(self, train: sparse.csr_matrix) -> Recommender:
        """Learn from what training users liked; return self.

        What is learned stands in attributes that end in an underscore. Any randomness comes from a
        seed that is an argument.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked. A stored zero is no like, and the
            matrix is not changed. Settings that only a fit needs are keyword arguments.
        """
        ...

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """How well each item suits each user; higher is better, and only the order counts.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked: users of any number, in training
            or not, each scored by their own row alone. Who liked nothing gets scores like anybody:
            those of popularity where the model has an opinion of it, else equal ones.

        Returns
        -------
        ndarray (n_users, n_items), float. Never nan; -inf means "do not recommend", which is what
        a reranker says of all items but its candidates. Items in the history are scored, too:
        `evaluation.rank` leaves them out.

        Raises
        ------
        ValueError for a history of another width than `train` had, before `fit`, or for a negative
        or missing like.
        """
        ...


@runtime_checkable
class Tower(Protocol):
    """A `torch.nn.Module` that turns what it reads into vectors (n, dim), with gradients.

    A tower over rows (`IdTower`, `FeatureTower`, `EncoderTower`, `SumTower`, `FusionTower`) has
    `n_rows`; one over histories (`HistoryTower`, `TextHistoryTower`) has `n_items` and
    ``reads_history = True``.
    """

    dim: int

    def forward(self, rows: Tensor | sparse.csr_matrix | None = None) -> Tensor:
        """Vectors (n, dim): of the rows (int64 Tensor) or of all for None; or of histories.

        A history is a csr_matrix (n_users, n_items), > 0 where liked; an empty one has the vector
        0.
        """
        ...

    def embed(self, things: Sequence) -> Tensor:
        """Vectors (n, dim) of things that have no row yet: a new film's text, a query."""
        ...


@runtime_checkable
class Negatives(Protocol):
    """Draws items that a user did not like, to hold against those they did.

    A sampler whose distribution is known also has ``log_q(users, items)``: the log probability,
    ndarray (batch, n), with which one draw for `users` (batch,) gives `items` (batch, n).
    """

    def draw(
        self,
        users: np.ndarray,
        rng: np.random.Generator,
        n_negatives: int | None = None,
        *,
        positives: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw item columns, int64, with replacement; never one that the user liked in training.

        Parameters
        ----------
        users : int ndarray (batch,), rows of the training matrix
        rng : numpy Generator
        n_negatives : int for a result (batch, n_negatives); None for one each, (batch,)
        positives : int ndarray (batch,), the item that each negative will be held against. Who
            draws without looking at it, like the uniform sampler, takes no notice.

        Raises
        ------
        ValueError for a user that is no row of the training matrix.
        """
        ...


@runtime_checkable
class Policy(Protocol):
    """Chooses what a shop's visitors are shown, and learns from what they click."""

    def choose(self, stock: np.ndarray) -> np.ndarray:
        """The day's lists.

        Parameters
        ----------
        stock : int ndarray (n_stock,), columns of the pictures that may be shown today

        Returns
        -------
        int ndarray (n_shoppers, n_slots): columns of the stock, the first place first, none twice
        in a list
        """
        ...

    def learn(self, shown: np.ndarray, clicks: np.ndarray) -> Any:
        """Learn from the day: both arrays (n_shoppers, n_slots), clicks 1 or 0."""
        ...
