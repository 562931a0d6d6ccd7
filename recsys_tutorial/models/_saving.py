"""What models that are saved as a file have in common: what it says of them, and reading it."""

from __future__ import annotations

import os
from typing import ClassVar, Self

from torch import Tensor, nn

from recsys_tutorial._files.tensors import load_tensors, refuse_other_settings, save_tensors
from recsys_tutorial.encoders.base import Encoder
from recsys_tutorial.training.monitor import model_state, restore_state


class SavedModel(nn.Module):
    """A model that is written to a file, and read from it into another one of the same parts."""

    _kind: ClassVar[str]  # what the file says that it holds
    _mend: ClassVar[str]  # what to do where it belongs to another model

    def save(self, path: str | os.PathLike) -> None:
        """Write what was learned to a safetensors file; frozen encoders and features stay out.

        Parameters
        ----------
        path : file name

        Raises
        ------
        ValueError
            When an encoder was trained and is frozen now: what it learned would stay out.
        """
        for name, part in self.named_modules():
            if isinstance(part, Encoder) and not part.n_trainable and part.changed:
                raise ValueError(f"{name} was trained and then frozen again: unfreeze it to save")
        save_tensors(path, model_state(self), {"kind": self._kind, "parts": self._description()})

    def load(self, path: str | os.PathLike) -> Self:
        """Read what `save` wrote into a model that was built from the same parts; return self.

        Parameters
        ----------
        path : file name

        Raises
        ------
        FileNotFoundError
        ValueError
            When the file is damaged or belongs to a model of other parts or other items.
        """
        read_into(self, path, self._kind, "parts", self._description(), self._mend)
        return self

    def _description(self) -> dict:
        return parts_and_shapes(self)


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
