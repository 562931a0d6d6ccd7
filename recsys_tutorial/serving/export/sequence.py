"""SASRec's forward pass from its tables, event after event, in NumPy: the page does the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial.models import AttentionBlock, SASRec
from recsys_tutorial.models._events import last_events, likes_in_time
from recsys_tutorial.serving.export.tables import ShortVectors, short_vectors

__all__ = ["SequenceScores", "sequence_tables"]

_EPSILON = 1e-5  # added to a variance, as torch's LayerNorm does
# What a block is made of, by torch's names, and by ours.
_PARTS = {
    "norm": "norm",
    "qkv": "qkv",
    "out": "out",
    "inner_norm": "inner_norm",
    "inner.0": "inner_first",
    "inner.3": "inner_second",
}


def sequence_tables(model: SASRec) -> dict[str, np.ndarray]:
    """What `SequenceScores` reads, of a fitted model.

    Parameters
    ----------
    model : SASRec of `AttentionBlock`s with one head, places and a popularity prior, no clock

    Returns
    -------
    dict of ndarray: ``numbers`` int8 (n_items, dim) and ``scales`` float32 (n_items,), the items'
    vectors; ``positions`` float32 (max_length, dim); ``prior`` float32 (n_items,); ``norm_weight``
    and so on, float32, of the last norm; ``0_qkv_weight`` and so on of each block, float32

    Raises
    ------
    ValueError
        For a model with other parts.
    """
    plain = all(isinstance(b, AttentionBlock) and b.n_heads == 1 for b in model.blocks)
    if not plain or model.positions is None or model.clock or not model.popularity_prior:
        raise ValueError(
            "only a SASRec of AttentionBlocks with one head, positions, a popularity prior and no "
            "clock can be exported"
        )
    dim = model.item_tower.dim
    vectors = model.encode_items()  # (n_items, dim + 1)
    short = short_vectors(vectors[:, :dim])
    tables = {"numbers": short.numbers, "scales": short.scales}
    prior = model.popularity_weight.item() * vectors[:, dim]
    tables["prior"] = prior.astype(np.float32)
    tables["positions"] = _floats(model.positions.weight)
    modules = {"norm": model.norm}
    for number, block in enumerate(model.blocks):
        found = dict(block.named_modules())
        modules |= {f"{number}_{ours}": found[theirs] for theirs, ours in _PARTS.items()}
    for name, module in modules.items():
        tables[f"{name}_weight"] = _floats(module.weight)
        tables[f"{name}_bias"] = _floats(module.bias)
    return tables


def _floats(tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy().astype(np.float32)


@dataclass(frozen=True)
class SequenceScores:
    """SASRec's scores from `sequence_tables`.

    Attributes
    ----------
    tables : mapping name -> ndarray
    """

    tables: Mapping[str, np.ndarray]

    reads_times = True

    @property
    def n_blocks(self) -> int:
        """How many blocks."""
        return sum(name.endswith("_qkv_weight") for name in self.tables)

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
        float64 ndarray (n_users, n_items); who liked nothing has the prior alone
        """
        n_items = len(self.tables["scales"])
        history, times = likes_in_time(history, "history", times, n_items)
        events = last_events(history, times, len(self.tables["positions"]))
        vectors = ShortVectors(self.tables["numbers"], self.tables["scales"]).vectors
        states = np.zeros((len(events), vectors.shape[1]))
        for user, length in enumerate(events.lengths):
            if length:
                states[user] = self.state(vectors[events.items[user, :length]])
        return states @ vectors.T + self.tables["prior"].astype(np.float64)

    def state(self, vectors: np.ndarray) -> np.ndarray:
        """What the network makes of one history.

        Parameters
        ----------
        vectors : float64 ndarray (n, dim), the events' items, n at most the places there are

        Returns
        -------
        float64 ndarray (dim,), the state after the last event
        """
        n, dim = vectors.shape
        x = vectors * np.sqrt(dim) + self.tables["positions"][:n].astype(np.float64)
        for number in range(self.n_blocks):
            x = self._block(x, f"{number}_")
        return self._norm(x, "norm")[-1]

    def _block(self, x: np.ndarray, block: str) -> np.ndarray:
        """Attention to earlier events, then a small network; both are added: (n, dim)."""
        n, dim = x.shape
        q, k, v = np.split(self._linear(self._norm(x, f"{block}norm"), f"{block}qkv"), 3, axis=1)
        logits = q @ k.T / np.sqrt(dim)  # (n, n)
        logits[np.triu_indices(n, 1)] = -np.inf  # nothing sees what comes after it
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        x = x + self._linear(shares @ v, f"{block}out")
        inner = self._linear(self._norm(x, f"{block}inner_norm"), f"{block}inner_first")
        return x + self._linear(np.maximum(inner, 0), f"{block}inner_second")

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.tables[f"{name}_weight"].T.astype(np.float64) + self.tables[f"{name}_bias"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + _EPSILON)
        return x * self.tables[f"{name}_weight"] + self.tables[f"{name}_bias"]
