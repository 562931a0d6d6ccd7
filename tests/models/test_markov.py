"""The counted chain against counts by hand, and against what only it can know."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.models import MarkovChain
from recsys_tutorial.splits import shuffled_times
from tests.models.planted_sequences import N_ITEMS, chains, hits

TRAIN = sparse.csr_matrix(np.array([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1.0]]))
WHEN = sparse.csr_matrix(np.array([[1, 2, 3, 0], [5, 0, 4, 0], [0, 0, 0, 9.0]]))  # 0 1 2; 2 0; 3
P = np.array([2, 1, 2, 1]) / 6


def test_probabilities_are_smoothed_counts():
    model = MarkovChain(smoothing=2.0).fit(TRAIN, WHEN)
    counts = np.zeros((4, 4))
    counts[0, 1] = counts[1, 2] = counts[2, 0] = 1
    assert np.array_equal(model.transitions_.toarray(), counts)
    np.testing.assert_allclose(model.popularity_, P)
    last_is_0 = (counts[0] + 2 * P) / 3
    np.testing.assert_allclose(model.score(TRAIN[1], WHEN[1])[0], last_is_0)
    last_is_3 = P  # never followed by anything
    np.testing.assert_allclose(model.score(TRAIN[2], WHEN[2])[0], last_is_3)
    nobody = sparse.csr_matrix((1, 4))
    np.testing.assert_allclose(model.score(nobody, nobody)[0], P)
    assert model.reads_times  # evaluation gives them to it


def test_an_item_that_nobody_liked_has_no_share():
    wide = [sparse.csr_matrix(np.pad(part.toarray(), ((0, 0), (0, 1)))) for part in (TRAIN, WHEN)]
    model = MarkovChain(smoothing=2.0).fit(*wide)
    np.testing.assert_allclose(model.popularity_, [*P, 0])
    assert model.score(*wide).shape == (3, 5)


def test_a_reach_beyond_the_longest_history_counts_nothing_more():
    near, far = (MarkovChain(reach=reach).fit(TRAIN, WHEN).transitions_ for reach in (2, 9))
    assert (near != far).nnz == 0


def test_what_adds_up_to_the_same_is_level():
    """Once at once, or six times after six steps: six sixths are not 1 in floats."""
    fillers = iter(range(3, 40))
    near = [[0, 1]] + [[1]] * 5
    far = [[0, *(next(fillers) for _ in range(5)), 2] for _ in range(6)]
    likes = np.zeros((12, 40))
    times = np.zeros((12, 40))
    for user, items in enumerate(near + far):
        likes[user, items] = 1
        times[user, items] = np.arange(1, len(items) + 1)
    likes, times = sparse.csr_matrix(likes), sparse.csr_matrix(times)
    model = MarkovChain(smoothing=3, reach=6).fit(likes, times)
    assert model.transitions_[0, 1] != model.transitions_[0, 2]
    history = sparse.csr_matrix(([1.0], ([0], [0])), (1, 40))
    scores = model.score(history, history)[0]
    assert scores[1] == scores[2] > scores[3]


def test_reach_counts_later_steps_for_less_and_decay_asks_earlier_events():
    model = MarkovChain(smoothing=2.0, reach=2, decay=0.5).fit(TRAIN, WHEN)
    counts = np.zeros((4, 4))
    counts[0, 1] = counts[1, 2] = counts[2, 0] = 1
    counts[0, 2] = 0.5
    assert np.array_equal(model.transitions_.toarray(), counts)
    chance = (counts + 2 * P) / (counts.sum(1, keepdims=True) + 2)  # (4, 4)
    wanted = chance[2] + 0.5 * chance[1] + 0.25 * chance[0]
    np.testing.assert_allclose(model.score(TRAIN[0], WHEN[0])[0], wanted)
    short = MarkovChain(smoothing=2.0, reach=2, decay=0.5, n_last=2).fit(TRAIN, WHEN)
    wanted = chance[2] + 0.5 * chance[1]
    np.testing.assert_allclose(short.score(TRAIN[0], WHEN[0])[0], wanted)


def test_a_planted_order_is_found_and_a_shuffled_one_is_not():
    train, times, _ = chains(seed=1)
    history, when, following = chains(n_users=100, seed=2)
    assert hits(MarkovChain().fit(train, times).score(history, when), history, following) == 1
    for learned, shown in ((shuffled_times(times), when), (times, shuffled_times(when))):
        model = MarkovChain().fit(train, learned)
        assert hits(model.score(history, shown), history, following) < 0.5
    train, times, _ = chains(apart=2, seed=1)  # the last event says nothing, the one before all
    history, when, following = chains(n_users=100, apart=2, seed=2)
    model = MarkovChain().fit(train, times)
    assert hits(model.score(history, when), history, following) < 0.3


@pytest.mark.parametrize("setting", [{"smoothing": 0}, {"reach": 0}, {"decay": 2}, {"n_last": 0}])
def test_says_what_is_wrong(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        MarkovChain(**setting)
    with pytest.raises(ValueError, match=r"train \(2, 4\) holds no interaction"):
        MarkovChain().fit(sparse.csr_matrix((2, 4)), np.zeros(0))
    with pytest.raises(ValueError, match="the model was fitted on 4"):
        MarkovChain().fit(TRAIN, WHEN).score(sparse.csr_matrix((1, N_ITEMS)), np.zeros(0))
