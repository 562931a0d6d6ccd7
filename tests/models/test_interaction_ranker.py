"""The second stage: it equals its equation, keeps to its candidates, and learns planted tastes."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.models.interaction import GMF, MLP, TargetAttention
from recsys_tutorial.models.interaction_ranker import InteractionRanker
from recsys_tutorial.models.towers import FeatureTower, HistoryTower
from recsys_tutorial.models.two_tower import TwoTower

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
HISTORY = sparse.csr_matrix((RNG.random((4, 12)) < 0.4).astype(float))


def build(interaction=None, dim=2, **options):
    torch.manual_seed(0)
    interaction = GMF(2) if interaction is None else interaction
    return InteractionRanker(X, interaction, dim, **options)


class Ascending:
    """A retriever that likes the last columns best."""

    def score(self, history):
        return np.tile(np.arange(history.shape[1], dtype=float), (history.shape[0], 1))


def test_with_a_dot_product_it_is_the_two_tower_on_the_candidates():
    model = build(retriever=Ascending(), n_candidates=5)
    towers = HistoryTower(FeatureTower(X, 2)), FeatureTower(X, 2)
    same = TwoTower(*towers, popularity_prior=True, dtype=torch.float64)
    for head, own in ((towers[0].items.head, model.user_head), (towers[1].head, model.item_head)):
        head[-1].load_state_dict(own.state_dict())
    model.log_popularity.copy_(torch.arange(12) / 3)
    same.log_popularity.copy_(torch.arange(12) / 3)
    scores, expected = model.score(HISTORY), same.score(HISTORY)
    there = np.isfinite(scores)
    assert scores[there] == pytest.approx(expected[there])
    unseen = np.where(HISTORY.toarray() > 0, -1, np.arange(12))
    assert (there == (unseen >= np.sort(unseen, 1)[:, [-5]])).all()
    columns = np.argsort(-scores, 1)[:, :3]
    pairs = model(HISTORY, columns)
    assert pairs.requires_grad and model.training  # as before `score`
    assert pairs.tolist() == np.take_along_axis(scores, columns, 1).tolist()


def test_history_readers_get_the_films_and_padding_does_not_count():
    torch.manual_seed(1)
    model = build(TargetAttention(2, 3))
    scores = model.score(HISTORY, np.tile(np.arange(12), (4, 1)))
    items = model.item_head(model.features)
    for user in range(4):
        films = model.user_head(model.features[HISTORY[user].indices])  # (n, dim)
        history = films.expand(12, -1, -1)
        mask = torch.ones(history.shape[:2], dtype=torch.bool)
        if not len(films):
            assert (scores[user] == 0).all()
            continue
        expected = model.interaction(history, mask, items).detach().numpy()
        assert scores[user] == pytest.approx(expected)


def planted(rng, n_users=120, n_items=60):
    """Two kinds of films; each user likes films of one kind, and hides some of them."""
    kind = np.arange(n_items) % 2
    taste = np.arange(n_users) % 2
    likes = (kind == taste[:, None]) & (rng.random((n_users, n_items)) < 0.4)
    features = np.c_[kind == 0, kind == 1] + 0.1 * rng.normal(size=(n_items, 2))
    return features, sparse.csr_matrix(likes.astype(float)), kind, taste


@pytest.mark.parametrize(
    "make", [lambda: GMF(4), lambda: MLP(4, 16), lambda: TargetAttention(4, 8)]
)
def test_it_learns_a_planted_taste_and_a_shuffled_one_it_does_not(make):
    rng = np.random.default_rng(0)
    features, likes, kind, taste = planted(rng)
    found = {}
    for name in ("right", "shuffled"):
        shuffled = sparse.csr_matrix(rng.permuted(likes.toarray(), axis=1))
        torch.manual_seed(0)
        model = InteractionRanker(features, make(), 4)
        train = likes[:100] if name == "right" else shuffled[:100]
        model.fit(train, epochs=40, n_negatives=20, learning_rate=0.03)
        scores = model.score(likes[100:], np.tile(np.arange(60), (20, 1)))
        top = np.argsort(-scores, 1)[:, :10]
        found[name] = (kind[top] == taste[100:, None]).mean()
    assert found["right"] > 0.95 and found["shuffled"] < 0.8, found


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: InteractionRanker(X[0], GMF(2)), r"features must be \(n, dim\)"),
        (lambda: build(n_candidates=0), "at least 1"),
        (lambda: build().score(HISTORY), "no retriever"),
        (lambda: build().score(HISTORY, np.zeros((3, 2), int)), "a row for each of 4"),
        (lambda: build().score(HISTORY, np.full((4, 2), 12)), "below 12"),
        (lambda: build().fit(HISTORY, popularity=np.ones(3)), "12 finite numbers"),
        (lambda: build().fit(HISTORY, n_negatives=0), "n_negatives must be .* at least 1"),
        (lambda: build().fit(sparse.csr_matrix((4, 12))), "no interaction"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nobody_and_no_candidate():
    model = build()
    nobody = model.score(HISTORY[:0], np.empty((0, 3), int))
    assert nobody.shape == (0, 12)
    nothing = model.score(HISTORY, np.empty((4, 0), int))
    assert np.isneginf(nothing).all() and nothing.shape == (4, 12)
