"""What models of sequences are trained to do: find, after each event, the one that came next.

Each is a loss for `training.train` once its keyword arguments are given, and takes the model, the
numbers of a batch's pieces and a generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recsys_tutorial._torch.precision import cross_entropy, dot_products
from recsys_tutorial.models._events import Events


def _states_and_next(model, pieces: Events) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """User vectors (m, d) after each event that has a next one, those (m,), the piece of each."""
    before = Events(pieces.items[:, :-1], pieces.times[:, :-1], pieces.lengths - 1)
    vectors = model.user_vectors(before)  # (n, length, d)
    there = before.there
    piece = np.repeat(np.arange(len(pieces)), pieces.lengths - 1)
    return vectors[torch.from_numpy(there).to(vectors.device)], pieces.items[:, 1:][there], piece


def next_item_softmax(model, rows, rng, *, pieces: Events, items: np.ndarray) -> Tensor:
    """-log softmax(s)_j of the next item j, over all `items`.

    Parameters
    ----------
    model : SASRec
    rows : int ndarray (batch,), numbers of `pieces`
    rng : numpy Generator; nothing is drawn
    pieces : Events, see `_events.pieces`
    items : int64 ndarray, ascending: the columns that the softmax is over, every next item's too

    Returns
    -------
    scalar Tensor, the mean over events, in nats
    """
    states, following, _ = _states_and_next(model, pieces.rows(rows))
    targets = torch.from_numpy(np.searchsorted(items, following)).to(states.device)
    return cross_entropy(dot_products(states, model.item_vectors(items)), targets)


def next_item_sampled(
    model, rows, rng, *, pieces: Events, users: np.ndarray, negatives, n_negatives: int,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:  # fmt: skip
    """A loss of the next item's score and of drawn items' scores.

    Parameters
    ----------
    model, rows, pieces : see `next_item_softmax`
    rng : numpy Generator, from which negatives are drawn
    users : int ndarray (n_pieces,), whose each piece is
    negatives : protocols.Negatives, over the users of training
    n_negatives : int, for each event
    loss : function of scores (m,) and (m, n_negatives) -> scalar Tensor

    Returns
    -------
    scalar Tensor
    """
    states, following, piece = _states_and_next(model, pieces.rows(rows))
    drawn = negatives.draw(users[rows][piece], rng, n_negatives)  # (m, n_negatives)
    both = np.column_stack([following, drawn])
    unique, place = np.unique(both, return_inverse=True)
    vectors = model.item_vectors(unique)[torch.from_numpy(place.reshape(both.shape))]
    scores = torch.einsum("md,mkd->mk", states, vectors)  # (m, 1 + n_negatives)
    return loss(scores[:, 0], scores[:, 1:])
