"""What TwoTower and SASRec share: the popularity prior, the catalogue's vectors, files, dtype."""

import numpy as np
import pytest
import torch

from recsys_tutorial.models import SASRec, TwoTower, _catalogue
from recsys_tutorial.models.towers import HistoryTower, IdTower


def models(**options):
    torch.manual_seed(0)
    tower = IdTower(5, 4)
    return [TwoTower(HistoryTower(tower), tower, **options), SASRec(tower, **options)]


@pytest.mark.parametrize("device, dtype", [("cpu", torch.float64), ("mps", torch.float32)])
def test_only_a_machine_without_an_accelerator_trains_in_float64(monkeypatch, device, dtype):
    monkeypatch.setattr(_catalogue, "best_device", lambda: device)  # Apple's has no float64
    for model in models(popularity_prior=True):
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert model.log_popularity.dtype == dtype
    for model in models(dtype=torch.float32):
        assert model.encode_items().dtype == np.float64


def test_the_prior_adds_its_weight_times_the_log_of_one_plus_the_likes():
    counts = torch.arange(5.0)
    for plain, model in zip(models(), models(popularity_prior=True), strict=True):
        model.log_popularity.copy_(counts.log1p())
        model.popularity_weight.data.fill_(0.5)
        both = model.encode_items()
        np.testing.assert_allclose(both[:, :-1], plain.encode_items(), rtol=1e-12)
        np.testing.assert_allclose(both[:, -1], np.log1p(np.arange(5)), rtol=1e-6)
        some = model.item_vectors(np.array([4, 1])).detach().cpu().numpy()
        np.testing.assert_allclose(some, both[[4, 1]], rtol=1e-12)
        user = torch.zeros(2, 3, 4, dtype=torch.float64)
        assert model._with_weight(user)[..., -1].unique().tolist() == [0.5]
        assert plain._with_weight(user) is user


def test_the_catalogue_is_computed_once_until_a_weight_changes(monkeypatch):
    for model in models():
        calls, compute = [], model.item_vectors
        monkeypatch.setattr(
            model, "item_vectors", lambda *a, c=calls, f=compute: c.append(0) or f()
        )
        first = model.encode_items()
        assert model.encode_items() is first and len(calls) == 1
        with torch.no_grad():
            model.item_tower.table.weight[0] += 1
        assert not np.array_equal(model.encode_items()[0], first[0]) and len(calls) == 2


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_is_read_only_by_its_own_kind(tmp_path, number):
    model, other = models()[number], models()[1 - number]
    model.save(tmp_path / "model")
    before = other.encode_items()
    with pytest.raises(ValueError, match=r"two-tower|sequences"):
        other.load(tmp_path / "model")
    model.item_tower.table.weight.data.zero_()
    np.testing.assert_array_equal(model.load(tmp_path / "model").encode_items(), before)
