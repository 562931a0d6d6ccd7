"""Logs of the picture shop, for two questions: what would another policy have earned, and how soon
is a new picture shown to the right shoppers?

`choice` sets up the first: one of ten candidates is shown, a logging policy draws it with known
probabilities, and a target policy would draw otherwise. `first_days` answers the second. What makes
the module long is what its docstrings say of the estimates' parts and of the tables' columns.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from recsys_tutorial.feedback.bandits import Greedy
from recsys_tutorial.feedback.lists import random_lists, top_slots
from recsys_tutorial.feedback.runs import NEW, SETTINGS, make_policies
from recsys_tutorial.feedback.shop import Pictures, Shop, load_pictures

SHOPPERS, CANDIDATES = 300, 10
EARLY, LATE = 3, 10  # days that the logging and the target policy have learned for
NEW_SLOTS = 2  # of a list, kept for pictures of the last `NEW` days


@dataclass(frozen=True)
class Choice:
    """Which candidate to show, by two policies, and what each candidate is worth.

    Attributes
    ----------
    attraction : ndarray (n_shoppers, n_candidates), the truth: probability of a click
    logging, target : ndarray (n_shoppers, n_candidates), probabilities to be shown
    rates, tastes : ndarray (n_shoppers, n_candidates), what a learner had made of picture and
        shopper before the log began: the features of a reward model
    """

    attraction: np.ndarray
    logging: np.ndarray
    target: np.ndarray
    rates: np.ndarray
    tastes: np.ndarray

    @property
    def truth(self) -> float:
        """The target policy's clicks per visit."""
        return float((self.target * self.attraction).sum(axis=1).mean())

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A log of visits under the logging policy.

        Parameters
        ----------
        n : int, visits, each of a random shopper
        rng : numpy Generator

        Returns
        -------
        shopper, action : int ndarray (n,), rows and columns of `logging`
        reward : float ndarray (n,), 0 or 1
        """
        shopper = rng.integers(len(self.logging), size=n)
        upper = self.logging[shopper].cumsum(axis=1)  # (n, n_candidates)
        action = (upper[:, :-1] < rng.random((n, 1))).sum(axis=1)  # what is left is the last one's
        reward = rng.random(n) < self.attraction[shopper, action]
        return shopper, action, reward.astype(float)

    def variance(self, predicted: np.ndarray) -> dict[str, float]:
        """The variance of one round of the doubly robust estimate, in its three parts.

        With q the predictions, r the attraction, V(x) the target policy's value for shopper x:

            shoppers: Var_x V(x)
            choice:   E_x Var_a [ w (r - q) ]      the only part that q can change
            clicks:   E [ w^2 r (1 - r) ]

        q = 0 makes it IPS. (Dudik et al. 2011, theorem 2, for known propensities.)

        Parameters
        ----------
        predicted : ndarray (n_shoppers, n_candidates), not fitted to the round

        Returns
        -------
        dict of float
        """
        w, rest = self.target / self.logging, self.attraction - predicted
        second = (self.target * w * rest**2).sum(axis=1)  # E_a [w^2 (r - q)^2]
        first = (self.target * rest).sum(axis=1)  # E_a [w (r - q)]
        noise = (self.target * w * self.attraction * (1 - self.attraction)).sum(axis=1)
        value = (self.target * self.attraction).sum(axis=1)
        return {
            "shoppers": float(value.var()),
            "choice": float((second - first**2).mean()),
            "clicks": float(noise.mean()),
        }


def choice(seed: int, *, retrieved: bool, pictures: Pictures | None = None) -> Choice:
    """Two policies of one shop, before they meet in a log.

    A learner is fed by epsilon-greedy lists. The logging policy is a softmax over its scores after
    `EARLY` days, mixed with chance, the target a much sharper softmax over those after `LATE` days.

    Parameters
    ----------
    seed : int, of shop, learner and random candidates
    retrieved : bool; the candidates are each shopper's best by the early scores, as a retrieval
        stage would bring them, or else ten random pictures, which few want
    pictures : Pictures; those of `load_pictures` by default

    Returns
    -------
    Choice
    """
    shop = Shop(pictures or load_pictures(), SHOPPERS, seed)
    (policy,) = make_policies(shop, seed, ["epsilon 0.2"]).values()
    stock = np.arange(shop.n_items)
    for day in range(LATE):
        if day == EARLY:
            early = Greedy.scores(policy, stock)  # (n_shoppers, n_items)
        shown = policy.choose(stock)
        policy.learn(shown, shop.clicks(shown))
        shop.next_day()
    columns = top_slots(early.copy(), CANDIDATES)
    if not retrieved:
        columns = random_lists(stock, (SHOPPERS, CANDIDATES), np.random.default_rng(seed))
    early, late, attraction = (
        np.take_along_axis(table, columns, axis=1)
        for table in (early, Greedy.scores(policy, stock), shop.attraction)
    )
    rates = policy.rates.rates[columns]
    logging = 0.8 * softmax(early / 0.1, axis=1) + 0.2 / CANDIDATES
    return Choice(attraction, logging, softmax(late / 0.03, axis=1), rates, late - rates)


def click_law(shop: Shop, shown: np.ndarray) -> np.ndarray:
    """Probabilities of 0, 1, ... n_slots clicks in a visit of a random shopper.

    Parameters
    ----------
    shop : Shop
    shown : int ndarray (n_shoppers, n_slots), each shopper's list

    Returns
    -------
    ndarray (n_slots + 1,)
    """
    p = shop.click_probabilities(shown)
    counts = np.zeros((len(p), shop.n_slots + 1))
    counts[:, 0] = 1.0  # before the first slot there are surely no clicks
    for slot in range(shop.n_slots):
        clicked = counts[:, :-1] * p[:, [slot]]
        counts *= 1 - p[:, [slot]]
        counts[:, 1:] += clicked
    return counts.mean(axis=0)


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
