"""Gradient descent epoch by epoch, with numbers that can be followed by hand."""

import pytest
import torch

from recsys_tutorial.models.sgd import descend, one_torch_thread
from recsys_tutorial.training.monitor import FitMonitor


def test_the_rate_falls_linearly_and_an_epoch_sums_its_losses():
    table = torch.zeros(2, requires_grad=True)
    other = torch.ones(1, requires_grad=True)

    def loss(batch):
        return (table * batch).sum() + other.sum() * 0

    def batches():
        return [torch.tensor([1.0, 0.0]), torch.tensor([3.0, 5.0])]

    monitor, places, totals = FitMonitor(table, 4), [], []
    for total in descend([table, other], loss, batches, 0.1, monitor):
        monitor.record(objective=total)
        places.append(table.tolist())
        totals.append(total)
    # The gradient of an epoch is (4, 5); its rates are 0.1, 0.075, 0.05 and 0.025.
    rates = [0.1, 0.175, 0.225, 0.25]
    assert places == [pytest.approx([-4 * rate, -5 * rate]) for rate in rates]
    # Each loss is as it was before its step: the second batch's after one step of the first.
    expected, (a, b) = [], (0.0, 0.0)
    for rate in (0.1, 0.075, 0.05, 0.025):
        expected.append(a + 3 * (a - rate) + 5 * b)
        a, b = a - 4 * rate, b - 5 * rate
    assert totals == pytest.approx(expected)
    assert other.item() == 1.0


def test_a_block_with_one_thread_gives_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), one_torch_thread():
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
