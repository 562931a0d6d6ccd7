"""A regression that the tests of training share, and how they start processes of their own."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
X = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4)))
Y = X @ torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64) + 0.3


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(4, 1).double()


def squared_error(model, rows, rng):
    return ((model(X[rows])[:, 0] - Y[rows]) ** 2).mean()


def parameters(model) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in model.parameters()])


def environment() -> dict:
    paths = [str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
