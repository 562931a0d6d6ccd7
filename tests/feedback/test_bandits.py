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
    random_lists,
    with_chance,
)
from recsys_tutorial.feedback.online import OnlineTowers
from recsys_tutorial.feedback.policies import IdModel, Popularity, Random

E = np.array([1.0, 0.6, 0.4])


def history(n_days=6, n_shoppers=4, n_items=12, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_items, dim))
    shape = (n_shoppers, len(E))
    days = [(random_lists(np.arange(n_items), shape, rng), rng.random(shape) < 0.4)
            for _ in range(n_days)]  # fmt: skip
    return features, days


def batch_fit(features, days, u, *, reg, memory, crowd):
    """Weighted ridge regression on all that u ever saw, by least squares on stacked rows."""
    rows, targets = [np.sqrt(reg) * np.eye(features.shape[1])], [np.sqrt(reg) * crowd]
    for age, (shown, clicks) in enumerate(reversed(days)):
        weight = np.sqrt(memory**age)
        rows.append(weight * E[:, None] * features[shown[u]])
        targets.append(weight * clicks[u])
    return np.linalg.lstsq(np.vstack(rows), np.concatenate(targets), rcond=None)[0]


@pytest.mark.parametrize("memory", [1.0, 0.8])
def test_online_updates_equal_the_batch_fit(memory):
    features, days = history()
    learner = LinearTastes(features, 4, E, reg=3.0, memory=memory)
    for n, (shown, clicks) in enumerate(days, start=1):
        learner.update(shown, clicks)
        for u in range(4):
            batch = batch_fit(features, days[:n], u, reg=3.0, memory=memory, crowd=learner.crowd)
            np.testing.assert_allclose(learner.weights()[u], batch, rtol=1e-9)
    # The crowd is one ridge regression on everybody's rows.
    x = np.vstack([E[:, None] * features[s[u]] for s, _ in days for u in range(4)])
    y = np.concatenate([c[u] for _, c in days for u in range(4)]).astype(float)
    d = np.repeat([memory**age for age in reversed(range(len(days)))], 4 * len(E))
    crowd = np.linalg.solve((x * d[:, None]).T @ x + 3 * np.eye(5), (x * d[:, None]).T @ y)
    np.testing.assert_allclose(learner.crowd, crowd, rtol=1e-9)


def test_position_is_corrected_for():
    """Shown always at the last slot, a picture's attraction is found again; ignored, it is not."""
    rng = np.random.default_rng(1)
    shown = np.tile([0, 1, 2], (20_000, 1))
    clicks = rng.random(shown.shape) < E * np.array([0.3, 0.5, 0.8])
    estimates = []
    for examination in (E, np.ones(3)):
        learner = LinearTastes(np.eye(3), 20_000, examination, reg=1e6)  # the crowd alone
        learner.update(shown, clicks)
        gram, moment = learner.gram.sum(0), learner.moment.sum(0)
        estimates.append(np.linalg.solve(gram, moment))
    # Four standard errors of the last, sqrt(0.32 * 0.68 / 20000) / 0.4 each.
    np.testing.assert_allclose(estimates[0], [0.3, 0.5, 0.8], atol=0.033)
    assert estimates[1][2] < 0.4


def rates(n_items, examination=E, prior=5.0):
    return ItemRates(np.ones((n_items, 1)), examination, prior=prior)


def test_item_rates_by_hand():
    x = np.column_stack([np.ones(4), [0.0, 1, 2, 3]])
    model = ItemRates(x, E, prior=2.0)
    model.update(np.array([[0, 1, 2], [1, 0, 2]]), np.array([[1, 0, 1], [0, 1, 0]], dtype=bool))
    looks = np.array([1 + 0.36, 0.36 + 1, 0.32, 0])
    hits = np.array([1 + 0.6, 0, 0.4, 0])
    np.testing.assert_allclose(model.looks, looks)
    w = np.linalg.solve((x.T * looks) @ x + np.eye(2), x.T @ hits)
    content = np.clip(x @ w, 0, 1)
    np.testing.assert_allclose(model.rates, (hits + 2 * content) / (looks + 2))
    assert model.rates[3] == pytest.approx(content[3])  # never shown: what its content promises
    np.testing.assert_allclose(model.doubt, (looks + 2) ** -0.5)


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


def test_random_lists_hold_different_pictures_equally_often():
    stock = np.array([2, 3, 5, 7])
    lists = random_lists(stock, (30_000, 3), np.random.default_rng(0))
    assert all(len(set(row)) == 3 for row in lists[:1000].tolist())
    share = np.array([(lists == i).mean(axis=0) for i in stock])
    np.testing.assert_allclose(share, 0.25, atol=0.0125)  # five standard errors
    with pytest.raises(ValueError, match="do not fill 5 slots"):
        random_lists(stock, (2, 5), np.random.default_rng(0))


def test_epsilon_replaces_that_share_of_slots():
    rng, stock = np.random.default_rng(0), np.arange(1000)
    shown = random_lists(stock, (5000, 3), rng)
    mixed = with_chance(shown, stock, 0.2, rng)
    assert (mixed != shown).mean() == pytest.approx(0.2, abs=0.015)  # 3 in 1000 fall on the list
    assert all(len(set(row)) == 3 for row in mixed[:1000].tolist())


def test_popularity_rates_by_hand():
    policy = Popularity(4, 2, E, prior=2.0)
    policy.learn(np.array([[0, 1, 2], [1, 0, 2]]), np.array([[1, 0, 1], [0, 1, 0]], dtype=bool))
    looks = np.array([1 + 0.36, 0.36 + 1, 0.32, 0])
    hits = np.array([1 + 0.6, 0, 0.4, 0])
    crowd = hits.sum() / looks.sum()
    np.testing.assert_allclose(policy.rates(), (hits + 2 * crowd) / (looks + 2))


def test_the_id_model_finds_planted_groups_and_knows_nothing_of_new_pictures():
    rng = np.random.default_rng(0)
    n, n_items = 200, 40
    truth = np.where((np.arange(n)[:, None] % 2) == (np.arange(n_items) % 2), 0.8, 0.1)
    model = IdModel(n_items + 1, n, np.ones(3), factors=2, reg=1.0)
    for _ in range(20):  # the last picture is never shown
        shown = random_lists(np.arange(n_items), (n, 3), rng)
        model.learn(shown, rng.random(shown.shape) < np.take_along_axis(truth, shown, 1))
    scores = model.scores(np.arange(n_items + 1))
    assert np.corrcoef(scores[:, :-1].ravel(), truth.ravel())[0, 1] > 0.9
    np.testing.assert_allclose(scores[:, -1], model.hits.sum() / model.looks.sum())
    own = truth[np.arange(n)[:, None], model.choose(np.arange(n_items))]
    assert own.mean() > 0.75


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
    model = OnlineTowers(features, 4, E, dim=2, head_reg=1e-9)
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


F = np.eye(3)
BAD = {
    "reg": (lambda: LinearTastes(F, 2, E, reg=0.0), "reg > 0"),
    "memory": (lambda: LinearTastes(F, 2, E, memory=1.1), "memory <= 1"),
    "slots": (
        lambda: LinearTastes(F, 2, E).update(np.zeros((2, 2), int), np.zeros((2, 2))),
        "n_shoppers",
    ),
    "epsilon": (
        lambda: Greedy(rates(3), LinearTastes(F, 2, E), epsilon=2.0),
        "epsilon is a probability",
    ),
    "prior": (lambda: rates(3, prior=0.0), "prior must be positive"),
    "dim": (lambda: OnlineTowers(F, 2, E, dim=4), "dim must be 1 to 3"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
