"""The simulated shop does what it states: click rates, position bias, drift, arrivals, seeds."""

import numpy as np
import pytest
from scipy import stats

from recsys_tutorial.feedback.shop import (
    ETA,
    LOVED_THEME,
    NOISE,
    Pictures,
    Shop,
)


def small_pictures(n_items=40, seed=0):
    rng = np.random.default_rng(seed)
    names = ["constant", *(f"theme:{i}" for i in range(4)), "keyword:a", "keyword:b", "look:0"]
    themes = np.eye(4)[np.arange(n_items) % 4]
    words = rng.integers(0, 2, size=(n_items, 2))
    traits = np.column_stack([np.ones(n_items), themes, words, rng.standard_normal(n_items)])
    features = rng.standard_normal((n_items, 32))
    return Pictures(np.arange(n_items), features, traits, names)


def test_the_catalogue_has_features_and_traits_for_every_picture(pictures):
    n_items = len(pictures.item_id)
    assert n_items == 2176
    assert pictures.features.shape == (n_items, 32)
    assert pictures.traits.shape == (n_items, len(pictures.trait_names))
    # Rounded to 1/1000, so not exactly; a wrong scale would be off by a factor.
    np.testing.assert_allclose(pictures.features.std(axis=0), 1, atol=1e-3)
    looks = pictures.traits[:, pictures.columns("look")]
    np.testing.assert_allclose(looks.std(axis=0), 1)
    np.testing.assert_allclose(looks.mean(axis=0), 0, atol=1e-9)
    assert (pictures.traits[:, 0] == 1).all() and pictures.trait_names[0] == "constant"
    # Themes and keywords of 25 pictures are the rarest that are traits: there are two such words.
    used = pictures.traits[:, pictures.columns("keyword")].sum(axis=0)
    assert used.min() == 25 and (used == 25).sum() == 2
    assert pictures.traits[:, pictures.columns("theme")].sum(axis=0).min() == 26
    assert (pictures.traits[:, pictures.columns("theme")].sum(axis=1) <= 1).all()
    assert pictures.theme.max() == len(pictures.columns("theme")) - 1


def test_a_picture_has_one_theme_or_none():
    names = ["constant", "theme:a", "theme:b", "theme:c", "look:0"]
    traits = np.array([[1, 0, 1, 0, 9], [1, 0, 0, 0, 9], [1, 0, 0, 1, 9], [1, 1, 0, 0, -9]], float)
    few = Pictures(np.arange(4), np.zeros((4, 32)), traits, names)
    assert few.theme.tolist() == [1, -1, 2, 0]


def test_features_say_something_about_themes_and_colours(pictures):
    """Else no policy could learn tastes from them; shuffled rows say nothing."""
    x = np.column_stack([np.ones(len(pictures.features)), pictures.features])

    def explained(x):
        y = pictures.traits[:, pictures.columns("theme")]
        rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        return 1 - rest.var() / y.var()

    assert explained(x) > 0.3
    assert explained(np.random.default_rng(0).permutation(x)) < 0.1


def test_attraction_is_the_logistic_function_of_the_stated_logits():
    shop = Shop(small_pictures(), 5, seed=3)
    logits = np.log(shop.attraction / (1 - shop.attraction))
    t = shop.pictures.traits
    for u in range(5):
        for i in range(40):
            assert logits[u, i] == pytest.approx(shop.taste[u] @ t[i] + shop.noise[u, i])
    assert shop.noise.std() == pytest.approx(NOISE, rel=0.3)


