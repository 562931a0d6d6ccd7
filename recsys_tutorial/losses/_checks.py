"""What the losses share: checks of their arguments, and a softmax that can leave candidates out."""

import torch
from torch import Tensor

from recsys_tutorial._checks import check_shape
from recsys_tutorial._torch.precision import leave_out


def softmax_loss(logits, place, left_out, *, decoupled: bool = False) -> Tensor:
    """Mean -log softmax at `place` over the rows that have a negative.

    logits, left_out : (batch, n_candidates); place : (batch,), where the positive stands;
    decoupled : without the positive in the denominator
    """
    rows = torch.arange(len(logits), device=logits.device)
    counts = (~left_out).sum(1) > 1
    if decoupled:
        left_out = left_out.clone()
        left_out[rows, place] = True
        losses = leave_out(logits, left_out).logsumexp(1) - logits[rows, place]
    else:
        masked = leave_out(logits, left_out)
        losses = torch.nn.functional.cross_entropy(masked, place, reduction="none")
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def log_probability(name: str, values, like: Tensor, shapes: list[tuple]) -> Tensor:
    """`values` as a tensor like `like`, if it is finite and has one of the shapes."""
    values = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    check_shape(name, values, *shapes)
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} holds a value that is not finite: no probability may be 0")
    return values


def bool_mask(name: str, mask, like: Tensor) -> Tensor:
    """`mask` as a bool tensor of the shape of `like`."""
    mask = torch.as_tensor(mask, device=like.device)
    if mask.dtype != torch.bool or mask.shape != like.shape:
        found = f"{mask.dtype} {tuple(mask.shape)}"
        raise ValueError(f"{name} must be bool {tuple(like.shape)}, got {found}")
    return mask


def check_finite(loss: Tensor, **tensors: Tensor | None) -> Tensor:
    """`loss`, or a ValueError that names the tensor and the row that spoiled it."""
    if torch.isfinite(loss):
        return loss
    for name, values in tensors.items():
        if values is not None and not values.isfinite().all():
            row = int((~values.isfinite()).nonzero()[0, 0])
            raise ValueError(f"the loss is not finite: row {row} of {name} holds nan or infinity")
    raise ValueError("the loss is not finite: overflow")
