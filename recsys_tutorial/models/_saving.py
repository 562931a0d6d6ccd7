"""What models that are saved as a file have in common: what it says of them, and reading it."""

from __future__ import annotations

import os

from torch import Tensor, nn

from recsys_tutorial._tensor_files import load_tensors, refuse_other_settings
from recsys_tutorial.training.monitor import model_state, restore_state


def parts_and_shapes(model: nn.Module) -> dict:
    """What a model is built from, as far as its parts can `describe` it, and its state's shapes.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict that JSON can hold
    """
    parts = {
        name: {"type": type(part).__name__, **part.describe()}
        for name, part in model.named_modules()
        if hasattr(part, "describe")
    }
    return parts | _shapes(model_state(model))


def read_into(
    model: nn.Module, path: str | os.PathLike, kind: str, key: str, own: dict, mend: str
) -> dict:
    """Read a file of `save_tensors` into a model that was built as the saved one was.

    Parameters
    ----------
    model : Module
    path : file name
    kind : what the file must be
    key : under which the file describes its model
    own : how this model would be described there
    mend : what the reader can do where the two differ, a sentence or two

    Returns
    -------
    dict, what the file says besides its tensors

    Raises
    ------
    FileNotFoundError
    ValueError
        When the file is damaged, of another kind, or belongs to a model of other parts or shapes.
    """
    tensors, info = load_tensors(path, kind)
    refuse_other_settings(path, info[key], own, mend)
    refuse_other_settings(path, _shapes(tensors), _shapes(model_state(model)), mend)
    restore_state(model, tensors)
    return info


def _shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in state.items()}
