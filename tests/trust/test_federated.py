"""Averaged devices against one server, and what a gradient gives away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.trust import (
    federated_average,
    likes_in_gradient,
    masked_shares,
    unmasked_sum,
)


def softmax_gradient(vectors, user, liked):
    """Of -mean log softmax over the liked items: rows (p - t) x."""
    scores = vectors @ user
    p = np.exp(scores - scores.max())
    p /= p.sum()
    p[liked] -= 1 / len(liked)
    return np.outer(p, user)


def devices(n=7, n_items=30, seed=0):
    """Each device's gradient of the item vectors, and its number of likes."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(n, 4))
    liked = [rng.choice(n_items, rng.integers(1, 8), replace=False) for _ in range(n)]
    gradients = [
        lambda v, u=u, own=own: softmax_gradient(v, u, own)
        for u, own in zip(users, liked, strict=True)
    ]
    return gradients, np.array([len(own) for own in liked]), liked, rng.normal(size=(n_items, 4))


def test_a_round_of_one_step_is_the_servers_step():
    gradients, weights, _, start = devices()
    mean = sum(w * g(start) for g, w in zip(gradients, weights, strict=True)) / weights.sum()
    got = federated_average(start, gradients, weights, 0.5)
    np.testing.assert_allclose(got, start - 0.5 * mean, atol=1e-12)
    evenly = federated_average(start, gradients, np.ones(7), 0.5)
    assert np.abs(evenly - got).max() > 1e-3  # the weights are what makes it equal


def test_more_local_steps_are_another_algorithm_unless_devices_are_alike():
    gradients, weights, _, start = devices()
    server = start
    for _ in range(5):
        server = federated_average(server, gradients, weights, 0.5)
    got = federated_average(start, gradients, weights, 0.5, local_steps=5)
    assert np.abs(got - server).max() > 1e-3
    alike = [gradients[0]] * 3
    server = start
    for _ in range(5):
        server = federated_average(server, alike, np.ones(3), 0.5)
    got = federated_average(start, alike, np.ones(3), 0.5, local_steps=5)
    np.testing.assert_allclose(got, server, atol=1e-12)


def test_a_gradient_says_what_its_user_likes():
    gradients, _, liked, start = devices()
    for gradient, own in zip(gradients, liked, strict=True):
        np.testing.assert_array_equal(likes_in_gradient(gradient(0.1 * start)), np.sort(own))
    # Of a sum over users it does not: that is what secure aggregation is for.
    total = sum(gradient(0.1 * start) for gradient in gradients)
    everything = np.unique(np.concatenate(liked))
    assert set(likes_in_gradient(total)) != set(everything)


def test_items_that_get_no_gradient_are_not_named():
    gradient = np.outer([0.2, -0.7, 0.5, 0.0, 0.0], [1.0, -2.0])
    np.testing.assert_array_equal(likes_in_gradient(gradient), [1])
    np.testing.assert_array_equal(likes_in_gradient(-gradient), [1])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10**6))
def test_masks_cancel_in_the_sum_and_nowhere_else(n, seed):
    x = np.random.default_rng(seed).normal(scale=50, size=(n, 5)).round(6)
    shares = masked_shares(x, seed)
    np.testing.assert_allclose(unmasked_sum(shares), x.sum(axis=0), atol=1e-9)
    for dropped in range(n):  # with one device missing nothing is left of the sum
        rest = np.delete(shares, dropped, axis=0)
        wrong = np.abs(unmasked_sum(rest) - np.delete(x, dropped, axis=0).sum(axis=0))
        assert wrong.min() > 1.0


def test_a_share_alone_is_noise():
    x = np.zeros((3, 20_000))
    share = masked_shares(x, 1)[0] / 2.0**64
    assert share.mean() == pytest.approx(0.5, abs=0.01)
    assert np.var(share) == pytest.approx(1 / 12, rel=0.03)


BAD = {
    "weights": (lambda: federated_average(np.ones(2), [lambda p: p], np.ones(2), 1.0), "weights"),
    "all 0": (lambda: federated_average(np.ones(2), [lambda p: p], np.zeros(1), 1.0), "not all 0"),
    "steps": (lambda: federated_average(np.ones(2), [lambda p: p], np.ones(1), 1.0, 0), "local_s"),
    "no gradient": (lambda: likes_in_gradient(np.zeros((3, 2))), "not 0"),
    "flat": (lambda: likes_in_gradient(np.ones(3)), "gradient must be"),
    "one device": (lambda: masked_shares(np.ones((1, 2)), 0), "n_devices >= 2"),
    "too large": (lambda: masked_shares(np.full((2, 2), 1e13), 0), "do not fit"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(case):
    run, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        run()
