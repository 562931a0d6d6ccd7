"""Towers that run a pretrained encoder: for an item, and for a user as one text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys_tutorial._likes import as_likes
from recsys_tutorial._torch.modules import version
from recsys_tutorial.encoders.base import Encoder
from recsys_tutorial.models.pair_texts import user_texts
from recsys_tutorial.models.towers._with_encoder import WithEncoder
from recsys_tutorial.models.towers.rows import ProjectionHead

_BLOCK = 64  # users who are read at a time


class EncoderTower(WithEncoder):
    """A pretrained encoder (BERT for texts, ViT for pictures) with a head.

    As long as the encoder is frozen, each item is encoded once and only the head is run. After
    `encoder.unfreeze(...)` or `encoder.add_lora(...)` every training step runs the encoder.

    Parameters
    ----------
    encoder : TextEncoder or ImageEncoder
    items : sequence (n_rows,) of what it reads: texts, or pictures and their paths
    dim : int, length of the vectors
    **head : hidden and dropout, see `ProjectionHead`
    """

    def __init__(self, encoder: Encoder, items: Sequence, dim: int, **head):
        super().__init__()
        self.encoder, self.items = encoder, list(items)
        self.n_rows, self.dim = len(self.items), dim
        self.head = ProjectionHead(encoder.dim, dim, **head)
        self._frozen: tuple[int, Tensor] | None = None

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        rows = range(self.n_rows) if rows is None else rows.tolist()
        if self.encoder.n_trainable:
            items = [self.items[row] for row in rows]
            if not torch.is_grad_enabled():
                return self.embed(items)
            return self.head(self.encoder(self.encoder.prepare(items)))
        now = version(self.encoder, buffers=False)  # was it trained since?
        if self._frozen is None or self._frozen[0] != now:
            self._frozen = (now, self._tensor(self.encoder.encode(self.items)))
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


class TextHistoryTower(WithEncoder):
    """A user is one text: the titles they liked, read together by BERT, then a head.

    Of a long history `max_titles` are taken, evenly spaced over the catalogue's order. As long as
    the encoder is frozen, each text is encoded once; after `encoder.unfreeze(...)` or
    `encoder.add_lora(...)` every training step runs the encoder.

    Parameters
    ----------
    encoder : TextEncoder
    titles : sequence of str (n_items,)
    dim : int, length of the vectors
    max_titles : int; beyond the encoder's `max_tokens` nothing is read
    **head : hidden and dropout, see `ProjectionHead`
    """

    reads_history = True

    def __init__(
        self, encoder: Encoder, titles: Sequence[str], dim: int, *, max_titles: int = 15, **head
    ):
        super().__init__()
        self.encoder, self.titles, self.max_titles = encoder, list(titles), max_titles
        self.n_items, self.dim = len(self.titles), dim
        self.head = ProjectionHead(encoder.dim, dim, **head)
        self._frozen: tuple[int, dict[str, Tensor]] | None = None

    def texts(self, history: sparse.csr_matrix) -> list[str]:
        """What BERT reads of each user: list of str (n_users,).

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked
        """
        return user_texts(history, self.titles, self.max_titles, prefix="")

    def forward(self, history: sparse.csr_matrix) -> Tensor:
        """Of a csr_matrix (n_users, n_items); a user who liked nothing gets 0."""
        history = as_likes(history, "history", self.n_items)
        vectors = self.embed(self.texts(history))
        some = torch.from_numpy(np.diff(history.indptr) > 0).to(vectors.device)
        return vectors * some[:, None]

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Users as texts, for example a query."""
        if not len(texts):
            return self.head(self.head[-1].weight.new_zeros(0, self.encoder.dim))
        if not self.encoder.n_trainable:
            return self.head(self._remembered(texts))
        blocks = [texts[start : start + _BLOCK] for start in range(0, len(texts), _BLOCK)]
        return self.head(torch.cat([self.encoder(self.encoder.prepare(b)) for b in blocks]))

    def _remembered(self, texts: Sequence[str]) -> Tensor:
        """The frozen encoder's vectors, each computed once: (n, width)."""
        now = version(self.encoder, buffers=False)  # was it trained since?
        if self._frozen is None or self._frozen[0] != now:
            self._frozen = (now, {})
        known = self._frozen[1]
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known.update(zip(new, torch.from_numpy(self.encoder.encode(new)), strict=True))
        return torch.stack([known[text] for text in texts]).to(self.head[-1].weight.device)

    def describe(self) -> dict:
        """What a saved file must agree with."""
        digest = hashlib.sha256("\n".join(self.titles).encode()).hexdigest()[:16]
        return {"titles": digest, "max_titles": self.max_titles, **self.encoder.settings}
