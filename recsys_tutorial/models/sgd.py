"""What the two models learned by stochastic gradients, BiasedMF and BPR, share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from recsys_tutorial.training.monitor import FitMonitor


def epochs(monitor: FitMonitor, optimizer, learning_rate: float) -> Iterator[int]:
    """Epochs 1, 2, ...; the learning rate falls linearly from `learning_rate` towards 0."""
    for epoch in monitor:
        optimizer.param_groups[0]["lr"] = learning_rate * (1.0 - (epoch - 1) / monitor.iterations)
        yield epoch


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """A block in which PyTorch uses one thread.

    A mini-batch of short vectors is too little work to share: handing it to a second thread costs
    about what it saves, and many times more where other processes want the cores too.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
