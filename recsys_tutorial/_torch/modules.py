"""What we ask of any `torch.nn.Module`: to be quiet for a while, and whether it has changed."""

import contextlib
import itertools
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients within the block; the mode from before after it.

    Parameters
    ----------
    model : Module
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def version(model: nn.Module, *, buffers: bool = True) -> int:
    """A number that grows whenever a parameter or buffer of the model is written to in place.

    Parameters
    ----------
    model : Module
    buffers : bool, False for parameters alone: a move to another device makes buffers anew

    Returns
    -------
    int, to compare with an earlier one of the same model
    """
    values = itertools.chain(model.parameters(), model.buffers() if buffers else ())
    # What was made under inference mode counts nothing.
    return sum(value._version for value in values if not value.is_inference())
