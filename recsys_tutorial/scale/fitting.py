"""The course's training loop in several processes, which begin again after a failure."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file, save_file

from recsys_tutorial import training
from recsys_tutorial._checks import check_at_least
from recsys_tutorial._files import whole
from recsys_tutorial.scale.workers import ray_with_parts

__all__ = ["train"]


def train(
    begin: Callable, n_examples: int, folder: str | os.PathLike, *, workers: int = 2,
    failures: int = 2, **settings,
) -> tuple:  # fmt: skip
    """`training.train` in several processes, which begin again after a failure.

    Each takes a part of every batch, and gradients are averaged: a batch of 64 stays one of 64.

    Parameters
    ----------
    begin : function -> (model, loss), what `training.train` takes; called in each process
    n_examples : int
    folder : that all machines see, for the checkpoint and ``model.safetensors``
    workers : int >= 1, processes; each has a graphics card where the cluster has as many
    failures : int >= 0, how often all begin again from the last checkpoint
    **settings : of `training.train`

    Returns
    -------
    model, trained; DataFrame, its history
    """
    ray = ray_with_parts()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    check_at_least(1, workers=workers)
    folder = Path(folder).resolve()
    use_gpu = ray.cluster_resources().get("GPU", 0) >= workers
    trainer = TorchTrainer(
        partial(_train_here, begin, n_examples, folder, settings),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=RunConfig(
            storage_path=str(folder / "ray"), failure_config=FailureConfig(max_failures=failures)
        ),
    )
    trainer.fit()
    model, _ = begin()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval(), pd.read_csv(folder / "history.csv", index_col=0)


def _train_here(begin: Callable, n_examples: int, folder: Path, settings: dict) -> None:
    """One of the processes."""
    ray = ray_with_parts()
    if ray.train.torch.get_device().type != "cuda":
        os.environ["ACCELERATE_USE_CPU"] = "true"  # else Accelerate sees one process
    model, loss = begin()
    checkpoint = {"checkpoint": folder / "checkpoint.safetensors"}
    history = training.train(model, loss, n_examples, **(checkpoint | settings))
    if ray.train.get_context().get_world_rank() == 0:
        state = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
        with whole(folder / "model.safetensors") as temporary:
            save_file(state, temporary)
        with whole(folder / "history.csv") as temporary:
            history.to_csv(temporary)
