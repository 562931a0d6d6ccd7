"""Off-policy estimators: a case small enough to enumerate, properties, and bad logs."""

import itertools

import numpy as np
import pytest

from recsys_tutorial.feedback.off_policy import (
    doubly_robust,
    importance_weights,
    ips,
    snips,
)

# One context, three actions. Every log of two rounds is written out with its probability.
LOGGING = np.array([0.5, 0.3, 0.2])
TARGET = np.array([0.1, 0.2, 0.7])
CLICK = np.array([0.2, 0.5, 0.8])
TRUTH = TARGET @ CLICK


def all_logs():
    for actions in itertools.product(range(3), repeat=2):
        for rewards in itertools.product((0, 1), repeat=2):
            a, r = np.array(actions), np.array(rewards, dtype=float)
            p = np.prod(LOGGING[a] * np.where(r == 1, CLICK[a], 1 - CLICK[a]))
            yield p, a, r


def expectation(estimate):
    return sum(p * estimate(a, r) for p, a, r in all_logs())


def weights(a):
    return importance_weights(TARGET[a], LOGGING[a])


def test_probabilities_of_all_logs_sum_to_one():
    assert sum(p for p, _, _ in all_logs()) == pytest.approx(1)


def test_ips_is_unbiased_on_every_log_there_is():
    assert expectation(lambda a, r: ips(r, weights(a)).value) == pytest.approx(TRUTH, abs=1e-12)


def test_ips_with_wrong_propensities_is_not():
    wrong = expectation(lambda a, r: ips(r, importance_weights(TARGET[a], np.full(2, 1 / 3))).value)
    assert abs(wrong - TRUTH) > 0.05


@pytest.mark.parametrize("model", [CLICK, np.zeros(3), np.array([0.9, 0.1, 0.4])])
def test_doubly_robust_is_unbiased_whatever_the_model(model):
    two = [np.tile(x, (2, 1)) for x in (TARGET, model)]
    value = expectation(lambda a, r: doubly_robust(r, weights(a), a, *two).value)
    assert value == pytest.approx(TRUTH, abs=1e-12)


def test_doubly_robust_is_unbiased_with_wrong_propensities_and_the_right_model():
    two = [np.tile(x, (2, 1)) for x in (TARGET, CLICK)]
    wrong = expectation(
        lambda a, r: (
            doubly_robust(r, importance_weights(TARGET[a], np.full(2, 1 / 3)), a, *two).value
        )
    )
    assert wrong == pytest.approx(TRUTH, abs=1e-12)


def test_a_model_of_zeros_turns_dr_into_ips():
    rng = np.random.default_rng(0)
    a = rng.choice(3, size=50, p=LOGGING)
    r = (rng.random(50) < CLICK[a]).astype(float)
    target = np.tile(TARGET, (50, 1))
    dr = doubly_robust(r, weights(a), a, target, np.zeros((50, 3)))
    assert dr == pytest.approx(ips(r, weights(a)))


def test_on_its_own_log_every_estimate_is_the_mean_reward():
    rng = np.random.default_rng(1)
    r = rng.random(40)
    one = importance_weights(np.full(40, 0.25), np.full(40, 0.25))
    assert ips(r, one).value == pytest.approx(r.mean())
    assert snips(r, one).value == pytest.approx(r.mean())
    assert ips(r, one).standard_error == pytest.approx(r.std(ddof=1) / np.sqrt(40))


def test_snips_follows_a_constant_added_to_rewards_and_ips_does_not():
    rng = np.random.default_rng(2)
    a = rng.choice(3, size=30, p=LOGGING)
    r = (rng.random(30) < CLICK[a]).astype(float)
    assert snips(r + 5, weights(a)).value == pytest.approx(snips(r, weights(a)).value + 5)
    assert abs(ips(r + 5, weights(a)).value - ips(r, weights(a)).value - 5) > 0.1
    assert 0 <= snips(r, weights(a)).value <= 1


def test_standard_error_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        a = rng.choice(3, size=500, p=LOGGING)
        r = (rng.random(500) < CLICK[a]).astype(float)
        value, error = snips(r, weights(a))
        inside += abs(value - TRUTH) < 1.96 * error
    # Binomial(400, 0.95) lies within 0.92 to 0.98 except once in a few hundred times; halved
    # errors would give 0.67.
    assert 0.92 <= inside / 400 <= 0.98


def test_weights_are_in_double_precision_and_forgive_a_rounding():
    single = importance_weights(np.float32([0.1, 0.0]), np.float32([0.3, 1.0]))
    assert single.dtype == np.float64
    np.testing.assert_array_equal(single, [float(np.float32(0.1)) / float(np.float32(0.3)), 0])
    np.testing.assert_allclose(importance_weights([1 + 9e-10], [1 + 9e-10]), 1)
    assert snips(np.array([1.0, 0.0]), np.array([0.0, 2.0])).value == 0  # some weights may be 0


