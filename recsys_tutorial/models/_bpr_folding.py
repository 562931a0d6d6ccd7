"""`BPR.fold_in`: vectors of users by ridge regressions that bound the loss; `model` is a BPR."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import sparse

from recsys_tutorial._likes import as_likes
from recsys_tutorial.models.ridge import BatchedRidge
from recsys_tutorial.sampling import UniformNegatives

_NEGATIVES = 8  # per like


def fold_in(
    model, history: sparse.csr_matrix, *, steps: int = 25, block_values: int = 2**22
) -> np.ndarray:
    """Vectors (n_users, factors) of users from their likes, as `BPR.fold_in` says.

    Takes at most `steps` steps for a user, and holds about `block_values` numbers of the pairs'
    vectors at a time (2^22: 32 MB): users are taken in groups that fit, which changes no result.
    """
    pairless = np.diff(history.indptr) == history.shape[1]  # likes all: no negative is left
    if pairless.any():
        history = as_likes(sparse.diags_array(1.0 - pairless) @ history, "history")
    group = history.indptr[:-1] * _NEGATIVES * model.factors // block_values
    edges = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
    vectors = [np.zeros((0, model.factors))]
    for start, stop in itertools.pairwise(edges):
        vectors.append(_Pairs(model, history[start:stop]).minimise(steps))
    return np.concatenate(vectors)


class _Pairs:
    """A group of users, and each of their likes against `_NEGATIVES` items that they did not like.

    x_p = p_u . difference_p + shift_p is by how much the liked item of pair p scores above the
    other.
    """

    def __init__(self, model, history: sparse.csr_matrix):
        n = np.diff(history.indptr)
        users = np.repeat(np.arange(len(n)), n)
        uniform = np.random.default_rng(model.seed).random((n.max(initial=0), _NEGATIVES))
        negatives = UniformNegatives(history)
        place = np.arange(history.nnz) - history.indptr[users]  # the user's first, second, ... like
        r = (uniform[place] * negatives.n_left_[users, None]).astype(np.int64)
        j = negatives.pick(users[:, None], r).ravel()
        i = np.repeat(history.indices, _NEGATIVES)
        self.user = np.repeat(users, _NEGATIVES)
        self.difference = model.item_factors_[i] - model.item_factors_[j]  # (n_pairs, factors)
        self.shift = model.item_bias_[i] - model.item_bias_[j]  # (n_pairs,)
        pairs = sparse.csr_matrix(
            (np.ones(len(i)), np.arange(len(i)), history.indptr * _NEGATIVES),
            shape=(len(n), len(i)),
        )
        self.ridge = BatchedRidge(pairs, model.factors)
        # Training penalises a user's vector once a triple: in proportion to the number of pairs.
        strength = np.maximum(model.reg, 1e-6) * np.maximum(n, 1) * _NEGATIVES
        self.penalty = np.repeat(strength[:, None], model.factors, axis=1)

    def minimise(self, steps: int) -> np.ndarray:
        """Vectors (n_users, factors) with the least loss, from 0."""
        vectors = np.zeros(self.penalty.shape)
        for _ in range(steps):
            x = np.einsum("pk,pk->p", self.difference, vectors[self.user]) + self.shift
            z = np.maximum(np.abs(x), 1e-6)
            t = np.tanh(z / 2) / (4 * z)
            new, _ = self.ridge.solve(self.difference, 1 / (4 * t) - self.shift, self.penalty, t)
            # A user who has arrived stays, so that nobody's result depends on who else is here.
            moving = np.abs(new - vectors).max(axis=1, initial=0.0) > 1e-5
            vectors[moving] = new[moving]
            if not moving.any():
                break
        return vectors
