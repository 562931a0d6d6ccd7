"""ImplicitALS: matrix factorization of likes, every user-item pair a weighted observation.

Two lines in five say what the one class does and takes, which makes the module a little long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_one_of, check_positive
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.models._factors import check_same, leading_directions
from recsys_tutorial.models._threads import one_blas_thread
from recsys_tutorial.models.ridge import BatchedRidge
from recsys_tutorial.training.monitor import FitMonitor

# An error of a step is mended by those that follow, so half the digits are enough for one.
_PRECISION = {"exact": np.float64, "cg": np.float32}

# Eigenvalues (k,) and eigenvectors (k, k) of Y'Y, and Y (n, k) in these directions.
Turned = tuple[np.ndarray, np.ndarray, np.ndarray]


class ImplicitALS:
    """Matrix factorization of likes, *all* user-item pairs weighted, by alternating least squares.

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
    seed : int, of the start: the leading singular directions of the likes, by a randomised method
    frequency_scaling : float, nu
    warm_start : bool, start from the item vectors of the last `fit`
    solver : "exact", or "cg": two steps of conjugate gradients from the last iteration's vectors
        (Takacs, Pilaszy & Tikk 2011, "Applications of the conjugate gradient method for implicit
        feedback collaborative filtering"), in float32. On 100,000 pairs it took a third of the time
        with 32 factors, a quarter with 64; over the test windows of `splits.rolling_split` NDCG@10
        differed by +0.0004 [-0.0005, +0.0014] and -0.0003 [-0.0007, -0.0000] (15 iterations,
        means of three seeds). Where both have converged, scores agree to 1e-6

    Attributes
    ----------
    user_factors_, item_factors_ : ndarray (n_users, factors), (n_items, factors)
    history_ : DataFrame per iteration: objective, and validation where asked for

    Raises
    ------
    ValueError for a setting out of its range.
    """

    def __init__(
        self,
        factors: int = 64,
        reg: float = 10.0,
        alpha: float = 10.0,
        iterations: int = 8,
        seed: int = 0,
        *,
        frequency_scaling: float = 0.0,
        warm_start: bool = False,
        solver: str = "exact",
    ):
        check_at_least(1, factors=factors)
        check_at_least(0, iterations=iterations)
        check_positive(reg=reg, alpha=alpha)
        if not np.isfinite(frequency_scaling):
            raise ValueError(f"frequency_scaling must be finite, got {frequency_scaling}")
        self.factors, self.reg, self.alpha, self.iterations = factors, reg, alpha, iterations
        check_one_of(_PRECISION, solver=solver)
        self.solver = solver
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
        validation, patience : early stopping, see `training.FitMonitor`; larger is better, for
            example ``lambda model: evaluate(model, split.validation)["ndcg@10"]``

        Raises
        ------
        ValueError for an empty or negative matrix, or a warm start with other sizes.
        """
        train = check_train(train)
        by_item = train.T.tocsr()
        confidence = np.concatenate([self._confidence(train), self._confidence(by_item)])
        self._scale = float((confidence**self.frequency_scaling).mean())
        user_reg, item_reg = np.split(self._row_reg(confidence), train.shape[:1])
        options = {"n_features": self.factors, "dtype": _PRECISION[self.solver]}
        users, items = BatchedRidge(train, **options), BatchedRidge(by_item, **options)
        turned = partial(_turned, dtype=_PRECISION[self.solver])
        with one_blas_thread():
            if self.warm_start and hasattr(self, "item_factors_"):
                check_same(self.item_factors_, (train.shape[1], self.factors))
                self.user_factors_, _ = self._half_step(
                    users, train, turned(self.item_factors_), user_reg
                )
            else:
                self._start(train)
            monitor = FitMonitor(self, self.iterations, validation=validation, patience=patience)
            for _ in monitor:
                self.item_factors_, _ = self._half_step(
                    items, by_item, turned(self.user_factors_), item_reg, self.item_factors_
                )
                self.user_factors_, minimum = self._half_step(
                    users, train, turned(self.item_factors_), user_reg, self.user_factors_
                )
                item_penalty = item_reg @ (self.item_factors_**2).sum(axis=1)
                monitor.record(objective=minimum + item_penalty)
        self.history_ = monitor.finish()
        return self

    def _start(self, train: sparse.csr_matrix) -> None:
        """Random vectors; the users' are the leading singular directions, if there are any."""
        rng = np.random.default_rng(self.seed)
        scale = 0.1 / np.sqrt(self.factors)  # the variance of x_u . y_i whatever the factors
        self.user_factors_ = rng.normal(0.0, scale, (train.shape[0], self.factors))
        self.item_factors_ = rng.normal(0.0, scale, (train.shape[1], self.factors))
        if self.iterations:
            directions = leading_directions(train, self.factors, rng)
            if self.solver == "cg":  # few steps do not make up for vectors far too short
                directions *= np.sqrt(np.linalg.norm(train.T @ directions, axis=0))
            self.user_factors_[:, : directions.shape[1]] = directions

    def fold_in(self, history: sparse.csr_matrix) -> np.ndarray:
        """Vectors of users from their likes: one half-step, all at once.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), r_ui >= 0

        Returns
        -------
        ndarray (n_users, factors), solved exactly: for a training user their row of `user_factors_`
        (about it after conjugate gradients); zeros without a like

        Raises
        ------
        ValueError as `score`.
        """
        history = check_history(history, len(self.item_factors_))
        reg = self._row_reg(self._confidence(history))
        # What nobody here likes is in Y'Y alone: the rest of the work does not grow with the items.
        columns, places = np.unique(history.indices, return_inverse=True)
        eigenvalues, v, turned = self._turned_items()
        liked = sparse.csr_matrix(
            (history.data, places, history.indptr), shape=(history.shape[0], len(columns))
        )
        ridge = BatchedRidge(liked, self.factors)
        return self._half_step(ridge, liked, (eigenvalues, v, turned[columns]), reg)[0]

    def _turned_items(self) -> Turned:
        """`_turned` of the items, made once as long as they stay what they are."""
        items = self.item_factors_
        kept, turned = getattr(self, "_kept", (None, None))
        same = kept is items or (kept is not None and np.array_equal(kept, items))
        if not same:
            turned = _turned(items)
            # What nobody can change need not be copied, and not be compared at every call.
            self._kept = items.copy() if items.flags.writeable else items, turned
        return turned

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """x_u . y_i (n_users, n_items), about 0 to 1, by `fold_in`.

        An empty history gets the mean of the training users' vectors, hence their mean scores:
        close to a popularity ranking.
        """
        history = check_history(history, len(self.item_factors_))
        vectors = self.fold_in(history)  # (n_users, factors)
        vectors[np.diff(history.indptr) == 0] = self.user_factors_.mean(axis=0)
        return vectors @ self.item_factors_.T  # (n_users, k) @ (k, n_items)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `score` needs of what `fit` learned, for a file; see `from_arrays`.

        Returns
        -------
        dict of ndarray: "item_factors" (n_items, factors), "mean_user" (factors,), the training
        users' mean, and "scale", the mean confidence to the power of nu
        """
        mean = self.user_factors_.mean(axis=0)
        return {
            "item_factors": self.item_factors_,
            "mean_user": mean,
            "scale": np.array(self._scale),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], **settings) -> ImplicitALS:
        """A model that scores as the fitted one; of its users only their mean is left.

        Parameters
        ----------
        arrays : dict of ndarray, as `arrays` gave it
        **settings : as for `ImplicitALS`, those of the fitted one

        Returns
        -------
        ImplicitALS, whose `item_factors_` are read-only
        """
        model = cls(**settings)
        model.item_factors_, model._scale = arrays["item_factors"].copy(), float(arrays["scale"])
        model.item_factors_.flags.writeable = False
        model.user_factors_ = arrays["mean_user"][None]  # (1, factors)
        return model

    def _half_step(
        self,
        ridge: BatchedRidge,
        likes: sparse.csr_matrix,
        other: Turned,
        reg: np.ndarray,
        last: np.ndarray | None = None,
    ) -> tuple[np.ndarray, float]:
        """Vectors of `likes`'s rows, given those of its columns and reg (n_rows,); the minimum.

        Row u minimises x'(G + reg_u I)x + sum over its likes of (w s^2 - 2 c s + c) with
        G = Y'Y, s = x . y_i, w = c - 1 = alpha r. In the eigenvectors V of G the first part is a
        diagonal penalty, and the second is w (c / w - s)^2 + constant: a ridge regression.
        """
        eigenvalues, v, vectors = other
        same = reg.size and reg.min() == reg.max()
        penalty = eigenvalues + (reg[0] if same else reg[:, None])  # (k,), (n, k)
        w = self.alpha * likes.data
        cg = self.solver == "cg" and last is not None
        start = last.astype(ridge.dtype) @ v if cg else None
        x, explained = ridge.solve(vectors, (1.0 + w) / w, penalty, w, start=start)
        return (x @ v.T).astype(np.float64), float((1.0 + w).sum() - explained.sum())

    def _confidence(self, likes: sparse.csr_matrix) -> np.ndarray:
        """(n_rows,): sum_i c_ui = n_columns + alpha * sum_i r_ui."""
        return likes.shape[1] + self.alpha * np.asarray(likes.sum(axis=1)).ravel()

    def _row_reg(self, confidence: np.ndarray) -> np.ndarray:
        return self.reg * confidence**self.frequency_scaling / self._scale


def _turned(vectors: np.ndarray, dtype: type = np.float64) -> Turned:
    """A matrix of vectors in the directions in which Y'Y is diagonal."""
    eigenvalues, v = np.linalg.eigh(vectors.T @ vectors)
    v = v.astype(dtype)
    return np.maximum(eigenvalues, 0.0), v, vectors.astype(dtype) @ v