def test_clipping_bounds_the_weights_and_biases_downwards():
    a = np.array([0, 1, 2, 2])
    clipped = importance_weights(TARGET[a], LOGGING[a], clip=1.0)
    assert clipped.max() == 1.0
    assert clipped[0] == weights(a)[0]
    value = expectation(
        lambda a, r: ips(r, importance_weights(TARGET[a], LOGGING[a], clip=1.0)).value
    )
    assert value < TRUTH - 0.1


def test_estimates_and_their_errors_by_hand():
    rewards, w = np.array([1.0, 0.0, 1.0]), np.array([0.5, 2.0, 3.0])
    assert ips(rewards, w).value == pytest.approx(3.5 / 3)
    assert ips(rewards, w).standard_error == pytest.approx(np.std([0.5, 0, 3], ddof=1) / 3**0.5)
    value, error = snips(rewards, w)
    assert value == pytest.approx(3.5 / 5.5)
    spread = [0.5 * (1 - value), -2 * value, 3 * (1 - value)]
    assert error == pytest.approx(np.std(spread, ddof=1) / 3**0.5 / (5.5 / 3))
    target = np.array([[0.2, 0.8], [1.0, 0.0], [0.5, 0.5]])
    q = np.array([[0.1, 0.6], [0.3, 0.9], [0.4, 0.2]])
    expected = np.array([0.5, 0.3, 0.3])
    rounds = expected + w * (rewards - [0.6, 0.3, 0.2])
    dr = doubly_robust(rewards, w, np.array([1, 0, 1]), target, q)
    assert dr == pytest.approx((rounds.mean(), rounds.std(ddof=1) / 3**0.5))
    two = ips(rewards[:2], w[:2])
    assert two == pytest.approx((0.25, 0.25))  # of 0.5 and 0
    one = ips(np.ones(1), np.full(1, 2.0))
    assert one.value == 2 and np.isnan(one.standard_error)  # one round has no spread


TWO = np.full((2, 3), 1 / 3)
ONES, ROWS = np.ones(2), np.zeros(2, int)
BAD = {
    "zero propensity": (lambda: importance_weights([0.5, 0.5], [0.5, 0.0]), "logging.*round 1"),
    "above one": (lambda: importance_weights([1.5, 0.5], [0.5, 0.5]), "target.*round 0 is 1.5"),
    "nan": (lambda: importance_weights([np.nan, 0.5], [0.5, 0.5]), "target.*round 0 is nan"),
    "below zero": (lambda: importance_weights([0.5, -0.1], [0.5, 0.5]), "target.*round 1 is -0.1"),
    "no rounding": (lambda: importance_weights([0.5], [1 + 1.1e-9]), "logging.*round 0"),
    "two dimensions": (lambda: importance_weights(TWO, TWO), r"target \(2, 3\)"),
    "lengths": (lambda: importance_weights([0.5], [0.5, 0.5]), r"must be \(n,\)"),
    "empty": (lambda: importance_weights([], []), "n > 0"),
    "clip": (lambda: importance_weights([0.5], [0.5], clip=0.0), "clip must be positive"),
    "rewards": (lambda: ips(np.ones(2), np.ones(3)), r"rewards \(2,\)"),
    "a table of rewards": (lambda: ips(TWO, TWO), r"rewards \(2, 3\)"),
    "no reward": (lambda: ips(np.ones(0), np.ones(0)), "n > 0"),
    "nan in the doubly robust": (
        lambda: doubly_robust(np.array([1, np.nan]), ONES, ROWS, TWO, TWO),
        "finite",
    ),
    "nan reward": (lambda: ips(np.array([1, np.nan]), np.ones(2)), "finite"),
    "nan weight": (lambda: ips(np.ones(2), np.array([1, np.nan])), "finite"),
    "infinite weight": (lambda: snips(np.ones(2), np.array([1, np.inf])), "finite"),
    "no overlap": (lambda: snips(np.ones(2), np.zeros(2)), "all weights are 0"),
    "not a policy": (
        lambda: doubly_robust(ONES, ONES, ROWS, 2 * TWO, TWO),
        "round 0 sum to 2.0000",
    ),
    "too much in one round": (
        lambda: doubly_robust(ONES, ONES, ROWS, TWO * [[1], [2]], TWO),
        "round 1 sum to 2.0000",
    ),
    "too little in one round": (
        lambda: doubly_robust(ONES, ONES, ROWS, TWO * [[1], [0.5]], TWO),
        "round 1 sum to 0.5000",
    ),
    "one row": (lambda: doubly_robust(ONES, ONES, ROWS, ONES / 2, ONES), "n_actions"),
    "shapes": (lambda: doubly_robust(ONES, ONES, ROWS, TWO, TWO[:, :2]), "n_actions"),
    "rounds": (
        lambda: doubly_robust(np.ones(3), np.ones(3), np.zeros(3, int), TWO, TWO),
        "2 rows of predictions",
    ),
    "actions": (
        lambda: doubly_robust(np.ones(2), np.ones(2), np.zeros(3, int), TWO, TWO),
        "2 rewards, 3 actions",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_logs_are_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
