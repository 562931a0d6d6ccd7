"""Pooled histories against the equations."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from recsys_tutorial.models.towers import FeatureTower, HistoryTower, IdTower, PooledTower

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


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrt"])
def test_pooled_before_a_linear_head_is_pooled_after_it(pooling):
    torch.manual_seed(0)
    tower = PooledTower(FEATURES, 3, pooling).double()
    torch.nn.init.zeros_(tower.head[-1].bias)
    history = LIKES[:5].copy()
    history.data = RNG.uniform(0.5, 3, history.nnz)
    items = FeatureTower(FEATURES, 3).double()
    items.head = tower.head
    with torch.no_grad():
        found = tower(history).numpy()
        if pooling == "sum":
            expected = history @ items(torch.arange(12)).numpy()
        else:
            expected = HistoryTower(items, pooling)(history).numpy()
        nothing = tower(sparse.csr_matrix((1, 12)))
        whole = tower.embed(LIKES[:5] @ FEATURES)  # features that were pooled before
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert torch.equal(nothing, torch.zeros(1, 3, dtype=torch.float64))
    if pooling == "sum":
        np.testing.assert_allclose(whole.numpy(), tower(LIKES[:5]).detach().numpy(), rtol=1e-10)


def test_pooled_tower_says_what_is_wrong_and_what_it_is():
    with pytest.raises(ValueError, match=r"pooling must be .* got 'attentive'"):
        PooledTower(FEATURES, 3, "attentive")
    assert PooledTower(FEATURES, 3, "mean").describe()["pooling"] == "mean"
    assert PooledTower(FEATURES, 3).reads_history
