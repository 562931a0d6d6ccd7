"""Logs of the shop: two policies, the stated variance, the law of clicks."""

import numpy as np
import pytest
from scipy.special import softmax

from recsys_tutorial.feedback import logs
from recsys_tutorial.feedback.bandits import Greedy
from recsys_tutorial.feedback.lists import top_slots
from recsys_tutorial.feedback.logs import Choice, choice, click_law
from recsys_tutorial.feedback.off_policy import doubly_robust, importance_weights
from recsys_tutorial.feedback.runs import make_policies
from recsys_tutorial.feedback.shop import Shop
from tests.feedback.test_shop import small_pictures


def small_choice():
    rng = np.random.default_rng(4)
    tables = [softmax(rng.standard_normal((6, 3)), axis=1) for _ in range(2)]
    return Choice(rng.random((6, 3)), *tables, rng.random((6, 3)), rng.random((6, 3)))


def test_the_stated_variance_is_that_of_many_logs():
    case = small_choice()
    shopper, action, reward = case.draw(400_000, np.random.default_rng(5))
    w = importance_weights(case.target[shopper, action], case.logging[shopper, action])
    q = np.random.default_rng(6).random((6, 3))
    for predicted in (np.zeros((6, 3)), q, case.attraction):
        expected = (case.target * predicted).sum(axis=1)[shopper]
        rounds = expected + w * (reward - predicted[shopper, action])
        found = doubly_robust(reward, w, action, case.target[shopper], predicted[shopper])
        assert abs(found.value - case.truth) < 5 * found.standard_error
        # 400,000 rounds know a variance to about 0.5 %; leaving out a part would cost over 5 %.
        assert rounds.var() == pytest.approx(sum(case.variance(predicted).values()), rel=0.02)
    assert case.variance(case.attraction)["choice"] == pytest.approx(0, abs=1e-12)


def test_a_case_has_two_policies_and_candidates_worth_showing(pictures):
    wanted, any_ = (choice(7, retrieved=r, pictures=pictures) for r in (True, False))
    for case in (wanted, any_):
        for p in (case.logging, case.target):
            np.testing.assert_allclose(p.sum(axis=1), 1)
        assert case.logging.min() >= 0.02 - 1e-12
        assert case.target.max(axis=1).mean() > case.logging.max(axis=1).mean()
        assert case.truth > (case.logging * case.attraction).sum(axis=1).mean()
        assert case.logging.shape == (300, 10)
    assert wanted.attraction.mean() > 1.5 * any_.attraction.mean()


def test_the_logging_policy_has_learned_for_three_days_and_the_target_for_ten(monkeypatch):
    pictures = small_pictures()
    shop = Shop(pictures, 300, seed=7)
    (learner,) = make_policies(shop, 7, ["epsilon 0.2"]).values()
    stock, scores = np.arange(shop.n_items), []
    for _ in range(11):
        scores.append(Greedy.scores(learner, stock))
        shown = learner.choose(stock)
        if len(scores) <= 10:
            learner.learn(shown, shop.clicks(shown))
            shop.next_day()
    columns = top_slots(scores[3].copy(), 10)
    early, late, attraction = (
        np.take_along_axis(table, columns, axis=1)
        for table in (scores[3], scores[10], shop.attraction)
    )
    case = choice(7, retrieved=True, pictures=pictures)
    np.testing.assert_allclose(case.logging, 0.8 * softmax(early / 0.1, axis=1) + 0.02)
    np.testing.assert_allclose(case.target, softmax(late / 0.03, axis=1))
    np.testing.assert_allclose(case.rates + case.tastes, late)
    np.testing.assert_allclose(case.rates, learner.rates.rates[columns])
    np.testing.assert_allclose(case.attraction, attraction)
    monkeypatch.setattr(logs, "load_pictures", lambda: pictures)  # the default
    np.testing.assert_array_equal(choice(7, retrieved=True).logging, case.logging)


def test_the_law_of_clicks_by_hand_and_by_its_mean(pictures):
    shop = Shop(pictures, 50, seed=9, n_slots=2)
    shown = shop.best()
    a, b = (shop.examination * np.take_along_axis(shop.attraction, shown, axis=1)).T
    by_hand = [((1 - a) * (1 - b)).mean(), (a + b - 2 * a * b).mean(), (a * b).mean()]
    np.testing.assert_allclose(click_law(shop, shown), by_hand)
    assert click_law(shop, shown) @ np.arange(3) == pytest.approx(
        shop.expected_clicks(shown).mean()
    )
