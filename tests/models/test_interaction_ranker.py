"""The second stage: it equals its equation, keeps to its candidates, and learns planted tastes."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.models import (
    GMF,
    MLP,
    BestPartners,
    CandidateLists,
    InteractionRanker,
    PairAttention,
    TargetAttention,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5))
PARTS = [X[:, :3], X[:, 3:]]
HISTORY = sparse.csr_matrix((RNG.random((4, 12)) < 0.4).astype(float))


def lists_of(history, n=5, liked=None, retriever=None):
    shape = history.shape[0], n
    columns = RNG.permuted(np.tile(np.arange(history.shape[1]), (shape[0], 1)), axis=1)[:, :n]
    retriever = RNG.normal(size=shape) if retriever is None else retriever
    liked = np.zeros(shape, bool) if liked is None else liked(columns)
    return CandidateLists(history, columns, retriever, RNG.random(shape), liked)


LISTS = lists_of(HISTORY)
ONE_LIKED = np.eye(4, 5, dtype=bool) & (np.arange(4) == 0)[:, None]


def build(interaction=None, dim=2, features=X):
    torch.manual_seed(0)
    model = InteractionRanker(features, interaction, dim)
    torch.nn.init.normal_(model.item_head.weight)  # else it would start without an interaction
    return model


def test_it_is_its_equation():
    model = build(GMF(2))
    w, v = (head.weight.detach().numpy() for head in (model.user_head, model.item_head))
    gmf = RNG.normal(size=2)
    model.interaction.weight.data = torch.from_numpy(gmf)
    model.retriever_weight.data += 0.5
    model.popularity_weight.data += 0.3
    expected = np.empty((4, 5))
    for row in range(4):
        liked = HISTORY[row].indices
        user = (X[liked] @ w.T).sum(0) / max(len(liked), 1) ** 0.5
        expected[row] = (user * gmf * (X[LISTS.columns[row]] @ v.T)).sum(1)
    found = model.score(LISTS)
    assert found == pytest.approx(expected + 1.5 * LISTS.retriever + 0.3 * LISTS.log_popularity)
    assert model.training  # as before `score`
    assert build(None).score(LISTS) == pytest.approx(LISTS.retriever)  # training starts there
    pairs = model(HISTORY, LISTS.columns)
    assert pairs.requires_grad and pairs.detach().numpy() == pytest.approx(expected)


@pytest.mark.parametrize(
    "make",
    [lambda: GMF(2), lambda: MLP(2, 3), lambda: TargetAttention(2, 3, mlp=4), BestPartners],
)
def test_every_design_starts_from_the_first_stages_order(make):
    rich = sparse.csr_matrix(np.maximum(HISTORY.toarray(), np.eye(4, 12)))
    lists = dataclasses.replace(LISTS, history=rich)
    found = InteractionRanker(PARTS, make(), 2).score(lists) - lists.retriever
    assert np.ptp(found, axis=1) == pytest.approx(0, abs=1e-12)  # a number of the user's own


def test_one_head_on_all_features_is_the_sum_of_a_head_on_each_part():
    whole, parts = build(GMF(2)), build(GMF(2), features=PARTS)
    assert parts.score(LISTS) == pytest.approx(whole.score(LISTS))


@pytest.mark.parametrize("make", [lambda: PairAttention(2, 3), BestPartners])
def test_readers_of_parts_get_each_part_of_each_film(make):
    model = build(make(), features=PARTS)
    rich = sparse.csr_matrix(np.maximum(HISTORY.toarray(), np.eye(4, 12)))
    lists = dataclasses.replace(LISTS, history=rich)
    u, v = (
        torch.stack([torch.from_numpy(x) @ w.T for x, w in pieces], 1)  # (12, 2, dim)
        for pieces in (
            list(zip(PARTS, head.weight.split([3, 2], 1), strict=True))
            for head in (model.user_head, model.item_head)
        )
    )
    scores = model.score(lists) - lists.retriever
    for row in range(4):
        own = u[rich[row].indices].flatten(0, 1)[None]  # (1, 2 n, dim)
        mask = torch.ones(own.shape[:2], dtype=torch.bool)
        for place, column in enumerate(lists.columns[row]):
            expected = model.interaction(own, mask, v[column][None]).item()
            assert scores[row, place] == pytest.approx(expected)


def test_history_readers_get_the_films_and_padding_does_not_count():
    model = build(TargetAttention(2, 3))
    scores = model.score(LISTS) - LISTS.retriever
    for user in range(4):
        films = model.user_head(model.features[HISTORY[user].indices])  # (n, dim)
        items = model.item_head(model.features[LISTS.columns[user]])
        history = films.expand(5, -1, -1)
        mask = torch.ones(history.shape[:2], dtype=torch.bool)
        expected = model.interaction(history, mask, items) if len(films) else torch.zeros(5)
        assert scores[user] == pytest.approx(expected.detach().numpy())


def test_a_user_is_the_sum_of_their_films_over_the_root_of_their_number():
    model = build(GMF(2))
    alone = model.users(sparse.csr_matrix(np.eye(12))).detach()
    torch.testing.assert_close(alone, torch.from_numpy(X) @ model.user_head.weight.T)
    some = sparse.csr_matrix(np.array([[1.0, 1, 0, 1] + [0] * 8, [0] * 12]))
    both = model.users(some).detach()
    torch.testing.assert_close(both[0], alone[[0, 1, 3]].sum(0) / 3**0.5)
    assert not both[1].any()


def test_without_heads_films_are_their_features():
    model = InteractionRanker(X, GMF(5), None)
    assert set(model.state_dict()) == {"interaction.weight", "retriever_weight",
                                       "popularity_weight"}  # fmt: skip
    n = np.diff(HISTORY.indptr)[:, None]
    users = HISTORY @ X / np.sqrt(np.maximum(n, 1))
    expected = np.einsum("ud,ukd->uk", users, X[LISTS.columns])
    assert model.score(LISTS) - LISTS.retriever == pytest.approx(expected)


def test_of_a_long_history_no_more_is_read_than_asked():
    torch.manual_seed(0)
    model = InteractionRanker(X, TargetAttention(2, 3), 2, max_history=1)
    torch.nn.init.normal_(model.item_head.weight)
    rich = sparse.csr_matrix(np.ones((4, 12)))
    first = sparse.csr_matrix(np.eye(1, 12).repeat(4, axis=0))
    long, short = (dataclasses.replace(LISTS, history=history) for history in (rich, first))
    assert model.score(long) == pytest.approx(model.score(short))


def test_training_is_as_asked_and_the_shared_weights_have_a_rate_of_their_own(monkeypatch):
    asked = []

    def train(model, loss, n, **options):
        asked.append((loss.keywords, n, options))
        return "history"

    monkeypatch.setattr("recsys_tutorial.models.interaction_ranker.run_training", train)
    lists = dataclasses.replace(LISTS, liked=np.eye(4, 5, dtype=bool))
    sizes = {"n_positives": 1, "n_negatives": 1}
    model = build().fit(lists, **sizes, epochs=3, learning_rate=0.5, seed=7)
    ((keywords, n, options),) = asked
    assert keywords == {"lists": lists, **sizes} and n == 4 and model.history_ == "history"
    rates = {"": 0.5, "retriever_weight": 0.01, "popularity_weight": 0.01}
    assert options == {"epochs": 3, "learning_rate": rates, "seed": 7}


def planted(n_users=120, n_items=60):
    """Two kinds of films, and users who like one of them; the first stage knows nothing."""
    kind, taste = np.arange(n_items) % 2, np.arange(n_users) % 2
    features = np.c_[kind == 0, kind == 1] + 0.1 * RNG.normal(size=(n_items, 2))
    history = (kind == taste[:, None]) & (RNG.random((n_users, n_items)) < 0.2)
    history[np.arange(n_users), taste] = True
    lists = lists_of(
        sparse.csr_matrix(history.astype(float)), 20, retriever=np.zeros((n_users, 20))
    )
    return features, dataclasses.replace(lists, liked=kind[lists.columns] == taste[:, None])


def part(lists, rows):
    fields = [getattr(lists, field.name)[rows] for field in dataclasses.fields(lists)]
    return CandidateLists(*fields)


@pytest.mark.parametrize(
    "make", [lambda: GMF(4), lambda: MLP(4, 16), lambda: TargetAttention(4, 8), lambda: None]
)
def test_it_learns_a_planted_taste_and_its_opposite_where_that_is_planted(make):
    features, lists = planted()
    opposite = dataclasses.replace(lists, liked=~lists.liked)
    found = {}
    for name, learned in (("right", lists), ("opposite", opposite)):
        torch.manual_seed(0)
        model = InteractionRanker(features, make(), 4)
        model.fit(part(learned, slice(100)), epochs=40, n_negatives=8, learning_rate=0.03)
        judged = part(lists, slice(100, None))
        first = np.argsort(-model.score(judged), axis=1)[:, :5]
        found[name] = np.take_along_axis(judged.liked, first, axis=1).mean()
    if make() is None:  # it cannot tell films apart
        assert 0.3 < found["right"] < 0.7
    else:
        assert found["right"] > 0.95 and found["opposite"] < 0.05, found


def test_the_two_weights_learn_whether_the_first_stage_is_right():
    liked = RNG.random((80, 12)) < 0.3
    liked[:, 0] = True
    history = sparse.csr_matrix(np.ones((80, 12)))
    lists = lists_of(history, 12, retriever=-1.0 * liked)
    lists = dataclasses.replace(lists, liked=liked)
    model = build(None).fit(lists, epochs=60)
    assert model.retriever_weight < 0.5
    before = model.retriever_weight.item()
    model.fit(lists, epochs=20)  # goes on
    assert model.retriever_weight < before


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: InteractionRanker(X[0], GMF(2)), r"features must be \(n, dim\)"),
        (lambda: InteractionRanker(X, GMF(2), max_history=0), "max_history"),
        (lambda: build(features=X[:11]).score(LISTS), "12 items, not 11"),
        (lambda: build().fit(LISTS), "something liked in each"),
        (lambda: build().fit(dataclasses.replace(LISTS, liked=ONE_LIKED)), "liked in each"),
        (lambda: build().fit(part(LISTS, slice(0))), "must be a list"),
        (lambda: build().fit(LISTS, n_positives=0), "n_positives must be .* at least 1"),
        (lambda: build().fit(LISTS, n_negatives=0), "n_negatives must be .* at least 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_nobody():
    assert build(GMF(2)).score(part(LISTS, slice(0))).shape == (0, 5)
