"""Tensors and what describes them in one safetensors file: written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recsys_tutorial._files.writing import whole

_KEY = "recsys_tutorial"


def save_tensors(path: str | os.PathLike, tensors: dict[str, Tensor], info: dict) -> None:
    """Write a file, whole or not at all: a killed process leaves the old one.

    Parameters
    ----------
    path : file name, ".safetensors" by custom; its folder is created
    tensors : dict of Tensor
    info : dict that JSON can hold; "kind" says what the file is. It goes into the file's header,
        with a checksum of the tensors.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {_KEY: json.dumps({**info, "sha256": _checksum(tensors)})}
    with whole(path) as temporary:
        save_file(tensors, temporary, metadata=header)


def load_tensors(path: str | os.PathLike, kind: str) -> tuple[dict[str, Tensor], dict]:
    """Read a file that `save_tensors` wrote.

    Parameters
    ----------
    path : file name
    kind : what it must be, as `save_tensors` was told

    Returns
    -------
    tensors : dict of Tensor, on the CPU
    info : dict, as it was given

    Raises
    ------
    FileNotFoundError
    ValueError
        For a file that is damaged, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        info = json.loads(header[_KEY]) if _KEY in header else {}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if info.get("kind") != kind:
        raise ValueError(f"{path} holds {info.get('kind') or 'something else'}, not {kind}")
    if info.pop("sha256", None) != _checksum(tensors):
        raise ValueError(f"{path} is damaged: its tensors do not match their checksum; make it new")
    return tensors, info


def refuse_other_settings(path: str | os.PathLike, saved: Mapping, own: Mapping, mend: str) -> None:
    """Stop unless a file was saved with the settings that its reader has.

    Parameters
    ----------
    path : file name, for the message
    saved, own : mapping name -> anything that JSON can hold
    mend : what the reader can do about it, a sentence or two

    Raises
    ------
    ValueError
        It names the first setting that differs, and both values; None stands for a missing one.
    """
    for name in [*own, *saved]:
        theirs, ours = saved.get(name), own.get(name)
        if theirs != ours:
            raise ValueError(f"{path} does not fit: its {name} is {theirs}, not {ours}. {mend}")


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())  # also for bfloat16
    return digest.hexdigest()
