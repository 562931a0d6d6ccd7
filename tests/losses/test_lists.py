"""List losses against their definitions, written out in loops."""

import math

import numpy as np
import pytest
import torch

from recsys_tutorial.losses.lists import (
    distillation_loss,
    listwise_loss,
    margin_mse,
    pairwise_loss,
    pointwise_loss,
)

RNG = np.random.default_rng(0)
SCORES = torch.from_numpy(RNG.normal(size=(3, 5)))
TEACHER = torch.from_numpy(RNG.normal(size=(3, 5)))
LABELS = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]])


def softmax(row):
    e = [math.exp(x) for x in row]
    return [x / sum(e) for x in e]


def test_each_loss_is_its_definition():
    s, t, y = SCORES.tolist(), TEACHER.tolist(), LABELS.tolist()
    cells = [(a, i) for a in range(3) for i in range(5)]
    sigmoid = [[1 / (1 + math.exp(-x)) for x in row] for row in s]
    point = -np.mean([math.log(sigmoid[a][i] if y[a][i] else 1 - sigmoid[a][i]) for a, i in cells])
    pairs = [(a, i, j) for a, i in cells for j in range(5) if y[a][i] > y[a][j]]
    pair = np.mean([math.log(1 + math.exp(s[a][j] - s[a][i])) for a, i, j in pairs])
    listed = -np.mean([math.log(softmax(s[a])[i]) for a, i in cells if y[a][i]])
    distilled = -sum(softmax(t[a])[i] * math.log(softmax(s[a])[i]) for a, i in cells) / 3
    margins = [(s[a][i] - s[a][j] - t[a][i] + t[a][j]) ** 2 for a, i in cells for j in range(i)]
    assert pointwise_loss(SCORES, LABELS).item() == pytest.approx(point)
    assert pairwise_loss(SCORES, LABELS).item() == pytest.approx(pair)
    assert listwise_loss(SCORES, LABELS).item() == pytest.approx(listed)
    assert distillation_loss(SCORES, TEACHER).item() == pytest.approx(distilled)
    assert margin_mse(SCORES, TEACHER).item() == pytest.approx(np.mean(margins))
    one_pair = pairwise_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[1, 0]]))
    assert one_pair.item() == pytest.approx(math.log(1 + math.exp(-1)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_temperature_softens_student_and_teacher_alike(temperature):
    s, t = ((tensor / temperature).tolist() for tensor in (SCORES, TEACHER))
    rows = [(softmax(t[a])[i], softmax(s[a])[i]) for a in range(3) for i in range(5)]
    expected = -sum(target * math.log(student) for target, student in rows) / 3
    loss = distillation_loss(SCORES, TEACHER, temperature)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [pairwise_loss, listwise_loss])
def test_the_level_of_a_list_is_free_where_only_its_order_counts(loss):
    levels = torch.tensor([[3.0], [-40.0], [700.0]])
    assert loss(SCORES + levels, LABELS).item() == pytest.approx(loss(SCORES, LABELS).item())
    assert pointwise_loss(SCORES + levels, LABELS) > pointwise_loss(SCORES, LABELS) + 1
    nothing = torch.zeros(1, 5)
    assert loss(SCORES[:1], nothing).item() == 0.0  # and no nan


def test_a_student_that_agrees_with_its_teacher_has_no_gradient():
    for loss in (distillation_loss, margin_mse):
        scores = TEACHER.clone().requires_grad_(True)
        loss(scores, TEACHER + 2.0).backward()
        assert scores.grad.abs().max() < 1e-12
        other = SCORES.clone().requires_grad_(True)
        loss(other, TEACHER).backward()
        assert other.grad.abs().max() > 1e-3


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: listwise_loss(SCORES, LABELS[:2]), r"got \(3, 5\) and \(2, 5\)"),
        (lambda: pairwise_loss(SCORES[0], LABELS[0]), r"must be \(n, dim\), got \(5,\) and \(5,\)"),
        (lambda: pointwise_loss(torch.zeros(0, 4), torch.zeros(0, 4)), "no candidate in lists"),
        (lambda: listwise_loss(torch.zeros(0, 4), torch.zeros(0, 4)), "no candidate in lists"),
        (lambda: distillation_loss(SCORES, TEACHER[:1]), r"got \(3, 5\) and \(1, 5\)"),
        (lambda: margin_mse(SCORES, TEACHER[:1]), r"got \(3, 5\) and \(1, 5\)"),
        (lambda: distillation_loss(SCORES, TEACHER, temperature=0), "temperature"),
        (lambda: margin_mse(SCORES[:, :1], TEACHER[:, :1]), "no margin"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
