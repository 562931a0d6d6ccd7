"""Matrix factorization: BiasedMF for ratings; ImplicitALS and BPR for likes, in their own files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._likes import as_ratings
from recsys_tutorial.models.ridge import BatchedRidge, leading_directions, one_blas_thread
from recsys_tutorial.models.sgd import epochs, one_torch_thread
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
    user_ids_, item_ids_ : ndarray, ascending: whom the rows stand for
    rating_scale_ : (low, high)
    history_ : DataFrame per iteration: objective, train_rmse, and validation where asked for
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
        if factors < 1:
            raise ValueError(f"factors must be at least 1, got {factors}")
        if iterations < 0:
            raise ValueError(f"iterations must not be negative, got {iterations}")
        if solver not in ("als", "sgd"):
            raise ValueError(f'solver must be "als" or "sgd", got {solver!r}')
        if not (np.isfinite(reg) and (reg > 0 or (reg == 0 and solver == "sgd"))):
            raise ValueError(
                f"reg must be positive and finite, got {reg}: with 0 the normal equations of a "
                "user with fewer ratings than factors are singular"
            )
        if bias_reg is not None and not (np.isfinite(bias_reg) and bias_reg >= 0):
            raise ValueError(f"bias_reg must be finite and not negative, got {bias_reg}")
        if penalty not in ("once", "per rating"):
            raise ValueError(f'penalty must be "once" or "per rating", got {penalty!r}')
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {learning_rate}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if rating_scale is not None and not rating_scale[0] < rating_scale[1]:
            raise ValueError(f"rating_scale must be (low, high) with low < high: {rating_scale}")
        self.factors, self.reg, self.iterations, self.seed = factors, reg, iterations, seed
        self.solver, self.bias_reg = solver, reg if bias_reg is None else bias_reg
        self.penalty, self.learning_rate, self.batch_size = penalty, learning_rate, batch_size
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
        validation, patience : early stopping, see `monitoring.FitMonitor`; larger is better, for
            example ``lambda model: -rmse(r, model.predict(u, i))``

        Raises
        ------
        ValueError for a missing column, no ratings, a rating that is not finite, a repeated pair,
        or an item outside `item_ids`; FloatingPointError when SGD diverges.
        """
        known = _parameters(self) if self.warm_start else None
        matrix = self._read(ratings, item_ids)
        self.global_mean_ = float(matrix.data.mean())
        low, high = float(matrix.data.min()), float(matrix.data.max())
        self.rating_scale_ = self.rating_scale or (low, high)
        rng = np.random.default_rng(self.seed)
        for side, ids in (("user", self.user_ids_), ("item", self.item_ids_)):
            bias = np.zeros(len(ids))
            factors = rng.normal(0.0, 0.1, (len(ids), self.factors))
            if known is not None:
                old_ids, old_bias, old_factors = known[side]
                place = _find(old_ids, ids)
                bias[place >= 0] = old_bias[place[place >= 0]]
                factors[place >= 0] = old_factors[place[place >= 0]]
            setattr(self, f"{side}_bias_", bias)
            setattr(self, f"{side}_factors_", factors)
        # An item of the catalogue without a rating is known to nobody: its best vector is 0.
        self.item_factors_[np.bincount(matrix.indices, minlength=matrix.shape[1]) == 0] = 0.0
        monitor = FitMonitor(self, self.iterations, validation=validation, patience=patience)
        if self.solver == "als":
            with one_blas_thread():
                if known is None:
                    self.user_factors_, self.user_bias_ = self._spectral_start(matrix, rng)
                self._fit_als(matrix, monitor)
        else:
            self._fit_sgd(matrix, monitor, rng)
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
        """
        user_ids, item_ids = np.asarray(user_ids), np.asarray(item_ids)
        if user_ids.shape != item_ids.shape or user_ids.ndim != 1:
            raise ValueError(
                f"user_ids and item_ids must be equally long, got {user_ids.shape} and "
                f"{item_ids.shape}"
            )
        u, i = _find(self.user_ids_, user_ids), _find(self.item_ids_, item_ids)
        predicted = np.full(len(u), self.global_mean_)
        predicted += np.where(u >= 0, self.user_bias_[u], 0.0)
        predicted += np.where(i >= 0, self.item_bias_[i], 0.0)
        dots = np.einsum("nk,nk->n", self.user_factors_[u], self.item_factors_[i])
        predicted += np.where((u >= 0) & (i >= 0), dots, 0.0)
        return np.clip(predicted, *self.rating_scale_) if clip else predicted

    def fold_in(self, history_ratings: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Biases (n_users,) and vectors (n_users, factors) of users from their ratings.

        One ALS half-step for all of them at once, the items staying as they are. Zeros for a
        user without a rating.
        """
        history = as_ratings(history_ratings, "history", len(self.item_ids_))
        ridge = BatchedRidge(history, self.factors + 1)
        factors, bias, _ = self._half_step(ridge, history, self.item_factors_, self.item_bias_)
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

    def _fit_als(self, ratings: sparse.csr_matrix, monitor: FitMonitor) -> None:
        by_item = ratings.T.tocsr()
        users = BatchedRidge(ratings, self.factors + 1)
        items = BatchedRidge(by_item, self.factors + 1)
        for _ in monitor:
            self.item_factors_, self.item_bias_, _ = self._half_step(
                items, by_item, self.user_factors_, self.user_bias_
            )
            self.user_factors_, self.user_bias_, minimum = self._half_step(
                users, ratings, self.item_factors_, self.item_bias_
            )
            item_penalty = self._penalty(by_item, self.item_factors_, self.item_bias_)
            user_penalty = self._penalty(ratings, self.user_factors_, self.user_bias_)
            squared_error = max(minimum - user_penalty, 0.0)
            rmse = np.sqrt(squared_error / ratings.nnz)
            monitor.record(objective=minimum + item_penalty, train_rmse=rmse)

    def _spectral_start(
        self, ratings: sparse.csr_matrix, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """User vectors and biases to start from: the main directions of the biases' residuals.

        Unknown entries count as 0, which is wrong for a fit and good enough for a start.
        """
        users = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
        residual = ratings.data - self.global_mean_
        for rows in (ratings.indices, users):  # items first, so that the users' biases are last
            counts = np.bincount(rows)
            bias = np.bincount(rows, residual) / np.maximum(counts + self.bias_reg, 1.0)
            residual = residual - bias[rows]
        table = sparse.csr_matrix((residual, ratings.indices, ratings.indptr), ratings.shape)
        directions = leading_directions(table, self.factors, rng)
        factors = rng.normal(0.0, 0.1, (len(self.user_ids_), self.factors))
        factors[:, : directions.shape[1]] = 0.1 * np.sqrt(len(factors)) * directions
        return factors, np.append(bias, np.zeros(len(factors) - len(bias)))

    def _half_step(
        self, ridge: BatchedRidge, ratings: sparse.csr_matrix, factors: np.ndarray, bias: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Vectors and biases of the rows of `ratings`, given those of its columns; the minimum."""
        features = np.column_stack([factors, np.ones(len(factors))])  # [q_i, 1]
        targets = ratings.data - self.global_mean_ - bias[ratings.indices]
        penalty = np.array([self.reg] * self.factors + [self.bias_reg])
        if self.penalty == "per rating":  # rows without ratings are not solved for: any g does
            penalty = np.maximum(self._times(ratings), 1.0)[:, None] * penalty  # (n_rows, k + 1)
        x, explained = ridge.solve(features, targets, penalty)
        return x[:, :-1].copy(), x[:, -1].copy(), float(targets @ targets - explained.sum())

    def _fit_sgd(
        self, ratings: sparse.csr_matrix, monitor: FitMonitor, rng: np.random.Generator
    ) -> None:
        import torch
        from torch.nn.functional import embedding

        counts = np.diff(ratings.indptr)
        user = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
        item = torch.from_numpy(ratings.indices.astype(np.int64))
        rating = torch.from_numpy(ratings.data - self.global_mean_)
        by_item = ratings.T.tocsr()
        user_share, item_share = (  # g / n
            self._times(m) / np.maximum(np.diff(m.indptr), 1) for m in (ratings, by_item)
        )
        user_share = torch.from_numpy(user_share)[user]
        item_share = torch.from_numpy(item_share)[item]
        start = (self.user_bias_[:, None], self.user_factors_)
        start += (self.item_bias_[:, None], self.item_factors_)
        tables = [torch.tensor(table, requires_grad=True) for table in start]
        optimizer = torch.optim.SGD(tables, lr=self.learning_rate)

        def loss(batch):  # the batch's part of the objective, and of it the squared error
            u, i = user[batch], item[batch]
            # sparse: the gradient names the rows of this batch and no others
            b_u, p_u = (embedding(u, table, sparse=True) for table in tables[:2])
            b_i, q_i = (embedding(i, table, sparse=True) for table in tables[2:])
            dots = (p_u * q_i).sum(1)  # (batch,)
            error = ((rating[batch] - b_u[:, 0] - b_i[:, 0] - dots) ** 2).sum()
            penalty_u = self.reg * (p_u**2).sum(1) + self.bias_reg * b_u[:, 0] ** 2
            penalty_i = self.reg * (q_i**2).sum(1) + self.bias_reg * b_i[:, 0] ** 2
            return error + user_share[batch] @ penalty_u + item_share[batch] @ penalty_i, error

        with one_torch_thread():
            for _ in epochs(monitor, optimizer, self.learning_rate):
                order = torch.from_numpy(rng.permutation(ratings.nnz))
                for batch in order.split(self.batch_size):
                    optimizer.zero_grad()
                    loss(batch)[0].backward()
                    optimizer.step()
                with torch.no_grad():
                    parts = [loss(batch) for batch in order.split(2**16)]
                    objective, error = (sum(float(part[j]) for part in parts) for j in (0, 1))
                self.user_bias_, self.item_bias_ = (
                    tables[j].detach().numpy()[:, 0] for j in (0, 2)
                )
                self.user_factors_, self.item_factors_ = (
                    tables[j].detach().numpy() for j in (1, 3)
                )
                monitor.record(objective=objective, train_rmse=np.sqrt(error / ratings.nnz))

    def _times(self, ratings: sparse.csr_matrix) -> np.ndarray:
        """(n_rows,): g, how often each row's penalty counts."""
        counts = np.diff(ratings.indptr)
        return counts.astype(np.float64) if self.penalty == "per rating" else np.ones(len(counts))

    def _penalty(self, ratings: sparse.csr_matrix, factors: np.ndarray, bias: np.ndarray) -> float:
        rows = self.reg * (factors**2).sum(axis=1) + self.bias_reg * bias**2
        return float(self._times(ratings) @ rows)

    def _read(self, ratings, item_ids: np.ndarray | None) -> sparse.csr_matrix:
        """The ratings as csr, and the ids of its rows and columns as attributes."""
        if sparse.issparse(ratings):
            if item_ids is not None:
                raise ValueError("item_ids goes with a frame: a matrix's columns are its items")
            matrix = as_ratings(ratings, "ratings")
            if matrix.nnz == 0:
                raise ValueError(f"ratings {matrix.shape} holds no rating")
            self.user_ids_, self.item_ids_ = (np.arange(n) for n in matrix.shape)
            return matrix
        missing = [c for c in ("user_id", "item_id", "rating") if c not in ratings]
        if missing:
            raise ValueError(f"ratings lacks the columns {missing}; it has {list(ratings.columns)}")
        if len(ratings) == 0:
            raise ValueError("ratings is empty")
        values = ratings["rating"].to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"rating {values[row]} in row {row} is not a finite number")
        rows, user_ids = pd.factorize(ratings["user_id"].to_numpy(), sort=True)
        if item_ids is None:
            columns, item_ids = pd.factorize(ratings["item_id"].to_numpy(), sort=True)
        else:
            item_ids = np.unique(item_ids)
            columns = _find(item_ids, ratings["item_id"].to_numpy())
        if min(rows.min(), columns.min()) < 0:
            row = int(np.flatnonzero((rows < 0) | (columns < 0))[0])
            pair = ratings.iloc[row][["user_id", "item_id"]].tolist()
            raise ValueError(f"row {row}: the user or item of {pair} is missing or unknown")
        shape = (len(user_ids), len(item_ids))
        matrix = sparse.csr_matrix((values, (rows, columns)), shape=shape)
        if matrix.nnz < len(values):
            raise ValueError(
                f"{len(values) - matrix.nnz} (user_id, item_id) pairs occur more than once: keep "
                'one rating each, for example ratings.drop_duplicates(["user_id", "item_id"])'
            )
        self.user_ids_, self.item_ids_ = user_ids, item_ids
        return matrix


def _parameters(model: BiasedMF) -> dict | None:
    if not hasattr(model, "user_factors_"):
        return None
    if model.user_factors_.shape[1] != model.factors:
        raise ValueError(
            f"warm_start: the last fit had {model.user_factors_.shape[1]} factors, "
            f"this one has {model.factors}"
        )
    return {
        side: tuple(getattr(model, f"{side}_{name}_") for name in ("ids", "bias", "factors"))
        for side in ("user", "item")
    }


def _find(sorted_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where each id stands in `sorted_ids`; -1 where it does not."""
    place = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    return np.where(sorted_ids[place] == ids, place, -1)
