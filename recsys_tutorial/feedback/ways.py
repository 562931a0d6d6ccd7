"""Ways of keeping a recommender up to date: one log, learned from at once, nightly or never."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from recsys_tutorial.feedback.lists import random_lists, top_slots
from recsys_tutorial.feedback.online import OnlineTowers
from recsys_tutorial.feedback.shop import Shop

# When the user vectors and the head move: "visit", "night", or never; the head's learning rate and
# whether its batches are drawn from the whole log. Rates were tuned on seeds of their own.
WAYS = {
    "frozen at launch": {},
    "users nightly": {"users": "night"},
    "users and head nightly": {"users": "night", "head": "night"},
    "users at once": {"users": "visit"},
    "and head by steps": {"users": "visit", "head": "steps", "rate": 30.0},
    "with replay": {"users": "visit", "head": "steps", "rate": 100.0, "replay": True},
}
LAUNCH_DAYS, VISITS = 5, 3
N_OFFERS = 3  # offers of a day are every third theme, in turn
STEPS = 5


def run_ways(
    shop: Shop,
    seed: int,
    *,
    n_days: int = 30,
    ways: Mapping[str, Mapping] = WAYS,
) -> pd.DataFrame:
    """The same log, learned from in several ways.

    Lists are random, so that what is learned does not depend on who chose them. In the launch days
    they come from the whole stock; afterwards each day shows pictures of a few themes only, as a
    shop with offers of the day does. Shoppers come `VISITS` times a day. Before each visit, every
    way is asked for its best lists from the whole stock.

    Parameters
    ----------
    shop : Shop, as new; its days go by
    seed : int, of lists and replay
    n_days : int, days after the launch
    ways : dict of dict, see `WAYS`

    Returns
    -------
    DataFrame with way, day and share: expected clicks over those of the best lists
    """
    rng, log, rows = np.random.default_rng(seed), [], []
    built_of = shop.pictures.features, shop.n_shoppers, shop.examination
    models = {name: OnlineTowers(*built_of) for name in ways}
    for day in range(-LAUNCH_DAYS, n_days):
        offers = _offers(shop, day)
        best = shop.expected_clicks(shop.best()).mean()
        share = dict.fromkeys(ways, 0.0)
        for _ in range(VISITS):
            shown = random_lists(offers, (shop.n_shoppers, shop.n_slots), rng)
            clicks = shop.clicks(shown)
            shop.next_visit()
            log.append((shown, clicks))
            for name, way in ways.items():
                if day >= 0:
                    lists = top_slots(models[name].scores(), shop.n_slots)
                    share[name] += shop.expected_clicks(lists).mean() / best / VISITS
                models[name].observe(shown, clicks)
                if day >= 0:
                    _after_visit(models[name], way, log, rng)
        for name, way in ways.items():
            if day == -1:  # the night before the launch
                models[name].refit()
            if day >= 0:
                _at_night(models[name], way)
                rows.append([name, day, share[name]])
        shop.next_day()
    return pd.DataFrame(rows, columns=["way", "day", "share"])


def _offers(shop: Shop, day: int) -> np.ndarray:
    """Columns of the pictures that a day shows: all before the launch, then a few themes."""
    stock = np.flatnonzero(shop.stock)
    return stock if day < 0 else stock[shop.pictures.theme[stock] % N_OFFERS == day % N_OFFERS]


def _after_visit(model: OnlineTowers, way: Mapping, log: list, rng: np.random.Generator) -> None:
    if way.get("users") == "visit":
        model.fold_in()
    if way.get("head") == "steps":
        for _ in range(STEPS):
            model.step(*sample(log, way.get("replay", False), rng), way["rate"])


def _at_night(model: OnlineTowers, way: Mapping) -> None:
    if way.get("head") == "night":
        model.refit()
    elif way.get("users") == "night":
        model.fold_in()


def sample(
    log: list[tuple[np.ndarray, np.ndarray]], replay: bool, rng: np.random.Generator, n: int = 2000
) -> tuple[np.ndarray, ...]:
    """A batch for a step: n impressions of the last visit, or with replay of all visits so far.

    Parameters
    ----------
    log : list of (shown, clicks), both (n_shoppers, n_slots), one for each visit
    replay : bool
    rng : numpy Generator
    n : int

    Returns
    -------
    shoppers, shown, slots : int ndarray (n,);  clicks : float ndarray (n,)
    """
    visit = rng.integers(len(log), size=n) if replay else np.full(n, len(log) - 1)
    n_shoppers, n_slots = log[0][0].shape
    shopper, slot = rng.integers(n_shoppers, size=n), rng.integers(n_slots, size=n)
    shown, clicks = np.empty(n, dtype=np.int64), np.empty(n)
    for v in np.unique(visit):
        at = visit == v
        shown[at] = log[v][0][shopper[at], slot[at]]
        clicks[at] = log[v][1][shopper[at], slot[at]]
    return shopper, shown, slot, clicks
