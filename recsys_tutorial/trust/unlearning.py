"""Forgetting a user: exactly, where a model is a solved equation; nearly, where it was iterated.

What must come out is the model that never saw the user. "Machine unlearning" (Cao & Yang 2015,
doi:10.1109/SP.2015.35) is exact where it does.
"""

from __future__ import annotations

import copy

import numpy as np
from scipy import linalg, sparse

from recsys_tutorial._checks import check_at_least, check_positive, check_shape
from recsys_tutorial._likes import as_likes, check_history, check_train
from recsys_tutorial.models import ImplicitALS

__all__ = ["ForgettingEASE", "downdated", "forget_by_sweeps"]


def downdated(inverse: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(A - V'V)^-1 from P = A^-1, for few rows V: what the rows added is taken back out.

    By the matrix inversion lemma (Woodbury; Golub & Van Loan 2013, section 2.1.4)

        (A - V'V)^-1 = P + P V' (I - V P V')^-1 V P

    which takes about 2 n^2 k operations, where inverting anew takes n^3.

    Parameters
    ----------
    inverse : ndarray (n, n), P, symmetric and positive definite
    rows : ndarray (k, n), V

    Returns
    -------
    ndarray (n, n), float64

    Raises
    ------
    ValueError
        For other shapes, and where A - V'V is not positive definite: the rows were not in A.

    Examples
    --------
    >>> downdated(np.linalg.inv([[3.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 1.0]])).round(6)
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    rows = np.asarray(rows, dtype=np.float64)
    n = rows.shape[-1]
    check_shape("rows", rows, (len(rows), n))
    check_shape("inverse", inverse, (n, n), why=f" for rows of {n}")
    mapped = rows @ inverse  # V P, (k, n)
    try:
        factor = np.linalg.cholesky(np.eye(len(rows)) - mapped @ rows.T)  # (k, k)
    except np.linalg.LinAlgError:
        raise ValueError("these rows are not among those that were inverted") from None
    half = linalg.solve_triangular(factor, mapped, lower=True)  # (k, n)
    return inverse + half.T @ half


class ForgettingEASE:
    """`models.EASE` that can take users back out; the result is that of never having seen them.

    It keeps P = (X'X + reg I)^-1 of the items that somebody liked. A user with likes x only adds
    x'x to the matrix that was inverted, so that `downdated` removes them. Of the training users
    nothing else is kept: who wants to be forgotten has to be named by what they liked.

    Parameters
    ----------
    reg : float > 0, the L2 penalty, as of `models.EASE`

    Attributes
    ----------
    active_ : int ndarray (n_active,), columns that somebody liked
    counts_ : ndarray (n_active,), how many users like each of them
    inverse_ : ndarray (n_active, n_active), P

    Raises
    ------
    ValueError for a reg that is not positive and finite.

    Examples
    --------
    >>> likes = sparse.csr_matrix([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    >>> model = ForgettingEASE(1.0).fit(likes).forget(likes[2])
    >>> never_seen = ForgettingEASE(1.0).fit(likes[:2])
    >>> bool(np.allclose(model.score(likes), never_seen.score(likes)))
    True
    """

    def __init__(self, reg: float = 200.0):
        check_positive(reg=reg)
        self.reg = reg

    def fit(self, train: sparse.csr_matrix) -> ForgettingEASE:
        """Solve.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items) of ones
        """
        train = _ones(check_train(train), "train")
        counts = np.bincount(train.indices, minlength=train.shape[1])
        self.n_items_ = train.shape[1]
        self.active_ = np.flatnonzero(counts)
        self.counts_ = counts[self.active_]
        x = train[:, self.active_]
        gram = (x.T @ x).toarray()  # (n_active, n_active)
        gram.flat[:: len(gram) + 1] += self.reg
        factor = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
        self.inverse_ = linalg.cho_solve(factor, np.eye(len(gram)), overwrite_b=True)
        return self

    def forget(self, likes: sparse.csr_matrix) -> ForgettingEASE:
        """Take users out. Films that only they liked go with them: their column was a trace.

        Parameters
        ----------
        likes : csr_matrix (n_forgotten, n_items) of ones, all that each of them liked in training

        Raises
        ------
        ValueError
            When somebody among them cannot have been in the training part, or nobody is left.
        """
        likes = _ones(as_likes(likes, "likes", self.n_items_), "likes")
        counts = np.zeros(self.n_items_, dtype=np.int64)
        counts[self.active_] = self.counts_
        counts -= np.bincount(likes.indices, minlength=self.n_items_)
        if counts.min() < 0:
            column = int(counts.argmin())
            raise ValueError(f"column {column} was liked by fewer users than are to be forgotten")
        if not counts.any():
            raise ValueError("nobody would be left")
        inverse = downdated(self.inverse_, likes[:, self.active_].toarray())
        kept = counts[self.active_] > 0
        if not kept.all():  # in X'X such a film has zeros by now, so that P falls into two blocks
            inverse = inverse[np.ix_(kept, kept)]
        self.inverse_, self.active_ = inverse, self.active_[kept]
        self.counts_ = counts[self.active_]
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): history @ B, B_ij = -P_ij / P_jj; 0 for items that nobody liked."""
        history = check_history(history, self.n_items_)[:, self.active_]
        diagonal = np.diag(self.inverse_)  # (n_active,)
        scores = np.zeros((history.shape[0], self.n_items_))
        # Off the diagonal alone: what is liked does not speak for itself.
        scores[:, self.active_] = history.toarray() - (history @ self.inverse_) / diagonal
        return scores


def forget_by_sweeps(model: ImplicitALS, rest: sparse.csr_matrix, sweeps: int) -> ImplicitALS:
    """ALS without some users: their vectors deleted, and what they left in the others' worn off.

    A user's vector is theirs alone, and deleting it is exact. But each item vector was solved with
    it (also those of films they never liked: all pairs count), and so each other user's. A sweep
    solves all of them anew without the user. What is fixed in a sweep still comes from the last
    one: only where sweeps converge is nothing left, and then it may be another minimum than that of
    a model which never saw them.

    Parameters
    ----------
    model : ImplicitALS, fitted; it is not changed
    rest : csr_matrix (n_rest, n_items), the likes of those who stay
    sweeps : int >= 0; 0 deletes the user vectors alone, and item vectors stay as they are

    Returns
    -------
    ImplicitALS, with the settings of the given one

    Raises
    ------
    ValueError
        For a negative number, and from `ImplicitALS.fit`.
    """
    check_at_least(0, sweeps=sweeps)
    forgetting = copy.deepcopy(model)
    forgetting.warm_start, forgetting.iterations = True, sweeps
    forgetting.fit(rest)
    forgetting.warm_start, forgetting.iterations = model.warm_start, model.iterations
    return forgetting


def _ones(likes: sparse.csr_matrix, name: str) -> sparse.csr_matrix:
    """The same; ValueError for another value, which could not be told from another user's."""
    if (likes.data != 1).any():
        raise ValueError(f"{name} must be ones, got {likes.data[likes.data != 1][0]}")
    return likes
