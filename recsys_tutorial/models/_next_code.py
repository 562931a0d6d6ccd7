"""What the decoder of codes is trained to do: write the code of each event after those before it.

As in `_next_item`, a loss for `training.train` once its keyword arguments are given.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recsys_tutorial._torch.precision import cross_entropy
from recsys_tutorial.models._events import Events


def next_code_loss(model, rows, rng, *, pieces: Events, first: np.ndarray) -> Tensor:
    """-log p(code of the next event), the sum over its words, in nats.

    Parameters
    ----------
    model : GenerativeRetriever
    rows : int ndarray (batch,), numbers of `pieces`
    rng : numpy Generator; nothing is drawn
    pieces : Events, see `_events.pieces`
    first : bool ndarray (n_pieces,), True where a piece opens a user's sequence: only there is the
        first event learned, since elsewhere the piece before has it as its last

    Returns
    -------
    scalar Tensor, the mean over events: comparable with `SASRec`'s softmax over items
    """
    events = pieces.rows(rows)
    states, _ = model.read(events, drop_last=True)  # (n, m * n_levels, dim)
    wanted = events.there
    wanted[:, 0] &= first[rows]
    items = events.items[wanted]
    wanted = torch.from_numpy(wanted).to(states.device)
    codes = torch.from_numpy(model.tree.codes[items]).to(states.device)  # (n_events, n_levels)
    states = states.unflatten(1, (-1, model.tree.n_levels))[wanted]  # (n_events, n_levels, dim)
    beginnings = [np.zeros(len(items), np.int64)] + [
        node[items] for node in model.tree.node_of[:-1]
    ]
    beginnings = [torch.from_numpy(nodes).to(states.device) for nodes in beginnings]
    return sum(
        cross_entropy(model.logits(states[:, level], level, nodes), codes[:, level])
        for level, nodes in enumerate(beginnings)
    )
