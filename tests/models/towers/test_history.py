"""Pooled histories against the equations."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from recsys_tutorial.models.towers import FeatureTower, HistoryTower, IdTower

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 6))
LIKES = sparse.csr_matrix((RNG.random((20, 12)) < 0.4).astype(float))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("pooling", ["mean", "sqrt", "attentive"])
def test_pooling_is_the_equation(pooling):
    torch.manual_seed(0)
    tower = HistoryTower(FeatureTower(FEATURES, 3), pooling).double()
    history = LIKES[:5].copy()
    history.data = RNG.uniform(0.5, 3, history.nnz)
    if pooling == "attentive":
        nn.init.normal_(tower.query.weight)
    with torch.no_grad():
        pooled, v = tower(history).numpy(), tower.items(torch.arange(12)).numpy()
    for user in range(5):
        columns = history[[user]].indices
        h = history[[user]].data
        if pooling == "mean":
            a = h / h.sum()
        elif pooling == "sqrt":
            a = h / math.sqrt(h.sum())
        else:
            w, b = tower.attention.weight.detach().numpy(), tower.attention.bias.detach().numpy()
            q = tower.query.weight.detach().numpy()[0]
            a = np.array([math.exp(q @ np.tanh(w @ v[i] + b)) for i in columns]) * h
            a /= a.sum()
        np.testing.assert_allclose(pooled[user], sum(a[:, None] * v[columns]), rtol=1e-10)


def test_attention_starts_from_the_mean():
    torch.manual_seed(0)
    items = FeatureTower(FEATURES, 3)
    mean, attentive = HistoryTower(items, "mean"), HistoryTower(items, "attentive")
    assert torch.allclose(mean(LIKES), attentive(LIKES), atol=1e-6)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"pooling must be .* got 'max'"):
        HistoryTower(IdTower(12, 4), "max")
