"""What mixed precision leaves alone: losses in float32, and masks that fit every precision.

Under autocast, matrix products are computed in half precision, which has 8 significant bits
(bfloat16) or 11 (float16). Layers bear that. Logits do not: at a temperature of 0.05 a cosine of
0.9 is a logit of 18, which bfloat16 knows to within 0.06.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def at_least_float32(value: Any) -> Any:
    """A floating-point tensor of half precision as float32; anything else as it is."""
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def in_full_precision(function: Callable) -> Callable:
    """Decorate a function of tensors: autocast is off in it, and half precision comes as float32.

    float32 and float64 stay as they are. Converting what a function gets would not do: autocast
    casts the operands of a matrix product inside it back.
    """

    @functools.wraps(function)
    def run(*args, **kwargs):
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        with torch.autocast(tensors[0].device.type if tensors else "cpu", enabled=False):
            return function(
                *map(at_least_float32, args),
                **{name: at_least_float32(value) for name, value in kwargs.items()},
            )

    # doctest overlooks a wrapped function, unless its module names it here.
    function.__globals__.setdefault("__test__", {})[function.__qualname__] = run
    return run


def leave_out(logits: Tensor, left_out: Tensor) -> Tensor:
    """`logits` with the least number of their precision where `left_out` (bool) is True.

    Its exponential is 0, and unlike -inf it makes no nan of 0 * log 0, nor of a row in which
    everything is left out.
    """
    return logits.masked_fill(left_out, torch.finfo(logits.dtype).min)


@in_full_precision
def dot_products(users: Tensor, items: Tensor) -> Tensor:
    """Of each row of one matrix with each of the other: (n_users, n_items)."""
    return users @ items.T


@in_full_precision
def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(logits)_target, the mean over rows (n, n_classes) and their targets (n,)."""
    return functional.cross_entropy(logits, targets)
