"""A user as a sequence: SASRec, a causal transformer over the items of a history.

The network is in `_sequence_network` and `_sequence_blocks`, how histories become sequences in
`_events`, what `fit` minimises in `_next_item`. How to read on, event by event, is in `reading`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys_tutorial._checks import check_at_least
from recsys_tutorial._likes import check_train
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.models._events import last_events, likes_in_time, pieces
from recsys_tutorial.models._histories import checked_popularity
from recsys_tutorial.models._next_item import next_item_sampled, next_item_softmax
from recsys_tutorial.models._sequence_blocks import AttentionBlock, HSTUBlock
from recsys_tutorial.models._sequence_network import SequenceNetwork
from recsys_tutorial.sampling import UniformNegatives
from recsys_tutorial.training import train as run_training

__all__ = ["AttentionBlock", "HSTUBlock", "SASRec"]

_BLOCK = 128  # users that are read at a time


class SASRec(SequenceNetwork):
    """score(u, j) = h . v_j + w log(1 + n_j), h = the last of blocks(v_1 + p_1, ..., v_n + p_n).

    v are the vectors of the item tower, times the root of their length where they go in; p belong
    to the places, the first event of what is read having the first. A block lets an event look at
    itself and at earlier ones, so one pass over a sequence gives the state after each of its
    events, and all of them learn at once. (Kang & McAuley 2018, arXiv:1808.09781; the popularity
    prior is ours, as in `TwoTower`. With ``block=HSTUBlock, clock=True`` it is the model of Zhai et
    al. 2024, arXiv:2402.17152, without the actions.)

    Start values come from torch's global generator: call ``torch.manual_seed`` before. `fit` goes
    on from the present weights.

    Parameters
    ----------
    item_tower : Module over the rows of the catalogue: `IdTower`, `FeatureTower` of a frozen
        encoder's vectors, or `SumTower` of both
    n_blocks, n_heads : int; the towers' length is a multiple of n_heads
    max_length : int, the most events that are read: of a longer history the last ones
    block : `AttentionBlock` or `HSTUBlock`
    positions : bool, a learned vector for each place; a place that no training sequence reaches
        keeps its start value, so that max_length should not be above what many users have
    clock : bool, a learned number for each distance and gap in time between two events
    dropout : float
    popularity_prior : bool
    dtype : of what is trained; by default float64 on a machine without a GPU, so that results
        repeat on other processors, else float32

    Attributes
    ----------
    history_ : DataFrame of `fit`, see `training.train`

    Raises
    ------
    ValueError
        For a number out of range, and a tower whose length the heads do not divide.
    """

    reads_times = True
    _kind = "a model of sequences"
    _mend = "Build the model from the parts of the one that was saved"

    def fit(
        self,
        train: sparse.csr_matrix,
        times: np.ndarray | sparse.csr_matrix,
        *,
        n_negatives: int | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        popularity: np.ndarray | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 0,
        **options,
    ) -> SASRec:
        """Learn, after each event of the training users, which one came next; return self.

        By default a softmax over all items that somebody liked. With `n_negatives` the next item is
        held against so many that are drawn evenly for each event from what the user never liked.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked
        times : ndarray (train.nnz,) in the order of ``train.indices``, or csr_matrix: when, in
            seconds, as `Split.like_times`
        n_negatives : int >= 1, or None for the softmax
        loss : function of scores (m,) and (m, n_negatives) -> scalar Tensor, with `n_negatives`:
            ``losses.bce_loss``, ``losses.gbce_loss`` with its settings, and so on
        popularity : ndarray (n_items,) >= 0, what the prior takes for n instead of the likes
        epochs, learning_rate, seed : see `training.train`
        batch_size : int, pieces of at most `max_length` steps
        **options : more of `training.train`'s

        Raises
        ------
        ValueError
            For `train` without two likes of one user or of another width, for times that do not
            fit, and where one of `n_negatives` and `loss` is given without the other.
        """
        likes, times = likes_in_time(train, "train", times, self.n_items)
        likes = check_train(likes)
        if (n_negatives is None) != (loss is None):
            raise ValueError("n_negatives and loss belong together: give both, or neither")
        if self.popularity_prior:
            self.log_popularity.copy_(checked_popularity(popularity, likes)[1])
        parts, users = pieces(likes, times, self.max_length, seed=seed)
        if not len(parts):
            raise ValueError("nobody has two likes in train: there is no next item to learn from")
        if n_negatives is None:
            objective = functools.partial(next_item_softmax, items=np.unique(likes.indices))
        else:
            check_at_least(1, n_negatives=n_negatives)
            objective = functools.partial(
                next_item_sampled, users=users, negatives=UniformNegatives(likes),
                n_negatives=n_negatives, loss=loss,
            )  # fmt: skip
        options |= {"epochs": epochs, "batch_size": batch_size, "seed": seed}
        objective = functools.partial(objective, pieces=parts)
        self.history_ = run_training(
            self, objective, len(parts), learning_rate=learning_rate, **options
        )
        return self

    def score(
        self, history: sparse.csr_matrix, times: sparse.csr_matrix | np.ndarray
    ) -> np.ndarray:
        """Scores of all items after the last event of each user.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked
        times : csr_matrix or ndarray, when, as `Holdout.history_times`

        Returns
        -------
        ndarray (n_users, n_items), float64; who liked nothing has the state 0

        Raises
        ------
        ValueError
            For a history of another width, or times that do not fit.
        """
        history, times = likes_in_time(history, "history", times, self.n_items)
        events = last_events(history, times, self.max_length)
        n, dim = history.shape[0], self.item_tower.dim + self.popularity_prior
        states = np.zeros((n, dim))
        states[:, self.item_tower.dim :] = self._weight()
        order = np.argsort(events.lengths, kind="stable")
        order = order[events.lengths[order] > 0]
        with evaluating(self):
            for rows in np.split(order, range(_BLOCK, len(order), _BLOCK)):
                found = self.user_vectors(events.rows(rows))
                last = torch.from_numpy(events.lengths[rows] - 1)
                states[rows] = found[torch.arange(len(rows)), last].double().cpu().numpy()
        return states @ self.encode_items().T

    def _description(self) -> dict:
        parts = {"block": type(self.blocks[0]).__name__, "max_length": self.max_length}
        return parts | super()._description()
