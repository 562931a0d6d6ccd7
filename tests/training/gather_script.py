"""A contrastive loss whose negatives come from two processes; test_large_batches.py starts it.

torchrun --nproc_per_node 2 gather_script.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState

from recsys_tutorial.losses import info_nce
from recsys_tutorial.training import train
from recsys_tutorial.training.large_batches import gather_rows, in_chunks


def run(chunk_size: int | None, gather: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and history of a short training; batches of 7 and 8, so of unequal shares."""
    data = np.random.default_rng(0)
    a, b = (torch.from_numpy(data.normal(size=(22, 4))) for _ in range(2))
    ids = torch.from_numpy(data.integers(12, size=22))
    torch.manual_seed(3)
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 3), "b": torch.nn.Linear(4, 3)}).double()

    def loss(model, rows, rng):
        z, v = (
            in_chunks(model[name], x[rows], chunk_size) if chunk_size else model[name](x[rows])
            for name, x in (("a", a), ("b", b))
        )
        same = ids[rows]
        if gather:
            z, v, same = gather_rows(z), gather_rows(v), gather_rows(same)
        return info_nce(z, v, temperature=0.5, symmetric=True, positive_ids=same)

    history = train(model, loss, 22, epochs=3, batch_size=8, learning_rate=0.05, seed=1)
    return torch.cat([p.detach().ravel() for p in model.parameters()]).numpy(), history.to_numpy()


CASES = {"plain": (None,), "in chunks": (2,), "not gathered": (None, False)}

if __name__ == "__main__":
    Accelerator()  # reads ACCELERATE_USE_CPU, which PartialState alone does not
    state, results = PartialState(), {"processes": PartialState().num_processes}
    for name, case in CASES.items():
        results[f"{name} parameters"], results[f"{name} history"] = run(*case)
    np.savez(Path(sys.argv[1]) / f"process-{state.process_index}.npz", **results)
    state.destroy_process_group()
