"""LanguageModel.log_likelihood beside a plain forward pass of transformers: same model, same pairs.

One prompt of six liked titles with thirty candidates, as a reranker asks; bytes are tokens, so that
it is as long as twelve titles in SmolLM2's own. The peer pads the thirty joined texts to one batch,
as transformers' users do. Random weights of SmolLM2's shape: the time does not hang on what the
weights are, and nothing has to be fetched.
"""

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from benchmarks.harness import THREADS, Row, compare_speed, limited_threads
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.language import LanguageModel, fill

N_LIKES, N_CANDIDATES = 6, 30


def untrained() -> LanguageModel:
    """The shape of SmolLM2-135M, with bytes as tokens."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: row for row, token in enumerate(tokens)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=2048,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    model = transformers.LlamaForCausalLM(config)
    return LanguageModel(model, tokenizer=tokenizer, device="cpu", progress=False)


def plain(model: LanguageModel, prompt: str, ends: list[str]) -> np.ndarray:
    """One padded forward pass over all joined texts."""
    rows = [model.tokens(prompt + end) for end in ends]
    n_prompt, width = len(model.tokens(prompt)), max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    there = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        logits = model.model(ids, attention_mask=there).logits[:, n_prompt - 1 : -1]
        wanted, real = ids[:, n_prompt:], there[:, n_prompt:]
        values = torch.log_softmax(logits, 2).gather(2, wanted[:, :, None])[:, :, 0]
    return (values * real).double().sum(1).numpy()


def run() -> list[Row]:
    model = untrained()
    items = load_movielens().items
    titles = [title for title in items["title"] if len(title) < 16]
    prompt = fill("likes", likes=titles[:N_LIKES])
    ends = [f" {title}\n" for title in titles[100 : 100 + N_CANDIDATES]]

    def ours():
        return model.log_likelihood([prompt] * len(ends), ends)

    with limited_threads(THREADS):
        np.testing.assert_allclose(ours(), plain(model, prompt, ends), atol=1e-3)
        n_prompt = len(model.tokens(prompt))
        n_end = np.mean([len(model.tokens(end)) for end in ends])
        return compare_speed(
            f"1 prompt of {n_prompt} tokens, {len(ends)} continuations of {n_end:.0f}",
            {"recsys_tutorial": ours, "plain forward pass": lambda: plain(model, prompt, ends)},
            3.0,
            repeat=2,
        )
