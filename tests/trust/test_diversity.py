"""Orders that are diverse, calibrated or shared, against the definitions written out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.reranking import Candidates
from recsys_tutorial.splits import Holdout
from recsys_tutorial.trust import (
    calibrated,
    dpp_greedy,
    mmr,
    order_scores,
    taste_divergence,
)

seeds = st.integers(0, 10**6)


def candidates(seed, n=8, dim=5):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rng.normal(size=n), vectors @ vectors.T


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.05, 0.95))
def test_each_place_of_mmr_is_the_best_by_its_formula(seed, weight):
    scores, similarity = candidates(seed)
    order = mmr(scores, similarity, weight, 8)
    assert sorted(order) == list(range(8)) and order[0] == scores.argmax()
    for place in range(1, 8):
        above, left = order[:place], order[place:]
        value = weight * scores[left] - (1 - weight) * similarity[np.ix_(left, above)].max(axis=1)
        assert value[0] == pytest.approx(value.max())


def test_mmr_with_scores_alone_is_their_order_and_without_them_avoids_twins():
    scores, similarity = candidates(3)
    np.testing.assert_array_equal(mmr(scores, similarity, 1.0, 8), np.argsort(-scores))
    twins = np.kron(np.eye(4), np.ones((2, 2)))  # 0 and 1 are alike, 2 and 3, ...
    first = mmr(np.array([9.0, 8.9, 3, 2.9, 2, 1.9, 1, 0.9]), twins, 0.05, 4)
    np.testing.assert_array_equal(first, [0, 2, 4, 6])


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_each_step_of_the_dpp_multiplies_the_determinant_most(seed):
    scores, similarity = candidates(seed)
    kernel = np.exp(scores)[:, None] * similarity * np.exp(scores)
    order = dpp_greedy(kernel, 4)
    for place in range(4):
        sets = [[*order[:place], i] for i in range(8) if i not in order[:place]]
        dets = [np.linalg.det(kernel[np.ix_(s, s)]) for s in sets]
        got = np.linalg.det(kernel[np.ix_(order[: place + 1], order[: place + 1])])
        assert got == pytest.approx(max(dets), rel=1e-6)


def test_the_dpp_never_takes_a_copy_and_stops_where_nothing_is_left():
    vectors = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert list(dpp_greedy(vectors @ vectors.T, 4)) == [0, 2]
    none = dpp_greedy(np.zeros((3, 3)), 2)
    assert none.shape == (0,) and none.dtype == np.int64


def test_the_dpp_takes_a_short_item_and_no_long_ones_remains():
    """What is left of an item is measured against its own length."""
    assert list(dpp_greedy(np.diag([1, 1e-11]), 2)) == [0, 1]
    length = np.array([1.0, 1.0, 1e-8])  # 1 is 0 but for rounding, 2 is at right angles to both
    unit = np.array([[1.0, 2, 3], [1, 2, 3], [3, 0, -1]]) / np.sqrt([[14], [14], [10]])
    vectors = length[:, None] * unit
    assert list(dpp_greedy(vectors @ vectors.T, 3)) == [0, 2]


def test_divergence_is_kullback_and_leiblers():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.9, 0.1, 0.0])
    mixed = 0.99 * q + 0.01 * p
    want = 0.5 * np.log(0.5 / mixed[0]) + 0.5 * np.log(0.5 / mixed[1])
    assert taste_divergence(p, q) == pytest.approx(want)
    assert taste_divergence(p, p) == pytest.approx(0, abs=1e-12)
    assert np.isfinite(taste_divergence(p, np.array([0, 0, 1.0])))


def genres_of(n=9):
    return np.eye(3)[np.arange(n) // 3]  # three films of each of three genres


def test_a_calibrated_list_has_the_users_proportions():
    scores = np.linspace(1, 0, 9)  # the first genre's films are best
    taste = np.array([1 / 3, 1 / 3, 1 / 3])
    order = calibrated(scores, genres_of(), taste, 0.9, 6)
    np.testing.assert_array_equal(np.bincount(order // 3), [2, 2, 2])
    np.testing.assert_array_equal(calibrated(scores, genres_of(), taste, 0.0, 6), np.arange(6))
    only = calibrated(scores, genres_of(), np.array([0.0, 0, 1]), 0.9, 3)
    np.testing.assert_array_equal(only, [6, 7, 8])


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_greedy_calibration_is_near_the_best_set(weight):
    """In fixed draws: no bound holds for all (0.37 is passed by one draw in some thousands)."""
    lost = [share_lost(seed, weight) for seed in range(40)]
    assert max(lost) <= 0.6 and np.mean(lost) <= 0.1


def share_lost(seed, weight):
    """How far down from the best set to the worst one greed stops."""
    rng = np.random.default_rng(seed)
    scores, taste = rng.random(7), rng.dirichlet(np.ones(3))
    genres = rng.dirichlet(np.ones(3), size=7)

    def value(chosen):
        q = 0.99 * genres[list(chosen)].mean(axis=0) + 0.01 * taste
        return (1 - weight) * scores[list(chosen)].sum() - weight * (taste @ np.log(taste / q))

    best = max(value(s) for s in itertools.combinations(range(7), 3))
    got = value(calibrated(scores, genres, taste, weight, 3))
    worst = min(value(s) for s in itertools.combinations(range(7), 3))
    return (best - got) / (best - worst)


def test_an_order_is_judged_as_the_list_that_it_is():
    scores = np.array([[4.0, 3, 2, 1, 0]])
    empty = sparse.csr_matrix((1, 5))
    targets = sparse.csr_matrix([[0.0, 0, 1, 0, 0]])
    candidates = Candidates(scores, Holdout(np.array([7]), empty, empty, empty, targets), 4)
    judged = candidates.judge(order_scores([np.array([2, 0])], 4))
    assert judged["ndcg@10"] == 1.0
    np.testing.assert_array_equal(judged.ranked[0, :4], [2, 0, 1, 3])


BAD = {
    "weight": (lambda: mmr(np.ones(2), np.eye(2), 1.5, 1), "weight must be"),
    "k": (lambda: mmr(np.ones(2), np.eye(2), 0.5, 3), "k must be"),
    "similarity": (lambda: mmr(np.ones(2), np.eye(3), 0.5, 1), "similarity must be"),
    "kernel": (lambda: dpp_greedy(np.ones((2, 3)), 1), "kernel must be"),
    "dpp k": (lambda: dpp_greedy(np.eye(2), 0), "k must be"),
    "smoothing": (lambda: taste_divergence(np.ones(1), np.ones(1), 0.0), "smoothing must"),
    "shares": (lambda: taste_divergence(np.ones(1), np.ones(2)), "shares must be"),
    "genres": (lambda: calibrated(np.ones(2), np.eye(2), np.ones(3) / 3, 0.5, 1), "genres must"),
    "calibrated k": (lambda: calibrated(np.ones(2), np.eye(2), np.ones(2) / 2, 0.5, 3), "k must"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(case):
    run, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        run()
