"""Policies: which pictures to show to whom, so as to be clicked today and to know more tomorrow.

They are `protocols.Policy`s with the same learners: `ItemRates`, what the crowd has shown of each
picture, and `LinearTastes`, a ridge regression for each shopper on the pictures' features. They
differ only in what they do about what these do not know. `policies` has those without content, and
`runs` lets them all loose on the same shop.
"""

import numpy as np

from recsys_tutorial._checks import check_within
from recsys_tutorial.feedback.learners import ItemRates, LinearTastes
from recsys_tutorial.feedback.lists import random_lists, top_slots, with_chance


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
    seed : int, of the random lists

    Raises
    ------
    ValueError
        For an `epsilon` that is no probability.
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
        check_within(0, 1, epsilon=epsilon)
        self.rates, self.tastes = rates, tastes
        self.epsilon, self.random_days = epsilon, random_days
        self.rng, self.day = np.random.default_rng(seed), 0

    def choose(self, stock: np.ndarray) -> np.ndarray:
        """The best by `scores`; random lists on the first days, and at times with `epsilon`."""
        shape = (len(self.tastes.gram), len(self.tastes.examination))
        if self.day < self.random_days:
            return random_lists(stock, shape, self.rng)
        shown = stock[top_slots(self.scores(stock), shape[1])]
        return with_chance(shown, stock, self.epsilon, self.rng) if self.epsilon else shown

    def scores(self, stock: np.ndarray) -> np.ndarray:
        """The estimated attraction.

        Parameters
        ----------
        stock : int ndarray (n_stock,), columns of pictures

        Returns
        -------
        ndarray (n_shoppers, n_stock)
        """
        return self.tastes.weights() @ self.tastes.features[stock].T + self.rates.rates[stock]

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
    rates, tastes : ItemRates and LinearTastes, as for `Greedy`
    scale : float >= 0, standard deviation of the noise of a click: the width of the posterior
    seed : int, of the draws
    """

    def __init__(
        self, rates: ItemRates, tastes: LinearTastes, *, scale: float = 0.3, seed: int = 0
    ):
        super().__init__(rates, tastes, seed=seed)
        self.scale = scale

    def scores(self, stock: np.ndarray) -> np.ndarray:
        """A draw of the attraction.

        Parameters
        ----------
        stock : int ndarray (n_stock,), columns of pictures

        Returns
        -------
        ndarray (n_shoppers, n_stock)
        """
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
    rates, tastes : ItemRates and LinearTastes, as for `Greedy`
    alpha : float >= 0, how many standard deviations (times the noise's) to hope for
    seed : int, of the first day's random lists
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
        """Upper bounds of the attraction.

        Parameters
        ----------
        stock : int ndarray (n_stock,), columns of pictures

        Returns
        -------
        ndarray (n_shoppers, n_stock)
        """
        inverse = np.linalg.inv(self.tastes.precision())  # (n_shoppers, dim, dim)
        bound = inverse[:, self._upper[0], self._upper[1]] @ self._squares[stock].T
        bound += self.rates.doubt[stock] ** 2  # (n_shoppers, n_stock)
        np.sqrt(bound, out=bound)  # no picture is without a doubt
        bound *= self.alpha
        bound += super().scores(stock)
        return bound
