"""A causal language model: log-likelihoods with what texts share read once, titles, vectors.

Here stands what it takes and answers, and half of the module are docstrings: that makes it long.
How it is computed is in `_states` (the network), `_likelihoods`, `_generation` and `_pooling`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from tqdm import tqdm

from recsys_tutorial import pretrained
from recsys_tutorial._checks import check_at_least, check_one_of, check_within
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.encoders.networks import best_device, length_batches
from recsys_tutorial.language._generation import best_titles, continue_freely
from recsys_tutorial.language._likelihoods import (
    branches_of,
    check_window,
    checked_pairs,
    tail_log_likelihoods,
)
from recsys_tutorial.language._pooling import pooled_states
from recsys_tutorial.language._states import device_of, load, log_probabilities, next_states, read
from recsys_tutorial.language.titles import TitleTrie

__all__ = ["LanguageModel"]


class LanguageModel:
    """A causal transformer of transformers: p(text) = prod_t p(token_t | tokens before it).

    Parameters
    ----------
    name : str or path-like
        As in `pretrained.language_model`; or, with `tokenizer`, a model that is already there.
    tokenizer : of transformers, optional; by default the folder's
    device : str or torch.device, optional
        CUDA, else Apple's MPS, else the CPU.
    dtype : torch.dtype, of the weights
    batch_tokens : int, optional
        Tokens that are read at a time; by default 512 on a CPU and 4,096 elsewhere.
    progress : bool, optional
        A bar on stderr; by default only in a terminal.

    Attributes
    ----------
    model : such as LlamaForCausalLM; its vectors of tokens go through one last matrix to logits
    tokenizer : of transformers
    window : int, the most tokens of a text
    n_layers : int
    dim : int, numbers in a token's vector

    Raises
    ------
    WeightsNotFound
        When no source has the weights.

    Notes
    -----
    Nothing is added to a text: no start token, no chat template. Who wants them writes them.
    """

    def __init__(
        self,
        name: str | os.PathLike | nn.Module = "SmolLM2-135M-Instruct",
        *,
        tokenizer=None,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        batch_tokens: int | None = None,
        progress: bool | None = None,
    ):
        if isinstance(name, nn.Module):
            model = name
        else:
            folder = pretrained.language_model(name)
            model = load(folder, dtype)
            tokenizer = tokenizer or transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True
            )
        self.model = model.to(device or best_device(), dtype).requires_grad_(False).eval()
        self.tokenizer, self.progress = tokenizer, progress
        self.window = self.model.config.max_position_embeddings
        self.n_layers = self.model.config.num_hidden_layers
        self.dim = self.model.config.hidden_size
        usual = 512 if self.device.type == "cpu" else 4096
        self.batch_tokens = usual if batch_tokens is None else batch_tokens
        check_at_least(1, batch_tokens=self.batch_tokens)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return device_of(self.model)

    def tokens(self, text: str) -> list[int]:
        """A text's tokens, with nothing added.

        Parameters
        ----------
        text : str

        Returns
        -------
        list of int
        """
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def log_likelihood(self, prompts: Sequence[str], continuations: Sequence[str]) -> np.ndarray:
        """Log p(continuation | prompt) of each pair, the sum over the continuation's tokens.

        Tokens are those of the joined text: where one reaches across the seam, it counts as
        the continuation's first. What pairs with the same prompt share is computed once.

        Parameters
        ----------
        prompts, continuations : sequence of str (n,), in pairs, none empty. A separating space
            belongs to the continuation: "Films:" + " Heat".

        Returns
        -------
        ndarray (n,), float64, natural logarithms, <= 0

        Raises
        ------
        ValueError
            For an empty text, sequences of different lengths, a pair longer than the window, and a
            prompt of which no token is left once the continuation follows.
        TypeError
            For one text instead of a sequence.
        """
        return np.array([x.sum() for x in self.token_log_likelihoods(prompts, continuations)])

    def token_log_likelihoods(
        self, prompts: Sequence[str], continuations: Sequence[str]
    ) -> list[np.ndarray]:
        """`log_likelihood`, token by token.

        Parameters
        ----------
        prompts, continuations : as in `log_likelihood`

        Returns
        -------
        list of ndarray (n_tokens of the continuation,), float64, one for each pair

        Raises
        ------
        ValueError
            As `log_likelihood` does.
        """
        pairs = checked_pairs(self.tokenizer, prompts, continuations, self.window)
        branches = branches_of(prompts, continuations, pairs)
        found: list = [None] * len(pairs)
        with evaluating(self.model), self._bar(total=len(pairs)) as bar:
            values_of = tail_log_likelihoods(self.model, branches, self.batch_tokens)
            for (row, skip), values in values_of:
                found[row] = values[skip:]
                bar.update()
        return found

    def generate(
        self,
        prompts: Sequence[str],
        titles: TitleTrie | None = None,
        *,
        max_tokens: int = 24,
        n_beams: int = 4,
        stop: str = "\n",
    ) -> list[str]:
        """Continue each prompt: freely, token by token, or by the likeliest of given titles.

        Parameters
        ----------
        prompts : sequence of str, none empty
        titles : TitleTrie, optional
            Only these may follow, and each token is chosen among those with which one of them goes
            on; the `n_beams` likeliest beginnings are kept, so that the best title may have a first
            token that is not the best. None: the likeliest token each time.
        max_tokens : int >= 1, at most so many tokens without titles
        n_beams : int >= 1, with titles
        stop : str, ends a free continuation; not part of it. So does the end token.

        Returns
        -------
        list of str, one for each prompt: the title, or the text up to `stop`

        Raises
        ------
        ValueError
            For an empty prompt, one that leaves no room in the window, and numbers out of range.
        TypeError
            For one text instead of a sequence.
        """
        check_at_least(1, max_tokens=max_tokens, n_beams=n_beams)
        if isinstance(prompts, str):
            raise TypeError("expected a sequence of prompts, got one str")
        room = max_tokens if titles is None else titles.longest
        found = []
        with evaluating(self.model):
            for row, prompt in enumerate(self._bar(prompts)):
                if not prompt:
                    raise ValueError(f"row {row}: the prompt is empty")
                tokens = self.tokens(prompt)
                check_window(len(tokens) + room, self.window, f"row {row}: prompt and continuation")
                if titles is None:
                    found.append(continue_freely(self, tokens, max_tokens, stop))
                else:
                    found.append(best_titles(self, tokens, titles, n_beams)[0][0])
        return found

    def next_log_probabilities(
        self, shared: tuple[Tensor, transformers.DynamicCache], tails: list[list[int]]
    ) -> Tensor:
        """Log p(next token | shared tokens, tail) for several tails of the same tokens.

        Parameters
        ----------
        shared : (state, cache), as `read` gives it
        tails : list of list of int; an empty one stands for the shared tokens alone

        Returns
        -------
        Tensor (n_tails, n_vocabulary)
        """
        states = next_states(self.model, *shared, tails)  # (n_tails, dim)
        return log_probabilities(self.model, states)

    def read(self, tokens: list[int]) -> tuple[Tensor, transformers.DynamicCache]:
        """Read tokens once, for `next_log_probabilities`.

        Parameters
        ----------
        tokens : list of int, at least 1

        Returns
        -------
        state : Tensor (dim,), after the last token
        cache : DynamicCache, keys and values
        """
        with evaluating(self.model):
            return read(self.model, tokens, self.batch_tokens)

    def embeddings(
        self, texts: Sequence[str], layer: int = -1, pooling: str = "mean"
    ) -> np.ndarray:
        """Vectors of texts: the states of their tokens after a layer, pooled.

        Parameters
        ----------
        texts : sequence of str (n,), none empty
        layer : int
            After so many blocks: 0 are the embeddings of the tokens, -1 is the last block with the
            norm behind it, as it goes into the logits.
        pooling : "mean" of all tokens, or "last", the one that has seen all others

        Returns
        -------
        ndarray (n, dim), float32, not normalised

        Raises
        ------
        ValueError
            For an empty text, one longer than the window, another layer or pooling.
        """
        check_one_of(("mean", "last"), pooling=pooling)
        check_within(-1, self.n_layers, layer=layer)
        layer = self.n_layers if layer == -1 else layer
        tokens = [self.tokens(text) for text in texts]
        for row, ids in enumerate(tokens):
            if not ids:
                raise ValueError(f"row {row}: the text is empty")
            check_window(len(ids), self.window, f"row {row}: the text's words")
        lengths = np.array([len(ids) for ids in tokens], dtype=int)
        vectors = np.zeros((len(tokens), self.dim), np.float32)
        with evaluating(self.model), self._bar(total=len(tokens)) as bar:
            for rows in length_batches(lengths, self.batch_tokens):
                some = [tokens[row] for row in rows]
                vectors[rows] = pooled_states(self.model, some, layer, pooling)
                bar.update(len(rows))
        return vectors

    def _bar(self, *texts, **total):
        hidden = None if self.progress is None else not self.progress
        return tqdm(*texts, **total, disable=hidden, unit="text")
