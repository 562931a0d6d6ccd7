"""BPR: matrix factorization of likes, learned from pairs of a liked item and another."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy import sparse

from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.models.implicit_als import check_same, check_sizes
from recsys_tutorial.models.ridge import BatchedRidge
from recsys_tutorial.models.sgd import epochs, one_torch_thread
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
    _FOLD_VALUES = 2**22  # numbers in the pairs' vectors at a time: 32 MB

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
        check_sizes(factors, iterations)
        for name, value in (("reg", reg), ("bias_reg", bias_reg)):
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if not learning_rate > 0 or batch_size < 1:
            raise ValueError(
                "learning_rate must be positive and batch_size at least 1, got "
                f"{learning_rate} and {batch_size}"
            )
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
        """Learn from likes; arguments and errors as in `ImplicitALS.fit`.

        Also ValueError when a user likes every item (no negative is left).
        """
        import torch
        from torch.nn.functional import embedding

        from recsys_tutorial.losses import bpr_loss  # here, so that the models import without torch

        train = check_train(train)
        negatives = UniformNegatives(train)
        rng = np.random.default_rng(self.seed)
        shapes = [(train.shape[0], self.factors), (train.shape[1], self.factors)]
        if self.warm_start and hasattr(self, "item_factors_"):
            check_same(self.user_factors_, shapes[0])
            check_same(self.item_factors_, shapes[1])
            start = [self.user_factors_, self.item_factors_, self.item_bias_[:, None]]
        else:
            scale = 0.1 / np.sqrt(self.factors)
            start = [rng.normal(0.0, scale, shape) for shape in shapes]
            start.append(np.zeros((train.shape[1], 1)))
        tables = [torch.tensor(table, requires_grad=True) for table in start]
        optimizer = torch.optim.SGD(tables, lr=self.learning_rate)
        users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
        self._keep(tables)
        monitor = FitMonitor(self, self.iterations, validation=validation, patience=patience)
        with one_torch_thread():
            for _ in epochs(monitor, optimizer, self.learning_rate):
                total = 0.0
                order = rng.permutation(train.nnz)
                triples = np.stack([users, train.indices, negatives.draw(users, rng)])[:, order]
                for u, i, j in torch.from_numpy(triples).split(self.batch_size, dim=1):
                    # sparse: the gradient names the rows of this batch and no others
                    p_u, q_i, q_j = (
                        embedding(rows, table, sparse=True)
                        for rows, table in ((u, tables[0]), (i, tables[1]), (j, tables[1]))
                    )
                    b_i, b_j = (embedding(rows, tables[2], sparse=True)[:, 0] for rows in (i, j))
                    x_ui, x_uj = b_i + (p_u * q_i).sum(1), b_j + (p_u * q_j).sum(1)  # (batch,)
                    squares = sum((vectors**2).sum() for vectors in (p_u, q_i, q_j))
                    penalty = self.reg * squares + self.bias_reg * (b_i**2 + b_j**2).sum()
                    # A sum, not a mean: Rendle et al. take a step per triple, here a batch of them.
                    loss = bpr_loss(x_ui, x_uj) * len(u) + penalty
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    total += loss.item()
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
        and no step can raise the loss. The sample depends on the user's own history alone. Zeros
        for a user who likes nothing, or everything.
        """
        history = check_history(history, len(self.item_factors_))
        pairless = np.diff(history.indptr) == history.shape[1]  # likes all: no negative is left
        if pairless.any():
            history = (sparse.diags_array((~pairless).astype(np.float64)) @ history).tocsr()
            history.eliminate_zeros()
        # Users are taken in groups whose pairs' vectors fit the budget; a group changes no result.
        values = history.indptr * self._FOLD_NEGATIVES * self.factors
        group = values[:-1] // self._FOLD_VALUES
        edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
        vectors = [np.zeros((0, self.factors))]
        for start, stop in itertools.pairwise(edges):
            vectors.append(self._fold_in_group(history[start:stop]))
        return np.concatenate(vectors)

    def _fold_in_group(self, history: sparse.csr_matrix) -> np.ndarray:
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
            new, _ = ridge.solve(difference, 1 / (4 * t) - shift, penalty, t)
            # A user who has arrived stays, so that nobody's result depends on who else is here.
            moving = np.abs(new - vectors).max(axis=1, initial=0.0) > 1e-5
            vectors[moving] = new[moving]
            if not moving.any():
                break
        return vectors

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """b_i + p_u . q_i for users who show what they liked, known or new.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), r_ui >= 0

        Returns
        -------
        ndarray (n_users, n_items), on no particular scale. An empty history gets the item biases,
        close to a popularity ranking.
        """
        return self.fold_in(history) @ self.item_factors_.T + self.item_bias_

    def _keep(self, tables) -> None:
        user_factors, item_factors, item_bias = (t.detach().numpy() for t in tables)
        self.user_factors_, self.item_factors_ = user_factors, item_factors
        self.item_bias_ = item_bias[:, 0]
