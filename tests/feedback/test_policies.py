"""Policies without content: rates by hand, planted groups."""

import numpy as np
import pytest

from recsys_tutorial.feedback import random_lists
from recsys_tutorial.feedback.policies import IdModel, Oracle, Popularity, Random
from recsys_tutorial.feedback.shop import Shop
from tests.feedback.visits import E


def test_popularity_rates_by_hand():
    policy = Popularity(4, 2, E)
    policy.learn(np.array([[0, 1, 2], [1, 0, 2]]), np.array([[1, 0, 1], [0, 1, 0]], dtype=bool))
    looks = np.array([1 + 0.36, 0.36 + 1, 0.32, 0])
    hits = np.array([1 + 0.6, 0, 0.4, 0])
    crowd = hits.sum() / looks.sum()
    rates = (hits + 20 * crowd) / (looks + 20)
    np.testing.assert_allclose(policy.rates(), rates)
    # one list for all, though nobody has looked at the last picture
    best = np.argsort(-rates, kind="stable")[:3]
    assert policy.choose(np.arange(4)).tolist() == [best.tolist()] * 2


@pytest.mark.parametrize(
    "make",
    [
        lambda **seed: Random(4, 3, **seed),
        lambda **seed: Popularity(30, 4, E, **seed),
        lambda **seed: IdModel(30, 4, E, **seed),
    ],
)
def test_chance_comes_from_the_seed(make):
    first = [make(seed=seed).choose(np.arange(30)).tolist() for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_the_oracle_shows_the_best_lists(pictures):
    shop = Shop(pictures, 5, seed=1)
    assert (Oracle(shop).choose(np.arange(shop.n_items)) == shop.best()).all()


def test_the_id_model_finds_planted_groups_and_knows_nothing_of_new_pictures():
    rng = np.random.default_rng(0)
    n, n_items = 200, 40
    truth = np.where((np.arange(n)[:, None] % 2) == (np.arange(n_items) % 2), 0.8, 0.1)
    model = IdModel(n_items + 1, n, np.ones(3))
    assert (model.user_factors == 0).all()  # nobody is known yet
    for _ in range(20):  # the last picture is never shown
        shown = random_lists(np.arange(n_items), (n, 3), rng)
        model.learn(shown, rng.random(shown.shape) < np.take_along_axis(truth, shown, 1))
    scores = model.scores(np.arange(n_items + 1))
    assert np.corrcoef(scores[:, :-1].ravel(), truth.ravel())[0, 1] > 0.9
    np.testing.assert_allclose(scores[:, -1], model.hits.sum() / model.looks.sum())
    own = truth[np.arange(n)[:, None], model.choose(np.arange(n_items))]
    assert own.mean() > 0.75
