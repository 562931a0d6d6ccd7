"""Draws are the hard ones, never liked, and do not hang on the last bit of a score."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from recsys_tutorial.hard_negatives import HardNegatives, MixedNegatives, on_grid
from recsys_tutorial.retrieval import top_k
from recsys_tutorial.sampling import PopularityNegatives, UniformNegatives


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), dim=st.integers(1, 300), power=st.integers(-30, 30))
def test_dot_products_of_rounded_vectors_are_exact_in_any_order(seed, dim, power):
    rng = np.random.default_rng(seed)
    u, v = on_grid(rng.normal(size=(20, dim)) * 2.0**power), on_grid(rng.normal(size=(20, dim)))
    order = rng.permutation(dim)
    dots = [(u @ v.T), (u[:, order] @ v[:, order].T), np.einsum("ad,bd->ab", u, v)]
    # Equality is meant: whole multiples of one step below 2^53 have no rounding error.
    assert (dots[0] == dots[1]).all() and (dots[0] == dots[2]).all()


def test_rounding_moves_a_number_by_half_a_millionth_of_the_largest():
    values = np.random.default_rng(0).normal(size=(50, 8)) * 37
    assert 0 < np.abs(on_grid(values) - values).max() <= 2.0**-20 * np.abs(values).max()
    np.testing.assert_array_equal(on_grid(on_grid(values)), on_grid(values))
    assert on_grid(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2
    coarse = on_grid(np.array([1.0, 0.3, -0.2]), bits=2)  # multiples of a half
    assert coarse.tolist() == [1.0, 0.5, 0.0]
    small = values * 2.0**-30  # all far below 1: their own size decides, not 1
    np.testing.assert_array_equal(on_grid(small), on_grid(values) * 2.0**-30)


def test_another_last_bit_draws_the_same_negatives():
    """Forty films of which each has nine twins: the search meets near ties at every border."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(60, 16)), np.repeat(rng.normal(size=(40, 16)), 10, axis=0)
    train = sparse.csr_matrix((60, 400))

    def disturbed(values):
        return values + rng.integers(-1, 2, size=values.shape) * np.spacing(values)

    found, without_rounding = [], []
    for _ in range(5):
        pair = disturbed(users), disturbed(items)
        hard = HardNegatives(train, depth=15, margin=0.5).refresh(*pair)
        drawn = hard.draw(np.arange(60), np.random.default_rng(1), 4, positives=np.arange(60))
        found.append((hard.items_.tolist(), drawn.tolist()))
        without_rounding.append(top_k(*pair, 15)[0].tolist())
    assert all(each == found[0] for each in found)
    assert any(each != without_rounding[0] for each in without_rounding)  # else it shows nothing


def likes(n_users=6, n_items=12, seed=0, density=0.4):
    rng = np.random.default_rng(seed)
    liked = rng.random((n_users, n_items)) < density * np.linspace(1.5, 0.1, n_items)
    liked[:, -1] = False
    return sparse.csr_matrix(liked.astype(float))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(-1, 2))
def test_no_sampler_returns_a_known_positive(seed, alpha):
    rng = np.random.default_rng(seed)
    train = likes(seed=seed, density=rng.random())
    users = rng.integers(6, size=50)
    hard = HardNegatives(train, depth=5).refresh(rng.normal(size=(6, 3)), rng.normal(size=(12, 3)))
    popular = PopularityNegatives(train, alpha=alpha)
    mixed = MixedNegatives([UniformNegatives(train), popular, hard], [0.2, 0.3, 0.5])
    for sampler in (popular, hard, mixed):
        drawn = sampler.draw(users, rng, 4)
        assert drawn.shape == (50, 4) and drawn.min() >= 0 and drawn.max() < 12
        assert train[np.repeat(users, 4), drawn.ravel()].sum() == 0
        assert sampler.draw(users, rng).shape == (50,)


