"""Accelerate as `training.train` uses it: precision, processes, generators left alone."""

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import broadcast, parse_flag_from_env
from torch import nn

from recsys_tutorial._checks import check_one_of

_NAMES = {"full": "no", "bf16": "bf16", "fp16": "fp16"}  # ours, and Accelerate's


def chosen_precision(precision: str) -> str:
    """The name itself; for "auto" what this machine computes fast: "full", "bf16" or "fp16".

    A GPU before Ampere, such as Colab's T4, has no bfloat16: PyTorch only emulates it there.
    """
    check_one_of(("auto", *_NAMES), precision=precision)
    if precision != "auto":
        return precision
    device = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU")).device
    if device.type != "cuda":
        return "full"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@contextlib.contextmanager
def accelerator_for(precision: str) -> Iterator[Accelerator]:
    """An Accelerator of this precision ("full", "bf16" or "fp16") for the block.

    Accelerate shares its state within the process, and refuses to change its precision once there
    is one. So the block has a state of its own, and the caller's is put back afterwards: a notebook
    may train with one precision after the other, with an Accelerator of its own, or in a loss's
    validation. What the processes are to each other (`PartialState`) stays shared.
    """
    states = AcceleratorState, GradientState
    before = [dict(state._shared_state) for state in states]
    try:
        for state in states:
            state._reset_state()
        accelerator = Accelerator(
            mixed_precision=_NAMES[precision],
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        if precision == "fp16" and accelerator.device.type == "cpu":
            # Accelerate would compute in full precision here and say nothing; PyTorch can do it.
            accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")
        yield accelerator
    finally:
        for state, values in zip(states, before, strict=True):
            state._shared_state.clear()
            state._shared_state.update(values)


def judged_alike(validation: Callable | None, accelerator: Accelerator) -> Callable | None:
    """A validation that says the same in every process, or they would part ways; None for None."""
    if validation is None or accelerator.num_processes == 1:
        return validation

    def judge(model: nn.Module) -> float:
        value = torch.tensor(float(validation(model)), device=accelerator.device)
        return float(broadcast(value))

    return judge


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Give the global generators back as they were: the loop seeds them at every step."""
    theirs = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(theirs[0])
        np.random.set_state(theirs[1])  # noqa: NPY002
