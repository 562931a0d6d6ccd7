"""Matrix factorization of likes: ImplicitALS (pointwise) and BPR (pairwise)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from recsys_tutorial.losses import bpr_loss
from recsys_tutorial.models.baselines import check_history
from recsys_tutorial.models.ridge import BatchedRidge
from recsys_tutorial.monitoring import FitMonitor
from recsys_tutorial.sampling import UniformNegatives


class ImplicitALS:
    """Weighted matrix factorization of likes over *all* user-item pairs, by alternating ALS.

    Minimises, with preference p_ui = 1 where r_ui > 0 and else 0, and confidence
    c_ui = 1 + alpha r_ui (Hu, Koren & Volinsky 2008, doi:10.1109/ICDM.2008.22, equation 3),

        sum over all u, i of c_ui (p_ui - x_u . y_i)^2 + sum_u reg_u |x_u|^2 + sum_i reg_i |y_i|^2

    An unknown pair is a weak 0, not a missing value. The sum over all pairs costs no more than
    the likes do: X'X over all rows is computed once per half-step, and a row adds only its likes.

    Frequency-scaled regularisation (Rendle, Krichene, Zhang & Koren 2022, arXiv:2110.14037,
    equation 5, on the scale of its nu* = 0) gives row u the strength

        reg_u = reg (sum_i c_ui)^nu / mean over all users and items of the same

    so that `reg` is the average strength for every nu. nu = 0 is Hu et al.'s plain penalty.

    Parameters
    ----------
    factors : int >= 1
    reg : float > 0, the penalty's (average) strength
    alpha : float > 0, how much more a like counts than an unknown pair; in Rendle et al.'s terms
        1 / alpha is the weight of the unobserved
    iterations : int; 0 leaves the random start
    seed : int, of the random start
    frequency_scaling : float, nu
    warm_start : bool, start from the item vectors of the last `fit`

    Attributes
    ----------
    user_factors_, item_factors_ : ndarray (n_users, factors), (n_items, factors)
    history_ : DataFrame per iteration: objective, and validation where asked for
    """

    def __init__(
        self,
        factors: int = 64,
        reg: float = 10.0,
        alpha: float = 10.0,
        iterations: int = 15,
        seed: int = 0,
        *,
        frequency_scaling: float = 0.0,
        warm_start: bool = False,
    ):
        _check_sizes(factors, iterations)
        for name, value in (("reg", reg), ("alpha", alpha)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not np.isfinite(frequency_scaling):
            raise ValueError(f"frequency_scaling must be finite, got {frequency_scaling}")
        self.factors, self.reg, self.alpha, self.iterations = factors, reg, alpha, iterations
        self.seed, self.frequency_scaling, self.warm_start = seed, frequency_scaling, warm_start

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        validation: Callable[[ImplicitALS], float] | None = None,
        patience: int = 3,
    ) -> ImplicitALS:
        """Learn from likes.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), r_ui >= 0: ones, or counts
        validation, patience : early stopping, see `monitoring.FitMonitor`; larger is better, for
            example ``lambda model: evaluate(model, split.validation)["ndcg@10"]``

        Raises
        ------
        ValueError for an empty or negative matrix, or a warm start with other sizes.
        """
        train = _check_likes(train)
        by_item = train.T.tocsr()
        user_confidence, item_confidence = self._confidence(train), self._confidence(by_item)
        every = np.concatenate([user_confidence, item_confidence])
        self._scale = float((every**self.frequency_scaling).mean())
        users, items = BatchedRidge(train, self.factors), BatchedRidge(by_item, self.factors)
        if self.warm_start and hasattr(self, "item_factors_"):
            _check_same(self.item_factors_, (train.shape[1], self.factors))
            self.user_factors_, _ = self._half_step(users, train, self.item_factors_)
        else:
            rng = np.random.default_rng(self.seed)
            scale = 0.1 / np.sqrt(self.factors)  # the variance of x_u . y_i whatever the factors
            self.user_factors_ = rng.normal(0.0, scale, (train.shape[0], self.factors))
            self.item_factors_ = rng.normal(0.0, scale, (train.shape[1], self.factors))
        monitor = FitMonitor(self, self.iterations, validation=validation, patience=patience)
        for _ in monitor:
            self.item_factors_, _ = self._half_step(items, by_item, self.user_factors_)
            self.user_factors_, minimum = self._half_step(users, train, self.item_factors_)
            item_penalty = self._row_reg(item_confidence) @ (self.item_factors_**2).sum(axis=1)
            monitor.record(objective=minimum + item_penalty)
        self.history_ = monitor.finish()
        return self

    def fold_in(self, history: sparse.csr_matrix) -> np.ndarray:
        """Vectors (n_users, factors) of users from their likes: one half-step, all at once.

        For a training user this is their row of `user_factors_`. Zeros without a like.
        """
        history = _without_zeros(check_history(history, len(self.item_factors_)), "history")
        ridge = BatchedRidge(history, self.factors)
        return self._half_step(ridge, history, self.item_factors_)[0]

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """x_u . y_i for users who show what they liked, known or new.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), r_ui >= 0

        Returns
        -------
        ndarray (n_users, n_items); about 0 to 1. An empty history gets the mean of the training
        users' vectors, hence their mean scores: close to a popularity ranking.
        """
        vectors = self.fold_in(history)  # (n_users, factors)
        vectors[np.diff(sparse.csr_matrix(history).indptr) == 0] = self.user_factors_.mean(axis=0)
        return vectors @ self.item_factors_.T  # (n_users, k) @ (k, n_items)

    def _half_step(
        self, ridge: BatchedRidge, likes: sparse.csr_matrix, other: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Vectors of the rows of `likes`, given those of its columns; the minimum.

        Row u minimises x'(G + reg_u I)x + sum over its likes of (w s^2 - 2 c s + c) with
        G = Y'Y, s = x . y_i, w = c - 1 = alpha r. In the eigenvectors V of G the first part is a
        diagonal penalty, and the second is w (c / w - s)^2 + constant: a ridge regression.
        """
        eigenvalues, v = np.linalg.eigh(other.T @ other)  # (k,), (k, k)
        reg = self._row_reg(self._confidence(likes))[:, None]  # (n_rows, 1)
        penalty = np.maximum(eigenvalues, 0.0) + reg  # (n_rows, k)
        w = self.alpha * likes.data
        x, explained = ridge.solve(other @ v, (1.0 + w) / w, penalty, w)
        return x @ v.T, float((1.0 + w).sum() - explained.sum())

    def _confidence(self, likes: sparse.csr_matrix) -> np.ndarray:
        """(n_rows,): sum_i c_ui = n_columns + alpha * sum_i r_ui."""
        return likes.shape[1] + self.alpha * np.asarray(likes.sum(axis=1)).ravel()

    def _row_reg(self, confidence: np.ndarray) -> np.ndarray:
        return self.reg * confidence**self.frequency_scaling / self._scale


