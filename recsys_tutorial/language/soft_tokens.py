"""Items as words that a language model has not had: vectors put where a token's vector would be."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from tokenizers import AddedToken
from torch import Tensor, nn

from recsys_tutorial._checks import finite_vectors
from recsys_tutorial.language.model import LanguageModel

__all__ = ["SoftTokens", "add_soft_tokens"]


class SoftTokens(nn.Module):
    """A table of token vectors, with items behind its words: e_j = W v_j + b.

    v_j is an item's vector from elsewhere, such as a factor of likes, at length 1; W and b are
    learned, so that the language model reads what others liked (CoLLM, Zhang et al. 2023,
    arXiv:2310.19488; LLaRA, Liao et al. 2023, arXiv:2312.02445). At first W is random, and e_j is
    about as long as a word's vector.

    Parameters
    ----------
    words : Embedding (n_words, dim), not trained
    vectors : ndarray (n_items, n_factors), finite; a row of zeros stays one
    seed : int, of W

    Attributes
    ----------
    n_words : int, item j is the token n_words + j
    soft_projection : Linear, from n_factors to dim
    """

    def __init__(self, words: nn.Embedding, vectors: np.ndarray, seed: int = 0):
        super().__init__()
        vectors = finite_vectors("vectors", vectors, 1).astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        weight = words.weight
        self.words, self.n_words = words, len(weight)
        unit = torch.tensor(vectors / np.where(lengths > 0, lengths, 1.0))
        self.register_buffer("soft_vectors", unit.to(weight), persistent=False)
        self.soft_projection = nn.Linear(unit.shape[1], weight.shape[1]).to(weight)
        scale = weight.norm(dim=1).mean().item() / math.sqrt(weight.shape[1])
        random = torch.Generator().manual_seed(seed)
        start = torch.randn(self.soft_projection.weight.shape, generator=random)
        with torch.no_grad():
            self.soft_projection.weight.copy_(scale * start)
            self.soft_projection.bias.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors of words and items.

        Parameters
        ----------
        tokens : int64 Tensor (...,), 0 to n_words + n_items - 1

        Returns
        -------
        Tensor (..., dim)
        """
        words = self.words(tokens.clamp(max=self.n_words - 1))  # (..., dim)
        items = self.soft_vectors[(tokens - self.n_words).clamp(min=0)]  # (..., n_factors)
        is_item = (tokens >= self.n_words)[..., None]
        return torch.where(is_item, self.soft_projection(items), words)


def add_soft_tokens(language_model: LanguageModel, vectors: np.ndarray, seed: int = 0) -> list[str]:
    """Give a model a token for each item, in place; the projection requires gradients.

    They can be read, in prompts, and not written: the model has no logits for them.

    Parameters
    ----------
    language_model : LanguageModel
    vectors, seed : as for `SoftTokens`

    Returns
    -------
    list of str (n_items,): what stands for each item in a text. No title can hold one, as
    `language.fill` takes the mark apart

    Raises
    ------
    ValueError
        For vectors that are not (n_items, n_factors) and finite, and a model that has some.
    """
    network = language_model.model
    words = network.get_input_embeddings()
    if isinstance(words, SoftTokens):
        raise ValueError("the model has soft tokens already: load it anew for others")
    soft = SoftTokens(words, vectors, seed)
    names = [f"<|item {item}|>" for item in range(len(soft.soft_vectors))]
    tokenizer = copy.deepcopy(language_model.tokenizer)  # another model may read with the old one
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
    found = tokenizer.convert_tokens_to_ids([names[0], names[-1]])
    if found != [soft.n_words, soft.n_words + len(names) - 1]:
        raise ValueError(f"the tokenizer has {found[0]} tokens, the model {soft.n_words} vectors")
    network.set_input_embeddings(soft)
    language_model.tokenizer = tokenizer
    return names