def test_click_rates_match_the_stated_probabilities_slot_by_slot():
    """Exact binomial intervals at 99.99 % for each slot and each of two lists."""
    pictures, n = small_pictures(), 40_000
    shop = Shop(pictures, 1, seed=1)
    one = Shop(pictures, n, seed=1)
    one.taste = np.tile(shop.taste, (n, 1))  # as many visits of one shopper
    one.attraction = np.tile(shop.attraction, (n, 1))
    for first in (0, 20):
        shown = np.tile(np.arange(first, first + 5), (n, 1))
        clicks = one.clicks(shown).sum(axis=0)
        stated = np.arange(1, 6) ** -ETA * shop.attraction[0, first : first + 5]
        for count, p in zip(clicks, stated, strict=True):
            ci = stats.binomtest(int(count), n).proportion_ci(0.9999, method="exact")
            assert ci.low <= p <= ci.high
        # The guard: without position bias the last slot's rate would be twice as high.
        last = stats.binomtest(int(clicks[4]), n).proportion_ci(0.9999, method="exact")
        assert not last.low <= shop.attraction[0, first + 4] <= last.high
        one.next_day()


def test_clicks_of_different_shoppers_and_days_are_independent():
    shop = Shop(small_pictures(), 20_000, seed=2)
    shown = np.tile(np.arange(5), (20_000, 1))
    shop.attraction[:] = 0.5
    a = shop.clicks(shown)
    assert (shop.clicks(shown) == a).all()  # the same day: the same luck
    shop.next_day()
    b = shop.clicks(shown)
    # Correlations of independent draws lie within 5 standard errors, 1 / sqrt(20000) each.
    limit = 5 / np.sqrt(20_000)
    for slot in range(5):
        assert abs(np.corrcoef(a[:, slot], b[:, slot])[0, 1]) < limit
    assert abs(np.corrcoef(a[:, 0], a[:, 1])[0, 1]) < limit


def test_expected_clicks_and_the_best_lists_by_hand():
    shop = Shop(small_pictures(12), 3, seed=4, n_slots=3)
    e = 1 / np.arange(1, 4) ** ETA
    for u, found in enumerate(shop.best()):
        order = sorted(range(12), key=lambda i: (-shop.attraction[u, i], i))
        assert list(found) == order[:3]
    shown = np.array([[0, 5, 7], [3, 2, 1], [11, 0, 4]])
    byhand = [sum(e[j] * shop.attraction[u, i] for j, i in enumerate(row))
              for u, row in enumerate(shown)]  # fmt: skip
    np.testing.assert_allclose(shop.expected_clicks(shown), byhand)
    assert (shop.expected_clicks(shop.best()) >= shop.expected_clicks(shown)).all()


def test_drift_swaps_one_loved_theme_at_the_stated_rate():
    shop = Shop(small_pictures(), 4000, seed=5, swap=0.2)
    before, loved, looks = shop.taste.copy(), shop.loved.copy(), shop.taste[:, -1].copy()
    shop.next_day()
    changed = (shop.loved != loved).any(axis=1)
    ci = stats.binomtest(int(changed.sum()), 4000).proportion_ci(0.9999, method="exact")
    assert ci.low <= 0.2 <= ci.high
    difference = shop.taste - before
    assert (difference[~changed] == 0).all()
    ends = np.sort(difference[changed], axis=1)[:, [0, -1]]
    np.testing.assert_allclose(ends, [[-LOVED_THEME, LOVED_THEME]] * changed.sum())
    assert (np.abs(difference) > 1e-9).sum() == 2 * changed.sum()
    assert (shop.loved[:, 0] != shop.loved[:, 1]).all()
    assert (shop.taste[:, -1] == looks).all()
    logits = shop.taste @ shop.pictures.traits.T + shop.noise
    np.testing.assert_allclose(shop.attraction, 1 / (1 + np.exp(-logits)))


def test_a_shop_with_drift_starts_as_the_one_without_and_one_without_stays():
    still, drifting = Shop(small_pictures(), 50, 6), Shop(small_pictures(), 50, 6, swap=0.5)
    assert (still.attraction == drifting.attraction).all()
    first = still.attraction.copy()
    for shop in (still, drifting):
        shop.next_day()
    assert (still.attraction == first).all()
    assert (drifting.attraction != first).any()
    shown = np.tile(np.arange(5), (50, 1))
    drifting.attraction[:] = still.attraction
    assert (still.clicks(shown) == drifting.clicks(shown)).all()


