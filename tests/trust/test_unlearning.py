"""Unlearned equals never seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models import EASE, ImplicitALS
from recsys_tutorial.trust import ForgettingEASE, downdated, forget_by_sweeps


def likes(n_users=40, n_items=25, seed=0, density=0.2):
    x = np.random.default_rng(seed).random((n_users, n_items)) < density
    x[np.arange(n_users), np.arange(n_users) % n_items] = True  # nobody without a like
    return sparse.csr_matrix(x.astype(float))


@pytest.mark.parametrize("n_users, n_items", [(40, 25), (10, 25)])  # EASE's two ways
def test_without_forgetting_it_is_ease(n_users, n_items):
    x = likes(n_users, n_items)
    want = EASE(3.0).fit(x).score(x)
    np.testing.assert_allclose(ForgettingEASE(3.0).fit(x).score(x), want, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), reg=st.floats(0.1, 500))
def test_a_user_who_is_forgotten_was_never_seen(seed, n, reg):
    x = likes(seed=seed)
    gone = np.random.default_rng(seed).choice(40, n, replace=False)
    rest = np.setdiff1d(np.arange(40), gone)
    forgot = ForgettingEASE(reg).fit(x).forget(x[gone])
    never = EASE(reg).fit(x[rest])
    np.testing.assert_allclose(forgot.score(x), never.score(x), atol=1e-8)
    if n > 1:  # not by chance: forgetting one fewer is another model
        fewer = ForgettingEASE(reg).fit(x).forget(x[gone[1:]])
        assert np.abs(fewer.score(x) - never.score(x)).max() > 1e-6


def test_a_hundred_one_by_one_are_as_good_as_at_once():
    x = likes(200, 30)
    model = ForgettingEASE(1.0).fit(x)
    for user in range(100):
        model.forget(x[user])
    np.testing.assert_allclose(model.score(x), EASE(1.0).fit(x[100:]).score(x), atol=1e-8)


def test_a_film_that_only_they_liked_leaves_no_column():
    x = likes().tolil()
    x[:, 7] = 0
    x[3, 7] = 1
    x = x.tocsr()
    model = ForgettingEASE(2.0).fit(x)
    assert 7 in model.active_
    model.forget(x[3])
    rest = np.delete(np.arange(40), 3)
    fresh = ForgettingEASE(2.0).fit(x[rest])
    np.testing.assert_array_equal(model.active_, fresh.active_)
    np.testing.assert_array_equal(model.counts_, fresh.counts_)
    np.testing.assert_allclose(model.inverse_, fresh.inverse_, atol=1e-12)
    assert not model.score(x[3])[:, 7].any()


STRANGERS = {
    "another liked nobody's film": (np.array([[0.0, 1, 1, 1]]), "column 3 was liked by fewer"),
    "more than there were": (np.array([[1.0, 0, 0, 0]] * 3), "column 0 was liked by fewer"),
    "not ones": (np.array([[2.0, 0, 0, 0]]), "must be ones, got 2.0"),
    "another width": (np.ones((1, 3)), "has 3 items"),
    "a pair nobody liked": (np.array([[1.0, 0, 1, 0]] * 2), "not among those"),
    "everybody": (np.array([[1.0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]]), "nobody would be left"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_who_was_not_there_cannot_be_forgotten(case):
    rows, message = STRANGERS[case]
    x = sparse.csr_matrix(np.array([[1.0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]]))
    model = ForgettingEASE(0.01).fit(x)
    before = model.inverse_.copy()
    with pytest.raises(ValueError, match=message):
        model.forget(sparse.csr_matrix(rows))
    np.testing.assert_array_equal(model.inverse_, before)  # nothing half done


def test_downdating_wants_rows_that_fit():
    with pytest.raises(ValueError, match="inverse must be"):
        downdated(np.eye(3), np.ones((1, 2)))
    with pytest.raises(ValueError, match="rows must be"):
        downdated(np.eye(3), np.ones(3))


def distance(model, never, x):
    want = never.score(x)
    return np.linalg.norm(model.score(x) - want) / np.linalg.norm(want)


def test_als_forgets_sweep_by_sweep():
    x = likes(60, 30)
    model = ImplicitALS(3, reg=20.0, alpha=4.0, iterations=8).fit(x)
    never = ImplicitALS(3, reg=20.0, alpha=4.0, iterations=25).fit(x[1:])
    left = [distance(forget_by_sweeps(model, x[1:], n), never, x) for n in (0, 2, 20)]
    assert left[0] > 1e-4  # the item vectors still have the user in them
    assert left[0] > left[1] > left[2]
    assert left[2] < 1e-3 * left[0]
    assert len(model.user_factors_) == 60  # the given model is as it was
    forgot = forget_by_sweeps(model, x[1:], 2)
    assert (forgot.warm_start, forgot.iterations) == (False, 8)  # as the given one was made
    assert len(forget_by_sweeps(model, x[1:], 0).user_factors_) == 59


def test_a_deleted_vector_alone_leaves_item_vectors_as_they_were():
    x = likes(60, 30)
    model = ImplicitALS(3, iterations=5).fit(x)
    np.testing.assert_array_equal(
        forget_by_sweeps(model, x[1:], 0).item_factors_, model.item_factors_
    )
    with pytest.raises(ValueError, match="sweeps"):
        forget_by_sweeps(model, x[1:], -1)
