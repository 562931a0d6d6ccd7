"""New pictures in the shop: shown in two slots, judged by their age, placed by their content."""

import numpy as np
import pytest

from recsys_tutorial.feedback import arrivals
from recsys_tutorial.feedback.arrivals import first_days


class Knowing:
    """A model that knows the truth, or its contrary, and notes what it is asked and shown."""

    def __init__(self, shop, sign):
        self.shop, self.sign, self.asked, self.shown = shop, sign, [], []

    def scores(self, cohort):
        self.asked.append((self.shop.day, cohort, self.shop.attraction[:, cohort].copy()))
        return self.sign * self.shop.attraction[:, cohort]

    def learn(self, shown, clicks):
        assert self.shop.stock[shown].all() and clicks.shape == shown.shape
        self.shown.append((self.shop.day, self.shop.new(3)[shown]))


def test_new_pictures_get_two_slots_and_are_judged_by_their_age(pictures, monkeypatch):
    made = []

    def models(shop, seed, names):
        made.extend([Knowing(shop, 1), Knowing(shop, -1)])
        return dict(zip(("best", "worst"), made[-2:], strict=True))

    monkeypatch.setattr(arrivals, "make_policies", models)
    table = first_days(5, n_days=7, n_shoppers=40, n_ages=2, pictures=pictures)
    assert list(table) == ["policy", "day", "share"]
    share = table.pivot(index="day", columns="policy", values="share")
    assert share.index.tolist() == [0, 1]
    best = made[0]
    assert best.shop.arrival.max() == 6  # as many days as there are
    # every morning from the second on, about those who came today and the day before
    mornings = [(day, age) for day in range(2, 7) for age in range(2)]
    assert [(day, day - best.shop.arrival[new[0]]) for day, new, _ in best.asked] == mornings
    assert all(len(new) == 40 for _, new, _ in best.asked)
    for age in (0, 1):
        worth = [w for (_, a), (_, _, w) in zip(mornings, best.asked, strict=True) if a == age]
        for name, picked in (("random", np.mean), ("worst", np.min), ("best", np.max)):
            named = [picked(w, axis=1).mean() / w.max(axis=1).mean() for w in worth]
            assert share.loc[age, name] == pytest.approx(np.mean(named))
    # On day 0 nothing is new; then two slots of five, anywhere in the list.
    days, new = zip(*best.shown, strict=True)
    assert days == tuple(range(7)) and {rows.shape for rows in new} == {(40, 5)}
    assert not new[0].any() and (np.sum(new[1:], axis=2) == 2).all()
    by_slot = np.mean(np.concatenate(new[1:]), axis=0)
    np.testing.assert_allclose(by_slot, 0.4, atol=0.16)  # five standard errors
    monkeypatch.setattr(arrivals, "load_pictures", lambda: pictures)
    again = first_days(5, n_days=3, n_shoppers=5, n_ages=1)  # the default
    assert len(again) == 3


def test_content_places_a_new_picture_at_once_and_numbers_cannot(pictures):
    table = first_days(8, n_days=14, n_shoppers=150, n_ages=3, pictures=pictures)
    share = table.pivot(index="day", columns="policy", values="share")
    assert list(share.index) == [0, 1, 2]
    # At age 0 an ID model names any picture.
    assert abs(share.loc[0, "ID model"] - share.loc[0, "random"]) < 0.1
    assert share.loc[0, "greedy"] > share.loc[0, "random"] + 0.1
