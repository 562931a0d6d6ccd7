"""The one training loop of the course: batches, AdamW, schedule, checkpoints, several processes."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from torch import Tensor, nn

from recsys_tutorial._tensor_files import load_tensors, save_tensors
from recsys_tutorial.training._accelerators import accelerator_for, chosen_precision
from recsys_tutorial.training.monitor import FitMonitor, model_state, restore_state

__all__ = ["FitMonitor", "train", "warmup_cosine"]

Loss = Callable[[nn.Module, np.ndarray, np.random.Generator], Tensor]


def train(
    model: nn.Module,
    loss: Loss,
    n_examples: int,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float | Mapping[str, float] = 1e-3,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    clip_norm: float | None = 1.0,
    accumulation: int = 1,
    seed: int = 0,
    batches: Callable[[np.random.Generator], Sequence[np.ndarray]] | None = None,
    validation: Callable[[nn.Module], float] | None = None,
    patience: int = 3,
    metrics: Callable[[nn.Module], Mapping[str, float]] | None = None,
    precision: str = "auto",
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 100,
    example_ids: Sequence | None = None,
) -> pd.DataFrame:
    """Train the parameters of `model` that require gradients, in place; return the history.

    AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), weight decay on matrices only. The
    learning rate follows `warmup_cosine`. Everything random is drawn from `seed` and the number
    of the step, so a run that was killed and resumed ends where an uninterrupted one does.

    The model goes to the GPU if there is one, and stays there. Under `torchrun` or
    `accelerate launch` each process takes a part of every batch and gradients are averaged.

    Parameters
    ----------
    model : Module; in training mode for `loss`, in evaluation mode for `validation` and afterwards
    loss : function (model, rows, rng) -> scalar Tensor
        The mean loss of the examples `rows` (int64 ndarray of numbers below `n_examples`). What
        is random in it comes from `rng`, or from torch's global generator as in dropout.
    n_examples : int
    epochs : int, passes over the examples
    batch_size : int, examples in an optimizer step, over all processes; the batches of an epoch
        differ by at most one example
    learning_rate : float, or {name prefix: float}, the longest that fits counts, for example
        ``{"": 1e-3, "item_tower.encoder": 2e-5}``
    weight_decay : float
    warmup : share of the steps in which the learning rate rises
    clip_norm : largest norm of the gradient, or None
    accumulation : int, pieces that a batch is cut into. Their gradients add up to the batch's
        where the loss is a mean over examples; where a batch holds its own negatives, they see
        fewer of them.
    seed : int
    batches : function rng -> the batches of one epoch, instead of all examples in random order;
        as many in every epoch
    validation, patience : see `FitMonitor`; larger is better. The best epoch's weights stay.
    metrics : function model -> more numbers for the history, after each epoch
    precision : "full", "bf16" or "fp16" (mixed: matrix products in half precision, weights and the
        losses of this package in full), or "auto": on CUDA bf16 where the GPU computes it itself,
        else fp16, as on a T4; "full" elsewhere. With fp16 the loss is scaled, so that small
        gradients stay above 0, and a step is left out where that made large ones overflow.
    checkpoint : file name, or None
        Written every `checkpoint_every` steps and after each epoch. If the file exists, the run
        goes on from there; a finished one returns at once.
    example_ids : names of the examples, for error messages; their numbers by default

    Returns
    -------
    DataFrame, one row per epoch: loss (mean over the steps), learning_rate (of the last step),
    those of `metrics`, validation

    Raises
    ------
    FloatingPointError
        When loss or gradient is not finite: it names the step and the examples, and leaves the
        weights as they were before that step.
    ValueError
        For a number out of range, or a checkpoint that another run wrote.
    """
    _check(1, epochs=epochs, batch_size=batch_size, n_examples=n_examples)
    _check(1, accumulation=accumulation, checkpoint_every=checkpoint_every)
    _check(0, weight_decay=weight_decay)
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup must be within 0 to 1, got {warmup}")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm must be positive or None, got {clip_norm}")
    precision = chosen_precision(precision)

    def plan(epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([seed, epoch])
        if batches is not None:
            return list(batches(rng))
        return np.array_split(rng.permutation(n_examples), math.ceil(n_examples / batch_size))

    with accelerator_for(precision) as accelerator, _own_randomness():
        # The wrapped module's forward is the loss, so that gradients are averaged, and half
        # precision is used, wherever it calls.
        objective = accelerator.prepare(_Objective(model, loss))
        groups = _parameter_groups(model, learning_rate, weight_decay)
        optimizer = accelerator.prepare(torch.optim.AdamW(groups))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        n_steps = len(plan(1))
        judge = None if validation is None else functools.partial(_judge, validation, accelerator)
        monitor = FitMonitor(model, epochs, validation=judge, patience=patience, steps=n_steps)
        settings = {
            "n_examples": n_examples, "epochs": epochs, "steps per epoch": n_steps,
            "learning_rate": learning_rate if np.isscalar(learning_rate) else dict(learning_rate),
            "weight_decay": weight_decay, "warmup": warmup, "clip_norm": clip_norm,
            "accumulation": accumulation, "seed": seed, "patience": patience,
            "precision": precision, "processes": accelerator.num_processes,
        }  # fmt: skip
        run = _Run(model, optimizer, accelerator.scaler, monitor, settings)
        if checkpoint is not None and Path(checkpoint).exists():
            run.load(checkpoint)
        accelerator.wait_for_everyone()  # no process may write before all have looked

        def save() -> None:
            if checkpoint is not None and accelerator.is_main_process:
                run.save(checkpoint)

        for epoch in monitor:
            order = plan(epoch)
            if len(order) != n_steps:
                raise ValueError(f"epoch {epoch} has {len(order)} batches, epoch 1 had {n_steps}")
            done = run.step - (epoch - 1) * n_steps  # above 0 after resuming within an epoch
            monitor.advance(done)
            model.train()
            for batch in order[done:]:
                factor = warmup_cosine(run.step, epochs * n_steps, warmup)
                for group in optimizer.param_groups:
                    group["lr"] = factor * group["peak"]
                randomness = [seed, run.step, accelerator.process_index]
                set_seed(int(np.random.SeedSequence(randomness).generate_state(1)[0]))
                optimizer.zero_grad()
                try:
                    value, blame = _backward(
                        objective, batch, accelerator, accumulation, randomness
                    )
                except Exception as error:
                    error.add_note(_where(run.step + 1, epoch, batch, example_ids))
                    raise
                norm = accelerator.clip_grad_norm_(parameters, clip_norm or math.inf)
                if not math.isfinite(value) or not _is_usable(norm, accelerator.scaler):
                    what = "gradient's norm" if math.isfinite(value) else "loss"
                    raise FloatingPointError(
                        f"the {what} became {float(norm) if math.isfinite(value) else value} "
                        f"{_where(run.step + 1, epoch, blame, example_ids)}: look at them, lower "
                        "learning_rate, or raise the temperature"
                    )
                optimizer.step()
                run.step, run.loss_sum = run.step + 1, run.loss_sum + value
                monitor.advance()
                if run.step % checkpoint_every == 0:
                    save()
            model.eval()
            with torch.no_grad():
                more = {} if metrics is None else metrics(model)
                rate = optimizer.param_groups[0]["lr"]
                monitor.record(loss=run.loss_sum / n_steps, learning_rate=rate, **more)
            run.loss_sum = 0.0
            save()
    model.eval()
    return monitor.finish()


def warmup_cosine(step: int, n_steps: int, warmup: float = 0.1) -> float:
    """The learning rate of a step as a share of its peak.

    Linear from 1 / w to 1 in the first w = warmup * n_steps steps, so that Adam's averages settle
    before steps are long; then half a cosine down to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983,
    equation 5, without restarts).

    Examples
    --------
    >>> [round(warmup_cosine(step, 8, 0.25), 2) for step in range(8)]
    [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    rising = warmup * n_steps
    if step < rising:
        return min(1.0, (step + 1) / rising)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / (n_steps - rising)))


