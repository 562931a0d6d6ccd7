"""Towers kept up to date: fold-in, steps and refits against ridge regressions."""

import numpy as np
import pytest

from recsys_tutorial.feedback import LinearTastes, OnlineTowers
from tests.feedback.visits import E, history


def test_fold_in_is_the_ridge_regression_on_the_head():
    features, days = history(dim=5)
    model = OnlineTowers(features, 4, E, dim=2, reg=3.0)
    model.head = np.random.default_rng(1).standard_normal((2, 5))
    for shown, clicks in days:
        model.observe(shown, clicks)
    model.fold_in()
    v = np.column_stack([np.ones(len(features)), features @ model.head.T])
    np.testing.assert_allclose(model.items(), v)
    same = LinearTastes(v, 4, E, reg=3.0)
    for shown, clicks in days:
        same.update(shown, clicks)
    np.testing.assert_allclose(model.users, same.weights(), rtol=1e-9)


def impressions(days):
    """Shopper, picture, slot and click of every impression."""
    rows = [(u, s[u, j], j, c[u, j]) for s, c in days for u in range(len(s)) for j in range(len(E))]
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def squared_error(model, log):
    u, i, j, y = log
    predicted = E[j] * (model.users[u] * model.items()[i]).sum(axis=1)
    return 0.5 * ((y - predicted) ** 2).mean()


def test_a_step_goes_down_the_gradient_of_the_squared_error():
    features, days = history(dim=5)
    model = OnlineTowers(features, 4, E, dim=2)
    model.users = np.random.default_rng(2).standard_normal((4, 3))
    log, before = impressions(days), model.head.copy()
    numeric = np.zeros_like(before)
    for place in np.ndindex(*before.shape):
        ends = []
        for sign in (1, -1):
            model.head = before.copy()
            model.head[place] += sign * 1e-5
            ends.append(squared_error(model, log))
        numeric[place] = (ends[0] - ends[1]) / 2e-5
    model.head = before.copy()
    model.step(*log, learning_rate=0.1)
    np.testing.assert_allclose((before - model.head) / 0.1, numeric, atol=1e-7)


def test_the_refitted_head_is_where_the_gradient_vanishes():
    features, days = history(n_days=40, dim=5)
    model = OnlineTowers(features, 4, E, dim=2)
    model.head_reg = 1e-9
    for shown, clicks in days:
        model.observe(shown, clicks)
    model.fold_in()
    users, log = model.users, impressions(days)
    before = squared_error(model, log)
    model.fold_in = lambda: None  # the head alone, for the users as they are
    model.refit(sweeps=1)
    assert squared_error(model, log) < before
    head = model.head
    model.step(*log, learning_rate=1.0)
    np.testing.assert_allclose(model.head, head, atol=1e-8)
    assert (model.users == users).all()


def test_nothing_is_expected_before_the_first_fold_in_and_no_sweep_moves_no_head():
    features, days = history(dim=5)
    model = OnlineTowers(features, 4, E, dim=1)
    assert model.users.shape == (4, 2) and (model.scores() == np.zeros((4, 12))).all()
    for shown, clicks in days:
        model.observe(shown, clicks)
    model.refit(sweeps=0)
    assert model.head.tolist() == [[1, 0, 0, 0, 0]]  # the first feature
    folded = model.users
    model.fold_in()
    assert folded.any() and (folded == model.users).all()


@pytest.mark.parametrize("dim", [0, 6])
def test_a_head_has_one_row_to_one_for_each_feature(dim):
    with pytest.raises(ValueError, match=f"dim must be 1 to 5, got {dim}"):
        OnlineTowers(history(dim=5)[0], 4, E, dim=dim)
