"""What the encoders of texts and of pictures share: batches, cache, bad items, unfreezing."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from recsys_tutorial._paths import cache_dir
from recsys_tutorial.encoders._cache import EmbeddingCache
from recsys_tutorial.pretrained._files import fingerprint

__all__ = ["EncodeError", "Encoder"]

_CACHE_VERSION = 1  # raise it when the same settings would give other vectors


class EncodeError(ValueError):
    """Some items could not be encoded. The others were.

    Attributes
    ----------
    failures : dict of int to str
        Position of each bad item, and what is wrong with it.
    vectors : ndarray (n, dim), float32
        The result; rows of bad items are nan.
    """

    def __init__(self, failures: dict[int, str], vectors: np.ndarray):
        self.failures = failures
        self.vectors = vectors
        shown = [f"  item {i}: {failures[i]}" for i in sorted(failures)[:10]]
        more = [f"  and {len(failures) - 10} more"] if len(failures) > 10 else []
        head = f"{len(failures)} of {len(vectors)} items could not be encoded:"
        tail = "The others were: see `vectors` of this error, or pass errors='nan'."
        super().__init__("\n".join([head, *shown, *more, tail]))


class Encoder(nn.Module):
    """A pretrained transformer with a pooling on top; `TextEncoder` and `ImageEncoder` are two.

    A subclass sets `model`, `blocks` (its transformer blocks), `dim`, `lora_targets`, and defines
    `_identify`, `_batches` and `pool`.
    """

    lora_targets: tuple[str, ...]
    dim: int

    def __init__(self, *, normalize: bool, use_cache: bool, progress: bool | None):
        super().__init__()
        self.normalize = normalize
        self.use_cache = use_cache
        self.progress = progress

    def _finish(self, folder: Path, settings: dict, device: str | torch.device | None) -> None:
        """End the construction: frozen, in evaluation mode, on the device."""
        self.settings = {
            **settings,
            "normalize": self.normalize,
            "weights": fingerprint(folder),
        }
        self.requires_grad_(False).eval()
        self.to(device or best_device())
        self._loaded_version = self._version()

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.model.parameters()).device

    @property
    def n_layers(self) -> int:
        """Transformer blocks that are run."""
        return len(self.blocks)

    @property
    def n_trainable(self) -> int:
        """Parameters that an optimizer would change."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def changed(self) -> bool:
        """Whether the weights may differ from those of the file."""
        return self._version() != self._loaded_version

    def forward(self, inputs) -> Tensor:
        """Return the vectors (batch, dim) of inputs made by `prepare`, with gradients."""
        vectors = self.pool(inputs)  # (batch, dim)
        return functional.normalize(vectors, dim=1) if self.normalize else vectors

    def unfreeze(self, blocks: int | str = "all") -> "Encoder":
        """Let an optimizer change the weights; from then on nothing is read from the cache.

        Parameters
        ----------
        blocks : int or "all"
            Only the last so many transformer blocks (and the norm after them, if any), or
            everything, the embeddings included. On a CPU the last blocks train fastest: nothing
            below them needs gradients.

        Returns
        -------
        self
        """
        if blocks != "all" and not (isinstance(blocks, int) and 1 <= blocks <= self.n_layers):
            raise ValueError(f"blocks must be 'all' or 1 to {self.n_layers}, got {blocks!r}")
        self.requires_grad_(blocks == "all")
        if blocks != "all":
            for part in [*self.blocks[-blocks:], getattr(self.model, "norm", None)]:
                if part is not None:
                    part.requires_grad_(True)
        return self

    def add_lora(
        self,
        rank: int = 8,
        targets: Sequence[str] | None = None,
        alpha: float | None = None,
        dropout: float = 0.0,
    ) -> "Encoder":
        """Freeze the weights and train low-rank updates of some matrices instead (Hu et al. 2022).

        W x becomes W x + (alpha / rank) B A x with A (rank, in) and B (out, rank), B = 0 at first.

        Parameters
        ----------
        rank : int
            Rank of the updates.
        targets : sequence of str, optional
            Names of the linear layers; the attention's projections by default (`lora_targets`).
        alpha : float, optional
            2 * rank by default.
        dropout : float
            On the update's input while training.

        Returns
        -------
        self
            `self.model` is then a `peft.PeftModel`, whose `save_pretrained` keeps the adapter.
        """
        from peft import LoraConfig, get_peft_model

        self.requires_grad_(False)
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank if alpha is None else alpha,
            lora_dropout=dropout,
            target_modules=list(targets or self.lora_targets),
        )
        self.model = get_peft_model(self.model, config)
        return self

    def encode(self, items: Sequence, *, errors: str = "raise") -> np.ndarray:
        """Return one vector for each item, without gradients, from the cache where possible.

        Parameters
        ----------
        items : sequence
            What this encoder reads. Equal items are computed once.
        errors : "raise" or "nan"
            Of bad items: raise one `EncodeError` that names them all, after the others are done
            (and in the cache), or return rows of nan for them.

        Returns
        -------
        ndarray (n, dim), float32

        Raises
        ------
        EncodeError
            A ValueError; it carries the vectors of the good items.
        TypeError
            When `items` is a single item instead of a sequence of them.
        """
        if errors not in ("raise", "nan"):
            raise ValueError(f"errors must be 'raise' or 'nan', got {errors!r}")
        if isinstance(items, str | bytes | Path) or not hasattr(items, "__len__"):
            raise TypeError(f"expected a list of items, got one {type(items).__name__}")
        failures: dict[int, str] = {}
        contents, keys, rows = [], {}, np.zeros(len(items), np.int64)
        for position, item in enumerate(items):
            try:
                content, key = self._identify(item)
            except (ValueError, OSError) as error:
                failures[position] = str(error)
                continue
            if key not in keys:
                keys[key] = len(contents)
                contents.append(content)
            rows[position] = keys[key]

        vectors, bad = self._encode_unique(contents, np.array(list(keys), "S16"))
        result = vectors[rows] if len(contents) else np.zeros((len(items), self.dim), np.float32)
        failures.update((i, bad[row]) for i, row in enumerate(rows) if row in bad)
        if failures:
            result[list(failures)] = np.nan
            if errors == "raise":
                raise EncodeError(failures, result)
        return result

    def _encode_unique(self, contents: list, keys: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """Return the vectors of different items, and what is wrong with the bad ones."""
        cache = self._cache()
        if cache:
            vectors, known = cache.lookup(keys)
        else:
            vectors = np.zeros((len(keys), self.dim), np.float32)
            known = np.zeros(len(keys), bool)
        wanted, bad = np.flatnonzero(~known), {}
        was_training = self.training
        self.eval()  # no dropout
        try:
            with (
                torch.inference_mode(),
                tqdm(total=len(wanted), disable=_hidden(self.progress), unit="item") as bar,
            ):
                for rows, inputs in self._batches(contents, wanted, bad):
                    vectors[rows] = self(inputs).float().cpu().numpy()
                    known[rows] = True
                    bar.update(len(rows))
        finally:  # an interrupted run keeps what it has
            self.train(was_training)
            fresh = wanted[known[wanted]]
            if cache:
                cache.store(keys[fresh], vectors[fresh])
        return vectors, bad

    def _cache(self) -> EmbeddingCache | None:
        """Return the cache of these settings; None once the weights may differ from the file's."""
        if not self.use_cache or self.n_trainable or self.changed:
            return None
        dtype = str(next(self.model.parameters()).dtype)
        settings = {
            "version": _CACHE_VERSION,
            "device": self.device.type,
            "dtype": dtype,
            **self.settings,
        }
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
        return EmbeddingCache(cache_dir() / "embeddings" / name, self.dim)

    def _version(self) -> int:
        # torch counts in-place changes of a tensor: optimizer steps and load_state_dict show here
        return sum(p._version for p in self.model.parameters() if not p.is_inference())

    def _identify(self, item) -> tuple[object, bytes]:
        """Return what to keep of an item until its batch comes, and its key; ValueError if bad."""
        raise NotImplementedError

    def _batches(
        self, contents: list, wanted: np.ndarray, bad: dict[int, str]
    ) -> Iterator[tuple[np.ndarray, object]]:
        """Yield (rows, inputs); items that turn out bad go into `bad`."""
        raise NotImplementedError

    def pool(self, inputs) -> Tensor:
        """Return the pooled hidden states (batch, dim), not normalised."""
        raise NotImplementedError


def best_device() -> str:
    """Return "cuda", "mps" or "cpu": the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _hidden(progress: bool | None) -> bool | None:
    return None if progress is None else not progress  # tqdm's None: hidden unless in a terminal


def keep_layers(encoder: Encoder, layer: int, lowest: int) -> bool:
    """Cut the model after `layer` blocks; what follows would be computed for nothing.

    Parameters
    ----------
    encoder : Encoder, whose `blocks` are cut
    layer : int, -1 for all blocks
    lowest : int, the smallest number of blocks that gives vectors

    Returns
    -------
    bool, whether anything was cut
    """
    n_blocks = len(encoder.blocks)
    if layer in (-1, n_blocks):
        return False
    if not lowest <= layer < n_blocks:
        raise ValueError(f"layer must be {lowest} to {n_blocks}, or -1 for the last, got {layer}")
    del encoder.blocks[layer:]
    return True