class _Objective(nn.Module):
    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        value = self.loss(self.model, rows, rng)
        if not isinstance(value, Tensor) or value.ndim:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"the loss must be a scalar Tensor, got {shape}")
        return value


def _backward(
    objective: nn.Module, batch: np.ndarray, accelerator: Accelerator, accumulation: int,
    randomness: list[int],
) -> tuple[float, np.ndarray]:  # fmt: skip
    """Add a batch's gradients up; its loss, and the examples to blame if that is not finite."""
    rng = np.random.default_rng(randomness)
    world = accelerator.num_processes
    own = np.array_split(batch, world)[accelerator.process_index]
    weight = world * len(own) / len(batch)  # the mean over processes is then that of the batch
    own = own if len(own) else batch[:1]  # weighs 0: every process must take part in averaging
    pieces = np.array_split(own, min(accumulation, len(own)))
    total, blame = torch.zeros((), dtype=torch.float64), batch
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(objective):
            share = weight * len(piece) / len(own)
            value = objective(piece, rng)
            accelerator.backward(share * value)
        total += share * value.item()
        if not value.isfinite() and world == 1:
            blame = piece
    if world > 1:
        total = accelerator.reduce(total.float().to(accelerator.device), "mean")
    return float(total), blame


def _is_usable(norm: Tensor, scaler: torch.amp.GradScaler | None) -> bool:
    """Whether to go on: the gradient is finite, or will be when the scaler has scaled it less.

    A step whose scaled gradient does not fit float16 is left out, and the scale halved. At a scale
    of 1 it is the gradient itself that does not fit, or is nan, and no later step would be taken.
    """
    return bool(norm.isfinite()) or (scaler is not None and scaler.get_scale() > 1)


