"""The one training loop of the course: batches, AdamW, schedule, checkpoints, several processes.

`train` is all of it but for the parts: a step is in `_steps`, a checkpoint in `checkpoints`, the
history and early stopping in `monitor`. It is long because its settings are described in one place.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from recsys_tutorial._checks import check_at_least, check_positive, check_within
from recsys_tutorial.training import _accelerators as machine
from recsys_tutorial.training._steps import Loss, Objective, Stepper, parameter_groups
from recsys_tutorial.training.checkpoints import Checkpoint
from recsys_tutorial.training.monitor import FitMonitor


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
    seed: int = 0,
    batches: Callable[[np.random.Generator], Sequence[np.ndarray]] | None = None,
    validation: Callable[[nn.Module], float] | None = None,
    patience: int = 3,
    metrics: Callable[[nn.Module], Mapping[str, float]] | None = None,
    precision: str = "auto",
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 100,
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
        Written every `checkpoint_every` (int) steps and after each epoch. If the file exists, the
        run goes on from there; a finished one returns at once. See `training.checkpoints`.
    checkpoint_every : int

    Returns
    -------
    DataFrame, one row per epoch: loss (mean over the steps), learning_rate (of the last step, for
    the model's first parameter that is trained), those of `metrics`, validation

    Raises
    ------
    FloatingPointError
        When loss or gradient is not finite: it names the step and the examples, and leaves the
        weights as they were before that step.
    ValueError
        For a number out of range, a loss that is no scalar, epochs of unequally many batches, or a
        checkpoint that is damaged or that another run wrote.
    """
    check_at_least(1, batch_size=batch_size, checkpoint_every=checkpoint_every)
    precision = machine.chosen_precision(precision)
    settings = {
        "n_examples": n_examples, "epochs": epochs, "weight_decay": weight_decay,
        "learning_rate": learning_rate if np.isscalar(learning_rate) else dict(learning_rate),
        "warmup": warmup, "clip_norm": clip_norm, "seed": seed, "patience": patience,
        "precision": precision,
    }  # fmt: skip
    _check_settings(settings)
    plan = functools.partial(_batches_of_epoch, seed, n_examples, batch_size, batches)

    with machine.accelerator_for(precision) as accelerator, machine.own_randomness():
        # The wrapped module's forward is the loss, so that gradients are averaged, and half
        # precision is used, wherever it calls.
        objective = accelerator.prepare(Objective(model, loss))
        groups = parameter_groups(model, learning_rate, weight_decay)
        optimizer = accelerator.prepare(torch.optim.AdamW(groups))
        take_step = Stepper(objective, optimizer, accelerator, clip_norm, seed)
        n_steps = len(plan(1))
        judge = machine.judged_alike(validation, accelerator)
        monitor = FitMonitor(model, epochs, validation=judge, patience=patience, steps=n_steps)
        settings |= {"steps per epoch": n_steps, "processes": accelerator.num_processes}
        run = Checkpoint(checkpoint, model, optimizer, monitor, accelerator, settings)
        run.resume()
        for epoch in monitor:
            order = plan(epoch, n_steps)
            done = run.step - (epoch - 1) * n_steps  # above 0 after resuming within an epoch
            monitor.advance(done)
            model.train()
            for batch in order[done:]:
                factor = warmup_cosine(run.step, epochs * n_steps, warmup)
                run.loss_sum += take_step(batch, run.step, epoch, factor)
                run.step += 1
                monitor.advance()
                if run.step % checkpoint_every == 0:
                    run.save()
            model.eval()
            with torch.no_grad():
                more = {} if metrics is None else metrics(model)
                last = warmup_cosine(run.step - 1, epochs * n_steps, warmup)
                rate = last * optimizer.param_groups[0]["peak"]  # "lr" is not in a checkpoint
                monitor.record(loss=run.loss_sum / n_steps, learning_rate=rate, **more)
            run.loss_sum = 0.0
            run.save()
    model.eval()
    return monitor.finish()


def warmup_cosine(step: int, n_steps: int, warmup: float = 0.1) -> float:
    """The learning rate of a step as a share of its peak.

    Linear from 1 / w to 1 in the first w = warmup * n_steps steps, so that Adam's averages settle
    before steps are long; then half a cosine down to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983,
    equation 5, without restarts):

        (step + 1) / w,  then  (1 + cos(pi (step - w) / (n_steps - w))) / 2

    Parameters
    ----------
    step : int, from 0
    n_steps : int, of the whole training
    warmup : float, share of the steps in which the rate rises, 0 to 1

    Returns
    -------
    float, 0 to 1

    Examples
    --------
    >>> [round(warmup_cosine(step, 8, 0.25), 2) for step in range(8)]
    [0.5, 1.0, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    rising = warmup * n_steps
    if step < rising:
        return min(1.0, (step + 1) / rising)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / (n_steps - rising)))


def _check_settings(settings: Mapping) -> None:
    """ValueError for a setting of `train` that is out of range."""
    check_at_least(1, **{name: settings[name] for name in ("epochs", "n_examples")})
    check_at_least(0, weight_decay=settings["weight_decay"])
    check_within(0, 1, warmup=settings["warmup"])
    if settings["clip_norm"] is not None:
        check_positive(clip_norm=settings["clip_norm"])


def _batches_of_epoch(
    seed: int,
    n_examples: int,
    batch_size: int,
    batches: Callable | None,
    epoch: int,
    n_steps: int | None = None,
) -> list[np.ndarray]:
    """The batches of an epoch: all examples in random order, unless `batches` says which.

    ValueError unless there are `n_steps` of them, where it is given.
    """
    rng = np.random.default_rng([seed, epoch])
    if batches is None:
        return np.array_split(rng.permutation(n_examples), math.ceil(n_examples / batch_size))
    order = list(batches(rng))
    if n_steps is not None and len(order) != n_steps:
        raise ValueError(f"epoch {epoch} has {len(order)} batches, epoch 1 had {n_steps}")
    return order
