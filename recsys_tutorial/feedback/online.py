"""A recommender kept up to date: users folded in, a head that moves by small steps, replay.

    r_ui ~ u . v_i,   v_i = (1, H x_i)                     H: the head on item i's encoder features
    u = argmin_u sum_j memory^age (y_j - e_j u . v_j)^2 + reg |u - u_0|^2           the fold-in

A shopper's evidence is kept as the sums A_u = sum f f' and b_u = sum f y of f = e_j (1, x_j), on
the features below the head. So a new head needs no second look at the log: v' A v is in the sums.

The model and the ways of keeping it up to date stand together, though that makes a long module: a
way is nothing but the order in which the model's four methods are called.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from recsys_tutorial._checks import check_within
from recsys_tutorial.feedback.learners import LinearTastes, ridge
from recsys_tutorial.feedback.lists import random_lists, top_slots
from recsys_tutorial.feedback.shop import Shop


class OnlineTowers:
    """User vectors by fold-in over a linear head on item features.

    Parameters
    ----------
    features : ndarray (n_items, n_features), x
    n_shoppers : int
    examination : ndarray (n_slots,), e
    dim : int, rows of the head, at most n_features; it starts with the first features
    reg : see `LinearTastes`

    Attributes
    ----------
    head : ndarray (dim, n_features), H
    users : ndarray (n_shoppers, 1 + dim), u
    head_reg : float > 0, ridge penalty on the head when it is fitted afresh, 1

    Raises
    ------
    ValueError
        For a `dim` that is not 1 to n_features.
    """

    def __init__(
        self, features: np.ndarray, n_shoppers: int, examination: np.ndarray, dim: int = 8, *,
        reg: float = 10.0,
    ):  # fmt: skip
        n_items, n_features = features.shape
        check_within(1, n_features, dim=dim)
        x = np.column_stack([np.ones(n_items), features])
        self.evidence = LinearTastes(x, n_shoppers, examination, reg=reg)
        self.head, self.head_reg = np.eye(dim, n_features), 1.0
        self.users = np.zeros((n_shoppers, 1 + dim))

    @property
    def projection(self) -> np.ndarray:
        """(1 + dim, 1 + n_features): the head with the constant, so v_i = projection (1, x_i)."""
        dim, n_features = self.head.shape
        full = np.zeros((1 + dim, 1 + n_features))
        full[0, 0], full[1:, 1:] = 1.0, self.head
        return full

    def items(self) -> np.ndarray:
        """(n_items, 1 + dim): v."""
        return self.evidence.features @ self.projection.T

    def observe(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add lists and their clicks to the evidence; changes no prediction yet.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), item columns
        clicks : ndarray of the same shape, 0 or 1
        """
        self.evidence.update(shown, clicks)

    def fold_in(self) -> None:
        """All user vectors from the evidence, under the head as it is."""
        p, reg = self.projection, self.evidence.reg
        gram = p @ self.evidence.gram @ p.T  # (n_shoppers, 1 + dim, 1 + dim)
        moment = self.evidence.moment @ p.T  # (n_shoppers, 1 + dim)
        crowd = ridge(gram.sum(axis=0), moment.sum(axis=0), reg)
        self.users = ridge(gram, moment, reg, crowd)

    def refit(self, sweeps: int = 2) -> None:
        """Head and users fitted to all evidence in turn: what a night's retraining does.

        With users fixed, the head is one ridge regression with dim * n_features unknowns, whose
        normal equations are sum_u (u u') (x) A_u.

        Parameters
        ----------
        sweeps : int, how often users and head take turns
        """
        dim, n_features = self.head.shape
        gram, moment = self.evidence.gram, self.evidence.moment
        for _ in range(sweeps):
            self.fold_in()
            first, u = self.users[:, 0], self.users[:, 1:]  # (n_shoppers,), (n_shoppers, dim)
            outer = (u[:, :, None] * u[:, None, :]).reshape(len(u), -1)  # (n_shoppers, dim * dim)
            below = gram[:, 1:, 1:].reshape(len(u), -1)
            left = (outer.T @ below).reshape(dim, dim, n_features, n_features)
            left = left.transpose(0, 2, 1, 3).reshape(dim * n_features, -1)
            rest = moment[:, 1:] - first[:, None] * gram[:, 0, 1:]  # what the constant leaves
            left[np.diag_indices_from(left)] += self.head_reg
            self.head = np.linalg.solve(left, (u.T @ rest).ravel()).reshape(dim, n_features)
        self.fold_in()

    def step(self, shoppers, shown, slots, clicks, learning_rate: float) -> None:
        """One gradient step of the head on single impressions, users fixed.

        Parameters
        ----------
        shoppers, shown, slots : int ndarray (n,): who saw which item column in which slot
        clicks : ndarray (n,), 0 or 1
        learning_rate : float, of the mean squared error
        """
        f = self.evidence.features[shown] * self.evidence.examination[slots][:, None]
        u = self.users[shoppers]  # (n, 1 + dim)
        error = clicks - ((f @ self.projection.T) * u).sum(axis=1)  # (n,)
        gradient = -(u[:, 1:] * error[:, None]).T @ f[:, 1:] / len(f)  # (dim, n_features)
        self.head = self.head - learning_rate * gradient

    def scores(self) -> np.ndarray:
        """(n_shoppers, n_items): estimated attraction."""
        return self.users @ self.items().T


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
            _at_night(models[name], way, day)
            if day >= 0:
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


def _at_night(model: OnlineTowers, way: Mapping, day: int) -> None:
    if day == -1 or (day >= 0 and way.get("head") == "night"):  # -1: the night before the launch
        model.refit()
    elif day >= 0 and way.get("users") == "night":
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
