"""An adapter's files: the numbers, what they are and whom they were learned from, checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from recsys_tutorial._files import whole
from recsys_tutorial._files.tensors import load_tensors, refuse_other_settings, save_tensors
from recsys_tutorial.language._adapted import adapted_layers, take_adapter_out
from recsys_tutorial.language.adapter import add_adapter
from recsys_tutorial.language.model import LanguageModel
from recsys_tutorial.language.soft_tokens import SoftTokens

__all__ = ["load_adapter", "save_adapter", "users_hash"]

_KIND = "a language model's adapter"
_PREFIX = "base_model.model."  # as peft names what it wraps
_CHECKED = ("r", "lora_alpha", "target_modules", "layers_to_transform")  # what changes log p


def save_adapter(
    language_model: LanguageModel,
    folder: str | os.PathLike,
    *,
    name: str,
    users: Iterable[int],
    settings: dict | None = None,
) -> None:
    """Write an adapter in peft's format: float16 numbers, and a file that says what it is.

    In place of the folder that the base model was loaded from stands its public name, so that
    the files are the same wherever they are made.

    Parameters
    ----------
    language_model : LanguageModel with an adapter
    folder : where ``adapter_model.safetensors`` and ``adapter_config.json`` are written, each whole
        or not at all
    name : str, the base model's public name, as for `peft.PeftModel`
    users : iterable of int, ids of those whose likes it was taught with; their hash is kept
    settings : dict that JSON holds, more to remember

    Raises
    ------
    ValueError
        For a model without an adapter, one with soft tokens, as the files have no place for their
        projection, and no user.
    """
    network, folder = language_model.model, Path(folder)
    if not adapted_layers(network):
        raise ValueError("the model has no adapter to save: see add_adapter")
    if isinstance(network.get_input_embeddings(), SoftTokens):
        raise ValueError("the model has soft tokens, and an adapter's files do not hold them")
    config = network.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": name, "inference_mode": True}
    kept = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    state = get_peft_model_state_dict(network)
    tensors = {_PREFIX + key: value.half() for key, value in state.items()}
    users = sorted({int(user) for user in users})
    info = {
        "kind": _KIND, "base": name, "base sha256": _base_hash(network),
        "users": len(users), "users sha256": users_hash(users), "settings": settings or {},
        "adapter": {key: kept[key] for key in _CHECKED},
    }  # fmt: skip
    save_tensors(folder / "adapter_model.safetensors", tensors, info)
    with whole(folder / "adapter_config.json") as temporary:
        text = json.dumps(kept, indent=1, sort_keys=True, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")


def load_adapter(
    language_model: LanguageModel,
    folder: str | os.PathLike,
    *,
    same_base: bool = True,
    trainable: bool = False,
) -> dict:
    """Put a saved adapter into a model, in place.

    Parameters
    ----------
    language_model : LanguageModel without an adapter
    folder : as for `save_adapter`
    same_base : bool, whether the model's weights must be those that it was taught on
    trainable : bool, whether its parameters require gradients, to be taught further

    Returns
    -------
    dict: "base", "base sha256", "users", "users sha256", "settings", "adapter" (rank, alpha,
    targets and layers, under peft's names), as they were saved

    Raises
    ------
    FileNotFoundError
    ValueError
        For a damaged file, two files that do not belong together, another base model, and a model
        that has an adapter. The model is then what it was before.
    """
    folder, network = Path(folder), language_model.model
    tensors, info = load_tensors(folder / "adapter_model.safetensors", _KIND)
    config = _checked_config(folder / "adapter_config.json", info.get("adapter", {}))
    if same_base and (found := _base_hash(network)) != info["base sha256"]:
        raise ValueError(
            f"{folder} was taught on weights of {info['base']} with the hash "
            f"{info['base sha256'][:12]}, the model's is {found[:12]}. Load those weights, or pass "
            "same_base=False: what it then says was measured by nobody"
        )
    add_adapter(
        language_model, rank=config["r"], alpha=config["lora_alpha"],
        targets=config["target_modules"], layers=config["layers_to_transform"],
    )  # fmt: skip
    state = {key.removeprefix(_PREFIX): value.float() for key, value in tensors.items()}
    own = get_peft_model_state_dict(network)
    if _shapes(own) != _shapes(state):
        take_adapter_out(network)
        raise ValueError(f"{folder} does not fit the model: other layers, or layers of other sizes")
    set_peft_model_state_dict(network, state)
    for name, parameter in network.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(trainable)
    return info


def _checked_config(path: Path, saved: dict) -> dict:
    """Read peft's description of an adapter; the file with the numbers says what it must hold."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged: it holds {config!r:.40}, not an adapter's settings")
    own = {key: config.get(key) for key in _CHECKED}
    refuse_other_settings(path, own, saved, "Take both files from one save_adapter")
    return config


def _shapes(tensors: dict) -> dict:
    """Name -> shape."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def users_hash(users: Iterable[int]) -> str:
    """sha256 of user ids, whatever their order: one a line, ascending, each once.

    Parameters
    ----------
    users : iterable of int

    Returns
    -------
    str, 64 hexadecimal digits

    Raises
    ------
    ValueError
        When there is none.

    Examples
    --------
    >>> users_hash([3, 1]) == users_hash([1, 3, 3])
    True
    """
    lines = [f"{user}\n" for user in sorted({int(user) for user in users})]
    if not lines:
        raise ValueError("no user")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _base_hash(network) -> str:
    """sha256 of the base model's weights as float32, whatever was put beside them."""
    digest = hashlib.sha256()
    state = {
        name.replace(".base_layer", "").replace(".words.", "."): value
        for name, value in network.state_dict().items()
        if ".lora_" not in name and ".soft_" not in name
    }
    for name in sorted(state):
        value = state[name].detach().float().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
