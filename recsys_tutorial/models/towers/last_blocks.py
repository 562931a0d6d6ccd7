"""Fine-tune the last blocks of a BERT without running the others more than once."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_within
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models.towers._with_encoder import WithEncoder
from recsys_tutorial.models.towers.rows import ProjectionHead

_BLOCK = 256  # texts that are read at a time where no gradient is needed
_STEP = 64  # and where one is


class LastBlocksTower(WithEncoder):
    """Row number -> its text -> the last blocks of a BERT -> head; the blocks below are cached.

    What stays frozen gives the same hidden states at every step, so each text goes through the
    lower blocks once, and training starts from there. `encoder` holds the last blocks alone: it
    takes ``unfreeze`` and ``add_lora`` as usual, and learns as a whole encoder would whose lower
    blocks are frozen.

    Parameters
    ----------
    texts : sequence of str (n_rows,)
    dim : int, length of the vectors
    n_blocks : int, blocks that can be trained
    name : see `TextEncoder`; hidden states take 4 * width bytes for each token
    **head : hidden and dropout, see `ProjectionHead`

    Attributes
    ----------
    encoder : TextEncoder, the last blocks; vectors are not scaled to length 1

    Raises
    ------
    ValueError
        For a number of blocks that BERT does not have.
    """

    def __init__(
        self,
        texts: Sequence[str],
        dim: int,
        *,
        n_blocks: int = 2,
        name: str | os.PathLike = "all-MiniLM-L6-v2",
        **head,
    ):
        super().__init__()
        self.encoder = TextEncoder(name, normalize=False)
        check_within(1, self.encoder.n_layers, n_blocks=n_blocks)
        n_lower = self.encoder.n_layers - n_blocks
        lower = TextEncoder(name, layer=n_lower)
        self._lower = [lower]  # in a list: no part of ours
        del self.encoder.blocks[:n_lower]
        self.encoder.model.embeddings = _Passed()
        self.n_rows, self.dim = len(texts), dim
        self.fingerprint = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
        self.states, self.lengths = self._token_states(list(texts))
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.head = ProjectionHead(self.encoder.dim, dim, **head)

    def vectors(self, rows: Tensor | None = None) -> Tensor:
        """What the encoder says of some rows (n, width), before the head.

        Parameters
        ----------
        rows : int64 Tensor (n,), or None for all
        """
        rows = torch.arange(self.n_rows) if rows is None else rows.cpu()
        if torch.is_grad_enabled() and self.encoder.n_trainable:
            return self._by_length(self.states, self.starts[rows], self.lengths[rows], _STEP)
        return self._without_gradient(self.states, self.starts[rows], self.lengths[rows])

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None: (n, dim)."""
        return self.head(self.vectors(rows))

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of any texts; gradients reach the head only."""
        states, lengths = self._token_states(list(texts))
        starts = lengths.cumsum(0) - lengths
        return self.head(self._without_gradient(states, starts, lengths))

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return {"texts": self.fingerprint, "rows": self.n_rows, **self.encoder.settings}

    def _token_states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Hidden states of all tokens, text after text (n_tokens, width), and tokens per text."""
        lower, states, lengths = self._lower[0], [], []
        with torch.no_grad():
            for start in range(0, len(texts), _BLOCK):
                inputs = lower.prepare(texts[start : start + _BLOCK])
                real = inputs["attention_mask"].bool()  # (batch, longest)
                states.append(lower.hidden_states(inputs)[real.to(lower.device)])
                lengths.append(real.sum(1))
        return torch.cat(states), torch.cat(lengths)

    def _through_encoder(self, states: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        places = torch.arange(int(lengths.max()))
        real = places < lengths[:, None]  # (batch, longest)
        index = torch.where(real, starts[:, None] + places, 0).to(states.device)
        inputs = {"inputs_embeds": states[index], "attention_mask": real.long().to(states.device)}
        return self.encoder(inputs)  # (batch, width)

    def _by_length(self, states: Tensor, starts: Tensor, lengths: Tensor, size: int) -> Tensor:
        """In blocks of texts that are about equally long: next to no padding."""
        order = np.argsort(lengths.numpy(), kind="stable")
        blocks = np.split(order, range(size, len(order), size))
        vectors = torch.cat(
            [self._through_encoder(states, starts[rows], lengths[rows]) for rows in blocks]
        )
        return vectors[np.argsort(order)]

    def _without_gradient(self, states: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        with torch.no_grad():
            return self._by_length(states, starts, lengths, _BLOCK)


class _Passed(nn.Module):
    """In place of a BERT's embeddings: the hidden states come from outside."""

    def forward(self, inputs_embeds: Tensor, **_) -> Tensor:
        return inputs_embeds
