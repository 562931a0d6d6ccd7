"""Learning with noise, so that nobody's presence can be read off the result: DP-SGD over users.

The module is a little long, since its one class says what is private, what is public, and at what
price.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_positive, check_shape, check_within
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.trust.accountant import sampled_gaussian_epsilon

__all__ = ["PrivateTowers", "clipped_sum"]


class PrivateTowers:
    """Two towers with linear heads on public item features, trained by DP-SGD over users.

        score(u, i) = x_u A . f_i B + w log(1 + n_i),   x_u = sum of f over likes / sqrt(likes)

    The loss of a user is that of `TwoTower.fit`: a random share of their likes is shown, drawn from
    0 to 0.9, and -log softmax of the others over the catalogue, without the shown ones, is to be
    small. A step (Abadi et al. 2016, doi:10.1145/2976749.2978318, algorithm 1, with users for
    examples) draws each user with the chance `rate`, makes each one's gradient no longer than
    `max_norm`, and adds noise to the sum:

        g = ( sum over drawn u of g_u min(1, max_norm / |g_u|) + noise max_norm N(0, I) ) / (rate n)

    The gradients of one user are outer products, r the softmax minus the share of the targets:

        dA = x_u (r F B)',   dB = (r F) (x_u A)',   dw = r . log(1 + n)

    so that their lengths cost no more than training does. Adam then makes the step; what it does
    with g gives nothing away. Everything is float64 without a GPU.

    The account (`epsilon`) is of the users' likes, and takes as public: the catalogue and its
    features, the number n of training users, and all settings. It does not hold what was spent by
    choosing settings on the same users. The defaults spend epsilon = 30 at delta = 1e-5, which
    promises next to nothing: they are for trying out, `noise_for` is for choosing.

    Parameters
    ----------
    features : ndarray (n_items, n_features), public, such as vectors of titles
    dim : int >= 1
    noise : float >= 0, in multiples of max_norm; 0 trains without privacy
    max_norm : float > 0, of a user's gradient; inf clips nothing
    rate : float in (0, 1]
    steps : int >= 1
    learning_rate : float > 0, Adam's
    seed : int or sequence of int, of the start, the drawing and the noise. Whoever knows it can
        take the noise away: in earnest it is a secret, and no other noise comes from it

    Attributes
    ----------
    a_, b_ : ndarray (n_features, dim), the heads
    w_ : float, the popularity prior's weight
    n_users_ : int, training users

    Raises
    ------
    ValueError for numbers out of range.
    """

    def __init__(
        self,
        features: np.ndarray,
        dim: int = 16,
        *,
        noise: float = 1.0,
        max_norm: float = 1.0,
        rate: float = 0.25,
        steps: int = 200,
        learning_rate: float = 0.02,
        seed: int = 0,
    ):
        check_at_least(1, dim=dim, steps=steps)
        check_at_least(0, noise=noise)
        check_within(0, 1, rate=rate)
        check_positive(rate=rate, learning_rate=learning_rate)
        if not max_norm > 0 or (noise and np.isinf(max_norm)):
            raise ValueError(f"max_norm must be positive, and finite with noise, got {max_norm}")
        self.features, self.dim = np.asarray(features, dtype=np.float64), dim
        self.noise, self.max_norm, self.rate, self.steps = noise, max_norm, rate, steps
        self.learning_rate, self.seed = learning_rate, seed

    def fit(self, train: sparse.csr_matrix, popularity: np.ndarray | None = None) -> PrivateTowers:
        """Learn.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items) of ones
        popularity : ndarray (n_items,) >= 0, n_i; None for no prior. The exact numbers of likes
            would give users away: take `laplace_counts`, and add its epsilon

        Raises
        ------
        ValueError for another number of items, or a popularity of another shape or below 0.
        """
        train = check_train(train)
        n_items = train.shape[1]
        check_shape("features", self.features, (n_items, self.features.shape[-1]))
        popularity = np.zeros(n_items) if popularity is None else np.asarray(popularity, float)
        if popularity.shape != (n_items,) or not (popularity >= 0).all():
            raise ValueError(f"popularity must be {n_items} numbers, none below 0")
        self.prior_, self.n_users_ = np.log1p(popularity), train.shape[0]
        rng = np.random.default_rng(self.seed)
        shape = (self.features.shape[1], self.dim)
        spread = 1 / np.sqrt(self.features.shape[1])
        self.a_, self.b_ = rng.normal(0, spread, shape), rng.normal(0, spread, shape)
        self.w_ = 1.0
        first, second = np.zeros(2 * self.a_.size + 1), np.zeros(2 * self.a_.size + 1)
        for step in range(1, self.steps + 1):
            drawn = np.flatnonzero(rng.random(self.n_users_) < self.rate)
            g = self._noisy_gradient(*_divided(train[drawn], rng), rng)
            first += 0.1 * (g - first)
            second += 0.001 * (g * g - second)
            mean = first / (1 - 0.9**step)
            self._move(mean / (np.sqrt(second / (1 - 0.999**step)) + 1e-8))
        return self

    def _move(self, direction: np.ndarray) -> None:
        change = self.learning_rate * direction
        self.a_ -= change[: self.a_.size].reshape(self.a_.shape)
        self.b_ -= change[self.a_.size : -1].reshape(self.b_.shape)
        self.w_ -= change[-1]

    def _noisy_gradient(self, shown, hidden, rng) -> np.ndarray:
        """g, all parameters in one row: A, B, w."""
        total = clipped_sum(*self.user_gradients(shown, hidden), self.max_norm)
        if self.noise:
            total += self.noise * self.max_norm * rng.normal(size=total.shape)
        return total / (self.rate * self.n_users_)

    def user_gradients(self, shown: sparse.csr_matrix, hidden: sparse.csr_matrix) -> tuple:
        """Each user's gradients, in the factors of their outer products.

        Parameters
        ----------
        shown, hidden : csr_matrix (n, n_items), what is read of each user, and what is to be found

        Returns
        -------
        x, r F B, r F, x A, dw : ndarray (n, n_features), (n, dim), (n, n_features), (n, dim), (n,)
        """
        x = self._pooled(shown)  # (n, n_features)
        items, users = self.features @ self.b_, x @ self.a_  # (n_items, dim), (n, dim)
        scores = users @ items.T + self.w_ * self.prior_  # (n, n_items)
        scores[shown.nonzero()] = -np.inf
        scores -= scores.max(axis=1, keepdims=True)
        residual = np.exp(scores)
        residual /= residual.sum(axis=1, keepdims=True)
        n_hidden = np.diff(hidden.indptr)[:, None]
        residual[n_hidden[:, 0] == 0] = 0.0  # nothing to find, no gradient
        residual -= hidden.toarray() / np.maximum(n_hidden, 1)
        mapped = residual @ self.features  # r F, (n, n_features)
        return x, mapped @ self.b_, mapped, users, residual @ self.prior_

    def _pooled(self, history: sparse.csr_matrix) -> np.ndarray:
        total = np.asarray(history.sum(axis=1))
        return (history @ self.features) / np.sqrt(np.maximum(total, 1.0))

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items), float64."""
        history = check_history(history, len(self.features))
        items = self.features @ self.b_
        return self._pooled(history) @ self.a_ @ items.T + self.w_ * self.prior_

    def epsilon(self, delta: float = 1e-5, fits: int = 1) -> float:
        """What training has spent, see `sampled_gaussian_epsilon`; inf without noise.

        Parameters
        ----------
        delta : float in (0, 1): far below 1 / n_users, or a few users may be given away whole
        fits : int >= 1, how often the model has been trained anew with the same users in it

        Returns
        -------
        float
        """
        if not self.noise:
            return np.inf
        return sampled_gaussian_epsilon(self.rate, self.noise, self.steps * fits, delta)


