"""Towers that run a pretrained encoder: for an item, and for a user as one text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recsys_tutorial._likes import as_likes
from recsys_tutorial.encoders.base import Encoder
from recsys_tutorial.models.towers.rows import ProjectionHead

__all__ = ["EncoderTower", "TextHistoryTower"]


class EncoderTower(nn.Module):
    """A pretrained encoder (BERT for texts, ViT for pictures) with a head.

    As long as the encoder is frozen, each item is encoded once and only the head is run. After
    `encoder.unfreeze(...)` or `encoder.add_lora(...)` every training step runs the encoder.

    Parameters
    ----------
    encoder : TextEncoder or ImageEncoder
    items : sequence of what it reads: texts, or pictures and their paths, one per row
    dim, hidden, dropout : see `ProjectionHead`
    augment : function item -> item, optional; applied in training, which then runs the encoder
    """

    def __init__(
        self,
        encoder: Encoder,
        items: Sequence,
        dim: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        augment: Callable | None = None,
    ):
        super().__init__()
        self.encoder, self.items, self.augment = encoder, list(items), augment
        self.n_rows, self.dim = len(self.items), dim
        self.head = ProjectionHead(encoder.dim, dim, hidden=hidden, dropout=dropout)
        self._frozen: tuple[int, Tensor] | None = None

    def train(self, mode: bool = True) -> EncoderTower:
        """Training mode; a frozen encoder stays in evaluation mode, without dropout."""
        return train_with_encoder(self, super().train, mode)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        rows = range(self.n_rows) if rows is None else rows.tolist()
        if torch.is_grad_enabled() and (self.encoder.n_trainable or self.augment):
            items = [self.items[row] for row in rows]
            if self.augment is not None and self.training:
                items = [self.augment(item) for item in items]
            return self.head(self.encoder(self.encoder.prepare(items)))
        if self.encoder.n_trainable:
            return self.embed([self.items[row] for row in rows])
        version = sum(p._version for p in self.encoder.parameters())  # were they trained since?
        if self._frozen is None or self._frozen[0] != version:
            self._frozen = (version, self._tensor(self.encoder.encode(self.items)))
        return self.head(self._frozen[1][list(rows)])

    def embed(self, items: Sequence) -> Tensor:
        """Vectors of any texts or pictures; gradients reach the head only."""
        return self.head(self._tensor(self.encoder.encode(items)))

    def _tensor(self, vectors: np.ndarray) -> Tensor:
        return torch.from_numpy(vectors).to(self.head[-1].weight.device)

    def describe(self) -> dict:
        """What a saved file must agree with."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(item.encode() if isinstance(item, str) else b"picture")
        return {"items": digest.hexdigest()[:16], "rows": self.n_rows, **self.encoder.settings}


class TextHistoryTower(nn.Module):
    """A user is one text: the titles they liked, read together by BERT, then a head.

    Of a long history `max_titles` are taken, evenly spaced over the catalogue's order.

    Parameters
    ----------
    encoder : TextEncoder
    titles : sequence of str, one per item
    dim, hidden, dropout : see `ProjectionHead`
    max_titles : int; beyond the encoder's `max_tokens` nothing is read
    """

    reads_history = True

    def __init__(
        self,
        encoder: Encoder,
        titles: Sequence[str],
        dim: int,
        *,
        max_titles: int = 15,
        hidden: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder, self.titles, self.max_titles = encoder, list(titles), max_titles
        self.n_items, self.dim = len(self.titles), dim
        self.head = ProjectionHead(encoder.dim, dim, hidden=hidden, dropout=dropout)

    def train(self, mode: bool = True) -> TextHistoryTower:
        """Training mode; a frozen encoder stays in evaluation mode, without dropout."""
        return train_with_encoder(self, super().train, mode)

    def texts(self, history: sparse.csr_matrix) -> list[str]:
        """What BERT reads of each user."""
        history = as_likes(history, "history", self.n_items)
        rows = np.split(history.indices, history.indptr[1:-1])
        n = [min(len(row), self.max_titles) for row in rows]
        chosen = [
            row[np.linspace(0, len(row) - 1, k).round().astype(int)] if k else []
            for row, k in zip(rows, n, strict=True)
        ]
        return ["; ".join(self.titles[column] for column in columns) for columns in chosen]

    def forward(self, history: sparse.csr_matrix) -> Tensor:
        """Of a csr_matrix (n_users, n_items)."""
        return self.embed(self.texts(history))

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Users as texts, for example a query."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder.n_trainable > 0):
            vectors = [
                self.encoder(self.encoder.prepare(texts[start : start + 64]))
                for start in range(0, len(texts), 64)
            ]
        return self.head(torch.cat(vectors))

    def describe(self) -> dict:
        """What a saved file must agree with."""
        digest = hashlib.sha256("\n".join(self.titles).encode()).hexdigest()[:16]
        return {"titles": digest, "max_titles": self.max_titles, **self.encoder.settings}


def train_with_encoder(tower: nn.Module, train: Callable, mode: bool) -> nn.Module:
    """Set `tower`, by its base class's `train`, and leave frozen encoders without dropout."""
    train(mode)
    tower.encoder.train(mode and tower.encoder.n_trainable > 0)
    return tower
