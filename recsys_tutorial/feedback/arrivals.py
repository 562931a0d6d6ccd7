"""How soon a new picture is shown to the right shoppers, by models that learn from one log."""

import numpy as np
import pandas as pd

from recsys_tutorial.feedback.lists import random_lists
from recsys_tutorial.feedback.runs import NEW, SETTINGS, make_policies
from recsys_tutorial.feedback.shop import Pictures, Shop, load_pictures

NEW_SLOTS = 2  # of a list, kept for pictures of the last `NEW` days


def first_days(
    seed: int, *, n_days: int = 30, n_shoppers: int = 500, n_ages: int = 8,
    pictures: Pictures | None = None,
) -> pd.DataFrame:  # fmt: skip
    """How well models place new pictures, by the days since these arrived.

    All learn from the same lists: random pictures, two slots kept for those of the last days. Every
    morning each model names the best picture for each shopper among those of one age.

    Parameters
    ----------
    seed : int, of shop, models and lists
    n_days : int, days that the shop is open
    n_shoppers : int
    n_ages : int, ages to ask about, in days from 0
    pictures : Pictures; those of `load_pictures` by default

    Returns
    -------
    DataFrame with policy, day and share, one row for each model and age. `day` is the age: at 0
    nobody has seen the picture. `share`: attraction of the named pictures over the best, mean of
    the mornings from day `n_ages` on; "random" names any.
    """
    pictures = pictures or load_pictures()
    shop = Shop(pictures, n_shoppers, seed, **SETTINGS["arriving"], n_days=n_days)
    models = make_policies(shop, seed, ["popularity", "ID model", "greedy"])
    rng, rows = np.random.default_rng(seed), []
    for day in range(n_days):
        if day:
            shop.next_day()
        for age in range(n_ages if day >= n_ages else 0):
            cohort = np.flatnonzero(shop.arrival == day - age)  # (n_new,), never day 0's
            worth = shop.attraction[:, cohort]  # (n_shoppers, n_new)
            best = worth.max(axis=1).mean()
            rows.append(["random", age, worth.mean() / best])
            for name, model in models.items():
                top = np.broadcast_to(model.scores(cohort), worth.shape).argmax(axis=1)
                rows.append([name, age, worth[np.arange(n_shoppers), top].mean() / best])
        shown = _mixed_lists(shop, rng)
        clicks = shop.clicks(shown)
        for model in models.values():
            model.learn(shown, clicks)
    table = pd.DataFrame(rows, columns=["policy", "day", "share"])
    return table.groupby(["policy", "day"], as_index=False)["share"].mean()


def _mixed_lists(shop: Shop, rng: np.random.Generator) -> np.ndarray:
    """Random lists of the stock, with some slots, at random places, for the newest pictures."""
    fresh = shop.new(NEW)
    n_new = NEW_SLOTS if fresh.any() else 0
    shape, older = (shop.n_shoppers, shop.n_slots - n_new), shop.stock & ~fresh
    old = random_lists(np.flatnonzero(older), shape, rng)
    if not n_new:
        return old
    new = random_lists(np.flatnonzero(fresh), (shop.n_shoppers, n_new), rng)
    return rng.permuted(np.hstack([old, new]), axis=1)
