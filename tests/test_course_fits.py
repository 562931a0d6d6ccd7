"""The course's models are made as its chapters chose, and go on from window to window."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial import course
from recsys_tutorial.course import _fits as fits
from recsys_tutorial.course._towers import two_tower
from recsys_tutorial.models import EASE, TwoTower, towers
from recsys_tutorial.splits import SteadyRows, rolling_split
from tests.test_leaderboard_script import two_tastes


@pytest.fixture(scope="module")
def windows():
    """Three windows of 72 users: later ones have more of them."""
    found = list(rolling_split(*two_tastes(72)).test)[:3]
    assert len({split.train.shape[0] for split in found}) == 3
    return found


def recorded(monkeypatch, name):
    """Put a class that notes how it is made and fitted in the place of a model."""
    made, signature = [], inspect.signature(getattr(fits, name))

    class Recorded:
        def __init__(self, *arguments, **options):
            bound = signature.bind(*arguments, **options)
            self.settings, self.fits = bound.arguments, []
            self.iterations = self.settings.get("iterations")
            made.append(self)

        def fit(self, train):
            self.fits.append((self.iterations, train))
            return self

        def score(self, history):
            return history

    monkeypatch.setattr(fits, name, Recorded)
    return made


def same(a, b):
    return a.shape == b.shape and abs(a - b).max() < 1e-12


def test_users_weigh_less_the_more_likes_came_after_their_last(windows):
    split = windows[0]
    ages = split.user_ages("likes")
    assert ages.max() > 20 * max(ages.min(), 1)

    def by_hand(reg, likes):
        return EASE(reg).fit(split.train, np.exp(-ages / likes)).score(split.test.history)

    for options, expected in (({}, (200.0, 16000.0)), ({"reg": 3.0, "likes": 50.0}, (3.0, 50.0))):
        found = course.fading_ease(split, **options).score(split.test.history)
        np.testing.assert_allclose(found, by_hand(*expected), rtol=1e-9)
    assert np.abs(by_hand(3.0, 50.0) - by_hand(3.0, 100.0)).max() > 1e-3


@pytest.mark.parametrize("likes", [None, 50.0])
def test_als_goes_on_with_three_sweeps(monkeypatch, windows, likes):
    made = recorded(monkeypatch, "ImplicitALS")
    fit = fits.als(likes)(7)
    assert [fit(split) for split in windows] == made * 3  # one model
    settings = [*made[0].settings.values()]
    assert settings == [32, 10.0, 3.0, 8, 7, True]  # size, penalty, weight, sweeps, seed, warm
    assert [sweeps for sweeps, _ in made[0].fits] == [8, 3, 3]
    for split, (_, train) in zip(windows, made[0].fits, strict=True):
        assert same(train, split.train if likes is None else split.faded(likes, "likes"))


def test_bpr_goes_on_with_its_users_in_their_rows(monkeypatch, windows):
    made = recorded(monkeypatch, "BPR")
    fit = fits.bpr(0.003, 0.1, 72)(7)
    assert [fit(split) for split in windows] == made * 3
    assert made[0].settings == {
        "factors": 32, "reg": 0.003, "iterations": 60, "seed": 7, "learning_rate": 0.1,
        "batch_size": 512, "warm_start": True,
    }  # fmt: skip
    assert [epochs for epochs, _ in made[0].fits] == [60, 72, 72]
    rows = SteadyRows()
    for split, (_, train) in zip(windows, made[0].fits, strict=True):
        assert same(train, split.train[rows(split)])


def test_factors_of_ratings_are_fitted_anew(monkeypatch, windows):
    made = recorded(monkeypatch, "BiasedMF")
    fit = fits.biased_mf(14.0, 3.0)(7)
    for split in windows[:2]:
        assert same(fit(split), split.test.history_ratings)  # what is scored
    assert len(made) == 2
    assert [*made[0].settings.values()] == [32, 14.0, 5, 7, 3.0]
    assert made[0].settings["bias_reg"] == 3.0
    assert same(made[1].fits[0][1], windows[1].train_ratings)


def test_a_kernel_is_made_once(monkeypatch, windows):
    read = []

    def features(items):
        read.append(items)
        return np.random.default_rng(0).normal(size=(len(items), 5)) + 1

    fit = fits.content(features, 2.0)(0)
    kernels = [fit(split) for split in windows]
    assert len(read) == 1 and kernels[0] is kernels[2]
    assert (kernels[0].power, kernels[0].center) == (2.0, False)

    made = recorded(monkeypatch, "Blend")
    blended = fits.hybrid(features, 2.0, 0.3)(0)
    assert [blended(split) for split in windows] == made
    assert len(read) == 2
    for blend in made:
        ease, kernel = blend.settings["models"]
        assert (type(ease).__name__, kernel.power) == ("EASE", 2.0)
        assert blend.settings["weights"] == [0.7, 0.3]

    monkeypatch.setattr(fits, "bert_titles", features)
    three = fits.blend(lambda seed: lambda split: ("tower", seed), 0.8)(5)(windows[0])
    ease, kernel, tower = three.settings["models"]
    assert (type(ease).__name__, kernel.power, tower) == ("EASE", 1.0, ("tower", 5))
    assert three.settings["weights"] == [1.0, 1.4, 0.8]


@pytest.mark.parametrize("ids", [False, True])
def test_a_two_tower_is_trained_for_forty_epochs_and_then_for_six(monkeypatch, windows, ids):
    calls = []

    def fit_recorded(self, train, **options):
        calls.append((self, train, options))
        return self

    monkeypatch.setattr(TwoTower, "fit", fit_recorded)
    x = np.random.default_rng(0).normal(3.0, 5.0, size=(40, 5))
    x[:, 1] = 8.0  # says nothing
    fit = two_tower(lambda items: x, 6.0, **({"ids": True} if ids else {}))(7)
    models = [fit(split) for split in windows]
    assert models[0] is models[1] is models[2]
    for (_, train, options), split, epochs in zip(calls, windows, (40, 6, 6), strict=True):
        assert same(train, split.train)
        faded = np.asarray(split.faded(2000, "likes").sum(axis=0)).ravel()
        np.testing.assert_allclose(options.pop("popularity"), faded)
        assert options == {
            "epochs": epochs, "negatives": "liked", "learning_rate": 0.01, "weight_decay": 6.0,
            "batch_size": 256, "seed": 7,
        }  # fmt: skip
    model = models[0]
    assert model.popularity_weight.dtype == torch.float64  # and there is one: the prior
    assert model.user_tower.pooling == "sqrt"
    for tower in (model.item_tower, model.user_tower.items):
        text, *others = tower.towers if ids else [tower]
        assert [type(part) for part in others] == [towers.IdTower] * ids
        assert {part.dim for part in (text, *others)} == {32}
        read = text.features.numpy()
        np.testing.assert_allclose(read.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(read.std(axis=0), [0.1, 0, 0.1, 0.1, 0.1], atol=1e-12)
        for part in others:  # only films that somebody liked have a vector of their own
            liked = np.bincount(windows[2].train.indices, minlength=40) > 0
            assert (part.known.numpy() == liked).all()


def test_towers_start_from_their_seed(monkeypatch, windows):
    monkeypatch.setattr(TwoTower, "fit", lambda self, train, **options: self)
    x, heads = np.random.default_rng(0).normal(size=(40, 5)), []
    for seed, outside in ((1, 5), (1, 6), (2, 5)):
        torch.manual_seed(outside)
        heads.append(two_tower(lambda items: x, 6.0)(seed)(windows[0]).item_tower.head[-1])
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)


def test_a_film_that_nobody_liked_has_no_vector_of_its_own(monkeypatch):
    monkeypatch.setattr(TwoTower, "fit", lambda self, train, **options: self)
    likes = sparse.csr_matrix(np.array([[1.0, 0, 2, 0], [1, 0, 0, 0]]))
    split = SimpleNamespace(train=likes, items=[0] * 4, faded=lambda scale, unit: likes)
    model = two_tower(lambda items: np.eye(4), 6.0, ids=True)(0)(split)
    assert model.item_tower.towers[1].known.tolist() == [True, False, True, False]
