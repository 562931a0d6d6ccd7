"""Towers over rows: dropout of whole rows, rows that stay at 0, sums."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.models import TwoTower
from recsys_tutorial.models.towers import (
    ConcatTower,
    FeatureTower,
    HistoryTower,
    IdTower,
    RawTower,
    SumTower,
)

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 6))
LIKES = sparse.csr_matrix((RNG.random((20, 12)) < 0.4).astype(float))

pytestmark = pytest.mark.usefixtures("one_thread")


def test_id_dropout_leaves_out_whole_rows_and_keeps_the_mean():
    torch.manual_seed(0)
    tower = IdTower(2000, 3, dropout=0.25)
    vectors = tower(None).detach()
    gone = (vectors == 0).all(1)
    assert ((vectors == 0).any(1) == gone).all()
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.04)  # 4 standard errors
    assert torch.allclose(vectors[~gone], tower.table.weight[~gone] / 0.75)
    assert torch.equal(tower.eval()(None), tower.table.weight)


def test_unknown_ids_are_zero_whatever_is_trained():
    known = np.bincount(LIKES.indices, minlength=12) > 0
    known[3] = False
    torch.manual_seed(0)
    tower = IdTower(12, 4, known=known)
    TwoTower(HistoryTower(tower), tower).fit(LIKES, epochs=2)
    assert (tower(torch.tensor([3])) == 0).all() and (tower(torch.tensor([4])) != 0).all()
    assert (tower.embed(["something new"] * 2) == 0).all()
    assert tower.describe() == {"rows": 12, "dim": 4, "known": 11}


def test_free_vectors_start_short():
    torch.manual_seed(0)
    table = IdTower(5000, 4).table.weight
    assert table.std().item() == pytest.approx(0.05, rel=0.03)  # five standard errors


@pytest.mark.parametrize("hidden", [None, 7])
def test_a_head_is_one_layer_or_two_behind_a_dropout(hidden):
    tower = FeatureTower(FEATURES, 3, hidden=hidden, dropout=0.5)
    expected = 6 * 3 + 3 if hidden is None else 6 * 7 + 7 + 7 * 3 + 3
    assert sum(p.numel() for p in tower.parameters()) == expected
    torch.manual_seed(0)
    assert not torch.equal(tower(), tower())  # in training a half is left out, another each time
    assert torch.equal(tower.eval()(), tower())
    assert len(tower.describe()["features"]) == 16 and tower.describe()["shape"] == [12, 6]


def test_a_sum_of_towers_adds_what_its_parts_say():
    parts = [FeatureTower(FEATURES, 4), IdTower(12, 4)]
    tower, rows = SumTower(*parts), torch.tensor([4, 0, 4])
    assert (tower.n_rows, tower.dim) == (12, 4)
    torch.testing.assert_close(tower(rows), parts[0](rows) + parts[1](rows))
    torch.testing.assert_close(tower(), parts[0]() + parts[1]())
    torch.testing.assert_close(tower.embed(FEATURES[:2]), parts[0].embed(FEATURES[:2]))


def test_raw_features_are_the_vectors():
    tower = RawTower(FEATURES)
    assert (tower.n_rows, tower.dim) == FEATURES.shape
    np.testing.assert_allclose(tower(None).numpy(), FEATURES, rtol=1e-6)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: SumTower(IdTower(12, 4), IdTower(12, 5)), "same n_rows and dim"),
        (lambda: ConcatTower(IdTower(12, 4), IdTower(13, 4)), "same n_rows, got"),
        (lambda: FeatureTower(np.full((2, 2), np.nan), 4), "row 0 of features"),
        (lambda: FeatureTower(np.zeros(3), 4), r"got shape \(3,\)"),
        (lambda: IdTower(3, 4, known=np.ones(3)), "known must be a bool array of 3 rows"),
        (lambda: IdTower(3, 4, known=np.ones(4, bool)), r"of 3 rows, got \(4,\)"),
        (lambda: RawTower(np.zeros(3)), r"got shape \(3,\)"),
    ],
)
def test_says_what_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_concat_tower_adds_what_its_parts_say():
    features = np.random.default_rng(0).normal(size=(6, 5))
    parts = [FeatureTower(features, 4), IdTower(6, 3)]
    tower, rows = ConcatTower(*parts), torch.tensor([4, 0, 4])
    assert (tower.n_rows, tower.dim) == (6, 7) and tower().shape == (6, 7)
    dots = sum(part(rows) @ part().T for part in parts)  # (3, 6)
    torch.testing.assert_close(tower(rows) @ tower().T, dots)
    embedded = ConcatTower(parts[0], parts[0]).embed(features[:2])
    torch.testing.assert_close(embedded, parts[0](torch.arange(2)).repeat(1, 2))
