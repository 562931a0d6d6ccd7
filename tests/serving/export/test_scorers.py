"""Scores from tables are those of the models that the tables were made of."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.models import ContentKernel, TwoTower, towers, unit_rows
from recsys_tutorial.serving.export import ContentScores, TowerScores, short_vectors

rng = np.random.default_rng(0)
VECTORS = rng.normal(size=(15, 6))
HISTORY = sparse.csr_matrix((rng.random((8, 15)) < 0.3).astype(float))


def test_content_is_the_kernel_of_the_rounded_vectors():
    short = short_vectors(VECTORS)
    kernel = ContentKernel(short.vectors, power=1.0, center=False)
    found = ContentScores(short).score(HISTORY)
    np.testing.assert_allclose(found, kernel.score(HISTORY), rtol=1e-9, atol=1e-12)
    exact = ContentKernel(VECTORS, power=1.0, center=False).score(HISTORY)
    assert 0 < np.abs(found - exact).max() < 0.05
    np.testing.assert_allclose(ContentScores(short).units, unit_rows(short.vectors))


def test_tower_scores_are_those_of_the_two_tower():
    torch.manual_seed(0)
    users = towers.HistoryTower(towers.FeatureTower(VECTORS, 4), pooling="sqrt")
    model = TwoTower(
        users, towers.FeatureTower(VECTORS, 4), popularity_prior=True, dtype=torch.float64
    ).fit(HISTORY, epochs=2)
    a = users.items(None).detach().numpy()
    items, weight = model.encode_items(), model.popularity_weight.item()
    found = TowerScores(short_vectors(a), short_vectors(items[:, :-1]), weight * items[:, -1])
    wanted = model.score(HISTORY)
    off = np.abs(found.score(HISTORY) - wanted).max()
    assert 0 < off < 0.02 * np.ptp(wanted)
    mean = TowerScores(found.users, found.items, found.prior).score(HISTORY / 2)  # another length
    assert np.abs(mean - wanted).max() > 0.02 * np.ptp(wanted)


@pytest.mark.parametrize(
    "model",
    [
        ContentScores(short_vectors(VECTORS)),
        TowerScores(short_vectors(VECTORS), short_vectors(VECTORS), np.zeros(15)),
    ],
    ids=["content", "tower"],
)
def test_a_history_of_another_width_is_refused(model):
    with pytest.raises(ValueError, match="14"):
        model.score(HISTORY[:, :-1])
