"""The network of `GenerativeRetriever`: a causal transformer over the words of items' codes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least, check_within
from recsys_tutorial.models._catalogue import default_dtype
from recsys_tutorial.models._events import Events
from recsys_tutorial.models._saving import SavedModel
from recsys_tutorial.models._sequence_blocks import AttentionBlock, Kept, no_later
from recsys_tutorial.semantic_ids import CodeTree


class CodeNetwork(SavedModel):
    """Words in, for each place the next word's logits out; see `GenerativeRetriever`.

    A history of n events is read as a start sign and the n codes behind one another, so that place
    t >= 1 holds word (t - 1) % n_levels of event (t - 1) // n_levels.
    """

    def __init__(
        self,
        codes: np.ndarray,
        *,
        dim: int = 64,
        n_blocks: int = 2,
        n_heads: int = 2,
        max_length: int = 20,
        dropout: float = 0.1,
        constrained: bool = True,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_at_least(1, dim=dim, n_blocks=n_blocks, n_heads=n_heads, max_length=max_length)
        check_within(0, 1, dropout=dropout)
        if dim % n_heads:
            raise ValueError(f"{n_heads} heads do not divide the length {dim}")
        self.tree, self.max_length = CodeTree(codes), max_length
        sizes = self.tree.sizes
        self.offsets = 1 + np.cumsum((0, *sizes[:-1]))  # word 0 of each level; 0 is the start sign
        self.word = nn.Embedding(1 + sum(sizes), dim)
        self.level = nn.Embedding(1 + len(sizes), dim)  # 0: the start sign's
        self.event = nn.Embedding(max_length + 1, dim)  # a history, and the one that is written
        for table in (self.word, self.level, self.event):
            nn.init.normal_(table.weight, std=0.05)
        self.blocks = nn.ModuleList(
            AttentionBlock(dim, n_heads, dropout, max_length) for _ in range(n_blocks)
        )
        self.drop, self.norm = nn.Dropout(dropout), nn.LayerNorm(dim)
        self.heads = nn.ModuleList(nn.Linear(dim, size) for size in sizes)
        for level in range(len(sizes) * constrained):  # bool (n_nodes, size): where a code goes on
            exists = torch.from_numpy(self.tree.children(level) >= 0)
            self.register_buffer(f"exists_{level}", exists, persistent=False)
        self.constrained = constrained
        self.to(default_dtype() if dtype is None else dtype)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.norm.weight.device

    def embed(self, words: Tensor, level: Tensor | int, event: Tensor) -> Tensor:
        """What goes in for words of a level; all arguments and (..., dim) fit each other.

        Parameters
        ----------
        words : int64 Tensor, without the level's offset
        level : int64 Tensor or int
        event : int64 Tensor, from 0 at the left end of what is read
        """
        offsets = torch.as_tensor(self.offsets, device=self.device)
        level = torch.as_tensor(level, device=self.device)
        return self.word(words + offsets[level]) + self.level(level + 1) + self.event(event)

    def logits(self, states: Tensor, level: int, nodes: Tensor) -> Tensor:
        """Of the words of a level, after beginnings of codes.

        Parameters
        ----------
        states : Tensor (..., dim), after the last word of each beginning
        level : int, of the words that may come next
        nodes : int64 Tensor (...), the beginnings' numbers in the tree; 0 before the first word

        Returns
        -------
        Tensor (..., sizes[level]); where `constrained`, -inf for words that lead to no item's code
        """
        logits = self.heads[level](states)
        if not self.constrained:
            return logits
        exists = self.get_buffer(f"exists_{level}")[nodes]
        return logits.masked_fill(~exists, -torch.inf)

    def read(self, events: Events, drop_last: bool = False) -> tuple[Tensor, list[Kept]]:
        """The state at each place: the start sign's, then that of each word.

        Parameters
        ----------
        events : Events (n,) of at most max_length + 1
        drop_last : leave out the very last word of the table, which nothing follows

        Returns
        -------
        Tensor (n, n_places, dim), and keys and values of all places for each block
        """
        n, m = events.items.shape
        words = torch.from_numpy(self.tree.codes[events.items]).to(self.device)  # (n, m, n_levels)
        level = torch.arange(self.tree.n_levels, device=self.device)
        event = torch.arange(m, device=self.device)[:, None]
        x = self.embed(words, level.expand_as(words), event.expand_as(words)).flatten(1, 2)
        start = self.word.weight[0] + self.level.weight[0]
        x = torch.cat([start.expand(n, 1, -1), x], dim=1)  # (n, 1 + m * n_levels, dim)
        if drop_last:
            x = x[:, :-1]
        x, kept = self.drop(x), []
        bias = no_later(x.shape[1], x.shape[1], x)[None, None]
        for block in self.blocks:
            x, state = block(x, bias)
            kept.append(state)
        return self.norm(x), kept

    def write(
        self, x: Tensor, history: list[Kept], hidden: Tensor, own: list[Kept] | None
    ) -> tuple[Tensor, list[Kept]]:
        """The state of new words, many of them side by side after one history.

        Each looks at the history, at the words before it in its own code, and at itself, but not
        at the others beside it.

        Parameters
        ----------
        x : Tensor (n, n_beams, dim), see `embed`
        history : keys and values (n, n_heads, n_places, dim / n_heads), of each block
        hidden : bool Tensor (n, n_places), True beyond a history's end
        own : keys and values (n, n_heads, n_beams, n_written, dim / n_heads) of each block, or None

        Returns
        -------
        Tensor (n, n_beams, dim), and `own` with the new word
        """
        grown = []
        for i, block in enumerate(self.blocks):
            q, k, v = block.queries_keys_values(x)  # (n, n_heads, n_beams, d)
            k, v = k[:, :, :, None], v[:, :, :, None]
            if own is not None:
                k, v = torch.cat([own[i][0], k], 3), torch.cat([own[i][1], v], 3)
            far_k, far_v = history[i]
            far = (q @ far_k.transpose(2, 3)).masked_fill(hidden[:, None, None], -torch.inf)
            near = torch.einsum("nhbd,nhbld->nhbl", q, k)
            share = (torch.cat([far, near], 3) / q.shape[3] ** 0.5).softmax(3)
            n_far = far.shape[3]
            read = share[..., :n_far] @ far_v
            read = read + torch.einsum("nhbl,nhbld->nhbd", share[..., n_far:], v)
            x = block.take_in(x, read)
            grown.append((k, v))
        return self.norm(x), grown
