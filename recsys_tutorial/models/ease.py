"""EASE: the linear baseline that is hardest to beat."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from recsys_tutorial._checks import check_positive
from recsys_tutorial._likes import check_history, check_train


class EASE:
    """Embarrassingly shallow autoencoder: a linear model from all liked items to each item.

    Minimises |X - X B|^2 + reg |B|^2 with diag(B) = 0. With P = (X'X + reg I)^-1 the solution is
    B_ij = -P_ij / P_jj off the diagonal (Steck 2019, doi:10.1145/3308558.3313710, equation 8).

    Two ways to the same scores; `fit` takes the cheaper one:

    - more users than items: invert X'X + reg I (items that nobody liked apart);
    - fewer users than items: the matrix inversion lemma gives P = (I - X' M X) / reg with
      M = (X X' + reg I)^-1, which is only n_users wide. B is never formed: with
      d_j = x_j' M x_j for item j's column x_j, history h scores (h X' M x_j - h_j d_j) / (1 - d_j).
      (1 - d_j loses digits where reg is tiny: scores are good to 1e-10 for reg >= 1e-4.)

    With `user_weights` w_u the squared error of user u counts w_u times: the rows of X are scaled
    by sqrt(w_u). Weights that fade with a user's age let recent tastes decide.

    Parameters
    ----------
    reg : float > 0, the L2 penalty; larger means smoother and closer to co-counting

    Attributes
    ----------
    method_ : "items" or "users", the matrix that was inverted

    Raises
    ------
    ValueError for a reg that is not positive and finite.
    """

    def __init__(self, reg: float = 200.0):
        check_positive(reg=reg)  # without it X'X is singular
        self.reg = reg

    def fit(self, train: sparse.csr_matrix, user_weights: np.ndarray | None = None) -> EASE:
        """Solve.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked
        user_weights : ndarray (n_users,), >= 0; None for ones

        Raises
        ------
        ValueError for an empty matrix, weights of another shape, negative or not finite, and a reg
        so small that it is lost in rounding.
        """
        train = check_train(train)
        self.n_items_ = train.shape[1]
        if user_weights is not None:
            w = np.asarray(user_weights, dtype=float)
            if w.shape != train.shape[:1]:
                raise ValueError(f"{train.shape[0]} users need as many weights, got {w.shape}")
            if not np.all((w >= 0) & (w < np.inf)):
                raise ValueError("user_weights must be finite and not negative")
            train = check_train(sparse.diags(np.sqrt(w)) @ train)
        self.active_ = np.unique(train.indices)  # columns somebody liked; all others score 0
        x = train[np.diff(train.indptr) > 0][:, self.active_]
        if x.shape[0] < x.shape[1]:
            self.method_ = "users"
            inverse = _inverse((x @ x.T).toarray(), self.reg)  # (n_users, n_users)
            self._x = x
            self._map = inverse @ x  # M X, (n_users, n_active)
            self._d = np.asarray(x.multiply(self._map).sum(axis=0)).ravel()  # (n_active,)
            if not self._d.max() < 1:
                raise ValueError(f"reg = {self.reg} is lost in rounding: raise reg")
        else:
            self.method_ = "items"
            inverse = _inverse((x.T @ x).toarray(), self.reg)  # P, (n_active, n_active)
            inverse /= -np.diag(inverse)
            np.fill_diagonal(inverse, 0.0)
            self._weights = inverse  # B
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): history @ B; 0 for items that nobody liked in training."""
        history = check_history(history, self.n_items_)
        h = history[:, self.active_]
        if self.method_ == "users":
            common = (h @ self._x.T).toarray()  # (n_users, n_train_users), hardly sparse any more
            active = common @ self._map - h.multiply(self._d)  # (n_users, n_active)
            active = np.asarray(active) / (1.0 - self._d)
        else:
            active = h @ self._weights
        if len(self.active_) == self.n_items_:
            return active
        scores = np.zeros(history.shape)
        scores[:, self.active_] = active
        return scores


def _inverse(gram: np.ndarray, reg: float) -> np.ndarray:
    """(gram + reg I)^-1 of a positive semi-definite matrix, overwriting it.

    Cholesky factor, then LAPACK's potri, which inverts on one triangle: about n^3 operations,
    where solving for the identity takes 7/3 n^3.
    """
    n = len(gram)
    too_small = f"reg = {reg} is lost in rounding beside the likes' Gram matrix: raise reg"
    if reg < n * np.finfo(np.float64).eps * gram.diagonal().max():
        raise ValueError(too_small)
    # LAPACK takes Fortran order without a copy, and the transpose is the same matrix. OpenBLAS was
    # measured to factorise the upper triangle three times as fast as the lower one.
    gram = gram if gram.flags.f_contiguous else gram.T
    gram.flat[:: n + 1] += reg  # the diagonal
    factor, info = linalg.lapack.dpotrf(gram, lower=False, overwrite_a=True, clean=False)
    if info == 0:
        inverse, info = linalg.lapack.dpotri(factor, lower=False, overwrite_c=True)
    if info:
        raise ValueError(too_small)
    inverse = inverse.T  # (n, n), C order, the lower triangle filled
    for start in range(0, n, 512):  # mirror it in blocks that fit the cache
        stop = min(start + 512, n)
        block = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = block + np.tril(block, -1).T
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
    return inverse
