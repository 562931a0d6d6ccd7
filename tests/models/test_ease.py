"""EASE against dense textbook versions, in the shared tests of `test_baselines` too."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import rank
from recsys_tutorial.models import EASE
from recsys_tutorial.splits import SteadyRows, new_user_split, rolling_split
from tests.models.planted import histories, sparse_likes


def textbook_weights(train, reg):
    """B of equation 8: all items, the plain inverse."""
    x = train.toarray()
    inverse = np.linalg.inv(x.T @ x + reg * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


@pytest.mark.parametrize("reg", [1e-3, 1.0, 200.0, 1e6])
@pytest.mark.parametrize("shape, method", [((30, 70), "users"), ((90, 40), "items")])
def test_ease_equals_the_dense_solution(shape, method, reg):
    train, history = sparse_likes(*shape), histories(shape[1])
    model = EASE(reg).fit(train)
    assert model.method_ == method
    expected = history.toarray() @ textbook_weights(train, reg)
    # 1e-10 leaves room for 1 - d_j, which loses three digits at reg = 0.001; a weight that was
    # wrong in its fifth digit would fail.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model.score(history), expected, rtol=0, atol=1e-10 * scale)
    # row i of B, its diagonal included, is the score of a history with item i alone
    weights = model.score(sparse.eye(shape[1], format="csr"))
    np.testing.assert_allclose(weights, textbook_weights(train, reg), rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(np.diag(weights), 0, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("shape, method", [((30, 70), "users"), ((90, 40), "items")])
def test_ease_counts_a_user_as_often_as_the_weight_says(shape, method):
    train, history = sparse_likes(*shape), histories(shape[1])
    counts = np.arange(shape[0]) % 3  # the first user, and every third after, not at all
    repeated = train[np.repeat(np.arange(shape[0]), counts)]
    model = EASE(5.0).fit(train, user_weights=counts)
    expected = history.toarray() @ textbook_weights(repeated, 5.0)
    np.testing.assert_allclose(model.score(history), expected, rtol=0, atol=1e-10)
    assert model.method_ == method
    even = EASE(5.0).fit(train, user_weights=np.ones(shape[0])).score(history)
    np.testing.assert_allclose(even, EASE(5.0).fit(train).score(history), rtol=0, atol=1e-12)
    assert np.abs(even - expected).max() > 1e-3


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1.0], "30 users need as many weights"),
        ([-1.0] + [1.0] * 29, "finite and not negative"),
        ([np.nan] + [1.0] * 29, "finite and not negative"),
        ([0.0] * 30, "holds no interaction"),
        ([np.inf] + [1.0] * 29, "finite and not negative"),
    ],
)
def test_bad_user_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        EASE().fit(sparse_likes(30, 70), user_weights=np.array(weights))


@pytest.mark.parametrize("n_items", [1100, 515])
def test_ease_larger_than_a_block_of_the_mirrored_inverse(n_items):
    train = sparse_likes(1500, n_items, density=0.02)
    model = EASE(50.0).fit(train)
    assert model.method_ == "items"
    history = histories(n_items)
    expected = history.toarray() @ textbook_weights(train, 50.0)
    np.testing.assert_allclose(model.score(history), expected, rtol=0, atol=1e-10)


def test_ease_minimises_its_loss():
    train, reg = sparse_likes(40, 12, density=0.4), 5.0
    x = train.toarray()
    best = EASE(reg).fit(train).score(sparse.eye(12, format="csr"))

    def loss(weights):
        return ((x - x @ weights) ** 2).sum() + reg * (weights**2).sum()

    rng = np.random.default_rng(0)
    for size in (1e-1, 1e-3):
        for _ in range(20):
            step = size * rng.normal(size=best.shape)
            np.fill_diagonal(step, 0.0)
            assert loss(best + step) > loss(best)


@pytest.mark.parametrize("shape", [(30, 70), (90, 40)])
def test_ease_scores_exactly_0_where_nobody_liked_the_item(shape):
    scores = EASE(1.0).fit(sparse_likes(*shape)).score(histories(shape[1]))
    assert (scores[:, -2:] == 0).all()
    assert (scores[3] == 0).all()  # and everywhere for a user who liked nothing
    assert (scores[:3, :-2] != 0).mean() > 0.9


def test_ease_says_when_reg_is_too_small_to_count():
    twins = sparse.csr_matrix(np.ones((3, 8)))  # X X' has rank 1: without reg it has no inverse
    with pytest.raises(ValueError, match="raise reg"):
        EASE(1e-30).fit(twins)
    with pytest.raises(ValueError, match="raise reg"):
        EASE(1e-30).fit(twins.T.tocsr())


def test_reg_counts_from_the_rounding_of_the_gram_matrix_on():
    """n eps times its largest number: here 2 x 2.2e-16 x (1e6 + 1), while the smallest is 1."""
    likes = sparse.csr_matrix([[1.0, 0], [0, 1e3], [0, 1.0]])
    with pytest.raises(ValueError, match="lost in rounding beside the likes' Gram matrix"):
        EASE(4.3e-10).fit(likes)
    EASE(4.6e-10).fit(likes)


def test_ease_of_movielens_equals_the_textbook_by_either_method():
    movielens = new_user_split(*load_movielens()).refit()
    train, history = movielens.train, movielens.test.history
    popular = np.sort(np.argsort(-np.bincount(train.indices, minlength=train.shape[1]))[:300])
    for columns, method in [(popular, "items"), (slice(0, 1500), "users")]:
        part, shown = train[:, columns], history[:, columns]
        model = EASE(200.0).fit(part)
        assert model.method_ == method
        expected = shown.toarray() @ textbook_weights(part, 200.0)
        np.testing.assert_allclose(model.score(shown), expected, rtol=0, atol=1e-10)
        np.testing.assert_array_equal(
            rank(model.score(shown), shown, 10), rank(np.round(model.score(shown), 15), shown, 10)
        )


@pytest.mark.parametrize("reg", [1.0, 200.0])
def test_a_warm_start_is_a_fresh_fit(reg):
    """New users, new likes of old ones, and likes taken back."""
    whole, history = sparse_likes(60, 150, density=0.1), histories(150)
    model, rng = EASE(reg, warm_start=True), np.random.default_rng(0)
    for n_users in (40, 44, 44, 60):
        part = whole[:n_users].tolil()
        for user in rng.integers(30, size=3):
            part[user] = rng.random(150) < 0.2
        part = sparse.csr_matrix(part)
        model.fit(part)
        fresh = EASE(reg).fit(part).score(history)
        # The scores are up to 0.1; the last fit's are off by 1e-3.
        np.testing.assert_allclose(model.score(history), fresh, rtol=0, atol=1e-10)
        if n_users == 44:
            assert model._users.updated(part) is not None  # and that was no fit from nothing
    model.reg = 5.0
    fresh = EASE(5.0).fit(part).score(history)
    np.testing.assert_allclose(model.fit(part).score(history), fresh, rtol=0, atol=1e-10)
    assert EASE(5.0, warm_start=True).fit(part[:10]).fit(part).method_ == "users"  # most are new


def test_a_warm_start_keeps_a_copy_of_the_likes():
    train, history = sparse_likes(30, 70), histories(70)
    model, again = EASE(5.0, warm_start=True), train.copy()
    model.fit(again)
    again.data[:] = 7.0
    np.testing.assert_allclose(
        model.fit(train).score(history), EASE(5.0).fit(train).score(history), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("part", [(slice(0, 20), slice(None)), (slice(None), slice(0, 60))])
def test_a_warm_start_needs_the_same_users_and_items(part):
    train = sparse_likes(30, 70)
    with pytest.raises(ValueError, match="the last fit was of"):
        EASE(warm_start=True).fit(train).fit(train[part])


def test_warm_windows_of_movielens_equal_fresh_fits():
    rows, model = SteadyRows(), EASE(200.0, warm_start=True)
    for split in rolling_split(*load_movielens()).test[:4]:
        found = model.fit(split.train[rows(split)]).score(split.test.history)
        fresh = EASE(200.0).fit(split.train).score(split.test.history)
        np.testing.assert_allclose(found, fresh, rtol=0, atol=1e-10)
