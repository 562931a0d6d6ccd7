"""Policies without content: random, the true best, popularity, and an ID model.

They are `protocols.Policy`s, as those of `bandits` are.
"""

import numpy as np
from scipy import sparse

from recsys_tutorial.feedback.learners import ClickCounts
from recsys_tutorial.feedback.lists import random_lists, top_slots
from recsys_tutorial.feedback.shop import Shop
from recsys_tutorial.models.ridge import BatchedRidge


class Random:
    """Any pictures in stock.

    Parameters
    ----------
    n_shoppers, n_slots : int, the shape of the lists
    seed : int
    """

    def __init__(self, n_shoppers: int, n_slots: int, *, seed: int = 0):
        self.shape, self.rng = (n_shoppers, n_slots), np.random.default_rng(seed)

    def choose(self, stock: np.ndarray) -> np.ndarray:
        """Random lists."""
        return random_lists(stock, self.shape, self.rng)

    def learn(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Nothing."""


class Oracle:
    """The best lists by the shop's own truth: its regret is 0.

    Parameters
    ----------
    shop : Shop
    """

    def __init__(self, shop: Shop):
        self.shop = shop

    def choose(self, stock: np.ndarray) -> np.ndarray:
        """The lists with the most expected clicks."""
        return self.shop.best()

    def learn(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Nothing."""


class Popularity(ClickCounts):
    """The same list for all: the pictures with the highest click rates so far.

        rate_i = (sum e_j y + prior c) / (sum e_j^2 + prior),   c: the rate of all pictures

    the least-squares rate of a picture that was looked at with probability e_j, shrunk.

    Parameters
    ----------
    n_items, n_shoppers : int
    examination : ndarray (n_slots,), e
    seed : int, of the first day's random lists

    Attributes
    ----------
    prior : float, how many looks the crowd's rate c counts for
    """

    def __init__(self, n_items: int, n_shoppers: int, examination: np.ndarray, *, seed: int = 0):
        super().__init__(n_items, examination, prior=20.0)
        self.shape, self.rng = (n_shoppers, len(examination)), np.random.default_rng(seed)

    def rates(self) -> np.ndarray:
        """(n_items,): how often each picture is clicked once looked at."""
        return self.shrunk(self.hits.sum() / self.looks.sum())

    def choose(self, stock: np.ndarray) -> np.ndarray:
        """One list for all, or by each shopper's scores; random ones on the first day."""
        if not self.looks.any():
            return random_lists(stock, self.shape, self.rng)
        return np.broadcast_to(stock[top_slots(self.scores(stock), self.shape[1])], self.shape)

    def scores(self, stock: np.ndarray) -> np.ndarray:
        """The estimated attraction, the same for all.

        Parameters
        ----------
        stock : int ndarray (n_stock,), columns of pictures

        Returns
        -------
        ndarray (1, n_stock)
        """
        return self.rates()[stock][None]

    def learn(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Count looks and clicks."""
        self.count(shown, clicks)


class IdModel(Popularity):
    """Matrix factorization on numbers of shoppers and pictures, nothing else, and greedy.

        r_ui ~ rate_i + p_u . q_i,   minimizing
        sum e_j^2 (y / e_j - r_ui)^2 + reg (sum_u |p_u|^2 + sum_i |q_i|^2)

    One sweep of alternating least squares a night, from where the last one ended. A picture that
    nobody has been shown has the crowd's rate and q_i = 0: there is nothing else to know about it.

    Parameters
    ----------
    n_items, n_shoppers, examination : as for `Popularity`
    seed : int, of the first day's random lists and of the first factors
    """

    factors, reg = 8, 2.0  # numbers for each shopper and picture, and how they are held small

    def __init__(self, n_items: int, n_shoppers: int, examination: np.ndarray, *, seed: int = 0):
        super().__init__(n_items, n_shoppers, examination, seed=seed)
        self.user_factors = np.zeros((n_shoppers, self.factors))  # P
        self.item_factors = self.rng.normal(0, 0.1, (n_items, self.factors))  # Q
        self._looks = sparse.csr_matrix((n_shoppers, n_items))  # sum of e^2 for each pair
        self._hits = sparse.csr_matrix((n_shoppers, n_items))  # sum of e y

    def scores(self, stock: np.ndarray) -> np.ndarray:
        """The estimated attraction, rate_i + p_u . q_i.

        Parameters
        ----------
        stock : int ndarray (n_stock,), columns of pictures

        Returns
        -------
        ndarray (n_shoppers, n_stock)
        """
        return super().scores(stock) + self.user_factors @ self.item_factors[stock].T

    def learn(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add the day to the log, then sweep over all of it once."""
        super().learn(shown, clicks)
        e = np.broadcast_to(self.examination, shown.shape)
        place = (np.repeat(np.arange(len(shown)), shown.shape[1]), shown.ravel())
        shape = self._looks.shape
        self._looks = self._looks + sparse.csr_matrix(((e**2).ravel(), place), shape)
        # A stored 0 keeps the pattern of both equal: a picture shown and not clicked is known too.
        self._hits = self._hits + sparse.csr_matrix(((e * clicks).ravel(), place), shape)
        self._sweep()

    def _sweep(self) -> None:
        looks = self._looks
        rows = np.repeat(np.arange(looks.shape[0]), np.diff(looks.indptr))
        rate = np.asarray(self._hits[rows, looks.indices]).ravel() / looks.data
        target = rate - self.rates()[looks.indices]
        penalty = np.full(self.factors, self.reg)
        solve = BatchedRidge(looks, len(penalty), n_threads=1).solve
        self.user_factors, _ = solve(self.item_factors, target, penalty, looks.data)
        turned = sparse.csr_matrix((np.arange(looks.nnz), looks.indices, looks.indptr), looks.shape)
        turned = turned.T.tocsr()
        order = turned.data.astype(np.int64)
        solve = BatchedRidge(turned, len(penalty), n_threads=1).solve
        self.item_factors, _ = solve(self.user_factors, target[order], penalty, looks.data[order])
