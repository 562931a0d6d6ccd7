"""Turn texts and pictures into vectors with pretrained transformers.

    TextEncoder().encode(["Toy Story (1995)", ...])     # BERT: (n, 384)
    ImageEncoder().encode(["cat.png", ...])             # ViT:  (n, 384)

`encode` is the way to vectors that do not change: frozen weights, kept on disk. The encoders are
also `torch.nn.Module`s: after `unfreeze` or `add_lora`, `encoder(encoder.prepare(items))` is the
way to train them.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from recsys_tutorial import pretrained
from recsys_tutorial.embedding_cache import content_key
from recsys_tutorial.encoding import EncodeError, Encoder
from recsys_tutorial.pictures import open_picture, read_picture_file

__all__ = ["EncodeError", "ImageEncoder", "TextEncoder"]


class TextEncoder(Encoder):
    """A BERT and a pooling: text -> vector (Devlin et al. 2019; Reimers & Gurevych 2019).

    An empty text is encoded like any other (as its two special tokens). Of a text longer than
    `max_tokens` only the beginning counts.

    Parameters
    ----------
    name : str or path-like
        As in `pretrained.text_encoder`.
    pooling : "mean" or "cls"
        Mean of the tokens' hidden states, or the first token's.
    normalize : bool
        Scale vectors to length 1, so that a dot product is a cosine.
    layer : int
        Take the hidden states after so many blocks: 0 are the embeddings, -1 is the last block.
    max_tokens : int, optional
        Tokens of a text that are read; by default what the model was tuned with.
    batch_tokens : int, optional
        Tokens in a batch, padding included: 2,048 on a CPU, 32,768 elsewhere. Texts are sorted by
        their number of tokens first, so there is next to no padding.
    device : str or torch.device, optional
        CUDA, else Apple's MPS, else the CPU.
    use_cache : bool
        Keep vectors on disk, under the weights' checksum and these settings.
    progress : bool, optional
        A bar on stderr; by default only in a terminal.

    Examples
    --------
    >>> encoder = TextEncoder()
    >>> films = encoder.encode(["Toy Story", "Monsters, Inc.", "Reservoir Dogs"])
    >>> films.shape
    (3, 384)
    >>> bool(films[0] @ films[1] > films[0] @ films[2])
    True
    """

    lora_targets = ("query", "value")

    def __init__(
        self,
        name: str | os.PathLike = "all-MiniLM-L6-v2",
        *,
        pooling: str = "mean",
        normalize: bool = True,
        layer: int = -1,
        max_tokens: int | None = None,
        batch_tokens: int | None = None,
        device: str | torch.device | None = None,
        use_cache: bool = True,
        progress: bool | None = None,
    ):
        super().__init__(normalize=normalize, use_cache=use_cache, progress=progress)
        if pooling not in ("mean", "cls"):
            raise ValueError(f"pooling must be 'mean' or 'cls', got {pooling!r}")
        folder = pretrained.text_encoder(name)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = _load_bert(folder)
        self.blocks = _block_list(self.model)
        _keep_layers(self, layer)
        limit = getattr(self.model.config, "max_position_embeddings", 512)
        max_tokens = _tuned_length(folder, limit) if max_tokens is None else max_tokens
        if not 3 <= max_tokens <= limit:
            raise ValueError(f"max_tokens must be 3 to {limit}, got {max_tokens}")
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.dim = self.model.config.hidden_size
        settings = {"pooling": pooling, "layer": self.n_layers, "max_tokens": max_tokens}
        self._finish(folder, settings, device)
        self.batch_tokens = batch_tokens or (2048 if self.device.type == "cpu" else 32768)

    def prepare(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the tokens of a batch, padded: "input_ids", "attention_mask" (batch, n_tokens)."""
        options = {"padding": True, "truncation": True, "max_length": self.max_tokens}
        batch = self.tokenizer(list(texts), return_tensors="pt", **options)
        return {name: batch[name] for name in ("input_ids", "attention_mask")}

    def hidden_states(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return one vector for each token: (batch, n_tokens, dim)."""
        inputs = {name: values.to(self.device) for name, values in inputs.items()}
        return self.model(**inputs).last_hidden_state

    def pool(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the pooled hidden states (batch, dim), not normalised."""
        hidden = self.hidden_states(inputs)  # (batch, n_tokens, dim)
        if self.pooling == "cls":
            return hidden[:, 0]
        if "attention_mask" not in inputs:
            return hidden.mean(1)
        mask = inputs["attention_mask"].to(hidden)[:, :, None]  # (batch, n_tokens, 1)
        return (hidden * mask).sum(1) / mask.sum(1)

    def _identify(self, item) -> tuple[str, bytes]:
        if not isinstance(item, str):
            raise ValueError(f"expected a text, got {str(item)[:40]} ({type(item).__name__})")
        return item, content_key(item.encode())

    def _batches(
        self, contents: list[str], wanted: np.ndarray, bad: dict[int, str]
    ) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        if not len(wanted):
            return
        texts = [contents[row] for row in wanted]
        tokens = self.tokenizer(texts, truncation=True, max_length=self.max_tokens)["input_ids"]
        lengths = np.array([len(ids) for ids in tokens])
        order = np.argsort(-lengths, kind="stable")  # longest first: memory runs out at once
        start = 0
        while start < len(order):
            longest = lengths[order[start]]
            batch = order[start : start + max(1, self.batch_tokens // longest)]
            start += len(batch)
            ids = np.full((len(batch), longest), self.tokenizer.pad_token_id)
            for row, text in zip(ids, batch, strict=True):
                row[: lengths[text]] = tokens[text]
            inputs = {"input_ids": torch.from_numpy(ids)}
            if lengths[batch[-1]] < longest:  # a batch without padding needs no mask
                real = np.arange(longest) < lengths[batch, None]
                inputs["attention_mask"] = torch.from_numpy(real.astype(np.int64))
            yield wanted[batch], inputs


class ImageEncoder(Encoder):
    """A ViT and a pooling: picture -> vector (Dosovitskiy et al. 2021; Oquab et al. 2023).

    Pictures may have any size and mode, see `pictures.open_picture`; timm's transform for the
    model resizes, crops and standardises them.

    Parameters
    ----------
    name : str or path-like
        As in `pretrained.image_encoder`; a ViT of timm.
    image_size : int or (int, int)
        Side, or height and width, in pixels: a multiple of the patch size. The position
        embeddings are resized to it, bicubic without antialiasing as in DINOv2's own code. The
        cost grows with the number of patches.
    pooling : "cls", "mean" or "both"
        The class token, the mean of the patch tokens, or one after the other (2 * width numbers).
    normalize : bool
        Scale vectors to length 1.
    layer : int
        Take the hidden states after so many blocks, from 1; -1 is the last block. The model's
        final norm is part of the last block's output only.
    crop : "center", "squash" or "border"
        What becomes of a picture with other proportions: its middle, all of it distorted, or all
        of it on a ground of the mean colour.
    batch_size : int
        Pictures in a batch.
    device, use_cache, progress
        As in `TextEncoder`.

    Examples
    --------
    >>> from PIL import Image
    >>> encoder = ImageEncoder(image_size=56, pooling="both")
    >>> encoder.encode([Image.new("RGB", (60, 60), "red")]).shape
    (1, 768)
    """

    lora_targets = ("qkv",)

    def __init__(
        self,
        name: str | os.PathLike = "vit_small_patch14_dinov2",
        image_size: int | tuple[int, int] = 112,
        *,
        pooling: str = "cls",
        normalize: bool = True,
        layer: int = -1,
        crop: str = "center",
        batch_size: int = 32,
        device: str | torch.device | None = None,
        use_cache: bool = True,
        progress: bool | None = None,
    ):
        super().__init__(normalize=normalize, use_cache=use_cache, progress=progress)
        if pooling not in ("cls", "mean", "both"):
            raise ValueError(f"pooling must be 'cls', 'mean' or 'both', got {pooling!r}")
        if crop not in ("center", "squash", "border"):
            raise ValueError(f"crop must be 'center', 'squash' or 'border', got {crop!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
        folder = pretrained.image_encoder(name)
        self.model = _load_vit(folder, (height, width))
        self.blocks = self.model.blocks
        _keep_layers(self, layer)
        if pooling != "mean" and not self.model.has_class_token:
            raise ValueError(f"{name} has no class token: pooling must be 'mean'")
        self.pooling = pooling
        self.batch_size = batch_size
        self.dim = self.model.num_features * (2 if pooling == "both" else 1)
        data = timm.data.resolve_model_data_config(self.model)
        data = {**data, "input_size": (3, height, width), "crop_mode": crop}
        self.transform = timm.data.create_transform(**data)
        settings = {"pooling": pooling, "layer": self.n_layers, "size": [height, width]}
        self._finish(folder, {**settings, "crop": crop}, device)

    def prepare(self, pictures: Sequence[Image.Image | str | os.PathLike]) -> Tensor:
        """Return the pixels of a batch: (batch, 3, height, width), standardised."""
        return torch.stack([self.transform(open_picture(picture)) for picture in pictures])

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """Return one vector for each token: (batch, n_prefix + n_patches, width)."""
        return self.model.forward_features(inputs.to(self.device))

    def pool(self, inputs: Tensor) -> Tensor:
        """Return the pooled hidden states (batch, dim), not normalised."""
        hidden = self.hidden_states(inputs)  # (batch, n_tokens, width)
        patches = hidden[:, self.model.num_prefix_tokens :].mean(1)
        if self.pooling == "mean":
            return patches
        if self.pooling == "cls":
            return hidden[:, 0]
        return torch.cat([hidden[:, 0], patches], dim=1)  # (batch, 2 * width)

    def _identify(self, item) -> tuple[Image.Image | Path, bytes]:
        if isinstance(item, str | os.PathLike):
            path = Path(item)  # opened again when its batch comes: a catalogue may not fit memory
            return path, content_key(b"file", read_picture_file(path))
        picture = open_picture(item)
        return picture, content_key(b"pixels", repr(picture.size).encode(), picture.tobytes())

    def _batches(
        self, contents: list, wanted: np.ndarray, bad: dict[int, str]
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        for start in range(0, len(wanted), self.batch_size):
            rows, pixels = [], []
            for row in wanted[start : start + self.batch_size]:
                try:
                    pixels.append(self.transform(open_picture(contents[row])))
                    rows.append(row)
                except (ValueError, OSError) as error:
                    bad[int(row)] = str(error)
            if rows:
                yield np.array(rows), torch.stack(pixels)


def _keep_layers(encoder: Encoder, layer: int) -> None:
    """Cut the model after `layer` blocks; what follows would be computed for nothing."""
    n_blocks, lowest = len(encoder.blocks), 0 if isinstance(encoder, TextEncoder) else 1
    if layer == -1 or layer == n_blocks:
        return
    if not lowest <= layer < n_blocks:
        raise ValueError(f"layer must be {lowest} to {n_blocks}, or -1 for the last, got {layer}")
    del encoder.blocks[layer:]
    if isinstance(encoder, ImageEncoder):
        encoder.model.norm = nn.Identity()


def _load_bert(folder: Path) -> nn.Module:
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()  # loading takes half a second
    try:
        model = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    model.pooler = None  # a layer that BERT was pretrained with and sentence vectors do not use
    return model


def _block_list(model: nn.Module) -> nn.ModuleList:
    n_blocks = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_blocks:
            return module
    raise ValueError(f"{type(model).__name__} has no list of {n_blocks} transformer blocks")


def _tuned_length(folder: Path, limit: int) -> int:
    """Return the number of tokens that a sentence encoder was tuned with, if it says so."""
    try:
        stated = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    except (FileNotFoundError, KeyError):
        stated = None
    return min(stated or limit, limit)


def _load_vit(folder: Path, size: tuple[int, int]) -> nn.Module:
    """Return timm's model for pictures of this (height, width), with the folder's weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def build() -> nn.Module:
        return timm.create_model(
            config["architecture"],
            pretrained=False,
            pretrained_cfg=config.get("pretrained_cfg"),
            num_classes=0,
            # timm's own refusal of 0 names no size that fits; ours, below, does.
            img_size=tuple(max(1, side) for side in size),
            **config.get("model_args", {}),
        )

    try:
        with torch.device("meta"):  # no random numbers for weights that are replaced right away
            model = build()
        if any(buffer.is_meta for buffer in model.buffers()):  # computed, not in the file
            model = build()
    except TypeError as error:  # a network without position embeddings takes no img_size
        raise ValueError(f"{config['architecture']} is no vision transformer of timm") from error
    if not hasattr(model, "blocks") or not hasattr(model, "pos_embed"):
        raise ValueError(f"{config['architecture']} is no vision transformer of timm")
    patch = model.patch_embed.patch_size
    if any(side < step or side % step for side, step in zip(size, patch, strict=True)):
        height, width = (max(1, round(side / p)) * p for side, p in zip(size, patch, strict=True))
        raise ValueError(
            f"image_size {size[0]} x {size[1]} is no multiple of the patch size {patch[0]}; "
            f"the nearest is {height} x {width}"
        )
    state = load_file(folder / "model.safetensors")
    classifier = f"{config.get('pretrained_cfg', {}).get('classifier') or 'head'}."
    state = {name: v.float() for name, v in state.items() if not name.startswith(classifier)}
    n_prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"], model.patch_embed.grid_size, num_prefix_tokens=n_prefix, antialias=False
    )
    model.load_state_dict(state, assign=True)
    return model
