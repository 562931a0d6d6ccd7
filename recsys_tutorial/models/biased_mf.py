"""BiasedMF: matrix factorization of ratings; ImplicitALS and BPR for likes have their own files.

What the model is and answers stands here, how it is fitted in `_biased_solvers`; half of the lines
say what its settings mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_one_of, check_positive
from recsys_tutorial._likes import as_ratings
from recsys_tutorial.models._biased_solvers import fit_als, fit_sgd, half_step, start
from recsys_tutorial.models._factors import check_same
from recsys_tutorial.models._ratings import ratings_matrix
from recsys_tutorial.models.ridge import BatchedRidge
from recsys_tutorial.training.monitor import FitMonitor

__all__ = ["BiasedMF"]


class BiasedMF:
    """Biased matrix factorization of ratings: r_ui = mu + b_u + b_i + p_u . q_i.

    Minimises, over the observed ratings,

        sum (r_ui - mu - b_u - b_i - p_u . q_i)^2
            + sum_u g_u (reg |p_u|^2 + bias_reg b_u^2) + sum_i g_i (reg |q_i|^2 + bias_reg b_i^2)

    with mu fixed at their mean. g = 1 counts the penalty once per user and item (Salakhutdinov &
    Mnih 2007); g_u = number of u's ratings counts it once per rating (Koren, Bell & Volinsky 2009,
    doi:10.1109/MC.2009.263, equation 5; ALS-WR of Zhou et al. 2008). Two solvers minimise the
    same function:

    - "als", alternating least squares: with the items fixed, [p_u, b_u] is a ridge regression of
      the user's ratings on [q_i, 1], and the other way round. All users are solved at once. It
      starts from the leading singular directions of what biases leave of the ratings.
    - "sgd", mini-batch stochastic gradient descent in PyTorch, the learning rate falling linearly
      to zero. Each rating carries its share of the penalty, reg g_u / n_u |p_u|^2, so that an
      epoch's gradients add up to the gradient of the objective.

    Parameters
    ----------
    factors : int >= 1, length of p_u and q_i
    reg : float, lambda. Larger than 0 for "als" (a user with fewer ratings than factors would
        make a singular system).
    iterations : int, ALS iterations or SGD epochs; 0 leaves the random start
    seed : int, of the random start and the order of the mini-batches
    solver : "als" or "sgd"
    bias_reg : float >= 0, or None for `reg`
    penalty : "once" (g = 1: few ratings move a user little from the mean) or "per rating"
    learning_rate, batch_size : "sgd" only; a step adds up the gradients of its batch
    rating_scale : (low, high) for clipping, or None for the range of the training ratings
    warm_start : bool, start from the vectors of the last `fit` for the users and items it knew

    Attributes
    ----------
    global_mean_ : float, mu
    user_bias_, item_bias_ : ndarray (n_users,), (n_items,), b_u and b_i, in rating units
    user_factors_, item_factors_ : ndarray (n_users, factors), (n_items, factors), P and Q
    user_ids_, item_ids_ : ndarray (n_users,), (n_items,), ascending: whom the rows stand for
    rating_scale_ : (low, high)
    history_ : DataFrame per iteration: objective, train_rmse, and validation where asked for

    Raises
    ------
    ValueError for a setting out of its range.
    """

    def __init__(
        self,
        factors: int = 32,
        reg: float = 10.0,
        iterations: int = 10,
        seed: int = 0,
        solver: str = "als",
        *,
        bias_reg: float | None = None,
        penalty: str = "once",
        learning_rate: float = 0.02,
        batch_size: int = 1024,
        rating_scale: tuple[float, float] | None = None,
        warm_start: bool = False,
    ):
        bias_reg = reg if bias_reg is None else bias_reg
        check_at_least(1, factors=factors, batch_size=batch_size)
        check_at_least(0, iterations=iterations, reg=reg, bias_reg=bias_reg)
        check_positive(learning_rate=learning_rate)
        check_one_of(("als", "sgd"), solver=solver)
        check_one_of(("once", "per rating"), penalty=penalty)
        if reg == 0 and solver == "als":
            raise ValueError(
                "reg must be positive for als, got 0: the normal equations of a user with fewer "
                "ratings than factors are singular"
            )
        if rating_scale is not None and not rating_scale[0] < rating_scale[1]:
            raise ValueError(f"rating_scale must be (low, high) with low < high: {rating_scale}")
        self.factors, self.reg, self.iterations, self.seed = factors, reg, iterations, seed
        self.solver, self.bias_reg, self.penalty = solver, bias_reg, penalty
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.rating_scale, self.warm_start = rating_scale, warm_start

    def fit(
        self,
        ratings: pd.DataFrame | sparse.csr_matrix,
        *,
        item_ids: np.ndarray | None = None,
        validation: Callable[[BiasedMF], float] | None = None,
        patience: int = 3,
    ) -> BiasedMF:
        """Learn from a frame user_id, item_id, rating, or from a matrix of rating values.

        Parameters
        ----------
        ratings : DataFrame, each (user_id, item_id) at most once; or csr_matrix (n_users,
            n_items) of rating values, whose rows and columns 0, 1, ... are then the ids
        item_ids : ndarray or None
            The catalogue, for a frame: what the columns of `score` stand for. By default the
            rated items. An item without a rating gets bias 0 and vector 0.
        validation, patience : early stopping, see `training.FitMonitor`; larger is better, for
            example ``lambda model: -rmse(r, model.predict(u, i))``

        Raises
        ------
        ValueError for a missing column, no ratings, a rating that is not finite, a repeated pair,
        or an item outside `item_ids`; FloatingPointError when SGD diverges.
        """
        known = vars(self).copy() if self.warm_start and hasattr(self, "user_factors_") else {}
        if known:
            check_same(self.user_factors_, (len(self.user_factors_), self.factors))
        matrix, self.user_ids_, self.item_ids_ = ratings_matrix(ratings, item_ids)
        self.global_mean_ = float(matrix.data.mean())
        seen = (float(matrix.data.min()), float(matrix.data.max()))
        self.rating_scale_ = self.rating_scale or seen
        rng = np.random.default_rng(self.seed)
        for side in ("user", "item"):
            start(self, side, known, rng)
        # An item of the catalogue without a rating is known to nobody: its best vector is 0.
        self.item_factors_[np.bincount(matrix.indices, minlength=matrix.shape[1]) == 0] = 0.0
        monitor = FitMonitor(self, self.iterations, validation=validation, patience=patience)
        if self.solver == "als":
            fit_als(self, matrix, monitor, None if known else rng)
        else:
            fit_sgd(self, matrix, monitor, rng)
        self.history_ = monitor.finish()
        return self

    def predict(
        self, user_ids: np.ndarray, item_ids: np.ndarray, *, clip: bool = True
    ) -> np.ndarray:
        """Ratings of pairs, in rating units.

        A user or item unseen in `fit` has bias 0 and vector 0: the prediction falls back to
        mu + b_i for a new user, mu + b_u for a new item, mu for both. (A new user with ratings
        is better served by `score`, which solves for their vector.)

        Parameters
        ----------
        user_ids, item_ids : ndarray (n,)
        clip : bool, limit the result to `rating_scale_`

        Returns
        -------
        ndarray (n,), float64

        Raises
        ------
        ValueError for two arrays that are not equally long.
        """
        user_ids, item_ids = np.asarray(user_ids), np.asarray(item_ids)
        if user_ids.shape != item_ids.shape or user_ids.ndim != 1:
            raise ValueError(
                f"user_ids and item_ids must be equally long, got {user_ids.shape} and "
                f"{item_ids.shape}"
            )
        u = pd.Index(self.user_ids_).get_indexer(user_ids)  # -1 where unseen
        i = pd.Index(self.item_ids_).get_indexer(item_ids)
        known_u, known_i = u >= 0, i >= 0
        dots = np.einsum("nk,nk->n", self.user_factors_[u], self.item_factors_[i])
        predicted = self.global_mean_ + known_u * self.user_bias_[u] + known_i * self.item_bias_[i]
        predicted += known_u * known_i * dots
        return np.clip(predicted, *self.rating_scale_) if clip else predicted

    def fold_in(self, history_ratings: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Biases and vectors of users from their ratings, the items staying as they are.

        One ALS half-step for all of them at once.

        Parameters
        ----------
        history_ratings : csr_matrix (n_users, n_items), rating values; columns are `item_ids_`

        Returns
        -------
        biases (n_users,) and vectors (n_users, factors), zeros for a user without a rating

        Raises
        ------
        ValueError as `score`.
        """
        history = as_ratings(history_ratings, "history", len(self.item_ids_))
        ridge = BatchedRidge(history, self.factors + 1)
        factors, bias, _ = half_step(self, ridge, history, self.item_factors_, self.item_bias_)
        return bias, factors

    def score(self, history_ratings: sparse.csr_matrix) -> np.ndarray:
        """Predicted ratings of every item for users who show their ratings, known or new.

        Parameters
        ----------
        history_ratings : csr_matrix (n_users, n_items), rating values; columns are `item_ids_`

        Returns
        -------
        ndarray (n_users, n_items): mu + b_u + b_i + p_u . q_i, not clipped, since clipping would
        tie the best items; mu + b_i for a user without a rating.
        """
        bias, factors = self.fold_in(history_ratings)
        scores = factors @ self.item_factors_.T  # (n_users, k) @ (k, n_items)
        scores += self.global_mean_ + self.item_bias_
        scores += bias[:, None]
        return scores
