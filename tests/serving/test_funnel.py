"""The stages of the funnel: what a ranker reads, what it learns, what is shown and logged."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import minimize

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.ranking import rank
from recsys_tutorial.serving import (
    FilmTables,
    LogRanker,
    Visits,
    candidate_features,
    diverse_lists,
    film_tables,
    list_quality,
)
from recsys_tutorial.splits import rolling_split

N_USERS, N_ITEMS, N = 6, 30, 12


def tables(seed=0):
    rng = np.random.default_rng(seed)
    genres = (rng.random((N_ITEMS, 4)) < 0.4).astype(float)
    shares = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1)
    return FilmTables(rng.random(N_ITEMS), rng.random(N_ITEMS), sparse.csr_matrix(shares))


def users(seed=1):
    rng = np.random.default_rng(seed)
    return SimpleNamespace(history=sparse.csr_matrix(rng.random((N_USERS, N_ITEMS)) < 0.3) * 1.0)


def candidates(seed=2):
    return np.argsort(np.random.default_rng(seed).random((N_USERS, N_ITEMS)), axis=1)[:, :N]


SCORES = {"one": np.random.default_rng(3).normal(size=(N_USERS, N_ITEMS))}


@pytest.fixture(scope="module")
def window():
    return rolling_split(*load_movielens()).test[3]


def test_features_are_what_they_are_said_to_be():
    t, c, h = tables(), candidates(), users()
    x, names = candidate_features(t, h, c, SCORES, relative=False)
    assert names == ["one", "popular", "age", "genres"] and x.shape == (N_USERS, N, 4)
    u, k = 4, 7
    film, s = c[u, k], SCORES["one"][u]
    own = np.flatnonzero(t.genres[film].toarray())
    liked = h.history[u].indices
    fits = np.mean([(t.genres[liked].toarray()[:, g] > 0).mean() for g in own]) if len(own) else 0
    expected = [(s[film] - s.mean()) / s.std(), t.popular[film], t.age[film], fits]
    assert np.allclose(x[u, k], expected)


def test_relative_features_tell_nothing_of_the_user():
    x, _ = candidate_features(tables(), users(), candidates(), SCORES)
    raw, _ = candidate_features(tables(), users(), candidates(), SCORES, relative=False)
    assert np.allclose(x.mean(axis=1), 0) and not np.allclose(raw.mean(axis=1), 0)
    assert np.allclose(np.diff(x, axis=1), np.diff(raw, axis=1))


def test_features_of_other_users_are_refused():
    with pytest.raises(ValueError, match="candidates must be"):
        candidate_features(tables(), users(), candidates()[1:], SCORES)


def test_planted_faults_are_in_the_tables():
    t = tables()
    shifted = t.shifted()
    assert np.array_equal(shifted.popular[1:], t.popular[:-1])
    assert np.array_equal(shifted.genres.toarray()[1:], t.genres.toarray()[:-1])
    assert np.array_equal(shifted.shifted(-1).age, t.age)
    assert not t.without("age").age.any() and t.without("age").popular is t.popular


def test_tables_of_a_window_know_nothing_later(window):
    t = film_tables(window)
    assert (t.age >= 0).all() and (t.popular >= 0).all()
    totals = np.asarray(t.genres.sum(axis=1)).ravel()
    assert set(totals.round(9)) == {0.0, 1.0}
    never = np.asarray(window.train.sum(axis=0)).ravel() == 0
    assert never.any() and not t.popular[never].any() and (t.popular[~never] > 0).all()
    toy_story = int(np.flatnonzero(window.items["title"] == "Toy Story (1995)")[0])
    years = pd.Timestamp(window.start, unit="s").year - 1995
    assert abs(np.expm1(t.age[toy_story]) - years) < 1.01


def test_the_ranker_minimises_the_penalised_log_loss():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(300, 3))
    y = (rng.random(300) < 1 / (1 + np.exp(-(x[:, 0] - 3)))).astype(int)
    w = rng.random(300)
    ranker = LogRanker(2.0).fit(x, y, w)
    z = (x - x.mean(0)) / x.std(0)

    def loss(b):
        logit = z @ b[:3] + b[3]
        return (w * (np.logaddexp(0, logit) - y * logit)).sum() + b[:3] @ b[:3]  # 2 / 2 |b|^2

    best = minimize(loss, np.zeros(4), tol=1e-12).x
    assert np.allclose([*ranker.weights_, ranker.bias_], best, atol=1e-4)
    logit = z @ best[:3] + best[3]
    assert np.allclose(ranker.predict(x), 1 / (1 + np.exp(-logit)), atol=1e-4)
    assert ranker.predict(x.reshape(10, 30, 3)).shape == (10, 30)


def test_a_weight_is_how_often_a_row_counts():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 2)), rng.integers(0, 2, 40)
    times = rng.integers(1, 4, 40)
    twice = LogRanker().fit(np.repeat(x, times, 0), np.repeat(y, times))
    once = LogRanker().fit(x, y, times)
    # the spread that features are divided by is that of the rows as they come
    assert np.corrcoef(twice.predict(x), once.predict(x))[0, 1] > 0.999


def test_constant_features_and_labels():
    x = np.column_stack([np.ones(20), np.arange(20.0)])
    assert np.isfinite(LogRanker().fit(x, np.arange(20) > 9).predict(x)).all()
    with pytest.raises(ValueError, match="all liked, or none"):
        LogRanker().fit(x, np.zeros(20))
    with pytest.raises(ValueError, match="reg must be positive"):
        LogRanker(0)


def test_weight_1_keeps_the_order_and_less_makes_lists_more_various():
    t, c = tables(), candidates()
    p = np.random.default_rng(5).random((N_USERS, N))
    kept = diverse_lists(p, c, t.genres, 1.0, 5)
    order = np.argsort(-p, axis=1)[:, :5]
    assert np.array_equal(kept, np.take_along_axis(c, order, axis=1))

    def alike(lists):
        g = t.genres.toarray()[lists]
        g = g / np.maximum(np.linalg.norm(g, axis=2, keepdims=True), 1e-9)
        return (g @ g.transpose(0, 2, 1)).mean()

    assert alike(diverse_lists(p, c, t.genres, 0.2, 5)) < alike(kept)
    with pytest.raises(ValueError, match="p must be"):
        diverse_lists(p[:, 1:], c, t.genres, 0.5, 5)


def test_quality_is_what_evaluate_says(window):
    scores = np.random.default_rng(0).random(window.test.targets.shape)
    scores += 3 * (window.test.targets.toarray() * (scores < 0.4))  # some hits
    lists = rank(scores, window.test.seen, 10)
    expected = evaluate(scores, window.test).per_user["ndcg@10"].to_numpy()
    assert np.allclose(list_quality(lists, window.test.targets), expected)
    assert 0.1 < expected.mean() < 1
    with pytest.raises(ValueError, match="user row 1 has no target"):
        list_quality(np.array([[0], [1]]), sparse.csr_matrix([[1.0, 0], [0, 0]]))


def a_log(share, n_visits, examination, seed=0):
    c = np.tile(np.arange(10), (4, 1))
    lists = np.array([[0, 1, 2], [3, 4, 5], [9, 8, 7], [0, 5, 9]])
    liked = sparse.csr_matrix((np.random.default_rng(8).random((4, 10)) < 0.5) * 1.0)
    rng, visits = np.random.default_rng(seed), Visits(lists, c, share)
    logs = [visits.log(liked, examination, rng) for _ in range(n_visits)]
    return pd.concat(logs), lists, liked


def test_a_film_stands_at_a_place_as_often_as_its_propensity_says():
    log, _, _ = a_log(0.4, 4000, np.ones(3))
    shown = log.groupby(["user", "item", "place"]).agg(n=("item", "size"), p=("propensity", "max"))
    assert len(shown) == 4 * 10 * 3
    assert np.abs(shown["n"] / 4000 - shown["p"]).max() < 0.03
    assert np.isclose(shown.loc[(0, 1, 1), "p"], 0.6 + 0.04)
    assert np.isclose(shown.loc[(0, 1, 0), "p"], 0.04)
    assert not log.groupby([log.index // 3, "user"])["item"].apply(len).eq(0).any()


def test_clicks_are_of_liked_films_that_were_looked_at():
    examination = np.array([1.0, 0.5, 0.0])
    log, _, liked = a_log(0.5, 3000, examination)
    wanted = np.asarray(liked[log["user"], log["item"]]).ravel()
    assert not log["clicked"][wanted == 0].any()
    rates = log[wanted == 1].groupby("place")["clicked"].mean()
    assert np.allclose(rates, examination, atol=0.03)


def test_weighted_by_propensity_places_are_compared_without_the_films():
    """Films that are liked stand on top: clicks alone say that the top is looked at more."""
    rng = np.random.default_rng(0)
    liked = sparse.csr_matrix(np.tile([1.0, 0, 0, 0, 1, 0], (2000, 1)))
    visits = Visits(np.tile([0, 1, 2], (2000, 1)), np.tile(np.arange(6), (2000, 1)), 0.5)
    log = pd.concat([visits.log(liked, np.ones(3), rng) for _ in range(10)])
    clicks = log.groupby("place")["clicked"].sum()
    assert clicks[1] < 0.5 * clicks[0]
    weighted = (log["clicked"] / log["propensity"]).groupby(log["place"]).sum()
    assert np.allclose(weighted / weighted[0], 1, atol=0.06)


def test_no_share_outside_0_to_1():
    with pytest.raises(ValueError, match="share must be 0 to 1"):
        Visits(np.zeros((1, 1), int), np.zeros((1, 1), int), 1.1)
    log, lists, _ = a_log(0.0, 1, np.ones(3))
    assert np.array_equal(log["item"].to_numpy().reshape(4, 3), lists)
    assert not log["is_random"].any() and (log["propensity"] == 1).all()
