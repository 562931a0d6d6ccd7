"""One step of `training.train`: a batch's gradients, clipped, and what AdamW makes of them."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least

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
    clip_norm, seed : see `training.train`
    """

    objective: nn.Module
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    clip_norm: float | None
    seed: int

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
        _seed(np.random.SeedSequence(randomness).generate_state(1).item(), self.accelerator.device)
        self.optimizer.zero_grad()
        try:
            value = self._backward(batch, np.random.default_rng(randomness))
        except Exception as error:
            error.add_note(self._named_step(step, epoch, batch))
            raise
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = self.accelerator.clip_grad_norm_(parameters, self.clip_norm or math.inf)
        if not (math.isfinite(value) and self._is_usable(norm)):
            what, bad = ("gradient's norm", norm) if math.isfinite(value) else ("loss", value)
            raise FloatingPointError(
                f"the {what} became {float(bad)} {self._named_step(step, epoch, batch)}: look at "
                "them, lower learning_rate, or raise the temperature"
            )
        self.optimizer.step()
        return value

    def _backward(self, batch: np.ndarray, rng: np.random.Generator) -> float:
        """Add this process's part of a batch's gradients; return the batch's loss."""
        accelerator, world = self.accelerator, self.accelerator.num_processes
        own = np.array_split(batch, world)[accelerator.process_index]
        weight = world * len(own) / len(batch)  # the mean over processes is then that of the batch
        own = own if len(own) else batch  # weighs 0: every process must take part in averaging
        value = weight * self.objective(own, rng)
        accelerator.backward(value)
        if world > 1:
            value = accelerator.reduce(value.detach().float(), "mean")
        return value.item()

    def _is_usable(self, norm: Tensor) -> bool:
        """Whether to go on: the gradient is finite, or will be when the scaler scales it less.

        A step whose scaled gradient does not fit float16 is left out, and the scale halved. At a
        scale of 1 it is the gradient itself that does not fit, or is nan, and no later step would
        be taken.
        """
        scaler = self.accelerator.scaler
        return bool(norm.isfinite()) or (scaler is not None and scaler.get_scale() > 1)

    def _named_step(self, step: int, epoch: int, rows: np.ndarray) -> str:
        names = ", ".join(map(str, rows[:20]))
        more = f" and {len(rows) - 20} more" if len(rows) > 20 else ""
        return f"at step {step + 1} (epoch {epoch}), examples {names}{more}"


def _seed(number: int, device: torch.device) -> None:
    """Seed what a step on this device draws from.

    `set_seed` seeds every device's generator. Where there is no CUDA, torch puts these calls on a
    list for later, each with a printed stack, which took a tenth of a small model's step.
    """
    if device.type != "cpu":
        set_seed(number)
        return
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002  what a loss may draw from without the step's generator
    torch.default_generator.manual_seed(number)


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
        rate = rates[max(fitting)]  # the longest: it begins with the others
        groups.setdefault((rate, weight_decay * (parameter.ndim > 1)), []).append(parameter)
    if unknown := set(rates) - used:
        raise ValueError(f"learning_rate: no parameter's name starts with {sorted(unknown)}")
    if not groups:
        raise ValueError(f"{type(model).__name__} has no parameter that requires gradients")
    return [
        {"params": members, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]
