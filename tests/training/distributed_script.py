"""Trains under several processes; tests/training/test_loop.py starts it with torchrun.

torchrun --nproc_per_node 2 distributed_script.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState

from recsys_tutorial.training import train

SETTINGS = {
    # 21 examples in batches of 4 or 3: shares of unequal size
    "plain": {"batch_size": 4},
    # single examples: one of two processes has nothing to do and must still take part
    "one example": {"batch_size": 1, "epochs": 1},
}


def run(batch_size: int, epochs: int = 3, **options) -> tuple[np.ndarray, np.ndarray]:
    data = np.random.default_rng(0)
    x, y = torch.from_numpy(data.normal(size=(21, 4))), torch.from_numpy(data.normal(size=21))
    torch.manual_seed(PartialState().process_index)  # other start values in each process
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    # What a loss does not use has no gradient, and the processes must not wait for it.
    model = torch.nn.ModuleDict({"net": net, "idle": torch.nn.Linear(2, 2)}).double()
    with torch.no_grad():
        if PartialState().is_main_process:
            for i, parameter in enumerate(model.parameters()):
                parameter.copy_(
                    torch.linspace(-1, 1, parameter.numel()).view_as(parameter) / (i + 1)
                )

    def loss(model, rows, rng):
        return ((model["net"](x[rows])[:, 0] - y[rows]) ** 2).mean()

    # Each process would judge differently; the first one's verdict must count for all.
    def validation(model):
        return PartialState().process_index - float(((model["net"](x)[:, 0] - y) ** 2).mean())

    history = train(
        model, loss, 21, epochs=epochs, batch_size=batch_size, learning_rate=0.02, seed=1,
        validation=validation, **options,
    )  # fmt: skip
    return torch.cat([p.detach().ravel() for p in model.parameters()]).numpy(), history.to_numpy()


def nan_in_one_process() -> str:
    """Only the second half of each batch, which the second process has, is bad."""
    model = torch.nn.Linear(1, 1)

    def loss(model, rows, rng):
        bad = PartialState().process_index == 1
        return model(torch.ones(len(rows), 1)).mean() * (float("nan") if bad else 1.0)

    try:
        train(model, loss, 8, batch_size=4, epochs=1)
    except FloatingPointError as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    Accelerator()  # reads ACCELERATE_USE_CPU, which PartialState alone does not
    results = {"processes": PartialState().num_processes}
    for name, settings in SETTINGS.items():
        results[f"{name} parameters"], results[f"{name} history"] = run(**settings)
    results["message"] = nan_in_one_process()
    np.savez(folder / f"process-{PartialState().process_index}.npz", **results)
    PartialState().destroy_process_group()
