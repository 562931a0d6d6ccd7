"""Models with several vectors on a side against their equations, by hand."""

import numpy as np
import pytest
import torch

from recsys_tutorial.models import (
    BestPartners,
    PairAttention,
    TargetAttention,
    late_interaction,
)

HISTORY = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
MASK = torch.tensor([[True, True, False]])
ITEM = torch.tensor([[2.0, 3.0]])
TWO = [HISTORY.repeat(2, 1, 1)] * 2
ONE_EMPTY = torch.cat([MASK, MASK & False])


def put(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_what_each_reads_and_how_many_parameters_it_has():
    """A layer of n numbers from m has n m weights and n biases."""
    sizes = {
        TargetAttention(5, 4): 4 * 15 + 4 + 4 + 1,
        TargetAttention(5, 4, mlp=3): 4 * 15 + 4 + 4 + 1 + 3 * 10 + 3 + 3 + 1,
        PairAttention(5, 4): 4 * 10 + 4 + 4 + 1,
        BestPartners(): 0,
    }
    for model, n in sizes.items():
        assert n_parameters(model) == n and model.reads_history
        assert getattr(model, "reads_parts", False) == (not isinstance(model, TargetAttention))


@pytest.mark.parametrize("softmax", [False, True])
def test_target_attention(softmax):
    model = TargetAttention(2, 1, softmax=softmax)
    put(model.net[0].weight, [[1.0, 0, 0, 0, 0, 1]])  # relu(h_1 + h_2 v_2 + 1)
    put(model.net[0].bias, [1.0])
    put(model.net[2].weight, [[0.5]])
    put(model.net[2].bias, [0.0])
    item = torch.tensor([[2.0, 3.0]])
    raw = np.array([0.5 * 2, 0.5 * 4])
    a = np.exp(raw) / np.exp(raw).sum() if softmax else raw
    assert model.weights(HISTORY, MASK, item)[0].tolist() == pytest.approx([*a, 0])
    assert model(HISTORY, MASK, item).item() == pytest.approx(a[0] * 2 + a[1] * 3)
    # Twice the same history: without softmax it speaks twice as loud.
    twice = model(HISTORY.repeat(1, 2, 1), MASK.repeat(1, 2), item)
    assert twice.item() == pytest.approx((1 if softmax else 2) * (a[0] * 2 + a[1] * 3))
    assert model(HISTORY, ~MASK & False, item).item() == 0.0  # who liked nothing


def test_pair_attention():
    model = PairAttention(2, 1)
    put(model.net[0].weight, [[1.0, 0, 0, 2.0]])  # relu(u_1 + 2 v_2 + 1)
    put(model.net[0].bias, [1.0])
    put(model.net[2].weight, [[0.5]])
    items = torch.tensor([[[2.0, 3.0], [4.0, -1.0], [50.0, 50.0]]])
    item_mask = torch.tensor([[True, True, False]])
    dots = np.array([[2.0, 4.0], [3.0, -1.0]])  # of real tokens
    weights = np.exp(0.5 * np.array([[1 + 6 + 1, 0.0], [0 + 6 + 1, 0.0]]))
    expected = (weights / weights.sum() * dots).sum()
    assert model(HISTORY, MASK, items, item_mask).item() == pytest.approx(expected)
    # One vector for the item: target attention with a softmax, its net blind to the product.
    din = TargetAttention(2, 1, softmax=True)
    put(din.net[0].weight, [[1.0, 0, 0, 2.0, 0, 0]])
    put(din.net[0].bias, [1.0])
    put(din.net[2].weight, [[0.5]])
    item = items[:, 0]
    assert model(HISTORY, MASK, item).item() == pytest.approx(din(HISTORY, MASK, item).item())
    assert model(HISTORY, MASK & False, item).item() == 0.0


def test_din_reads_what_was_pooled_with_an_mlp():
    model = TargetAttention(2, 1, mlp=1)
    put(model.net[0].weight, [[0.0] * 6]), put(model.net[0].bias, [1.0])
    put(model.net[2].weight, [[2.0]]), put(model.net[2].bias, [0.0])  # each weight is 2
    put(model.mlp[0].weight, [[1.0, 2.0, 3.0, 4.0]]), put(model.mlp[0].bias, [5.0])
    put(model.mlp[2].weight, [[10.0]]), put(model.mlp[2].bias, [1.0])
    # p = 2 (1, 0) + 2 (0, 1); 2 + 4 + 6 + 12 + 5 = 29
    assert model(HISTORY, MASK, ITEM).item() == pytest.approx(291)


def test_best_partners():
    items = torch.tensor([[[2.0, 3.0], [4.0, -1.0]]])
    assert BestPartners()(HISTORY, MASK, items).item() == pytest.approx((4 + 3) / 2**0.5)


def test_late_interaction():
    items = torch.tensor([[[2.0, 3.0], [4.0, -1.0], [50.0, 50.0]]])
    masks = MASK, torch.tensor([[True, True, False]])
    dots = np.array([[2.0, 4.0], [3.0, -1.0]])  # of real tokens
    assert late_interaction(HISTORY, items, *masks).item() == 4 + 3
    weights = np.exp(0.3 * dots) / np.exp(0.3 * dots).sum()
    assert late_interaction(HISTORY, items, *masks, beta=0.3).item() == pytest.approx(
        (weights * dots).sum()
    )
    assert late_interaction(HISTORY, items, *masks, beta=0.0).item() == pytest.approx(dots.mean())
    assert late_interaction(HISTORY, items, *masks, beta=99.0).item() == pytest.approx(4.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: TargetAttention(2, 1)(HISTORY, MASK.float(), ITEM), "mask bool"),
        (lambda: TargetAttention(3, 1)(HISTORY, MASK, ITEM), r"items \(batch, 3\), got .*\(1, 2\)"),
        (lambda: TargetAttention(2, 1)(HISTORY, MASK[0], ITEM), r"got torch.bool \(3,\)"),
        (lambda: TargetAttention(2, 1)(HISTORY, MASK, ITEM[0]), r"\(1, 3, 2\), \(2,\)"),
        (lambda: PairAttention(2, 1)(HISTORY, MASK[:, :2], ITEM), "one flag"),
        (lambda: late_interaction(HISTORY, HISTORY, MASK, MASK[:, :2]), "one flag"),
        (lambda: late_interaction(HISTORY, HISTORY, MASK, MASK & False), "at least one token"),
        (lambda: late_interaction(HISTORY, HISTORY, MASK & False, MASK), "at least one token"),
        (lambda: late_interaction(*TWO, ONE_EMPTY, ~ONE_EMPTY | True), "at least one token"),
        (lambda: late_interaction(*TWO, ~ONE_EMPTY | True, ONE_EMPTY), "at least one token"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
