"""One step of `training.train`: a batch's gradients, clipped, and what AdamW makes of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

Loss = Callable[[nn.Module, np.ndarray, np.random.Generator], Tensor]


class Objective(nn.Module):
    """The loss of a batch as the forward of a module, which is what Accelerate wraps."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The loss; ValueError unless it is a scalar Tensor."""
        value = self.loss(self.model, rows, rng)
        if not isinstance(value, Tensor) or value.ndim:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"the loss must be a scalar Tensor, got {shape}")
        return value


@dataclass
class Stepper:
    """Call it with a batch to take a step of the optimizer.

    Parameters
    ----------
    objective, optimizer : Objective and Optimizer, both prepared by `accelerator`
    accelerator : Accelerator
    clip_norm, accumulation, seed, example_ids : see `training.train`
    """

    objective: nn.Module
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    clip_norm: float | None
    accumulation: int
    seed: int
    example_ids: Sequence | None

    def __call__(self, batch: np.ndarray, step: int, epoch: int, factor: float) -> float:
        """Take step number `step` (from 0) at `factor` of the peak learning rates; the loss.

        Raises
        ------
        FloatingPointError
            Before the weights have moved, when the loss or the gradient's norm is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["peak"]
        randomness = [self.seed, step, self.accelerator.process_index]
        set_seed(int(np.random.SeedSequence(randomness).generate_state(1)[0]))
        self.optimizer.zero_grad()
        try:
            value, blame = self._backward(batch, np.random.default_rng(randomness))
        except Exception as error:
            error.add_note(self._where(step, epoch, batch))
            raise
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = self.accelerator.clip_grad_norm_(parameters, self.clip_norm or math.inf)
        if not (math.isfinite(value) and self._is_usable(norm)):
            what, bad = "loss", value
            if math.isfinite(value):
                what, bad = "gradient's norm", float(norm)
            raise FloatingPointError(
                f"the {what} became {bad} {self._where(step, epoch, blame)}: look at them, lower "
                "learning_rate, or raise the temperature"
            )
        self.optimizer.step()
        return value

    def _backward(self, batch: np.ndarray, rng: np.random.Generator) -> tuple[float, np.ndarray]:
        """Add a batch's gradients up; its loss, and the examples to blame if that is not finite."""
        accelerator, world = self.accelerator, self.accelerator.num_processes
        own = np.array_split(batch, world)[accelerator.process_index]
        weight = world * len(own) / len(batch)  # the mean over processes is then that of the batch
        own = own if len(own) else batch[:1]  # weighs 0: every process must take part in averaging
        pieces = np.array_split(own, min(self.accumulation, len(own)))
        total, blame = torch.zeros((), dtype=torch.float64), batch
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.objective):
                share = weight * len(piece) / len(own)
                value = self.objective(piece, rng)
                accelerator.backward(share * value)
            total += share * value.item()
            if not value.isfinite() and world == 1:
                blame = piece
        if world > 1:
            total = accelerator.reduce(total.float().to(accelerator.device), "mean")
        return float(total), blame

    def _is_usable(self, norm: Tensor) -> bool:
        """Whether to go on: the gradient is finite, or will be when the scaler scales it less.

        A step whose scaled gradient does not fit float16 is left out, and the scale halved. At a
        scale of 1 it is the gradient itself that does not fit, or is nan, and no later step would
        be taken.
        """
        scaler = self.accelerator.scaler
        return bool(norm.isfinite()) or (scaler is not None and scaler.get_scale() > 1)

    def _where(self, step: int, epoch: int, rows: np.ndarray) -> str:
        ids = self.example_ids
        names = [str(row if ids is None else ids[row]) for row in rows]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        return f"at step {step + 1} (epoch {epoch}), examples {', '.join(names[:20])}{more}"


def parameter_groups(
    model: nn.Module, learning_rate: float | Mapping[str, float], weight_decay: float
) -> list[dict]:
    """AdamW's groups: a rate for each prefix of a name, "peak", and decay on matrices only.

    Parameters
    ----------
    model, learning_rate, weight_decay : see `training.train`

    Raises
    ------
    ValueError
        For a rate below 0 or not finite, a parameter without a rate, a prefix of no parameter,
        and a model without a parameter that requires gradients.
    """
    rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else {"": learning_rate}
    for prefix, rate in rates.items():
        check_at_least(0, **{f"learning_rate {prefix!r}" if prefix else "learning_rate": rate})
    groups: dict[tuple, list] = {}
    used = set()
    for name, parameter in model.named_parameters():
        fitting = [prefix for prefix in rates if name.startswith(prefix)]
        used.update(fitting)
        if not parameter.requires_grad:
            continue
        if not fitting:
            raise ValueError(f"learning_rate names no rate for {name}: add one for the prefix ''")
        rate = rates[max(fitting, key=len)]
        groups.setdefault((rate, weight_decay * (parameter.ndim > 1)), []).append(parameter)
    if unknown := set(rates) - used:
        raise ValueError(f"learning_rate: no parameter's name starts with {sorted(unknown)}")
    if not groups:
        raise ValueError(f"{type(model).__name__} has no parameter that requires gradients")
    return [
        {"params": members, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]


def check_at_least(low: float, **numbers: float) -> None:
    """Raise ValueError for the first of the named numbers that is below `low` or not finite."""
    for name, value in numbers.items():
        if not (low <= value < math.inf):
            raise ValueError(f"{name} must be at least {low} and finite, got {value}")
