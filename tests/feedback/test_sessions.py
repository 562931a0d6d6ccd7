"""Sessions that follow a rule: the rule can be read off, and only in the order."""

import itertools

import numpy as np
import pytest

from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.feedback import load_pictures, planted_sessions
from recsys_tutorial.models import EASE, MarkovChain
from recsys_tutorial.splits import Holdout, shuffled_times


@pytest.fixture(scope="module")
def pictures():
    return load_pictures()


def themes(sessions):
    """(n_sessions, length + 1) the themes in their order, the next one last."""
    n, length = sessions.history.shape[0], int(sessions.history[0].nnz)
    order = np.argsort(sessions.times.data.reshape(n, length), axis=1)
    items = np.take_along_axis(sessions.history.indices.reshape(n, length), order, 1)
    return sessions.theme[np.column_stack([items, sessions.targets.indices])]


def holdout(sessions, times=None):
    n = sessions.history.shape[0]
    shown = (sessions.history,) * 3
    return Holdout(
        np.arange(n), *shown, sessions.targets, 0, sessions.times if times is None else times
    )


def test_the_sizes(pictures):
    sessions = planted_sessions(pictures, 1, 30, 6, n_themes=4, per_theme=9)
    assert sessions.history.shape == sessions.probability.shape == (30, 36)
    assert (np.diff(sessions.history.indptr) == 6).all()
    assert (np.diff(sessions.targets.indptr) == 1).all()
    assert sessions.history.multiply(sessions.targets).nnz == 0  # what comes next is new
    np.testing.assert_allclose(sessions.probability.sum(1), 1.0)
    assert (sessions.probability[sessions.history.nonzero()] == 0).all()
    of_theme = pictures.theme[sessions.pictures]
    assert [len(set(of_theme[sessions.theme == t])) for t in range(4)] == [1] * 4
    assert len(set(of_theme)) == 4 and (of_theme >= 0).all()


@pytest.mark.parametrize("order", [1, 2])
def test_a_rule_that_is_always_followed_is_a_function(pictures, order):
    found = themes(planted_sessions(pictures, order, 400, n_themes=4, follow=1.0))
    rule = {}
    for row in found:
        for t in range(order, len(row)):
            assert rule.setdefault(tuple(row[t - order : t]), row[t]) == row[t]
    assert len(rule) == 4**order
    if order == 2:  # a Latin square: one of the two alone says nothing
        for side in (0, 1):
            for theme in range(4):
                following = [v for k, v in rule.items() if k[side] == theme]
                assert sorted(following) == [0, 1, 2, 3]


def test_how_often_the_rule_is_followed(pictures):
    found = themes(planted_sessions(pictures, 1, 2000, n_themes=5, follow=0.7))
    strict = themes(planted_sessions(pictures, 1, 50, n_themes=5, follow=1.0))
    rule = {a: b for row in strict for a, b in itertools.pairwise(row)}
    hit = np.array([[rule[a] == b for a, b in itertools.pairwise(row)] for row in found])
    assert abs(hit.mean() - (0.7 + 0.3 / 5)) < 0.015  # four standard errors are 0.014


def test_the_probabilities_are_true(pictures):
    """Each picture comes next as often as it is said to: calibration over many sessions."""
    sessions = planted_sessions(pictures, 2, 4000, n_themes=4, follow=0.8, seed=3)
    said = sessions.probability[np.arange(4000), sessions.targets.indices]
    expected = (sessions.probability**2).sum(1).mean()
    assert abs(said.mean() - expected) < 0.003


def test_only_the_order_helps(pictures):
    learned, test = (planted_sessions(pictures, 1, 800, n_themes=5, seed=s) for s in (1, 2))
    chain = MarkovChain(10).fit(learned.history, learned.times)
    ndcg = {
        "truth": evaluate(test.probability, holdout(test)),
        "chain": evaluate(chain, holdout(test)),
        "shuffled": evaluate(chain, holdout(test, shuffled_times(test.times))),
        "set": evaluate(EASE(50).fit(learned.history), holdout(test)),
    }
    ndcg = {name: found["ndcg@10"] for name, found in ndcg.items()}
    assert ndcg["truth"] > ndcg["chain"] > 0.9 * ndcg["truth"]
    assert max(ndcg["shuffled"], ndcg["set"]) < 0.6 * ndcg["truth"]


def test_seeds(pictures):
    a, b, c = (planted_sessions(pictures, 1, 20, seed=s) for s in (0, 0, 1))
    assert np.array_equal(a.history.indices, b.history.indices)
    assert not np.array_equal(a.history.indices, c.history.indices)
    assert np.array_equal(a.pictures, c.pictures)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"order": 3}, "order must be '1' or '2'"),
        ({"length": 0}, "length must be finite and at least 1"),
        ({"n_themes": 1}, "n_themes must be finite and at least 2"),
        ({"per_theme": 8}, "per_theme must be finite and at least 9"),
        ({"follow": 1.5}, "follow"),
        ({"n_themes": 500}, "has not 500 themes"),
        ({"per_theme": 5000}, "of 5000 pictures each"),
    ],
)
def test_what_is_refused(pictures, options, message):
    with pytest.raises(ValueError, match=message):
        planted_sessions(pictures, **options)
