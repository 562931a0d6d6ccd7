"""What the encoders of texts and of pictures share: cache, bad items, unfreezing.

Longer than most modules: one class has the two uses of an encoder, vectors that are kept and
weights that are trained, and two lines in five say what they do.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from recsys_tutorial._checks import check_within
from recsys_tutorial._files import cache_dir
from recsys_tutorial._torch.modules import evaluating, version
from recsys_tutorial.encoders._cache import EmbeddingCache
from recsys_tutorial.encoders.networks import best_device
from recsys_tutorial.pretrained._files import fingerprint

_CACHE_VERSION = 1  # raise it when the same settings would give other vectors


class EncodeError(ValueError):
    """Some items could not be encoded. The others were.

    Parameters
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
        tail = "The others were: see `vectors` of this error."
        super().__init__("\n".join([head, *shown, *more, tail]))


class Encoder(nn.Module):
    """A pretrained transformer with a pooling on top; `TextEncoder` and `ImageEncoder` are two.

    A subclass sets `model`, `blocks` (its transformer blocks), `dim`, `lora_targets`, ends its
    construction with `_finish`, and defines

        prepare(items)                 -> inputs, a batch for `forward`
        pool(inputs)                   -> its pooled hidden states (batch, dim), not normalised
        _identify(item)                -> what to keep of it until its batch comes, and its key
        _batches(contents, rows, bad)  -> (rows, inputs), ...; errors of bad items go into `bad`

    Parameters
    ----------
    normalize : bool, scale vectors to length 1
    use_cache : bool, keep vectors on disk, under the weights' checksum and the settings
    progress : bool, a bar on stderr; None for one in a terminal only

    Attributes
    ----------
    dim : int, numbers in a vector
    settings : dict, what decides the vectors besides the items: weights, pooling, layer and so on
    """

    lora_targets: tuple[str, ...]
    dim: int

    def __init__(self, *, normalize: bool, use_cache: bool, progress: bool | None):
        super().__init__()
        self.normalize, self.use_cache, self.progress = normalize, use_cache, progress

    def _keep_layers(self, layer: int, lowest: int) -> bool:
        """Cut the model after `layer` blocks, -1 for all; return whether anything was cut."""
        n_blocks = self.n_layers
        if layer in (-1, n_blocks):
            return False
        check_within(lowest, n_blocks, layer=layer)  # -1, all of them, is dealt with above
        del self.blocks[layer:]  # what follows would be computed for nothing
        return True

    def _finish(self, folder: Path, settings: dict, device: str | torch.device | None) -> None:
        """End the construction: frozen, in evaluation mode, on the device."""
        self.settings = {**settings, "normalize": self.normalize, "weights": fingerprint(folder)}
        self.requires_grad_(False).eval()
        self.to(device or best_device())
        self._loaded_version = version(self.model, buffers=False)

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
        return version(self.model, buffers=False) != self._loaded_version

    def forward(self, inputs) -> Tensor:
        """Return the vectors of a batch, with gradients.

        Parameters
        ----------
        inputs : Tensor or dict of Tensor, a batch as `prepare` makes it

        Returns
        -------
        Tensor (batch, dim), float32
        """
        vectors = self.pool(inputs)  # (batch, dim)
        return functional.normalize(vectors, dim=1) if self.normalize else vectors

    def _last_blocks(self, blocks: int | str) -> list[nn.Module]:
        if blocks == "all":
            return list(self.blocks)
        if not (isinstance(blocks, int) and 1 <= blocks <= self.n_layers):
            raise ValueError(f"blocks must be 'all' or 1 to {self.n_layers}, got {blocks!r}")
        return list(self.blocks[-blocks:])

    def unfreeze(self, blocks: int | str = "all") -> "Encoder":
        """Let an optimizer change the weights, and read nothing from the cache; return self.

        Parameters
        ----------
        blocks : int or "all"
            Only the last so many transformer blocks (and the norm after them, if any), or
            everything, the embeddings included. On a CPU the last blocks train fastest: nothing
            below them needs gradients.

        Raises
        ------
        ValueError
            For a number of blocks that the encoder does not have.
        """
        chosen = self._last_blocks(blocks)
        self.requires_grad_(blocks == "all")
        for part in [*chosen, getattr(self.model, "norm", None)]:
            if part is not None:
                part.requires_grad_(True)
        return self

    def add_lora(
        self, rank: int = 8, targets: Sequence[str] | None = None, blocks: int | str = "all"
    ) -> "Encoder":
        """Freeze the weights and train low-rank updates of some matrices instead.

        W x becomes W x + 2 B A x with A (rank, in) and B (out, rank), B = 0 at first (Hu et al.
        2022, arXiv:2106.09685, equation 3, with alpha = 2 rank).

        Parameters
        ----------
        rank : int
        targets : sequence of str, optional
            Names of the linear layers; the attention's projections by default (`lora_targets`).
        blocks : int or "all"
            Only in the last so many transformer blocks, or wherever a layer has such a name.

        Returns
        -------
        self
            `model` is then a `peft.PeftModel`, whose `save_pretrained` keeps the adapter.

        Raises
        ------
        ValueError
            For blocks that the encoder does not have, and where no layer has such a name.
        """
        from peft import LoraConfig, get_peft_model

        names = list(targets or self.lora_targets)
        if blocks != "all":
            inside = {part for block in self._last_blocks(blocks) for part in block.modules()}
            parts = self.model.named_modules()
            names = [n for n, part in parts if part in inside and n.split(".")[-1] in names]
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names)
        self.model = get_peft_model(self.model, config)
        return self

    def encode(self, items: Sequence) -> np.ndarray:
        """Return one vector for each item, without gradients, from the cache where possible.

        Parameters
        ----------
        items : sequence of what this encoder reads; equal ones are computed once

        Returns
        -------
        ndarray (n, dim), float32

        Raises
        ------
        EncodeError
            For items that cannot be read: a ValueError that names them all, after the others are
            done (and in the cache), and carries the vectors of the good ones.
        TypeError
            When `items` is a single item instead of a sequence of them.
        """
        if isinstance(items, str | bytes) or not hasattr(items, "__len__"):
            raise TypeError(f"expected a list of items, got one {type(items).__name__}")
        failures: dict[int, str] = {}
        contents, numbers, rows = [], {}, {}  # the different items, their keys, where they stand
        for position, item in enumerate(items):
            try:
                content, key = self._identify(item)
            except (ValueError, OSError) as error:
                failures[position] = str(error)
                continue
            rows[position] = numbers.setdefault(key, len(contents))
            if rows[position] == len(contents):
                contents.append(content)
        vectors, bad = self._encode_unique(contents, np.array(list(numbers), "S16"))
        failures |= {position: bad[row] for position, row in rows.items() if row in bad}
        result = np.full((len(items), self.dim), np.nan, np.float32)
        good = [position for position in rows if position not in failures]
        result[good] = vectors[[rows[position] for position in good]]
        if failures:
            raise EncodeError(failures, result)
        return result

    def _encode_unique(self, contents: list, keys: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """Return the vectors of different items, and what is wrong with the bad ones."""
        cache = self._cache()
        vectors = np.empty((len(keys), self.dim), np.float32)
        known = np.zeros(len(keys), bool)
        if cache:
            vectors, known = cache.lookup(keys)
        wanted, bad = np.flatnonzero(~known), {}
        hidden = None if self.progress is None else not self.progress  # None: but in a terminal
        try:
            with evaluating(self), tqdm(total=len(wanted), disable=hidden, unit="item") as bar:
                for rows, inputs in self._batches(contents, wanted, bad):
                    vectors[rows] = self(inputs).float().cpu().numpy()
                    known[rows] = True
                    bar.update(len(rows))
        finally:  # an interrupted run keeps what it has
            fresh = wanted[known[wanted]]
            if cache:
                cache.store(keys[fresh], vectors[fresh])
        return vectors, bad

    def _cache(self) -> EmbeddingCache | None:
        """Return the cache of these settings; None once the weights may differ from the file's."""
        if not self.use_cache or self.n_trainable or self.changed:
            return None
        dtype = str(next(self.model.parameters()).dtype)
        machine = {"version": _CACHE_VERSION, "device": self.device.type, "dtype": dtype}
        settings = {**machine, **self.settings}
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
        return EmbeddingCache(cache_dir() / "embeddings" / name, self.dim)
