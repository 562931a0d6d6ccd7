"""ImplicitALS against dense solves and Hu et al.'s sum, written out over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models import ImplicitALS
from tests.models.planted import likes


def implicit_objective(model, train):
    """Hu et al.'s sum, written out over all pairs."""
    r = train.toarray()
    c, p = 1 + model.alpha * r, (r > 0).astype(float)
    error = (c * (p - model.user_factors_ @ model.item_factors_.T) ** 2).sum()
    totals = np.concatenate([c.sum(axis=1), c.sum(axis=0)]) ** model.frequency_scaling
    reg = model.reg * totals / totals.mean()
    squares = np.concatenate(
        [(model.user_factors_**2).sum(axis=1), (model.item_factors_**2).sum(axis=1)]
    )
    return error + reg @ squares


@pytest.mark.parametrize("frequency_scaling", [0.0, 0.5, 1.0])
def test_implicit_als_equals_a_dense_solve_of_every_user(frequency_scaling):
    train = likes()
    train.data = np.random.default_rng(1).integers(1, 4, train.nnz).astype(float)  # counts
    model = ImplicitALS(5, 3.0, 4.0, 3, frequency_scaling=frequency_scaling).fit(train)
    y, r = model.item_factors_, train.toarray()
    c = 1 + 4.0 * r
    totals = np.concatenate([c.sum(axis=1), c.sum(axis=0)]) ** frequency_scaling
    for u in range(len(r)):
        reg = 3.0 * totals[u] / totals.mean()
        left = y.T @ np.diag(c[u]) @ y + reg * np.eye(5)  # Hu et al. 2008, equation 4
        x = np.linalg.solve(left, y.T @ (c[u] * (r[u] > 0)))
        np.testing.assert_allclose(model.user_factors_[u], x, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    factors=st.integers(1, 12),
    reg=st.floats(1e-3, 50),
    alpha=st.floats(0.01, 100),
    frequency_scaling=st.sampled_from([-0.5, 0.0, 0.5, 1.0]),
)
def test_implicit_objective_is_what_it_says_and_never_rises(
    seed, factors, reg, alpha, frequency_scaling
):
    train = likes(seed, n_users=12, n_items=9, density=0.3)
    if train.nnz == 0:
        return
    model = ImplicitALS(factors, reg, alpha, 6, seed, frequency_scaling=frequency_scaling)
    objective = model.fit(train).history_["objective"].to_numpy()
    assert (np.diff(objective) <= 1e-9 * abs(objective[0])).all()
    np.testing.assert_allclose(objective[-1], implicit_objective(model, train), rtol=1e-7)


@pytest.mark.parametrize("frequency_scaling", [0.0, 1.0])
def test_folding_in_a_training_user_gives_their_vector_implicit(frequency_scaling):
    train = likes()
    model = ImplicitALS(4, 2.0, 3.0, 3, frequency_scaling=frequency_scaling).fit(train)
    np.testing.assert_allclose(model.fold_in(train), model.user_factors_, atol=1e-10)


def test_conjugate_gradients_end_where_exact_solutions_do():
    train = likes(n_users=60, n_items=50)
    exact, steps = (ImplicitALS(4, 2.0, 3.0, 200, solver=s).fit(train) for s in ("exact", "cg"))
    objective = steps.history_["objective"].to_numpy()
    # float32 has seven digits: a step in the wrong direction would show in the third or fourth.
    assert (np.diff(objective) <= 1e-6 * objective[0]).all()
    np.testing.assert_allclose(objective[-1], implicit_objective(steps, train), rtol=1e-6)
    np.testing.assert_allclose(objective[-1], exact.history_["objective"].iloc[-1], rtol=1e-6)
    np.testing.assert_allclose(steps.score(train), exact.score(train), rtol=0, atol=1e-6)
    np.testing.assert_allclose(steps.fold_in(train), steps.user_factors_, rtol=0, atol=1e-6)


