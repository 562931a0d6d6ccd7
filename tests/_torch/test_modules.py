"""Modules are quiet for a block, and tell when they were changed."""

import pytest
import torch
from torch import nn

from recsys_tutorial._torch.modules import evaluating, version


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_comes_back(training):
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train(training)
    with evaluating(model):
        assert not model.training and not model[1].training
        assert not model(torch.ones(1, 2)).requires_grad
    assert model.training == model[1].training == training
    assert model(torch.ones(1, 2)).requires_grad
    with pytest.raises(RuntimeError, match="of the caller"), evaluating(model):
        raise RuntimeError("of the caller")
    assert model.training == training


def test_the_version_grows_with_parameters_and_buffers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    seen = [version(model)]
    model(torch.ones(3, 2))  # running averages
    seen.append(version(model))
    with torch.no_grad():
        model[0].weight.mul_(2.0)
    seen.append(version(model))
    assert seen[0] < seen[1] < seen[2]
    model.eval()(torch.ones(3, 2))
    assert version(model) == seen[2]


def test_the_version_of_parameters_alone_and_of_what_counts_nothing():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = version(model, buffers=False)
    model(torch.ones(3, 2))  # running averages are buffers
    assert version(model, buffers=False) == before
    nn.init.ones_(model[0].weight)
    assert version(model, buffers=False) > before
    with torch.inference_mode():
        made = nn.Linear(2, 2)
    assert version(made) == 0