def test_pictures_arrive_as_planned():
    shop = Shop(small_pictures(), 2, seed=7, new_per_day=3, n_days=5)
    n_in_stock = []
    for _ in range(5):
        n_in_stock.append(int(shop.stock.sum()))
        shop.next_day()
    assert n_in_stock == [28, 31, 34, 37, 40] and shop.arrival.dtype == np.int64
    late = int(np.flatnonzero(shop.arrival == 4)[0])
    fresh = Shop(small_pictures(), 2, seed=7, new_per_day=3, n_days=5)
    with pytest.raises(ValueError, match="not in stock on day 0"):
        fresh.clicks(np.array([[late, *np.flatnonzero(fresh.stock)[:4]]] * 2))
    assert fresh.stock[fresh.best()].all()


@pytest.mark.parametrize("new_per_day, n_days", [(1, 36), (7, 6), (35, 2)])
def test_all_but_one_list_may_arrive_later(new_per_day, n_days):
    """The limit: of 40 pictures five are there from the start, which fill the first lists."""
    shop = Shop(small_pictures(), 2, seed=7, new_per_day=new_per_day, n_days=n_days)
    days, arrivals = np.unique(shop.arrival, return_counts=True)
    assert days.tolist() == list(range(n_days))
    assert arrivals.tolist() == [5] + [new_per_day] * (n_days - 1)


@pytest.mark.parametrize("n_slots", [1, 40])
def test_lists_may_have_one_slot_or_hold_the_whole_catalogue(n_slots):
    shop = Shop(small_pictures(), 2, n_slots=n_slots)
    assert shop.clicks(shop.best()).shape == (2, n_slots)


def test_new_are_the_arrivals_of_the_last_days_today_among_them():
    shop = Shop(small_pictures(), 2, seed=7, new_per_day=3, n_days=5)
    for day in range(5):
        for n_days in (1, 2, 3):
            first = max(day - n_days + 1, 1)  # day 0's stock is nobody's arrival
            expected = [first <= arrival <= day for arrival in shop.arrival]
            assert shop.new(n_days).tolist() == expected
            assert shop.new(n_days).sum() == 3 * min(n_days, day)
        shop.next_day()


def test_seeds_repeat_and_differ():
    a, b, c = (Shop(small_pictures(), 20, seed) for seed in (8, 8, 9))
    assert (a.attraction == b.attraction).all()
    assert (a.attraction != c.attraction).any()


SHOWN = np.tile(np.arange(5), (2, 1))
TWICE = np.array([[5, 6, 7, 8, 9], [4, 1, 2, 3, 4]])


BAD = {
    "swap": (lambda p: Shop(p, 2, swap=1.5), "swap must be 0 to 1"),
    "nobody": (lambda p: Shop(p, 0), "0 shoppers"),
    "slots": (lambda p: Shop(p, 2, n_slots=41), "41 of 40 slots"),
    "no slot": (lambda p: Shop(p, 2, n_slots=0), "0 of 40 slots"),
    "one too many": (lambda p: Shop(p, 2, new_per_day=36, n_days=2), "leave fewer than 5"),
    "arrivals": (lambda p: Shop(p, 2, new_per_day=2, n_days=30), "leave fewer than 5"),
    "departures": (lambda p: Shop(p, 2, new_per_day=-1), "-1 new pictures a day"),
    "shape": (lambda p: Shop(p, 2).clicks(SHOWN[:1]), r"must be \(2, 5\)"),
    "column": (lambda p: Shop(p, 2).clicks(SHOWN + 36), "not in stock"),
    "negative": (lambda p: Shop(p, 2).clicks(SHOWN - 1), "not in stock"),
    "twice": (lambda p: Shop(p, 2).expected_clicks(TWICE), "the same picture twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call(small_pictures())
