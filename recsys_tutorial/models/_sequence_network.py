"""The network of `SASRec`: vectors of items, states after each event."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least, check_within
from recsys_tutorial.models._catalogue import CatalogueModel, default_dtype
from recsys_tutorial.models._events import Events
from recsys_tutorial.models._sequence_blocks import AttentionBlock, Clock, Kept, no_later


class SequenceNetwork(CatalogueModel):
    """States of histories and vectors of items, with gradients; see `SASRec` for the parameters."""

    def __init__(
        self,
        item_tower: nn.Module,
        *,
        n_blocks: int = 2,
        n_heads: int = 1,
        max_length: int = 50,
        block: type[nn.Module] = AttentionBlock,
        positions: bool = True,
        clock: bool = False,
        dropout: float = 0.2,
        popularity_prior: bool = False,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_at_least(1, n_blocks=n_blocks, n_heads=n_heads, max_length=max_length)
        check_within(0, 1, dropout=dropout)
        dim = item_tower.dim
        if dim % n_heads:
            raise ValueError(f"{n_heads} heads do not divide the towers' length {dim}")
        self.item_tower, self.max_length = item_tower, max_length
        settings = (dim, n_heads, dropout, max_length)
        self.blocks = nn.ModuleList(block(*settings) for _ in range(n_blocks))
        self.positions = nn.Embedding(max_length, dim) if positions else None
        self.clock = Clock(n_heads, max_length) if clock else None
        self.drop, self.norm = nn.Dropout(dropout), nn.LayerNorm(dim)
        if positions:
            nn.init.normal_(self.positions.weight, std=0.05)
        self._add_prior(item_tower.n_rows, popularity_prior)
        self.to(default_dtype() if dtype is None else dtype)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.norm.weight.device

    def forward(
        self, items: Tensor, times: Tensor, kept: Sequence[Kept] | None = None
    ) -> tuple[Tensor, list[Kept]]:
        """The state after each new event, with gradients.

        Parameters
        ----------
        items : int64 Tensor (n, n_new), columns
        times : Tensor (n, n_all), seconds, of the earlier events, too
        kept : what an earlier call returned for the events before, or None

        Returns
        -------
        Tensor (n, n_new, dim), and keys and values of all events, for each block
        """
        n_new, n_all = items.shape[1], times.shape[1]
        unique, place = torch.unique(items, return_inverse=True)
        x = self.item_tower(unique)[place]  # (n, n_new, dim)
        x = x * x.shape[2] ** 0.5
        if self.positions is not None:
            x = x + self.positions.weight[n_all - n_new : n_all]
        x, bias = self.drop(x), no_later(n_new, n_all, x)[None, None]
        if self.clock is not None:
            bias = bias + self.clock(times, n_new)  # (n, n_heads, n_new, n_all)
        states = []
        for block, before in zip(self.blocks, kept or [None] * len(self.blocks), strict=True):
            x, state = block(x, bias, before)
            states.append(state)
        return self.norm(x), states

    def user_vectors(self, events: Events) -> Tensor:
        """The state after each event, and the prior's weight w, with gradients.

        Parameters
        ----------
        events : Events (n,) of at most `max_length`

        Returns
        -------
        Tensor (n, length, dim), or (n, length, dim + 1) with the prior; anything beyond an end
        """
        items, times = (torch.from_numpy(a).to(self.device) for a in (events.items, events.times))
        return self._with_weight(self(items, times)[0])

    def item_vectors(self, items: np.ndarray | None = None) -> Tensor:
        """v, and the prior's log(1 + n), with gradients.

        Parameters
        ----------
        items : int64 ndarray of columns, or None for all

        Returns
        -------
        Tensor (n, dim), or (n, dim + 1) with the prior
        """
        rows = None if items is None else torch.from_numpy(items).to(self.device)
        return self._with_counts(self.item_tower(rows), slice(None) if rows is None else rows)

    def _weight(self) -> float:
        """The weight of the prior as a number, 0 without it."""
        return self.popularity_weight.item() if self.popularity_prior else 0.0
