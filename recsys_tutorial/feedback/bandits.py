"""Policies: which pictures to show to whom, so as to be clicked today and to know more tomorrow.

A policy chooses lists and learns from their clicks:

    policy.choose(stock) -> shown     # stock: int (n_stock,) item columns; shown: (n_shoppers, k)
    policy.learn(shown, clicks)       # clicks: bool (n_shoppers, k)

The policies of this module share their learners: `ItemRates`, what the crowd has shown of each
picture, and `LinearTastes`, a ridge regression for each shopper on the pictures' features. They
differ only in what they do about what these do not know.
`shop_policies` has those without content, and `shop_runs` lets them loose on the same shop.
"""

from __future__ import annotations

import numpy as np

from recsys_tutorial.feedback.shop import top_slots


class LinearTastes:
    """Each shopper's taste as a weight vector on item features, learned click by click.

    A click at slot j has probability e_j r, so y_uj is regressed on e_j x_i. With the features
    f_j = e_j x_i of what shopper u saw, and old evidence fading by `memory` a day,

        A_u = sum_days memory^age sum_j f_j f_j',   b_u = sum_days memory^age sum_j f_j y_uj
        w_u = (A_u + reg I)^-1 (b_u + reg w_0),     w_0: the crowd's weights, from sum_u A_u and b_u

    the ridge regression towards w_0. Adding to A and b is all there is to an online update, and
    what comes out is exactly the fit to all data so far. (reg I + A)^-1 times the noise's variance
    is the posterior covariance of w_u (Li et al. 2010, section 3; Agrawal & Goyal 2013).

    Parameters
    ----------
    features : ndarray (n_items, dim), x; its first column usually 1
    n_shoppers : int
    examination : ndarray (n_slots,), e; ones: as if every slot were looked at
    reg : float > 0
    memory : float in (0, 1]
    """

    def __init__(
        self,
        features: np.ndarray,
        n_shoppers: int,
        examination: np.ndarray,
        *,
        reg: float = 10.0,
        memory: float = 1.0,
    ):
        if not reg > 0 or not 0 < memory <= 1:
            raise ValueError(f"need reg > 0 and 0 < memory <= 1, got {reg} and {memory}")
        dim = features.shape[1]
        self.features, self.examination, self.reg, self.memory = features, examination, reg, memory
        self.gram = np.zeros((n_shoppers, dim, dim))  # A
        self.moment = np.zeros((n_shoppers, dim))  # b
        self.crowd = np.zeros(dim)  # w_0

    def update(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add a visit: shown int (n_shoppers, n_slots), clicks (or what is left of them) alike."""
        if shown.shape != clicks.shape or shown.shape[1] != len(self.examination):
            raise ValueError(
                f"shown {shown.shape} and clicks {clicks.shape} must be (n_shoppers, "
                f"{len(self.examination)})"
            )
        f = self.features[shown] * self.examination[:, None]  # (n_shoppers, n_slots, dim)
        self.gram *= self.memory
        self.gram += f.transpose(0, 2, 1) @ f  # (n_shoppers, dim, dim)
        self.moment *= self.memory
        self.moment += (f.transpose(0, 2, 1) @ clicks[:, :, None].astype(float))[:, :, 0]
        self.crowd = ridge(self.gram.sum(axis=0), self.moment.sum(axis=0), self.reg)

    def precision(self) -> np.ndarray:
        """(n_shoppers, dim, dim): A + reg I."""
        return self.gram + self.reg * np.eye(len(self.crowd))

    def weights(self) -> np.ndarray:
        """(n_shoppers, dim): w_u."""
        return ridge(self.gram, self.moment, self.reg, self.crowd)


def ridge(
    gram: np.ndarray, moment: np.ndarray, reg: float, towards: np.ndarray | float = 0.0
) -> np.ndarray:
    """(..., dim): (gram + reg I)^-1 (moment + reg towards), of gram (..., dim, dim), all alike."""
    right = (moment + reg * towards)[..., None]
    return np.linalg.solve(gram + reg * np.eye(moment.shape[-1]), right)[..., 0]


class ClickCounts:
    """How much each picture was looked at, and clicked: the sums of its least-squares click rate.

        looks_i = sum e_j^2,   hits_i = sum e_j y,   rate_i = hits_i / looks_i

    Parameters
    ----------
    n_items : int
    examination : ndarray (n_slots,), e
    prior : float > 0, how many looks a rate counts for that was there before
    """

    def __init__(self, n_items: int, examination: np.ndarray, prior: float):
        if not prior > 0:
            raise ValueError(f"prior must be positive, got {prior}")
        self.examination, self.prior = examination, prior
        self.looks, self.hits = np.zeros(n_items), np.zeros(n_items)

    def count(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add a visit: shown int (n_shoppers, n_slots), clicks bool of the same shape."""
        e, n = np.broadcast_to(self.examination, shown.shape), len(self.looks)
        self.looks += np.bincount(shown.ravel(), (e**2).ravel(), n)
        self.hits += np.bincount(shown.ravel(), (e * clicks).ravel(), n)

    def shrunk(self, before: np.ndarray | float) -> np.ndarray:
        """(n_items,): the rates, shrunk towards those from before."""
        return (self.hits + self.prior * before) / (self.looks + self.prior)


class ItemRates(ClickCounts):
    """How often each picture is clicked by whoever looks at it: content first, then its own record.

        c_i = x_i . w,  w: ridge regression of all clicks on content
        rate_i = (sum e_j y + prior c_i) / (sum e_j^2 + prior)

    the least-squares rate, shrunk towards what the content promises. A new picture has rate c_i and
    the largest doubt; doubt_i^2 times the variance of a click is its posterior variance:

        doubt_i = (sum e_j^2 + prior)^-1/2

    Parameters
    ----------
    features : ndarray (n_items, dim), x, the first column 1
    examination : ndarray (n_slots,), e
    prior : float > 0, how many looks the content counts for
    """

    def __init__(self, features: np.ndarray, examination: np.ndarray, *, prior: float = 5.0):
        super().__init__(len(features), examination, prior)
        self.features = features
        self.rates = np.zeros(len(features))

    @property
    def doubt(self) -> np.ndarray:
        """(n_items,)"""
        return 1.0 / np.sqrt(self.looks + self.prior)

    def update(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add a visit: shown int (n_shoppers, n_slots), clicks bool of the same shape."""
        self.count(shown, clicks)
        x = self.features
        gram = (x * self.looks[:, None]).T @ x + np.eye(x.shape[1])
        content = np.clip(x @ np.linalg.solve(gram, x.T @ self.hits), 0.0, 1.0)  # (n_items,)
        self.rates = self.shrunk(content)


class Greedy:
    """Show what looks best now: score_ui = rate_i + w_u . x_i.

    With `epsilon`, in each slot a random picture instead at times. The subclasses add to the score
    what they hope for where they doubt.

    Parameters
    ----------
    rates : ItemRates, what is known of pictures
    tastes : LinearTastes, what is known of shoppers: fitted to what the rates leave
    epsilon : float in [0, 1]
    random_days : int, explore first: only random lists for so many days
    seed : int
    """

    def __init__(
        self,
        rates: ItemRates,
        tastes: LinearTastes,
        *,
        epsilon: float = 0.0,
        random_days: int = 1,
        seed: int = 0,
    ):
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is a probability, got {epsilon}")
        self.rates, self.tastes = rates, tastes
        self.epsilon, self.random_days = epsilon, random_days
        self.rng, self.day = np.random.default_rng(seed), 0

    def choose(self, stock: np.ndarray) -> np.ndarray:
        """(n_shoppers, n_slots) columns of the stock."""
        shape = (len(self.tastes.gram), len(self.tastes.examination))
        if self.day < self.random_days:
            return random_lists(stock, shape, self.rng)
        shown = stock[top_slots(self.scores(stock), shape[1])]
        return with_chance(shown, stock, self.epsilon, self.rng) if self.epsilon else shown

    def scores(self, stock: np.ndarray) -> np.ndarray:
        """(n_shoppers, n_stock): the estimated attraction."""
        scores = self.tastes.weights() @ self.tastes.features[stock].T
        scores += self.rates.rates[stock]
        return scores

    def learn(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Update tastes with what tonight's rates did not expect, then the rates."""
        if self.day:  # before the first clicks there are no rates to leave anything
            expected = self.tastes.examination * self.rates.rates[shown]
            self.tastes.update(shown, clicks - expected)
        self.rates.update(shown, clicks)
        self.day += 1


class ThompsonSampling(Greedy):
    """The best pictures by tastes and rates drawn from their posterior (Thompson 1933).

    Each shopper has a draw of their own, so a doubtful picture is tried on some of them.

    Parameters
    ----------
    scale : float >= 0, standard deviation of the noise of a click: the width of the posterior
    """

    def __init__(
        self, rates: ItemRates, tastes: LinearTastes, *, scale: float = 0.3, seed: int = 0
    ):
        super().__init__(rates, tastes, seed=seed)
        self.scale = scale

    def scores(self, stock: np.ndarray) -> np.ndarray:
        """(n_shoppers, n_stock): a draw of the attraction."""
        factor = np.linalg.cholesky(self.tastes.precision())  # L, with L L' = A + reg I
        draw = self.rng.standard_normal((*self.tastes.moment.shape, 1))
        # L'^-1 z has covariance (A + reg I)^-1.
        spread = np.linalg.solve(factor.transpose(0, 2, 1), draw)[:, :, 0]  # (n_shoppers, dim)
        weights = self.tastes.weights() + self.scale * spread
        scores = self.rng.standard_normal((len(weights), len(stock)))
        scores *= self.scale * self.rates.doubt[stock]
        scores += self.rates.rates[stock]
        scores += weights @ self.tastes.features[stock].T
        return scores


class LinUCB(Greedy):
    """The best pictures if all doubts are resolved in their favour (Li et al. 2010).

        score = rate_i + w_u . x + alpha sqrt(doubt_i^2 + x' (A_u + reg I)^-1 x)

    Parameters
    ----------
    alpha : float >= 0, how many standard deviations (times the noise's) to hope for
    """

    def __init__(
        self, rates: ItemRates, tastes: LinearTastes, *, alpha: float = 0.3, seed: int = 0
    ):
        super().__init__(rates, tastes, seed=seed)
        self.alpha = alpha
        # x' M x is a dot product of the upper triangles of x x' (off the diagonal twice) and M:
        # one matrix product for all shoppers and pictures.
        x = tastes.features
        self._upper = np.triu_indices(x.shape[1])
        twice = np.where(self._upper[0] == self._upper[1], 1.0, 2.0)
        self._squares = x[:, self._upper[0]] * x[:, self._upper[1]] * twice

    def scores(self, stock: np.ndarray) -> np.ndarray:
        """(n_shoppers, n_stock): upper bounds of the attraction."""
        inverse = np.linalg.inv(self.tastes.precision())  # (n_shoppers, dim, dim)
        bound = inverse[:, self._upper[0], self._upper[1]] @ self._squares[stock].T
        bound += self.rates.doubt[stock] ** 2  # (n_shoppers, n_stock)
        np.sqrt(np.maximum(bound, 0.0, out=bound), out=bound)
        bound *= self.alpha
        bound += super().scores(stock)
        return bound


def random_lists(stock: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Lists of different pictures, all equally likely: int (n_shoppers, n_slots) from the stock."""
    n_slots = shape[1]
    if len(stock) < n_slots:
        raise ValueError(f"{len(stock)} pictures in stock do not fill {n_slots} slots")
    places = rng.integers(len(stock), size=shape)
    while True:  # few lists hold a picture twice; they are drawn again
        ordered = np.sort(places, axis=1)
        twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(twice):
            return stock[places]
        places[twice] = rng.integers(len(stock), size=(len(twice), n_slots))


def with_chance(
    shown: np.ndarray, stock: np.ndarray, epsilon: float, rng: np.random.Generator
) -> np.ndarray:
    """In each slot, with probability epsilon, a random picture that the list does not hold."""
    chance = rng.random(shown.shape) < epsilon
    other = random_lists(stock, shown.shape, rng)
    chance &= ~(other[:, :, None] == shown[:, None, :]).any(axis=2)
    return np.where(chance, other, shown)
