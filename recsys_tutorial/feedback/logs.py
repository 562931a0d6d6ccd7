"""Logs of the picture shop, to ask what another policy would have earned.

`choice` sets up the question: one of ten candidates is shown, a logging policy draws it with known
probabilities, and a target policy would draw otherwise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from recsys_tutorial.feedback.bandits import Greedy
from recsys_tutorial.feedback.lists import random_lists, top_slots
from recsys_tutorial.feedback.runs import make_policies
from recsys_tutorial.feedback.shop import Pictures, Shop, load_pictures

SHOPPERS, CANDIDATES = 300, 10
EARLY, LATE = 3, 10  # days that the logging and the target policy have learned for


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
