"""EASE: the linear baseline that is hardest to beat."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from recsys_tutorial._checks import check_positive
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.models._ease_users import UserSolution


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

    A service fits again and again, while few users come or like something new. With `warm_start`
    the second way then borders M instead of inverting anew: the fits of twelve windows of 100,000
    ratings took 0.4 times as long. Rows stay a user's own by `splits.SteadyRows`.

    With `user_weights` w_u the squared error of user u counts w_u times: the rows of X are scaled
    by sqrt(w_u). Weights that fade with a user's age let recent tastes decide.

    Parameters
    ----------
    reg : float > 0, the L2 penalty; larger means smoother and closer to co-counting
    warm_start : bool, go on from the last `fit`: of the same items, and of the same users in the
        same rows, whatever they like by now. New users' rows come after theirs. The result is that
        of a fit from nothing (to 1e-10 for reg >= 1)

    Attributes
    ----------
    method_ : "items" or "users", the matrix that was inverted

    Raises
    ------
    ValueError for a reg that is not positive and finite.
    """

    def __init__(self, reg: float = 200.0, *, warm_start: bool = False):
        check_positive(reg=reg)  # without it X'X is singular
        self.reg, self.warm_start = reg, warm_start

    def fit(self, train: sparse.csr_matrix, user_weights: np.ndarray | None = None) -> EASE:
        """Solve.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked
        user_weights : ndarray (n_users,), >= 0; None for ones

        Raises
        ------
        ValueError for an empty matrix, weights of another shape, negative or not finite, a reg so
        small that it is lost in rounding, and a warm start with other items or fewer users.
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
        n_likes = np.diff(train.indptr)
        # columns somebody liked; all others score 0
        self.active_ = np.flatnonzero(np.bincount(train.indices, minlength=self.n_items_))
        if np.count_nonzero(n_likes) < len(self.active_):
            self.method_ = "users"
            self._users = self._solve_users(train.copy() if self.warm_start else train[n_likes > 0])
            if not self._users.d.max() < 1:
                raise ValueError(f"reg = {self.reg} is lost in rounding: raise reg")
        else:
            self.method_, self._users = "items", None
            x = train[:, self.active_]
            inverse = _inverse(_dense(x.T @ x), self.reg)  # P, (n_active, n_active)
            inverse /= -np.diag(inverse)
            np.fill_diagonal(inverse, 0.0)
            self._weights = inverse  # B
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): history @ B; 0 for items that nobody liked in training."""
        history = check_history(history, self.n_items_)
        if self.method_ == "users":
            return self._users.score(history)
        active = history[:, self.active_] @ self._weights
        if len(self.active_) == self.n_items_:
            return active
        scores = np.zeros(history.shape)
        scores[:, self.active_] = active
        return scores

    def arrays(self) -> dict[str, np.ndarray]:
        """What `fit` learned, for a file; `from_arrays` makes the same model of it.

        The way over users keeps their likes: a file of it is as private as they are.

        Returns
        -------
        dict of ndarray: "n_items" and either "active" (n_active,) and "weights" (n_active,
        n_active), B; or the likes of the users as "data", "indices" and "indptr" of a csr_matrix,
        scaled by their weights, with "inverse" (n_users, n_users), M, and "diagonal" (n_items,), d
        """
        n_items = np.array(self.n_items_)
        if self.method_ == "items":
            return {"n_items": n_items, "active": self.active_, "weights": self._weights}
        x = self._users.x
        likes = {"data": x.data, "indices": x.indices, "indptr": x.indptr}
        return likes | {
            "n_items": n_items,
            "inverse": self._users.inverse,
            "diagonal": self._users.d,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], reg: float) -> EASE:
        """A fitted model of what `arrays` gave.

        Parameters
        ----------
        arrays : dict of ndarray
        reg : float > 0, with which it was fitted

        Returns
        -------
        EASE
        """
        model = cls(reg)
        model.n_items_ = int(arrays["n_items"])
        if "weights" in arrays:
            model.method_, model._users = "items", None
            model.active_, model._weights = arrays["active"], arrays["weights"]
            return model
        parts = tuple(arrays[name] for name in ("data", "indices", "indptr"))
        x = sparse.csr_matrix(parts, shape=(len(parts[2]) - 1, model.n_items_))
        model.method_, model.active_ = "users", np.unique(x.indices)
        model._users = UserSolution(x, reg, arrays["inverse"], arrays["diagonal"])
        return model

    def _solve_users(self, x: sparse.csr_matrix) -> UserSolution:
        before = getattr(self, "_users", None) if self.warm_start else None
        solution = before.updated(x) if before and before.reg == self.reg else None
        if solution is None:
            inverse = _inverse(_dense(x @ x.T), self.reg)  # (n_users, n_users)
            solution = UserSolution(x, self.reg, inverse)
        return solution


def _dense(gram: sparse.csr_matrix) -> np.ndarray:
    """`toarray`, into memory of large pages: NumPy asks for them in `empty` and not in `zeros`.

    On Linux the Cholesky factor of 4,303 items takes half the time in them.
    """
    return gram.toarray(out=np.empty(gram.shape))


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