def test_conjugate_gradients_start_as_long_as_likes_say():
    train = likes(n_users=60, n_items=50)
    first = {s: ImplicitALS(4, 2.0, 3.0, 2, solver=s).fit(train) for s in ("exact", "cg")}
    lower, higher = (implicit_objective(first[s], train) for s in ("cg", "exact"))
    assert lower < higher  # though it solves nothing exactly


def test_the_random_start_is_short_whatever_the_number_of_factors():
    """0.1 / sqrt(factors) in each direction; what iterations there are begin elsewhere."""
    train = likes(n_users=200, n_items=150)
    for factors in (4, 25):
        model = ImplicitALS(factors, iterations=0).fit(train)
        for vectors in (model.user_factors_, model.item_factors_):
            assert vectors.mean() == pytest.approx(0, abs=0.02 / factors**0.5)
            assert vectors.std() == pytest.approx(0.1 / factors**0.5, rel=0.1)


def test_patience_is_how_long_the_validation_may_fail_to_rise():
    for patience in (1, 2):
        model = ImplicitALS(2, iterations=9)
        model.fit(likes(), validation=lambda m: 0.0, patience=patience)
        assert len(model.history_) == 1 + patience


BAD = [
    (lambda: ImplicitALS(iterations=-1), "iterations must be finite and at least 0, got -1"),
    (lambda: ImplicitALS(solver="lu"), "solver must be 'exact' or 'cg', got 'lu'"),
    (lambda: ImplicitALS(-1), "factors must be finite and at least 1, got -1"),
    (lambda: ImplicitALS(reg=0), "reg must be positive"),
    (lambda: ImplicitALS(alpha=0), "alpha must be positive"),
    (lambda: ImplicitALS(alpha=np.inf), "alpha must be positive and finite"),
    (lambda: ImplicitALS(frequency_scaling=np.nan), "frequency_scaling must be finite"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_folding_in_follows_item_vectors_that_were_changed():
    """What is kept of the items from the last time is not used for others."""
    ones = sparse.random(30, 20, density=0.3, random_state=0, format="csr")
    ones.data[:] = 1.0
    model = ImplicitALS(4, iterations=2).fit(ones)
    before = model.fold_in(ones[:5])
    model.item_factors_[:] = np.random.default_rng(1).normal(size=model.item_factors_.shape)
    changed = model.fold_in(ones[:5])
    weights = 1.0 + model.alpha * ones[:5].toarray()  # (5, n_items)
    y = model.item_factors_
    for row in range(5):
        c, p = weights[row], ones[row].toarray().ravel()
        dense = np.linalg.solve((y.T * c) @ y + model.reg * np.eye(4), y.T @ (c * p))
        np.testing.assert_allclose(changed[row], dense, rtol=1e-8)
    assert np.abs(changed - before).max() > 0.01


def test_a_model_of_a_file_keeps_item_vectors_that_nobody_can_change():
    """So what is kept between calls need not be compared with them."""
    ones = sparse.random(30, 20, density=0.3, random_state=0, format="csr")
    ones.data[:] = 1.0
    fitted = ImplicitALS(4, iterations=2).fit(ones)
    arrays = {name: value.copy() for name, value in fitted.arrays().items()}
    model = ImplicitALS.from_arrays(arrays, factors=4)
    expected = fitted.score(ones[:5])
    np.testing.assert_allclose(model.score(ones[:5]), expected, rtol=1e-10)
    arrays["item_factors"][:] = 0.0
    np.testing.assert_allclose(model.score(ones[:5]), expected, rtol=1e-10)
    with pytest.raises(ValueError, match="read-only"):
        model.item_factors_[:] = 0.0
    model.item_factors_ = -model.item_factors_  # put in anew they are what counts
    np.testing.assert_allclose(model.score(ones[:5]), expected, rtol=1e-10)
    model.item_factors_[0] = 0.0
    assert (model.score(ones[:5])[:, 0] == 0).all()
