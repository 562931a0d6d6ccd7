"""A tiny Llama with random weights and a byte-level tokenizer with merges: nothing to fetch."""

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from recsys_tutorial.language import LanguageModel

WORDS = [
    "the", "theme", "then", "alien", "aliens", "film", "films", "like", "liked", "likes", "heat",
    "comedy", "crime", "matrix",
]  # fmt: skip


def tiny_tokenizer():
    """Bytes, and merges that spell some words letter by letter, with and without a space."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: row for row, token in enumerate(["<|end|>", *tokens])}
    merges = []
    for word in [*(f"Ġ{word}" for word in WORDS), *WORDS]:
        for n in range(1, len(word)):
            if word[: n + 1] not in vocabulary:
                vocabulary[word[: n + 1]] = len(vocabulary)
                merges.append((word[:n], word[n]))
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|end|>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


def tiny_model(dtype=torch.float64, seed=0, **settings):
    tokenizer = tiny_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=160,
        initializer_range=0.3, eos_token_id=0, pad_token_id=0, bos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(config)
    settings = {"device": "cpu", "batch_tokens": 64, "progress": False, **settings}
    return LanguageModel(model, tokenizer=tokenizer, dtype=dtype, **settings)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model()
