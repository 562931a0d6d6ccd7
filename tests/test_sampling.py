import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from recsys_tutorial.sampling import PopularityNegatives, UniformNegatives


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n_items=st.integers(2, 30), density=st.floats(0, 0.9))
def test_pick_runs_through_exactly_the_items_that_were_not_liked(seed, n_items, density):
    rng = np.random.default_rng(seed)
    liked = rng.random((5, n_items)) < density
    liked[np.arange(5), rng.integers(n_items, size=5)] = False  # at least one is left
    sampler = UniformNegatives(sparse.csr_matrix(liked.astype(float)))
    for user in range(5):
        expected = np.flatnonzero(~liked[user])
        assert sampler.n_left_[user] == len(expected)
        np.testing.assert_array_equal(sampler.pick(user, np.arange(len(expected))), expected)


def test_draws_are_uniform_over_what_is_left():
    liked = np.array([[1, 0, 0, 1, 0, 0, 1.0], [0, 0, 0, 0, 0, 0, 1]])
    sampler = UniformNegatives(sparse.csr_matrix(liked))
    drawn = sampler.draw(np.array([0, 1]), np.random.default_rng(0), n_negatives=6000)
    assert drawn.shape == (2, 6000)
    for user in (0, 1):
        counts = np.bincount(drawn[user], minlength=7)
        assert counts[liked[user] > 0].sum() == 0
        # Fails for one seed in a thousand if uniform; always if one item had 10 % more.
        assert stats.chisquare(counts[liked[user] == 0]).pvalue > 1e-3


def test_unsorted_and_repeated_entries_are_understood():
    train = sparse.csr_matrix((np.ones(4), [3, 1, 1, 0], [0, 4]), shape=(1, 5))
    assert set(UniformNegatives(train).draw(np.zeros(100, int), np.random.default_rng(0))) == {2, 4}


def test_a_user_who_likes_everything_is_named():
    with pytest.raises(ValueError, match="user row 1 likes all 3 items"):
        UniformNegatives(sparse.csr_matrix([[1, 0, 0], [1, 1, 1]]))


def test_users_outside_the_matrix_are_refused_and_none_are_no_error():
    sampler, rng = UniformNegatives(sparse.csr_matrix([[1, 0, 0]])), np.random.default_rng(0)
    for users, found in (([1], "1..1"), ([-1, 0], "-1..0"), ([0, 1], "0..1")):
        with pytest.raises(ValueError, match=rf"rows 0\.\.0, got {found}"):
            sampler.draw(np.array(users), rng)
    assert sampler.draw([], rng).shape == (0,) and sampler.draw([], rng, 3).shape == (0, 3)
    assert UniformNegatives(sparse.csr_matrix((0, 3))).draw([], rng).shape == (0,)


# -- by popularity


def likes(n_users=6, n_items=12, seed=0, density=0.4):
    rng = np.random.default_rng(seed)
    liked = rng.random((n_users, n_items)) < density * np.linspace(1.5, 0.1, n_items)
    liked[:, -1] = False
    return sparse.csr_matrix(liked.astype(float))


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.75, 1.0])
def test_popularity_negatives_follow_the_formula_and_are_never_liked(alpha):
    train = likes()
    sampler = PopularityNegatives(train, alpha=alpha)
    users = np.arange(6)
    drawn = sampler.draw(users, np.random.default_rng(0), n_negatives=8000)
    weight = (np.asarray(train.sum(0)).ravel() + 1) ** alpha
    for user in users:
        free = train[user].toarray()[0] == 0
        counts = np.bincount(drawn[user], minlength=12)
        assert counts[~free].sum() == 0
        p = weight[free] / weight[free].sum()
        # Fails for one seed in a thousand if right; an alpha that is off by 0.1 fails always.
        assert stats.chisquare(counts[free], 8000 * p).pvalue > 1e-3
        items = np.flatnonzero(free)[None]
        np.testing.assert_allclose(sampler.log_q(users[[user]], items)[0], np.log(p), atol=1e-5)


TRAIN = sparse.csr_matrix([[1.0, 0, 0], [0, 1, 0]])


def test_weights_are_whole_numbers_whose_sums_fit():
    """Of items with 1, 1 and 0 likes: 2, 2 and 1 at alpha = 1, in units of 2^-20."""
    assert PopularityNegatives(TRAIN, alpha=1.0).n_left_.tolist() == [3 * 2**20] * 2
    assert PopularityNegatives(TRAIN, alpha=39).n_left_.tolist() == [2**59 + 2**20] * 2
    with pytest.raises(ValueError, match="alpha=40 spreads the weights too far"):
        PopularityNegatives(TRAIN, alpha=40)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PopularityNegatives(TRAIN, alpha=np.nan), "alpha must be finite"),
        (lambda: PopularityNegatives(TRAIN, alpha=80), "spreads the weights too far"),
        (lambda: PopularityNegatives(sparse.csr_matrix(np.eye(3) + 1)), "user row 0 likes all"),
    ],
)  # fmt: skip
def test_samplers_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
