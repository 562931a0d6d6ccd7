"""What chapter 15 teaches in seconds: a language model of a few words, with nothing to fetch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from recsys_tutorial._checks import check_at_least
from recsys_tutorial.language import LanguageModel

__all__ = ["word_model"]


def word_model(
    texts: Iterable[str], *, dim: int = 32, n_layers: int = 2, seed: int = 0
) -> LanguageModel:
    """A small Llama with random weights, to which every word of some texts is one token.

    Parameters
    ----------
    texts : iterable of str; what stands between blanks is a word, and a line break is one, too
    dim : int >= 8, numbers in a token's vector, a multiple of 8; four heads share them
    n_layers : int >= 1
    seed : int, of the weights

    Returns
    -------
    LanguageModel in float64, on the CPU; a word that is in none of the texts is its token 0

    Raises
    ------
    ValueError
        For texts without a word, and numbers out of range.
    """
    check_at_least(1, n_layers=n_layers)
    if dim < 8 or dim % 8:
        raise ValueError(f"dim must be a multiple of 8, got {dim}")
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex("\n"), "isolated"),
        pre_tokenizers.Split(Regex(" +"), "removed"),
    ])  # fmt: skip
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    if not words:
        raise ValueError("the texts hold no word")
    vocabulary = {word: place for place, word in enumerate(["[other]", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[other]"))
    backend.pre_tokenizer = split
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=dim, intermediate_size=2 * dim,
        num_hidden_layers=n_layers, num_attention_heads=4, max_position_embeddings=256,
        initializer_range=0.3, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = transformers.LlamaForCausalLM(config)
    return LanguageModel(
        network, tokenizer=tokenizer, device="cpu", dtype=torch.float64, progress=False,
        batch_tokens=1024,
    )  # fmt: skip
