"""Codes written side by side after one history: all that exist, or the best of each level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys_tutorial.models._code_network import CodeNetwork
from recsys_tutorial.models._events import Events
from recsys_tutorial.models._sequence_blocks import Kept


@dataclass(frozen=True)
class Beams:
    """Beginnings of codes, side by side for each user.

    Attributes
    ----------
    states : Tensor (n, n_beams, dim), after the last word
    total : Tensor (n, n_beams), log-probability so far
    own : keys and values of the words written, see `CodeNetwork.write`
    history, hidden : the same for what was read, and what of it lies beyond a history's end
    lengths : int64 Tensor (n,), events of the history
    """

    states: Tensor
    total: Tensor
    own: list[Kept] | None
    history: list[Kept]
    hidden: Tensor
    lengths: Tensor


def every_code(model: CodeNetwork, events: Events) -> Tensor:
    """The log-probability of each leaf of the tree, in its order.

    Parameters
    ----------
    model : CodeNetwork
    events : Events (n,) of at most `max_length`

    Returns
    -------
    Tensor (n, n_items)
    """
    tree, beams = model.tree, _begin(model, events)
    for level, (words, parents) in enumerate(zip(tree.words, tree.parents, strict=True)):
        kept = torch.from_numpy(parents * tree.sizes[level] + words).to(model.device)
        nodes = np.arange(parents.max() + 1)[None]  # all of the level before
        total = _totals(model, beams, level, nodes)
        beams = _grow(model, beams, level, total, kept.expand(len(events), -1))
    return beams.total


def beam_search(
    model: CodeNetwork, events: Events, seen: sparse.csr_matrix, n_beams: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each level the most probable beginnings that lead to an item which is not in `seen`.

    Parameters
    ----------
    model : CodeNetwork
    events : Events (n,) of at most `max_length`
    seen : csr_matrix (n, n_items), stored where an item must not be written
    n_beams : int

    Returns
    -------
    leaves : int64 ndarray (n, at most n_beams), numbers of the last level's nodes, best first
    log_probabilities : float64 ndarray of this shape, -inf where there is no further item
    """
    tree, open_nodes = model.tree, model.tree.open_nodes(seen)
    node, beams = np.zeros((len(events), 1), np.int64), _begin(model, events)
    rows = np.arange(len(events))[:, None, None]
    for level in range(tree.n_levels):
        child = tree.children(level)[node]  # (n, n_beams, size), -1: no code
        allowed = (child >= 0) & open_nodes[level][rows, np.maximum(child, 0)]
        # A beam without hope, of a user with fewer codes left than beams, stays without.
        allowed &= np.isfinite(beams.total.cpu().numpy())[:, :, None]
        forbidden = torch.from_numpy(~allowed).to(model.device).flatten(1)
        total = _totals(model, beams, level, node).masked_fill(forbidden, -torch.inf)
        width = min(n_beams, max(1, int(allowed.sum((1, 2)).max(initial=1))))
        kept = total.topk(width).indices
        node = np.take_along_axis(child.reshape(len(node), -1), kept.cpu().numpy(), 1)
        node = np.maximum(node, 0)
        beams = _grow(model, beams, level, total, kept)
    return node, beams.total.double().cpu().numpy()


def _begin(model: CodeNetwork, events: Events) -> Beams:
    """One beam a user, at the root: the state after the history's last word."""
    states, kept = model.read(events)
    n = torch.from_numpy(events.lengths).to(model.device)
    last = n * model.tree.n_levels  # its place
    hidden = torch.arange(states.shape[1], device=model.device) > last[:, None]
    state = states[torch.arange(len(n), device=model.device), last][:, None]  # (n, 1, dim)
    return Beams(state, state.new_zeros(len(n), 1), None, kept, hidden, n)


def _totals(model: CodeNetwork, beams: Beams, level: int, nodes: np.ndarray) -> Tensor:
    """Log p of each beam with each word of the level behind it, (n, n_beams * size)."""
    nodes = torch.from_numpy(nodes).to(model.device).expand(beams.states.shape[:2])
    shares = model.logits(beams.states, level, nodes).log_softmax(2)  # (n, n_beams, size)
    return (beams.total[:, :, None] + shares).flatten(1)


def _grow(model: CodeNetwork, beams: Beams, level: int, total: Tensor, kept: Tensor) -> Beams:
    """The chosen beams with their new words; `kept` (n, n_new) counts beam * size + word."""
    size, total = model.tree.sizes[level], total.gather(1, kept)
    if level == model.tree.n_levels - 1:  # a whole code: nothing comes after it
        return replace(beams, total=total)
    parent, word = kept // size, kept % size
    own = beams.own
    if own is not None:  # keys and values (n, n_heads, n_beams, n_written, d) go with their beam
        place = parent[:, None, :, None, None]
        own = [
            tuple(t.gather(2, place.expand(-1, t.shape[1], -1, *t.shape[3:])) for t in pair)
            for pair in own
        ]
    x = model.embed(word, level, beams.lengths[:, None].expand_as(word))
    states, own = model.write(x, beams.history, beams.hidden, own)
    return replace(beams, states=states, total=total, own=own)