def clipped_sum(x, by_a, y, by_b, dw, max_norm: float) -> np.ndarray:
    """The sum of users' gradients, each no longer than `max_norm`.

    Parameters
    ----------
    x, by_a, y, by_b, dw : what `PrivateTowers.user_gradients` gives: dA = x by_a', dB = y by_b'
    max_norm : float > 0

    Returns
    -------
    ndarray (2 n_features dim + 1,): A, B, w
    """
    squares = [(part**2).sum(axis=1) for part in (x, by_a, y, by_b)]
    length = np.sqrt(squares[0] * squares[1] + squares[2] * squares[3] + dw**2)  # (n,)
    scale = np.minimum(1.0, max_norm / np.maximum(length, 1e-300))
    a, b = (x * scale[:, None]).T @ by_a, (y * scale[:, None]).T @ by_b
    return np.concatenate([a.ravel(), b.ravel(), [scale @ dw]])


def _divided(likes: sparse.csr_matrix, rng) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """A random share of each user's likes, 0 to 0.9, and the others."""
    share = np.repeat(rng.uniform(0, 0.9, likes.shape[0]), np.diff(likes.indptr))
    shown, hidden = likes.copy(), likes.copy()
    kept = rng.random(likes.nnz) < share
    shown.data, hidden.data = likes.data * kept, likes.data * ~kept
    shown.eliminate_zeros()
    hidden.eliminate_zeros()
    return shown, hidden
