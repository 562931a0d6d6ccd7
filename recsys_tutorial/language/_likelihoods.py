"""What continuations are worth: pairs of texts in branches, each token by the state before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial.language._packing import Branch, pack, pieces, rows_of
from recsys_tutorial.language._seams import Joined, joined_tokens
from recsys_tutorial.language._states import log_probabilities, packed_states, read

_LOGIT_ROWS = 256  # tokens whose 49,152 logits are held at a time


def check_window(n_tokens: int, window: int, what: str) -> None:
    """ValueError where a text is longer than the model reads."""
    if n_tokens > window:
        raise ValueError(f"{what} have {n_tokens} tokens, the model's window is {window}")


def checked_pairs(
    tokenizer, prompts: Sequence[str], continuations: Sequence[str], window: int
) -> list[Joined]:
    """Tokens of checked pairs; ValueError and TypeError as `LanguageModel.log_likelihood` says."""
    if isinstance(prompts, str) or isinstance(continuations, str):
        raise TypeError("expected sequences of texts, got one str")
    if len(prompts) != len(continuations):
        raise ValueError(f"{len(prompts)} prompts with {len(continuations)} continuations")
    for name, texts in (("prompt", prompts), ("continuation", continuations)):
        for row, text in enumerate(texts):
            if not text:
                raise ValueError(f"row {row}: the {name} is empty")
    if not len(prompts):
        return []
    pairs = joined_tokens(tokenizer, list(prompts), list(continuations))
    for row, pair in enumerate(pairs):
        check_window(len(pair.tokens), window, f"row {row}: prompt and continuation")
    return pairs


def branches_of(
    prompts: Sequence[str], continuations: Sequence[str], pairs: list[Joined]
) -> list[Branch]:
    """A branch for each prompt; keys are (row, tokens of the tail that are the prompt's)."""
    branches: dict[str, Branch] = {}
    shared = {}
    for prompt, pair in zip(prompts, pairs, strict=True):
        shared[prompt] = min(shared.get(prompt, len(pair.tokens)), pair.n_alike)
    for row, (prompt, pair) in enumerate(zip(prompts, pairs, strict=True)):
        n = shared[prompt]
        if n < 1:
            raise ValueError(
                f"row {row}: no token of the prompt {prompt!r} is left once "
                f"{continuations[row]!r} follows; begin the prompt with a word or a start token"
            )
        branch = branches.setdefault(prompt, Branch(pair.tokens[:n]))
        branch.tails.append(pair.tokens[n:])
        branch.keys.append((row, pair.n_prompt - n))
    return list(branches.values())


def tail_log_likelihoods(
    network: nn.Module, branches: list[Branch], batch_tokens: int
) -> Iterator[tuple[object, np.ndarray]]:
    """Yield (key, log-likelihoods of the tail's tokens) of all tails."""
    short = [branch for branch in branches if branch.n_tokens <= batch_tokens]
    for branch, values in packed_log_likelihoods(network, short, batch_tokens):
        yield from _by_key(branch, values)
    for branch in branches:
        if branch.n_tokens > batch_tokens:
            last, cache = read(network, branch.shared, batch_tokens)
            for part in pieces(branch, batch_tokens):
                packed = pack([part], len(part.shared))
                states = packed_states(network, packed, cache)
                values = _gathered(network, part, last, states, packed.ends[0][1])
                yield from _by_key(part, values)


def packed_log_likelihoods(
    network: nn.Module, branches: list[Branch], batch_tokens: int, *, with_shared: bool = False
) -> Iterator[tuple[Branch, Tensor]]:
    """Yield (branch, log-likelihoods of all its tails' tokens, one tail behind the other).

    Rows have about `batch_tokens` tokens, and at least a whole branch. Gradients go through.
    `with_shared` puts those of what a branch shares before them, from its second token on.
    """
    for row in rows_of(branches, batch_tokens):
        packed = pack(row)
        states = packed_states(network, packed)  # (n_tokens, dim)
        for branch, (last, tails) in zip(row, packed.ends, strict=True):
            values = _gathered(network, branch, states[last], states, tails)
            if with_shared:
                before = states[last - len(branch.shared) + 1 : last]
                values = torch.cat([_by_states(network, before, branch.shared[1:]), values])
            yield branch, values


def _by_key(branch: Branch, values: Tensor) -> Iterator[tuple[object, np.ndarray]]:
    lengths = [len(tail) for tail in branch.tails]
    parts = np.split(values.double().cpu().numpy(), np.cumsum(lengths)[:-1])
    yield from zip(branch.keys, parts, strict=True)


def _gathered(network: nn.Module, branch: Branch, last: Tensor, states: Tensor, tails) -> Tensor:
    """Log-likelihoods (all tails' tokens,): each token's by the state before it."""
    first = torch.tensor([tail[0] for tail in branch.tails], device=states.device)
    begins = log_probabilities(network, last[None])[0, first]
    before = torch.cat([states[first : end - 1] for first, end in tails])  # (n_rest, dim)
    wanted = [token for tail in branch.tails for token in tail[1:]]
    rest = _by_states(network, before, wanted).split([len(tail) - 1 for tail in branch.tails])
    return torch.cat([x for k, part in enumerate(rest) for x in (begins[k : k + 1], part)])


def _by_states(network: nn.Module, before: Tensor, wanted: list[int]) -> Tensor:
    """Log-likelihoods (n,) of tokens, each by the state (n, dim) before it."""
    tokens = torch.tensor(wanted, dtype=torch.long, device=before.device)
    parts = [
        log_probabilities(network, states_).gather(1, tokens_[:, None])[:, 0]
        for states_, tokens_ in zip(
            before.split(_LOGIT_ROWS), tokens.split(_LOGIT_ROWS), strict=True
        )
    ]
    return torch.cat(parts)
