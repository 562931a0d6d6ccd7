"""Policies: online equals batch, scores by hand, a two-armed problem with a known optimum."""

import numpy as np
import pytest
from scipy import stats

from recsys_tutorial.feedback.bandits import (
    Greedy,
    ItemRates,
    LinearTastes,
    LinUCB,
    ThompsonSampling,
)
from recsys_tutorial.feedback.online import OnlineTowers
from recsys_tutorial.feedback.policies import Popularity, Random
from tests.feedback.visits import E, history


def rates(n_items, examination=E, prior=5.0):
    return ItemRates(np.ones((n_items, 1)), examination, prior=prior)


def test_linucb_shows_the_highest_upper_bounds():
    features, days = history(n_items=30)
    policy = LinUCB(rates(30), LinearTastes(features, 4, E, reg=2.0), alpha=0.7)
    for shown, clicks in days:
        policy.learn(shown, clicks)
    stock = np.arange(3, 30)
    found = policy.choose(stock)
    for u in range(4):
        a = policy.tastes.gram[u] + 2.0 * np.eye(5)
        w, inverse = policy.tastes.weights()[u], np.linalg.inv(a)
        bound = [policy.rates.rates[i] + features[i] @ w
                 + 0.7 * np.sqrt(policy.rates.doubt[i] ** 2 + features[i] @ inverse @ features[i])
                 for i in stock]  # fmt: skip
        assert list(found[u]) == list(stock[np.argsort(-np.array(bound), kind="stable")[:3]])


def test_thompson_draws_have_the_posterior_covariance():
    """The first of two pictures is shown first with a known probability."""
    n = 20_000
    tastes = LinearTastes(np.eye(3), n, np.ones(1), reg=2.0)
    policy = ThompsonSampling(rates(3, np.ones(1), prior=9.0), tastes, scale=0.5)
    tastes.gram[:] = np.array([[3.0, 1, 0], [1, 2, 0], [0, 0, 1]])
    tastes.moment[:] = [1.0, 0.5, -9.0]
    policy.day = 1
    covariance = 0.25 * (np.linalg.inv(tastes.precision()[0]) + np.eye(3) / 9)
    difference = np.array([1.0, -1.0, 0.0])
    mean = difference @ tastes.weights()[0]
    p = stats.norm.cdf(mean / np.sqrt(difference @ covariance @ difference))
    first = int((policy.choose(np.arange(2))[:, 0] == 0).sum())
    ci = stats.binomtest(first, n).proportion_ci(0.9999, method="exact")
    assert ci.low <= p <= ci.high
    assert 0.55 < p < 0.95  # a test that tells something: neither greedy nor a coin


def test_a_draw_without_noise_is_the_estimate():
    features, days = history()
    policies = [
        make(rates(12), LinearTastes(features, 4, E, reg=2.0))
        for make in (Greedy, lambda *known: ThompsonSampling(*known, scale=0.0))
    ]
    for shown, clicks in days:
        for policy in policies:
            policy.learn(shown, clicks)
    stock = np.array([9, 2, 5])
    estimate, draw = (policy.scores(stock) for policy in policies)
    np.testing.assert_allclose(draw, estimate)
    assert np.ptp(estimate, axis=1).min() > 0.01


def test_upper_bounds_by_hand():
    features, days = history()
    policy = LinUCB(rates(12), LinearTastes(features, 4, E, reg=2.0), alpha=0.7)
    for shown, clicks in days:
        policy.learn(shown, clicks)
    inverse = np.linalg.inv(policy.tastes.precision())
    spread = np.einsum("id,ude,ie->ui", features, inverse, features)  # x' (A_u + reg I)^-1 x
    hope = 0.7 * np.sqrt(policy.rates.doubt**2 + spread)
    estimate = policy.tastes.weights() @ features.T + policy.rates.rates
    np.testing.assert_allclose(policy.scores(np.arange(12)), estimate + hope)


