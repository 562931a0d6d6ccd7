"""Losses of the modalities alone, and the lengths of their gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from recsys_tutorial.losses import info_nce
from recsys_tutorial.models.towers import (
    RawTower,
    gradient_norms,
    modality_losses,
)
from tests.models.towers.two_modalities import LACKS, WORDS, build

pytestmark = pytest.mark.usefixtures("one_thread")


def test_losses_of_the_modalities_alone():
    tower = build("mean", present={"picture": ~LACKS})
    anchors, rows = torch.randn(9, 4).double(), torch.arange(9)

    def loss(z, v):
        return info_nce(z, v, temperature=1.0)

    words, picture = modality_losses(loss, anchors, *tower.parts(rows))
    assert torch.equal(words, loss(anchors, tower.towers["words"](rows)))
    has = torch.from_numpy(np.flatnonzero(~LACKS))
    assert torch.equal(picture, loss(anchors[has], tower.towers["picture"](has)))
    # Two items are enough to be told apart, one is not.
    parts, there = tower.parts(rows)
    there = torch.stack([rows < 2, rows < 1], dim=1)
    (words,) = modality_losses(loss, anchors, parts, there)
    assert torch.equal(words, loss(anchors[:2], parts[0][:2]))
    rare = build("mean", present={"picture": np.arange(9) == 1})
    assert len(modality_losses(loss, anchors, *rare.parts(rows))) == 1


def test_gradient_norms_are_those_of_backward():
    tower = build("concat")
    modules = {**tower.towers, "idle": nn.Linear(2, 2), "raw": RawTower(WORDS)}
    loss = tower().square().sum()
    norms = gradient_norms(loss, modules)
    assert all(p.grad is None for p in tower.parameters())
    loss.backward()  # the graph is still there
    for name in ("words", "picture"):
        gradients = torch.cat([p.grad.flatten() for p in tower.towers[name].parameters()])
        assert norms[name] == pytest.approx(float(gradients.norm()))
    assert norms["idle"] == norms["raw"] == 0
