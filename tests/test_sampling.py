import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from recsys_tutorial.hard_negatives import HardNegatives, MixedNegatives
from recsys_tutorial.sampling import PopularityNegatives, UniformNegatives, distinct_batches


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


def test_users_outside_the_matrix_are_refused():
    sampler = UniformNegatives(sparse.csr_matrix([[1, 0, 0]]))
    with pytest.raises(ValueError, match=r"rows 0\.\.0"):
        sampler.draw(np.array([1]), np.random.default_rng(0))


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


# -- hard ones


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


def test_a_margin_keeps_what_scores_like_the_positive_out():
    train = sparse.csr_matrix([[1.0, 0, 0, 0, 0]])
    items = np.array([[5.0], [4.9], [3], [2], [1]])
    hard = HardNegatives(train, depth=3, margin=1.0).refresh(np.array([[1.0]]), items)
    rng = np.random.default_rng(0)
    drawn = hard.draw(np.array([0]), rng, 300, positives=np.array([0]))
    assert set(drawn[0]) == {2, 3}
    everything = HardNegatives(train, depth=3, margin=9.0).refresh(np.array([[1.0]]), items)
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
    drawn = mixed.draw(user, np.random.default_rng(0), 8000)[0]
    assert stats.chisquare(np.bincount(drawn, minlength=12)[free], 8000 * expected).pvalue > 1e-3


# -- batches


def examples_of(counts: list[int], rng: np.random.Generator) -> np.ndarray:
    """Item 10 * i of example after example, in random order, counts[i] times."""
    return rng.permutation(np.repeat(10 * np.arange(len(counts)), counts))


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    others=st.lists(st.integers(1, 8), min_size=1, max_size=20),
    share=st.floats(0, 1),
    batch=st.integers(2, 20),
)
def test_batches_hold_no_item_twice_and_every_example_once(seed, others, share, batch):
    """One item's share goes up to the half: there batches are pairs, and none is of one."""
    rng = np.random.default_rng(seed)
    first = max(1, round(share * sum(others)))  # beside as many others: exactly half at share 1
    assume(2 * max(others) <= first + sum(others))
    items = examples_of([first, *others], rng)
    batches = distinct_batches(items, batch, rng)
    assert sorted(np.concatenate(batches)) == list(range(len(items)))
    assert all(len(set(items[b])) == len(b) for b in batches)
    sizes = [len(b) for b in batches]
    assert min(sizes) >= 2 and max(sizes) - min(sizes) <= 1
    odd_pairs = batch == 2 and len(items) % 2 == 1
    assert max(sizes) <= batch + odd_pairs and sizes.count(3) <= (1 if odd_pairs else len(sizes))
    fewest = len(items) // 2 if batch == 2 else -(-len(items) // batch)
    assert len(batches) == max(fewest, first, *others)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    others=st.lists(st.integers(1, 8), max_size=10),
    more=st.integers(1, 30),
    batch=st.integers(2, 20),
)
def test_an_item_with_over_half_of_the_examples_is_named_before_the_first_batch(
    seed, others, more, batch
):
    rng, rest = np.random.default_rng(seed), sum(others)
    items = examples_of([*others, rest + more], rng)
    share = f"{(rest + more) / len(items):.1%}"
    expected = f"item {10 * len(others)} has {rest + more} of the {len(items)} examples, {share}"
    with pytest.raises(ValueError, match=re.escape(expected)) as error:
        distinct_batches(items, batch, rng)
    assert f"at most {rest} of its examples" in str(error.value)
    if rest:  # what the message advises is enough
        surplus = np.flatnonzero(items == 10 * len(others))[rest:]
        assert min(map(len, distinct_batches(np.delete(items, surplus), batch, rng))) >= 2


def test_batches_differ_between_epochs():
    items = np.random.default_rng(0).integers(20, size=60)
    rng = np.random.default_rng(1)
    first, second = distinct_batches(items, 10, rng), distinct_batches(items, 10, rng)
    assert {tuple(sorted(b)) for b in first} != {tuple(sorted(b)) for b in second}


TRAIN = sparse.csr_matrix([[1.0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: PopularityNegatives(TRAIN, alpha=np.nan), "alpha must be finite"),
        (lambda: PopularityNegatives(TRAIN, smoothing=0), "smoothing positive"),
        (lambda: PopularityNegatives(TRAIN, alpha=80), "spreads the weights too far"),
        (lambda: PopularityNegatives(sparse.csr_matrix(np.eye(3) + 1)), "user row 0 likes all"),
        (lambda: HardNegatives(TRAIN, depth=0), "depth must be at least 1"),
        (lambda: HardNegatives(TRAIN).draw([0], np.random.default_rng(0)), "call refresh"),
        (lambda: HardNegatives(TRAIN, margin=1.0).refresh(np.ones((2, 1)), np.ones((3, 1)))
         .draw([0], np.random.default_rng(0)), "a margin needs the positives"),
        (lambda: MixedNegatives([UniformNegatives(TRAIN)], [0.5, 0.5]), "as many shares"),
        (lambda: MixedNegatives([UniformNegatives(TRAIN)], [0.5]), "sum to 1"),
        (lambda: MixedNegatives([HardNegatives(TRAIN)], [1.0]).log_q([0], [[1]]), "no log_q"),
        (lambda: distinct_batches(np.zeros((2, 2)), 4, None), r"items must be \(n_examples,\)"),
        (lambda: distinct_batches(np.zeros(2), 1, None), "batch_size at least 2 .an example alone"),
    ],
)  # fmt: skip
def test_samplers_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