class BPR:
    """Bayesian personalised ranking: a liked item should score above one that was not liked.

    x_ui = b_i + p_u . q_i, fitted by stochastic gradients on triples (u, i, j) of a like and a
    uniformly drawn other item (Rendle et al. 2009, arXiv:1205.2618):

        mean of -log sigmoid(x_ui - x_uj)
            + reg (|p_u|^2 + |q_i|^2 + |q_j|^2 + b_i^2 + b_j^2)

    Each epoch takes every like once, in random order, with a fresh negative. The optimiser is
    Adagrad, since likes per item differ by a factor of hundreds.

    Parameters
    ----------
    factors : int >= 1
    reg : float >= 0
    iterations : int, epochs; 0 leaves the random start
    seed : int, of the random start, the order and the negatives
    learning_rate, batch_size : of Adagrad
    warm_start : bool, start from the vectors of the last `fit` (same users and items)

    Attributes
    ----------
    user_factors_, item_factors_ : ndarray (n_users, factors), (n_items, factors)
    item_bias_ : ndarray (n_items,)
    history_ : DataFrame per epoch: objective (mean over that epoch's triples, so it is noisy),
        and validation where asked for
    """

    _FOLD_NEGATIVES = 8  # per like, when a user is folded in
    _FOLD_STEPS = 25

    def __init__(
        self,
        factors: int = 32,
        reg: float = 0.01,
        iterations: int = 50,
        seed: int = 0,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 1024,
        warm_start: bool = False,
    ):
        _check_sizes(factors, iterations)
        if not (np.isfinite(reg) and reg >= 0):
            raise ValueError(f"reg must be finite and not negative, got {reg}")
        if not learning_rate > 0 or batch_size < 1:
            raise ValueError(
                "learning_rate must be positive and batch_size at least 1, got "
                f"{learning_rate} and {batch_size}"
            )
        self.factors, self.reg, self.iterations, self.seed = factors, reg, iterations, seed
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.warm_start = warm_start

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        validation: Callable[[BPR], float] | None = None,
        patience: int = 3,
    ) -> BPR:
        """Learn from likes; arguments and errors as in `ImplicitALS.fit`.

        Also ValueError when a user likes every item (no negative is left).
        """
        import torch
        from torch.nn.functional import embedding

        train = _check_likes(train)
        negatives = UniformNegatives(train)
        rng = np.random.default_rng(self.seed)
        shapes = [(train.shape[0], self.factors), (train.shape[1], self.factors)]
        if self.warm_start and hasattr(self, "item_factors_"):
            _check_same(self.user_factors_, shapes[0])
            _check_same(self.item_factors_, shapes[1])
            start = [self.user_factors_, self.item_factors_, self.item_bias_[:, None]]
        else:
            scale = 0.1 / np.sqrt(self.factors)
            start = [rng.normal(0.0, scale, shape) for shape in shapes]
            start.append(np.zeros((train.shape[1], 1)))
        tables = [torch.tensor(table, requires_grad=True) for table in start]
        optimizer = torch.optim.Adagrad(tables, lr=self.learning_rate)
        users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
        self._keep(tables)
        monitor = FitMonitor(self, self.iterations, validation=validation, patience=patience)
        for _ in monitor:
            total = 0.0
            order = rng.permutation(train.nnz)
            triples = np.stack([users, train.indices, negatives.draw(users, rng)])[:, order]
            for u, i, j in (
                t.unbind() for t in torch.from_numpy(triples).split(self.batch_size, 1)
            ):
                # sparse: the gradient names the rows of this batch and no others
                p_u, q_i, q_j = (
                    embedding(rows, table, sparse=True)
                    for rows, table in ((u, tables[0]), (i, tables[1]), (j, tables[1]))
                )
                b_i, b_j = (embedding(rows, tables[2], sparse=True)[:, 0] for rows in (i, j))
                x_ui, x_uj = b_i + (p_u * q_i).sum(1), b_j + (p_u * q_j).sum(1)  # (batch,)
                squares = sum((t**2).sum() for t in (p_u, q_i, q_j, b_i, b_j)) / len(u)
                loss = bpr_loss(x_ui, x_uj) + self.reg * squares
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(u)
            self._keep(tables)
            monitor.record(objective=total / train.nnz)
        self.history_ = monitor.finish()
        return self

    def fold_in(self, history: sparse.csr_matrix) -> np.ndarray:
        """Vectors (n_users, factors) of users from their likes, the items staying as they are.

        Minimises the training loss over p_u, each like against a fixed sample of negatives. The
        loss is convex in p_u; the bound of Jaakkola & Jordan (2000, doi:10.1023/A:1008932416310)

            -log sigmoid(x) <= t(z) (x - 1 / (4 t(z)))^2 + constant,  t(z) = tanh(z / 2) / (4 z)

        with equality at x = +-z turns every step into a ridge regression for all users at once,
        and no step can raise the loss. The sample depends on the user's own history alone.
        """
        history = _without_zeros(check_history(history, len(self.item_factors_)), "history")
        n = np.diff(history.indptr)
        users = np.repeat(np.arange(len(n)), n)
        uniform = np.random.default_rng(self.seed).random((n.max(initial=0), self._FOLD_NEGATIVES))
        negatives = UniformNegatives(history)
        place = np.arange(history.nnz) - history.indptr[users]  # the user's first, second, ... like
        r = (uniform[place] * negatives.n_left_[users, None]).astype(np.int64)
        j = negatives.pick(users[:, None], r).ravel()
        i = np.repeat(history.indices, self._FOLD_NEGATIVES)
        difference = self.item_factors_[i] - self.item_factors_[j]  # (n_pairs, factors)
        shift = self.item_bias_[i] - self.item_bias_[j]
        pairs = sparse.csr_matrix(
            (np.ones(len(i)), np.arange(len(i)), history.indptr * self._FOLD_NEGATIVES),
            shape=(len(n), len(i)),
        )
        ridge = BatchedRidge(pairs, self.factors)
        # Training penalises a user's vector once a triple: in proportion to the number of pairs.
        strength = np.maximum(self.reg, 1e-6) * np.maximum(n, 1) * self._FOLD_NEGATIVES
        penalty = np.repeat(strength[:, None], self.factors, axis=1)
        user = np.repeat(users, self._FOLD_NEGATIVES)
        vectors = np.zeros((len(n), self.factors))
        for _ in range(self._FOLD_STEPS):
            x = np.einsum("pk,pk->p", difference, vectors[user]) + shift
            z = np.maximum(np.abs(x), 1e-6)
            t = np.tanh(z / 2) / (4 * z)
            before, (vectors, _) = vectors, ridge.solve(difference, 1 / (4 * t) - shift, penalty, t)
            if np.abs(vectors - before).max(initial=0.0) < 1e-5:
                break
        return vectors

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """b_i + p_u . q_i, ndarray (n_users, n_items); an empty history gets the item biases."""
        return self.fold_in(history) @ self.item_factors_.T + self.item_bias_

    def _keep(self, tables) -> None:
        user_factors, item_factors, item_bias = (t.detach().numpy() for t in tables)
        self.user_factors_, self.item_factors_ = user_factors, item_factors
        self.item_bias_ = item_bias[:, 0]


def _check_sizes(factors: int, iterations: int) -> None:
    if factors < 1:
        raise ValueError(f"factors must be at least 1, got {factors}")
    if iterations < 0:
        raise ValueError(f"iterations must not be negative, got {iterations}")


def _check_likes(train: sparse.csr_matrix) -> sparse.csr_matrix:
    if not sparse.issparse(train):
        raise ValueError(f"train must be a sparse matrix, got {type(train).__name__}")
    train = _without_zeros(check_history(train, train.shape[1]), "train")
    if train.nnz == 0:
        raise ValueError(f"train {train.shape} holds no interaction")
    return train


def _without_zeros(matrix: sparse.csr_matrix, name: str) -> sparse.csr_matrix:
    if matrix.nnz and matrix.data.min() < 0:
        raise ValueError(f"{name} holds the negative value {matrix.data.min()}: likes are >= 0")
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix


def _check_same(factors: np.ndarray, shape: tuple[int, int]) -> None:
    if factors.shape != shape:
        raise ValueError(f"warm_start: the last fit left vectors {factors.shape}, not {shape}")
