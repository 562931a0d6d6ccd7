"""Blocks of causal models: an event looks at itself and at those before it.

Both kinds take ``kept``, the keys and values of events that were read before, so that a new event
costs one row of attention and not the whole history again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

Kept = tuple[Tensor, Tensor]


class AttentionBlock(nn.Module):
    """x + W_o softmax(q k' / sqrt(d) + bias) v, then x + W_2 relu(W_1 x), each on a normed x.

    The block of SASRec (Kang & McAuley 2018, arXiv:1808.09781, equations 2 to 6) with the norm
    before each part, as their code has it for queries and most later code for all.

    Parameters
    ----------
    dim : int
    n_heads : int, a divisor of dim
    dropout : float
    max_length : int; not used here, the most events that are read at once
    """

    def __init__(self, dim: int, n_heads: int, dropout: float, max_length: int):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm, self.inner_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.inner = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor, kept: Kept | None = None) -> tuple[Tensor, Kept]:
        """Of new events, and of all keys and values so far.

        Parameters
        ----------
        x : Tensor (n, n_new, dim)
        bias : Tensor (n or 1, n_heads or 1, n_new, n_kept + n_new), -inf for what comes later
        kept : keys and values (n, n_heads, n_kept, dim / n_heads) of earlier events, or None

        Returns
        -------
        Tensor (n, n_new, dim), (keys, values)
        """
        q, k, v = self.queries_keys_values(x)
        if kept is not None:
            k, v = torch.cat([kept[0], k], 2), torch.cat([kept[1], v], 2)
        share = self.dropout if self.training else 0.0
        read = functional.scaled_dot_product_attention(q, k, v, bias, dropout_p=share)
        return self.take_in(x, read), (k, v)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, ...]:
        """q, k and v of events.

        Parameters
        ----------
        x : Tensor (n, n_new, dim)

        Returns
        -------
        three Tensors (n, n_heads, n_new, dim / n_heads)
        """
        parts = self.qkv(self.norm(x)).chunk(3, dim=2)
        return tuple(part.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for part in parts)

    def take_in(self, x: Tensor, read: Tensor) -> Tensor:
        """The events after what they read: W_o of it added, then the small network's say.

        Parameters
        ----------
        x : Tensor (n, n_new, dim)
        read : Tensor (n, n_heads, n_new, dim / n_heads)

        Returns
        -------
        Tensor (n, n_new, dim)
        """
        x = x + self.drop(self.out(read.transpose(1, 2).flatten(2)))
        return x + self.drop(self.inner(self.inner_norm(x)))


class HSTUBlock(nn.Module):
    """x + W_o (norm(A v) * u) with A = silu(q k' + bias) / n and u, q, k, v = silu(W norm(x)).

    Pointwise attention: no softmax, so that the number of events that match is not lost, and no
    second part (Zhai et al. 2024, arXiv:2402.17152, equations 1 to 3; to divide by n, which is
    `max_length`, is what their code does).

    Parameters
    ----------
    dim, n_heads, dropout, max_length : see `AttentionBlock`
    """

    def __init__(self, dim: int, n_heads: int, dropout: float, max_length: int):
        super().__init__()
        self.n_heads, self.max_length = n_heads, max_length
        self.norm, self.read_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.uqkv, self.out = nn.Linear(dim, 4 * dim), nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor, kept: Kept | None = None) -> tuple[Tensor, Kept]:
        """See `AttentionBlock.forward`."""
        u, *qkv = functional.silu(self.uqkv(self.norm(x))).chunk(4, dim=2)
        q, k, v = (part.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for part in qkv)
        if kept is not None:
            k, v = torch.cat([kept[0], k], 2), torch.cat([kept[1], v], 2)
        later = torch.isneginf(bias)
        logits = q @ k.transpose(2, 3) + bias.masked_fill(later, 0.0)  # (n, h, n_new, n_all)
        share = functional.silu(logits).masked_fill(later, 0.0) / self.max_length
        read = (share @ v).transpose(1, 2).flatten(2)  # (n, n_new, dim)
        return x + self.drop(self.out(self.read_norm(read) * u)), (k, v)


class Clock(nn.Module):
    """A number to add to the attention of an event to an earlier one: by distance and by time.

    b = distance[j - i] + gap[bucket(t_j - t_i)], with buckets as wide as a factor of 2: a second, a
    minute, a day and a year are told apart, one year from another is not (the relative bias by
    position and time of Zhai et al. 2024; their buckets are narrower).

    Parameters
    ----------
    n_heads, max_length : int
    n_buckets : int; 32 reach to 2^31 seconds, that is 68 years
    """

    def __init__(self, n_heads: int, max_length: int, n_buckets: int = 32):
        super().__init__()
        self.distance = nn.Parameter(torch.zeros(n_heads, max_length))
        self.gap = nn.Parameter(torch.zeros(n_heads, n_buckets))

    def forward(self, times: Tensor, n_new: int) -> Tensor:
        """Of the last `n_new` events to all of them.

        Parameters
        ----------
        times : Tensor (n, n_all), seconds, never falling
        n_new : int

        Returns
        -------
        Tensor (n, n_heads, n_new, n_all); what comes later has the number of distance 0
        """
        place = torch.arange(times.shape[1], device=times.device)
        apart = (place[-n_new:, None] - place).clamp(min=0)  # (n_new, n_all)
        passed = (times[:, -n_new:, None] - times[:, None, :]).clamp(min=0)  # (n, n_new, n_all)
        bucket = torch.log2(passed + 1).floor().long().clamp(max=self.gap.shape[1] - 1)
        return self.distance[:, apart] + self.gap[:, bucket].transpose(0, 1)


def no_later(n_new: int, n_all: int, like: Tensor) -> Tensor:
    """(n_new, n_all): 0 for an event and those before it, -inf for later ones.

    Parameters
    ----------
    n_new, n_all : int, the new events are the last ones
    like : Tensor, whose dtype and device it gets
    """
    everywhere = torch.full((n_new, n_all), -math.inf, dtype=like.dtype, device=like.device)
    return everywhere.triu(n_all - n_new + 1)
