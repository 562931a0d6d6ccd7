"""A causal language model: log-likelihoods with what texts share read once, titles, vectors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from tqdm import tqdm

from recsys_tutorial import pretrained
from recsys_tutorial._checks import check_at_least, check_one_of, check_within
from recsys_tutorial._modules import evaluating
from recsys_tutorial.encoders.networks import best_device, length_batches
from recsys_tutorial.language._generation import best_titles, continue_freely
from recsys_tutorial.language._packing import Branch, pack, pieces, rows_of
from recsys_tutorial.language._seams import joined_tokens
from recsys_tutorial.language.titles import TitleTrie

__all__ = ["LanguageModel"]

_LOGIT_ROWS = 256  # tokens whose 49,152 logits are held at a time


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
            model = _load(folder, dtype)
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
        return next(self.model.parameters()).device

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
        pairs = self._pairs(prompts, continuations)
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
        found: list = [None] * len(pairs)
        hidden = None if self.progress is None else not self.progress
        with evaluating(self.model), tqdm(total=len(pairs), disable=hidden, unit="text") as bar:
            for (row, skip), values in self._tail_log_likelihoods(list(branches.values())):
                found[row] = values[skip:]
                bar.update()
        return found

    def _pairs(self, prompts, continuations):
        """Tokens of checked pairs."""
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
        pairs = joined_tokens(self.tokenizer, list(prompts), list(continuations))
        for row, pair in enumerate(pairs):
            self._check_window(len(pair.tokens), f"row {row}: prompt and continuation")
        return pairs

    def _check_window(self, n_tokens: int, what: str) -> None:
        if n_tokens > self.window:
            raise ValueError(f"{what} have {n_tokens} tokens, the model's window is {self.window}")

    def _tail_log_likelihoods(self, branches: list[Branch]) -> Iterator[tuple[object, np.ndarray]]:
        """Yield (key, log-likelihoods of the tail's tokens) of all tails."""
        short = [branch for branch in branches if branch.n_tokens <= self.batch_tokens]
        for row in rows_of(short, self.batch_tokens):
            packed = pack(row)
            states = self._states(packed)  # (n_tokens, dim)
            for branch, (last, tails) in zip(row, packed.ends, strict=True):
                yield from self._gathered(branch, states[last], states, tails)
        for branch in branches:
            if branch.n_tokens > self.batch_tokens:
                last, cache = self._read(branch.shared)
                for part in pieces(branch, self.batch_tokens):
                    packed = pack([part], len(part.shared))
                    states = self._states(packed, cache)
                    yield from self._gathered(part, last, states, packed.ends[0][1])

    def _gathered(self, branch: Branch, last: Tensor, states: Tensor, tails):
        """Yield (key, log-likelihoods): each token's by the state before it."""
        before = [states[first : end - 1] for first, end in tails]  # (n - 1, dim) each
        before = torch.cat([last[None], *before])
        targets = [tail[1:] for tail in branch.tails]
        wanted = torch.tensor([token for tail in targets for token in tail], dtype=torch.long)
        first = torch.tensor([tail[0] for tail in branch.tails])
        begins = self._log_probabilities(before[:1])[0, first.to(self.device)]
        rest = [
            self._log_probabilities(states_).gather(1, tokens_[:, None].to(self.device))[:, 0]
            for states_, tokens_ in zip(
                before[1:].split(_LOGIT_ROWS), wanted.split(_LOGIT_ROWS), strict=True
            )
        ]
        begins = begins.double().cpu().numpy()
        rest = torch.cat(rest).double().cpu().numpy() if rest else np.zeros(0)
        at = 0
        for key, begin, target in zip(branch.keys, begins, targets, strict=True):
            yield key, np.concatenate([[begin], rest[at : at + len(target)]])
            at += len(target)

    def _log_probabilities(self, states: Tensor) -> Tensor:
        """(n, dim) -> (n, n_vocabulary), natural logarithms; at least float32."""
        logits = self.model.get_output_embeddings()(states)
        return torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), 1)

    def _read(self, tokens: list[int]) -> tuple[Tensor, transformers.DynamicCache]:
        """The state after the last token (dim,), and all tokens' keys and values."""
        cache = transformers.DynamicCache(config=self.model.config)
        step = max(self.batch_tokens, 1)
        for start in range(0, len(tokens), step):
            ids = torch.tensor([tokens[start : start + step]], device=self.device)
            states = self.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        return states.last_hidden_state[0, -1], cache

    def _states(self, row, cache: transformers.DynamicCache | None = None) -> Tensor:
        """States (n_tokens, dim) of a packed row; the cache is afterwards as it was before."""
        dtype = next(self.model.parameters()).dtype
        mask = torch.zeros(row.sees.shape, dtype=dtype)
        mask = mask.masked_fill_(~row.sees, torch.finfo(dtype).min)[None, None].to(self.device)
        output = self.model.base_model(
            input_ids=row.tokens[None].to(self.device),
            position_ids=row.places[None].to(self.device),
            attention_mask=mask,  # (1, 1, n_tokens, n_kept + n_tokens)
            past_key_values=cache,
            use_cache=cache is not None,
        )
        if cache is not None:
            cache.crop(-len(row.tokens))
        return output.last_hidden_state[0]

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
        hidden = None if self.progress is None else not self.progress
        found = []
        with evaluating(self.model):
            for row, prompt in enumerate(tqdm(prompts, disable=hidden, unit="text")):
                if not prompt:
                    raise ValueError(f"row {row}: the prompt is empty")
                tokens = self.tokens(prompt)
                self._check_window(len(tokens) + room, f"row {row}: prompt and continuation")
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
        last, cache = shared
        states = [last] * len(tails)
        filled = [row for row, tail in enumerate(tails) if tail]
        if filled:
            branch = Branch([0] * cache.get_seq_length(), [tails[row] for row in filled])
            packed = pack([branch], cache.get_seq_length())
            rows = self._states(packed, cache)
            for row, (_, end) in zip(filled, packed.ends[0][1], strict=True):
                states[row] = rows[end - 1]
        return self._log_probabilities(torch.stack(states))

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
            return self._read(tokens)

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
            self._check_window(len(ids), f"row {row}: the text's words")
        lengths = np.array([len(ids) for ids in tokens], dtype=int)
        vectors = np.zeros((len(tokens), self.dim), np.float32)
        hidden = None if self.progress is None else not self.progress
        with evaluating(self.model), tqdm(total=len(tokens), disable=hidden, unit="text") as bar:
            for rows in length_batches(lengths, self.batch_tokens):
                width = int(lengths[rows].max())
                ids = torch.tensor([tokens[r] + [0] * (width - lengths[r]) for r in rows])
                there = torch.arange(width) < torch.tensor(lengths[rows])[:, None]  # (b, width)
                states = self.model.base_model(
                    input_ids=ids.to(self.device),
                    attention_mask=there.long().to(self.device),
                    output_hidden_states=True,
                    use_cache=False,
                ).hidden_states[layer]  # (b, width, dim)
                weight = there.to(states)
                if pooling == "last":
                    weight = weight * (weight.cumsum(1) == weight.sum(1, keepdim=True))
                pooled = (states * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True)
                vectors[rows] = pooled.float().cpu().numpy()
                bar.update(len(rows))
        return vectors


def _load(folder, dtype: torch.dtype) -> nn.Module:
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
