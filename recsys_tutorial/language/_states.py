"""A language model's network: its weights loaded, rows of tokens read, states made into logits."""

from __future__ import annotations

import inspect

import torch
import transformers
from torch import Tensor, nn

from recsys_tutorial.language._packing import Branch, Row, pack


def load(folder, dtype: torch.dtype) -> nn.Module:
    """The model of a folder, without a bar."""
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()


def device_of(network: nn.Module) -> torch.device:
    """Where the parameters are."""
    return next(network.parameters()).device


def with_cache(network: nn.Module, cache: transformers.DynamicCache | None) -> dict:
    """The argument by which a network takes its cache, whose name changed within transformers 5.

    A network drops what it has no name for without a word: then nothing would be remembered.
    """
    known = inspect.signature(type(network.base_model).forward).parameters
    for name in ("cache", "past_key_values"):
        if name in known:
            return {name: cache}
    raise TypeError(f"{type(network.base_model).__name__}.forward takes no cache by a known name")


def read(
    network: nn.Module, tokens: list[int], batch_tokens: int
) -> tuple[Tensor, transformers.DynamicCache]:
    """The state after the last token (dim,), and all tokens' keys and values."""
    cache = transformers.DynamicCache(config=network.config)
    for start in range(0, len(tokens), batch_tokens):
        ids = torch.tensor([tokens[start : start + batch_tokens]], device=device_of(network))
        states = network.base_model(input_ids=ids, use_cache=True, **with_cache(network, cache))
    return states.last_hidden_state[0, -1], cache


def packed_states(
    network: nn.Module, row: Row, cache: transformers.DynamicCache | None = None
) -> Tensor:
    """States (n_tokens, dim) of a packed row; the cache is afterwards as it was before."""
    dtype, device = next(network.parameters()).dtype, device_of(network)
    mask = torch.zeros(row.sees.shape, dtype=dtype)
    mask = mask.masked_fill_(~row.sees, torch.finfo(dtype).min)[None, None].to(device)
    output = network.base_model(
        input_ids=row.tokens[None].to(device),
        position_ids=row.places[None].to(device),
        attention_mask=mask,  # (1, 1, n_tokens, n_kept + n_tokens)
        use_cache=cache is not None,
        **with_cache(network, cache),
    )
    if cache is not None:
        cache.crop(-len(row.tokens))
    return output.last_hidden_state[0]


def next_states(
    network: nn.Module, last: Tensor, cache: transformers.DynamicCache, tails: list[list[int]]
) -> Tensor:
    """States (n_tails, dim) after several tails of the tokens in the cache; `last`: after none."""
    states = [last] * len(tails)
    filled = [row for row, tail in enumerate(tails) if tail]
    if filled:
        n_kept = cache.get_seq_length()
        packed = pack([Branch([0] * n_kept, [tails[row] for row in filled])], n_kept)
        rows = packed_states(network, packed, cache)
        for row, (_, end) in zip(filled, packed.ends[0][1], strict=True):
            states[row] = rows[end - 1]
    return torch.stack(states)


def log_probabilities(network: nn.Module, states: Tensor) -> Tensor:
    """(n, dim) -> (n, n_vocabulary), natural logarithms; at least float32."""
    logits = network.get_output_embeddings()(states)
    return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), 1)