class _Run:
    """What a checkpoint holds."""

    def __init__(self, model, optimizer, scaler, monitor: FitMonitor, settings: dict):
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.monitor, self.step, self.loss_sum = monitor, 0, 0.0
        self.names = {p: name for name, p in model.named_parameters()}
        shapes = {name: list(value.shape) for name, value in model_state(model).items()}
        self.settings = json.loads(json.dumps({**settings, "shapes": shapes}, default=float))

    def save(self, path: str | os.PathLike) -> None:
        tensors = {f"model/{name}": value for name, value in model_state(self.model).items()}
        best = self.monitor.best_state or {}
        tensors.update({f"best/{name}": value for name, value in best.items()})
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                tensors[f"optimizer/{key}/{self.names[parameter]}"] = value
        info = {"kind": "a training checkpoint", "settings": self.settings, "step": self.step}
        info |= {"loss_sum": self.loss_sum, "monitor": self.monitor.progress()}
        scaler = {} if self.scaler is None else self.scaler.state_dict()
        save_tensors(path, tensors, {**info, "scaler": scaler})

    def load(self, path: str | os.PathLike) -> None:
        tensors, info = load_tensors(path, "a training checkpoint")
        for name, value in self.settings.items():
            if value != info["settings"].get(name):
                theirs = "" if name == "shapes" else f": {info['settings'].get(name)}, not {value}"
                raise ValueError(
                    f"{path} was written by a run with other {name}{theirs}. Delete it to start "
                    "anew, or restore the settings to go on"
                )
        parameters = {name: parameter for parameter, name in self.names.items()}
        parts: dict[str, dict] = {"model": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        restore_state(self.model, parts["model"])
        for name, value in parts["optimizer"].items():
            key, _, rest = name.partition("/")
            parameter = parameters[rest]
            value = value if key == "step" else value.to(parameter.device)
            self.optimizer.state[parameter][key] = value
        self.step, self.loss_sum = info["step"], info["loss_sum"]
        if self.scaler is not None:
            self.scaler.load_state_dict(info["scaler"])
        self.monitor.resume(info["monitor"], parts["best"] or None)


def _parameter_groups(
    model: nn.Module, learning_rate: float | Mapping[str, float], weight_decay: float
) -> list[dict]:
    rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else {"": learning_rate}
    for prefix, rate in rates.items():
        _check(0, **{f"learning_rate {prefix!r}" if prefix else "learning_rate": rate})
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


def _judge(validation: Callable, accelerator: Accelerator, model: nn.Module) -> float:
    """The validation metric, the same in every process (else they would part ways)."""
    value = float(validation(model))
    if accelerator.num_processes == 1:
        return value
    return float(broadcast(torch.tensor(value, device=accelerator.device)))


def _where(step: int, epoch: int, rows: np.ndarray, example_ids: Sequence | None) -> str:
    names = [str(row if example_ids is None else example_ids[row]) for row in rows]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"at step {step} (epoch {epoch}), examples {', '.join(names[:20])}{more}"


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """Give the global generators back as they were: the loop seeds them at every step."""
    theirs = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(theirs[0])
        np.random.set_state(theirs[1])  # noqa: NPY002


def _check(low: float, **numbers: float) -> None:
    for name, value in numbers.items():
        if not (low <= value < math.inf):
            raise ValueError(f"{name} must be at least {low} and finite, got {value}")
