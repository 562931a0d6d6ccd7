"""Logs of the shop: two policies, the stated variance, new pictures, the law of clicks."""

import numpy as np
import pytest
from scipy.special import softmax

from recsys_tutorial.feedback.logs import Choice, choice, click_law, first_days
from recsys_tutorial.feedback.off_policy import doubly_robust, importance_weights
from recsys_tutorial.feedback.shop import Shop


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
    assert wanted.attraction.mean() > 1.5 * any_.attraction.mean()


def test_content_places_a_new_picture_at_once_and_numbers_cannot(pictures):
    table = first_days(8, n_days=14, n_shoppers=150, n_ages=3, pictures=pictures)
    share = table.pivot(index="day", columns="policy", values="share")
    assert list(share.index) == [0, 1, 2]
    # At age 0 an ID model names any picture.
    assert abs(share.loc[0, "ID model"] - share.loc[0, "random"]) < 0.1
    assert share.loc[0, "greedy"] > share.loc[0, "random"] + 0.1


def test_the_law_of_clicks_by_hand_and_by_its_mean(pictures):
    shop = Shop(pictures, 50, seed=9, n_slots=2)
    shown = shop.best()
    a, b = (shop.examination * np.take_along_axis(shop.attraction, shown, axis=1)).T
    by_hand = [((1 - a) * (1 - b)).mean(), (a + b - 2 * a * b).mean(), (a * b).mean()]
    np.testing.assert_allclose(click_law(shop, shown), by_hand)
    assert click_law(shop, shown) @ np.arange(3) == pytest.approx(
        shop.expected_clicks(shown).mean()
    )
