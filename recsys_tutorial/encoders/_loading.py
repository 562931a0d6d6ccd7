"""Networks from a folder of weights, without random numbers and without code from elsewhere."""

import json
from pathlib import Path

import timm
import torch
import transformers
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import nn


def load_bert(folder: Path) -> nn.Module:
    """Return the model of transformers, in float32."""
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


def block_list(model: nn.Module) -> nn.ModuleList:
    """Return the transformer blocks of a model of transformers, whatever it calls them."""
    n_blocks = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_blocks:
            return module
    raise ValueError(f"{type(model).__name__} has no list of {n_blocks} transformer blocks")


def tuned_length(folder: Path, limit: int) -> int:
    """Return the number of tokens that a sentence encoder was tuned with, if it says so."""
    try:
        stated = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    except (FileNotFoundError, KeyError):
        stated = None
    return min(stated or limit, limit)


def load_vit(folder: Path, size: tuple[int, int]) -> nn.Module:
    """Return timm's model for pictures of this (height, width), with the folder's weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = _build_vit(config, size)
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


def _build_vit(config: dict, size: tuple[int, int]) -> nn.Module:
    """Return the network without its weights; ValueError when it is no vision transformer."""
    name = config["architecture"]
    options = {
        "pretrained": False,
        "pretrained_cfg": config.get("pretrained_cfg"),
        "num_classes": 0,
        # timm's own refusal of 0 names no size that fits; that of `load_vit` does.
        "img_size": tuple(max(1, side) for side in size),
        **config.get("model_args", {}),
    }
    try:
        with torch.device("meta"):  # no random numbers for weights that are replaced right away
            model = timm.create_model(name, **options)
        if any(buffer.is_meta for buffer in model.buffers()):  # computed, not in the file
            model = timm.create_model(name, **options)
    except TypeError as error:  # a network without position embeddings takes no img_size
        raise ValueError(f"{name} is no vision transformer of timm") from error
    if not hasattr(model, "blocks") or not hasattr(model, "pos_embed"):
        raise ValueError(f"{name} is no vision transformer of timm")
    return model