@pytest.mark.parametrize("random_days", [1, 3])
def test_the_first_days_are_random_and_then_the_best_is_shown(random_days):
    features, days = history(n_items=30)
    policy = Greedy(rates(30), LinearTastes(features, 4, E), random_days=random_days)
    stock, is_best = np.arange(30), []
    for shown, clicks in days:
        best = np.argsort(-policy.scores(stock), axis=1, kind="stable")[:, :3]
        is_best.append(bool((policy.choose(stock) == best).all()))
        policy.learn(shown, clicks)
    assert is_best == [False] * random_days + [True] * (len(days) - random_days)


@pytest.mark.parametrize("make", [Greedy, ThompsonSampling, LinUCB])
def test_chance_comes_from_the_seed(make):
    features, stock = history(n_items=30)[0], np.arange(30)

    def first_lists(**seed):
        return make(rates(30), LinearTastes(features, 4, E), **seed).choose(stock).tolist()

    assert first_lists(seed=1) == first_lists(seed=1) != first_lists(seed=2)


def test_tastes_learn_what_the_rates_did_not_expect():
    features, days = history()
    policy = Greedy(rates(12), LinearTastes(features, 4, E, reg=2.0))
    same, table = LinearTastes(features, 4, E, reg=2.0), rates(12)
    for day, (shown, clicks) in enumerate(days):
        if day:
            same.update(shown, clicks - E * table.rates[shown])
        table.update(shown, clicks)
        policy.learn(shown, clicks)
    scores = policy.scores(np.arange(12))
    np.testing.assert_allclose(scores, same.weights() @ features.T + table.rates)


# Two arms, 300 independent shoppers. All know it from the start: the second arm is better.
ARMS, ROUNDS = np.array([0.3, 0.6]), 400


def play(policy, seed=0):
    """Share of shoppers on the better arm over the last quarter, and regret per shopper."""
    rng = np.random.default_rng(seed)
    late, regret = [], 0.0
    for day in range(ROUNDS):
        shown = policy.choose(np.arange(2))
        policy.learn(shown, rng.random(shown.shape) < ARMS[shown])
        if hasattr(policy, "tastes"):  # each shopper for themselves, no crowd
            policy.tastes.crowd[:] = policy.rates.rates[:] = 0
            policy.rates.looks[:] = 1e9
        regret += (ARMS[1] - ARMS[shown]).mean()
        if day >= 0.75 * ROUNDS:
            late.append((shown == 1).mean())
    return np.mean(late), regret


def alone():
    return rates(2, np.ones(1)), LinearTastes(np.eye(2), 300, np.ones(1), reg=1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ThompsonSampling(*alone(), scale=0.5),
        lambda: LinUCB(*alone(), alpha=1.0),
        lambda: Greedy(*alone(), epsilon=0.05),
        lambda: Greedy(*alone(), random_days=40),
    ],
    ids=["thompson", "linucb", "epsilon", "explore first"],
)
def test_explorers_find_the_better_arm(make):
    late, regret = play(make())
    assert late > 0.93
    assert regret < 0.25 * ROUNDS * 0.3  # chance pays half of ROUNDS * 0.3


def test_greedy_is_stuck_for_some_and_random_pays_half():
    late, _ = play(Greedy(*alone()))
    assert late < 0.9
    late, regret = play(Random(300, 1))
    assert 0.45 < late < 0.55
    assert regret == pytest.approx(0.5 * ROUNDS * 0.3, rel=0.05)


def test_popularity_finds_the_better_arm_for_all():
    late, _ = play(Popularity(2, 300, np.ones(1)))
    assert late == 1.0


F = np.eye(3)


BAD = {
    "reg": (lambda: LinearTastes(F, 2, E, reg=0.0), "reg must be positive"),
    "memory": (lambda: LinearTastes(F, 2, E, memory=1.1), "memory must be 0 to 1"),
    "slots": (
        lambda: LinearTastes(F, 2, E).update(np.zeros((2, 2), int), np.zeros((2, 2))),
        "n_shoppers",
    ),
    "epsilon": (
        lambda: Greedy(rates(3), LinearTastes(F, 2, E), epsilon=2.0),
        "epsilon must be 0 to 1",
    ),
    "prior": (lambda: rates(3, prior=0.0), "prior must be positive"),
    "dim": (lambda: OnlineTowers(F, 2, E, dim=4), "dim must be 1 to 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
