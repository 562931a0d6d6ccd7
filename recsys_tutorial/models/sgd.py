"""Stochastic gradient descent on tables of vectors: how `BiasedMF` learns where it is asked to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from recsys_tutorial.training.monitor import FitMonitor


def descend(
    tables: list[Tensor],
    loss: Callable[[Tensor], Tensor],
    batches: Callable[[], Iterable[Tensor]],
    learning_rate: float,
    monitor: FitMonitor,
) -> Iterator[float]:
    """Take a step per batch, epoch after epoch; the learning rate falls linearly towards 0.

    Parameters
    ----------
    tables : list of Tensor (n_rows, dim) that require gradients; changed in place. Where `loss`
        looks rows up by a sparse embedding, a step costs no more than the rows of its batch.
    loss : function of a batch, a scalar Tensor
    batches : function that gives an epoch's batches
    learning_rate : float > 0, of the first epoch
    monitor : FitMonitor, which counts the epochs; `record` each

    Yields
    ------
    float, the sum of an epoch's losses, each as it was before its step
    """
    optimizer = torch.optim.SGD(tables)  # its rate is set epoch by epoch
    for epoch in monitor:
        optimizer.param_groups[0]["lr"] = learning_rate * (1.0 - (epoch - 1) / monitor.iterations)
        total = 0.0
        for batch in batches():
            value = loss(batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.item()
        yield total


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """A block in which PyTorch uses one thread, by its own switch.

    A mini-batch of short vectors is too little work to share: handing it to a second thread costs
    about what it saves, and many times more where other processes want the cores too.
    (threadpoolctl's limit on OpenMP was seen to miss the copy that PyTorch computes with.)
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
