"""Texts that begin alike, in one row: what they share is read once, and none sees another.

A causal transformer computes for each token a state from the tokens before it. Continuations of
one prompt need the prompt's keys and values once. So a row holds the prompt, then all
continuations one behind the other; the attention mask lets each look at the prompt and at itself,
and the places are counted as if each stood alone behind the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Branch:
    """Continuations of the same tokens.

    Attributes
    ----------
    shared : list of int, tokens that all begin with, at least 1
    tails : list of list of int, what follows in each, at least 1 token
    keys : list, what the caller knows each tail by
    """

    shared: list[int]
    tails: list[list[int]] = field(default_factory=list)
    keys: list = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        """Tokens of the row, what is shared counted once."""
        return len(self.shared) + sum(map(len, self.tails))


@dataclass
class Row:
    """One row of tokens.

    Attributes
    ----------
    tokens, places : int64 Tensor (n_tokens,); a place is the token's number in its own text
    sees : bool Tensor (n_tokens, n_kept + n_tokens), which tokens each looks at; kept ones first
    ends : list of (shared's last token or -1, [(first, end) of each tail]) for each branch
    """

    tokens: Tensor
    places: Tensor
    sees: Tensor
    ends: list[tuple[int, list[tuple[int, int]]]]


def pack(branches: Sequence[Branch], n_kept: int = 0) -> Row:
    """Put branches into one row.

    Parameters
    ----------
    branches : sequence of Branch; with n_kept exactly one
    n_kept : int, tokens of its `shared` whose keys and values are there: all of them, or 0

    Returns
    -------
    Row
    """
    tokens, places, blocks, ends = [], [], [], []
    for branch in branches:
        start = len(tokens)
        shared = () if n_kept else branch.shared
        tokens += shared
        places += range(len(shared))
        stop, tails = len(tokens), []
        for tail in branch.tails:
            tails.append((len(tokens), len(tokens) + len(tail)))
            tokens += tail
            places += range(len(branch.shared), len(branch.shared) + len(tail))
        blocks.append((start, stop))
        ends.append((stop - 1 if shared else -1, tails))
    sees = torch.zeros(len(tokens), n_kept + len(tokens), dtype=torch.bool)
    sees[:, :n_kept] = True
    own = sees[:, n_kept:]
    for (start, stop), (_, tails) in zip(blocks, ends, strict=True):
        own[start:stop, start:stop] = True
        for first, end in tails:
            own[first:end, start:stop] = True
            own[first:end, first:end] = True
    own &= torch.ones_like(own).tril()
    return Row(torch.tensor(tokens), torch.tensor(places), sees, ends)


def rows_of(branches: Sequence[Branch], n_tokens: int) -> list[list[Branch]]:
    """Divide branches into rows of about `n_tokens`, those of like lengths together.

    A branch that is longer has a row of its own: see `pieces`.
    """
    rows, size = [], n_tokens
    for branch in sorted(branches, key=lambda branch: -branch.n_tokens):
        if size + branch.n_tokens > n_tokens:
            rows.append([])
            size = 0
        rows[-1].append(branch)
        size += branch.n_tokens
    return rows


def pieces(branch: Branch, n_tokens: int) -> list[Branch]:
    """Divide the tails of a branch into parts of about `n_tokens`, those of like lengths first."""
    parts, size = [], n_tokens
    for row in sorted(range(len(branch.tails)), key=lambda row: -len(branch.tails[row])):
        if size + len(branch.tails[row]) > n_tokens:
            parts.append(Branch(branch.shared))
            size = 0
        parts[-1].tails.append(branch.tails[row])
        parts[-1].keys.append(branch.keys[row])
        size += len(branch.tails[row])
    return parts
