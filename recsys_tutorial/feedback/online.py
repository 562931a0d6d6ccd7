"""A recommender kept up to date: users folded in, a head that moves by small steps, replay.

    r_ui ~ u . v_i,   v_i = (1, H x_i)                     H: the head on item i's encoder features
    u = argmin_u sum_j memory^age (y_j - e_j u . v_j)^2 + reg |u - u_0|^2           the fold-in

A shopper's evidence is kept as the sums A_u = sum f f' and b_u = sum f y of f = e_j (1, x_j), on
the features below the head. So a new head needs no second look at the log: v' A v is in the sums.

The ways of keeping the model up to date, in `ways`, are orders in which its methods are called.
"""

import numpy as np

from recsys_tutorial._checks import check_within
from recsys_tutorial.feedback.learners import LinearTastes, ridge


class OnlineTowers:
    """User vectors by fold-in over a linear head on item features.

    Parameters
    ----------
    features : ndarray (n_items, n_features), x
    n_shoppers : int
    examination : ndarray (n_slots,), e
    dim : int, rows of the head, at most n_features; it starts with the first features
    reg : see `LinearTastes`

    Attributes
    ----------
    head : ndarray (dim, n_features), H
    users : ndarray (n_shoppers, 1 + dim), u
    head_reg : float > 0, ridge penalty on the head when it is fitted afresh, 1

    Raises
    ------
    ValueError
        For a `dim` that is not 1 to n_features.
    """

    def __init__(
        self, features: np.ndarray, n_shoppers: int, examination: np.ndarray, dim: int = 8, *,
        reg: float = 10.0,
    ):  # fmt: skip
        n_items, n_features = features.shape
        check_within(1, n_features, dim=dim)
        x = np.column_stack([np.ones(n_items), features])
        self.evidence = LinearTastes(x, n_shoppers, examination, reg=reg)
        self.head, self.head_reg = np.eye(dim, n_features), 1.0
        self.users = np.zeros((n_shoppers, 1 + dim))

    @property
    def projection(self) -> np.ndarray:
        """(1 + dim, 1 + n_features): the head with the constant, so v_i = projection (1, x_i)."""
        dim, n_features = self.head.shape
        full = np.zeros((1 + dim, 1 + n_features))
        full[0, 0], full[1:, 1:] = 1.0, self.head
        return full

    def items(self) -> np.ndarray:
        """(n_items, 1 + dim): v."""
        return self.evidence.features @ self.projection.T

    def observe(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """Add lists and their clicks to the evidence; changes no prediction yet.

        Parameters
        ----------
        shown : int ndarray (n_shoppers, n_slots), item columns
        clicks : ndarray of the same shape, 0 or 1
        """
        self.evidence.update(shown, clicks)

    def fold_in(self) -> None:
        """All user vectors from the evidence, under the head as it is."""
        p, reg = self.projection, self.evidence.reg
        gram = p @ self.evidence.gram @ p.T  # (n_shoppers, 1 + dim, 1 + dim)
        moment = self.evidence.moment @ p.T  # (n_shoppers, 1 + dim)
        crowd = ridge(gram.sum(axis=0), moment.sum(axis=0), reg)
        self.users = ridge(gram, moment, reg, crowd)

    def refit(self, sweeps: int = 2) -> None:
        """Head and users fitted to all evidence in turn: what a night's retraining does.

        With users fixed, the head is one ridge regression with dim * n_features unknowns, whose
        normal equations are sum_u (u u') (x) A_u.

        Parameters
        ----------
        sweeps : int, how often users and head take turns
        """
        dim, n_features = self.head.shape
        gram, moment = self.evidence.gram, self.evidence.moment
        for _ in range(sweeps):
            self.fold_in()
            first, u = self.users[:, 0], self.users[:, 1:]  # (n_shoppers,), (n_shoppers, dim)
            outer = (u[:, :, None] * u[:, None, :]).reshape(len(u), -1)  # (n_shoppers, dim * dim)
            below = gram[:, 1:, 1:].reshape(len(u), -1)
            left = (outer.T @ below).reshape(dim, dim, n_features, n_features)
            left = left.transpose(0, 2, 1, 3).reshape(dim * n_features, -1)
            rest = moment[:, 1:] - first[:, None] * gram[:, 0, 1:]  # what the constant leaves
            left[np.diag_indices_from(left)] += self.head_reg
            self.head = np.linalg.solve(left, (u.T @ rest).ravel()).reshape(dim, n_features)
        self.fold_in()

    def step(self, shoppers, shown, slots, clicks, learning_rate: float) -> None:
        """One gradient step of the head on single impressions, users fixed.

        Parameters
        ----------
        shoppers, shown, slots : int ndarray (n,): who saw which item column in which slot
        clicks : ndarray (n,), 0 or 1
        learning_rate : float, of the mean squared error
        """
        f = self.evidence.features[shown] * self.evidence.examination[slots][:, None]
        u = self.users[shoppers]  # (n, 1 + dim)
        error = clicks - ((f @ self.projection.T) * u).sum(axis=1)  # (n,)
        gradient = -(u[:, 1:] * error[:, None]).T @ f[:, 1:] / len(f)  # (dim, n_features)
        self.head = self.head - learning_rate * gradient

    def scores(self) -> np.ndarray:
        """(n_shoppers, n_items): estimated attraction."""
        return self.users @ self.items().T
