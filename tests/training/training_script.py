"""Trains a small network with dropout; tests/training/test_checkpoints.py runs and kills it.

    python training_script.py FOLDER [KILL]

writes FOLDER/result.npz at the end. KILL = "step:N" sends SIGKILL to itself within step N,
"write:N" in the middle of writing the N-th checkpoint of this process.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from recsys_tutorial._files import tensors as checkpoints
from recsys_tutorial.training import train

N_EXAMPLES, STEPS_PER_EPOCH = 40, 5


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.3),
        torch.nn.Linear(16, 1),
    ).double()  # fmt: skip


def run(folder: Path, kill: str = "", **options):
    data = np.random.default_rng(1)
    x = torch.from_numpy(data.normal(size=(N_EXAMPLES, 6)))
    y = torch.from_numpy(data.normal(size=(N_EXAMPLES, 1)))
    what, _, number = kill.partition(":")
    calls = {"step": 0, "write": 0}

    def loss(model, rows, rng):
        calls["step"] += 1
        if what == "step" and calls["step"] == int(number):
            kill_self()
        noise = torch.from_numpy(rng.normal(size=(len(rows), 1))) + 0.1 * np.random.normal()  # noqa: NPY002
        return ((model(x[rows]) - y[rows] - 0.1 * noise) ** 2).mean()

    def write_half(tensors, path, metadata):
        calls["write"] += 1
        save(tensors, path, metadata)
        if calls["write"] == int(number):
            os.truncate(path, os.path.getsize(path) // 2)
            kill_self()

    if what == "write":
        save, checkpoints.save_file = checkpoints.save_file, write_half
    model = network()
    history = train(
        model, loss, N_EXAMPLES, epochs=6, batch_size=8, learning_rate=0.05, seed=7,
        validation=lambda model: -float(((model(x) - y) ** 2).mean()),
        checkpoint=folder / "checkpoint.safetensors", checkpoint_every=2, **options,
    )  # fmt: skip
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    return {**state, "history": history.to_numpy()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[1])
    np.savez(where / "result.npz", **run(where, *sys.argv[2:]))