def test_hard_negatives_are_the_best_of_what_was_not_liked():
    train = sparse.csr_matrix([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    items = np.array([[5.0], [4], [3], [2], [1]])
    rng = np.random.default_rng(0)
    hard = HardNegatives(train, depth=2).refresh(np.array([[1.0], [-1]]), items)
    drawn = hard.draw(np.array([0, 1]), rng, 200)
    assert set(drawn[0]) == {1, 2} and set(drawn[1]) == {3, 2}
    skipped = HardNegatives(train, depth=2, skip=1).refresh(np.array([[1.0], [-1]]), items)
    assert set(skipped.draw(np.array([0]), rng, 200)[0]) == {2, 3}
    # turned round, the index gives the other end: it has to be refreshed
    hard.refresh(np.array([[-1.0], [1]]), items)
    assert set(hard.draw(np.array([0]), rng, 200)[0]) == {4, 3}
    assert set(hard.draw(np.array([1]), rng, 200)[0]) == {0, 1}
    many = HardNegatives(train, depth=9).refresh(np.array([[1.0], [-1]]), items)
    assert many.items_.tolist() == [[1, 2, 3, 4, *[-1] * 5], [3, 2, 1, 0, *[-1] * 5]]
    assert np.isneginf(many.scores_[:, 4:]).all()
    assert set(many.draw(np.array([0]), rng, 300)[0]) == {1, 2, 3, 4}


def test_a_margin_keeps_what_scores_like_the_positive_out():
    train = sparse.csr_matrix([[1.0, 0, 0, 0, 0]])
    user, items = np.array([[1.0, 2.0]]), np.array([[3.0, 1], [2.9, 1], [2, 1], [0, 1], [1, 0]])
    hard = HardNegatives(train, depth=3, margin=1.0).refresh(user, items)  # 5, 4.9, 4, 2, 1
    rng = np.random.default_rng(0)
    drawn = hard.draw(np.array([0]), rng, 300, positives=np.array([0]))
    assert set(drawn[0]) == {2, 3}
    one = HardNegatives(train, depth=3, margin=2.5).refresh(user, items)
    assert set(one.draw(np.array([0]), rng, 300, positives=np.array([0]))[0]) == {3}
    mixed = MixedNegatives([one, UniformNegatives(train)], [1.0, 0.0])
    assert set(mixed.draw(np.array([0]), rng, 300, positives=np.array([0]))[0]) == {3}
    everything = HardNegatives(train, depth=3, margin=9.0).refresh(user, items)
    drawn = everything.draw(np.array([0]), rng, 300, positives=np.array([0]))
    assert set(drawn[0]) == {1, 2, 3, 4}  # nothing is that far below: uniform


def test_mixtures_have_the_mixed_distribution():
    train = likes()
    parts = [UniformNegatives(train), PopularityNegatives(train, alpha=1.0)]
    mixed = MixedNegatives(parts, [0.3, 0.7])
    user = np.array([2])
    free = np.flatnonzero(train[2].toarray()[0] == 0)
    log_q = mixed.log_q(user, free[None])[0]
    expected = 0.3 * np.exp(parts[0].log_q(user, free[None])[0])
    expected += 0.7 * np.exp(parts[1].log_q(user, free[None])[0])
    np.testing.assert_allclose(np.exp(log_q), expected)
    assert np.exp(log_q).sum() == pytest.approx(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a share of 0 has no logarithm
        alone = MixedNegatives(parts, [0.0, 1.0]).log_q(user, free[None])
    np.testing.assert_allclose(alone, parts[1].log_q(user, free[None]))
    drawn = mixed.draw(user, np.random.default_rng(0), 8000)[0]
    assert stats.chisquare(np.bincount(drawn, minlength=12)[free], 8000 * expected).pvalue > 1e-3


TRAIN = sparse.csr_matrix([[1.0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: HardNegatives(TRAIN, depth=0), "depth must be finite and at least 1"),
        (lambda: HardNegatives(TRAIN, skip=-1), "skip must be finite and at least 0"),
        (lambda: MixedNegatives([], []), "0 samplers need as many shares"),
        (lambda: MixedNegatives([UniformNegatives(TRAIN)] * 2, [-0.5, 1.5]), "not be negative"),
        (lambda: MixedNegatives([UniformNegatives(TRAIN), HardNegatives(TRAIN)], [0.5, 0.5])
         .log_q([0], [[1]]), "no log_q"),
        (lambda: HardNegatives(TRAIN).draw([0], np.random.default_rng(0)), "call refresh"),
        (lambda: HardNegatives(TRAIN, margin=1.0).refresh(np.ones((2, 1)), np.ones((3, 1)))
         .draw([0], np.random.default_rng(0)), "a margin needs the positives"),
        (lambda: MixedNegatives([UniformNegatives(TRAIN)], [0.5, 0.5]), "as many shares"),
        (lambda: MixedNegatives([UniformNegatives(TRAIN)], [0.5]), "sum to 1"),
        (lambda: MixedNegatives([HardNegatives(TRAIN)], [1.0]).log_q([0], [[1]]), "no log_q"),
    ],
)  # fmt: skip
def test_samplers_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
