"""BPR: matrix factorization of likes, learned from pairs of a liked item and another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import softplus

from recsys_tutorial._checks import check_at_least, check_positive
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.models._bpr_folding import fold_in
from recsys_tutorial.models._factors import check_same
from recsys_tutorial.models.sgd import one_torch_thread
from recsys_tutorial.sampling import UniformNegatives
from recsys_tutorial.training.monitor import FitMonitor


class BPR:
    """Bayesian personalised ranking: a liked item should score above one that was not liked.

    x_ui = b_i + p_u . q_i, fitted by stochastic gradients on triples (u, i, j) of a like and a
    uniformly drawn other item (Rendle et al. 2009, arXiv:1205.2618):

        mean of -log sigmoid(x_ui - x_uj)
            + reg (|p_u|^2 + |q_i|^2 + |q_j|^2) + bias_reg (b_i^2 + b_j^2)

    Each epoch takes every like once, in random order, with a fresh negative; a step adds up the
    gradients of its mini-batch, and the learning rate falls linearly to zero.

    Parameters
    ----------
    factors : int >= 1
    reg, bias_reg : floats >= 0; the biases carry popularity, so they are held back less
    iterations : int, epochs; 0 leaves the random start
    seed : int, of the random start, the order and the negatives
    learning_rate, batch_size : of stochastic gradient descent
    warm_start : bool, start from the vectors of the last `fit`: of the same items, and of the same
        users in the same rows. New users' rows come after theirs

    Attributes
    ----------
    user_factors_, item_factors_ : ndarray (n_users, factors), (n_items, factors)
    item_bias_ : ndarray (n_items,)
    history_ : DataFrame per epoch: objective (mean over that epoch's triples, so it is noisy),
        and validation where asked for

    Raises
    ------
    ValueError for a setting out of its range.
    """

    def __init__(
        self,
        factors: int = 64,
        reg: float = 0.01,
        iterations: int = 100,
        seed: int = 0,
        *,
        bias_reg: float = 0.001,
        learning_rate: float = 0.1,
        batch_size: int = 256,
        warm_start: bool = False,
    ):
        check_at_least(1, factors=factors, batch_size=batch_size)
        check_at_least(0, iterations=iterations, reg=reg, bias_reg=bias_reg)
        check_positive(learning_rate=learning_rate)
        self.factors, self.reg, self.iterations, self.seed = factors, reg, iterations, seed
        self.bias_reg, self.learning_rate, self.batch_size = bias_reg, learning_rate, batch_size
        self.warm_start = warm_start

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        validation: Callable[[BPR], float] | None = None,
        patience: int = 3,
    ) -> BPR:
        """Learn from likes.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked
        validation, patience : early stopping, see `training.FitMonitor`; larger is better

        Raises
        ------
        ValueError for an empty or negative matrix, a user who likes every item (no negative is
        left), or a warm start with other items or fewer users; FloatingPointError when the descent
        diverges.
        """
        train = check_train(train)
        rng = np.random.default_rng(self.seed)
        tables = self._start(train.shape, rng)
        users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
        negatives = UniformNegatives(train)

        def batches():
            order = rng.permutation(train.nnz)
            triples = np.stack([users, train.indices, negatives.draw(users, rng)])[:, order]
            return torch.from_numpy(triples).split(self.batch_size, dim=1)

        monitor = FitMonitor(self, self.iterations, validation=validation, patience=patience)
        with one_torch_thread():
            for epoch in monitor:
                rate = self.learning_rate * (1.0 - (epoch - 1) / monitor.iterations)
                total = sum(self._step(tables, batch, rate) for batch in batches())
                self._store_factors(tables)
                monitor.record(objective=total / train.nnz)
        self.history_ = monitor.finish()
        return self

    def _start(self, shape: tuple[int, int], rng: np.random.Generator) -> list[Tensor]:
        """Tables of user vectors, item vectors and item biases (n_items,) to descend from."""
        scale = 0.1 / np.sqrt(self.factors)
        users, items = (rng.normal(0.0, scale, (n, self.factors)) for n in shape)
        bias = np.zeros(shape[1])
        if self.warm_start and hasattr(self, "item_factors_"):
            check_same(self.item_factors_, items.shape)
            known = self.user_factors_
            check_same(known, (min(len(known), shape[0]), self.factors))
            users[: len(known)], items, bias = known, self.item_factors_, self.item_bias_
        tables = [torch.tensor(table) for table in (users, items, bias)]
        self._store_factors(tables)
        return tables

    def _step(self, tables: list[Tensor], triples: Tensor, rate: float) -> float:
        """Descend on the objective of triples (3, batch), summed, in place; its value before that.

        A sum, not a mean: Rendle et al. take a step per triple, here a batch of them. The gradient
        is written out, which was measured to be three times as fast as deriving it each time.
        """
        u, i, j = triples
        users, items, biases = tables
        p, q_i, q_j = users.index_select(0, u), items.index_select(0, i), items.index_select(0, j)
        b_i, b_j, difference = biases[i], biases[j], q_i - q_j
        x = (p * difference).sum(1) + b_i - b_j  # x_ui - x_uj, (batch,)
        squares = sum(torch.dot(v.view(-1), v.view(-1)) for v in (p, q_i, q_j))
        penalty = self.reg * squares + self.bias_reg * (b_i @ b_i + b_j @ b_j)
        pull = rate * torch.sigmoid(-x)  # down the slope of -log sigmoid(x)
        shrink, bias_shrink = 2 * rate * self.reg, 2 * rate * self.bias_reg
        toward = pull[:, None] * p  # (batch, factors)
        wide = (-1, self.factors)  # scatter_add_ is faster than index_add_
        users.scatter_add_(0, u[:, None].expand(wide), pull[:, None] * difference - shrink * p)
        items.scatter_add_(0, i[:, None].expand(wide), toward - shrink * q_i)
        items.scatter_add_(0, j[:, None].expand(wide), -toward - shrink * q_j)
        biases.index_add_(0, i, pull - bias_shrink * b_i)
        biases.index_add_(0, j, -pull - bias_shrink * b_j)
        return (softplus(-x).sum() + penalty).item()

    def _store_factors(self, tables: list[Tensor]) -> None:
        self.user_factors_, self.item_factors_, self.item_bias_ = (t.numpy() for t in tables)

    def fold_in(self, history: sparse.csr_matrix) -> np.ndarray:
        """Vectors of users from their likes, the items staying as they are.

        Minimises the training loss over p_u, each like against a fixed sample of negatives. The
        loss is convex in p_u; the bound of Jaakkola & Jordan (2000, doi:10.1023/A:1008932416310)

            -log sigmoid(x) <= t(z) (x - 1 / (4 t(z)))^2 + constant,  t(z) = tanh(z / 2) / (4 z)

        with equality at x = +-z turns every step into a ridge regression for all users at once,
        and no step can raise the loss. The sample depends on the user's own history alone.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked

        Returns
        -------
        ndarray (n_users, factors); zeros for a user who likes nothing, or everything

        Raises
        ------
        ValueError as `score`.
        """
        history = check_history(history, len(self.item_factors_))
        return fold_in(self, history)

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """b_i + p_u . q_i (n_users, n_items), on no particular scale, by `fold_in`.

        An empty history gets the item biases, close to a popularity ranking.
        """
        return self.fold_in(history) @ self.item_factors_.T + self.item_bias_
