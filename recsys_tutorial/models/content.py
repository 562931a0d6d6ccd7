"""Content-based scores from item vectors, and their blend with other models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_positive, finite_vectors
from recsys_tutorial._likes import as_likes, check_history
from recsys_tutorial.ranking import standardize


class ContentKernel:
    """Each liked item speaks for the items whose content is like its own.

        score(u, i) = sum over j liked by u of max(0, cos(v_i, v_j)) ^ power

    With power 1 and no negative cosine this is the user's mean vector times the item's (times the
    number of likes): a profile. A larger power lets only near neighbours speak, so that two tastes
    do not blur into a third. Nothing is learned from likes, so an item that nobody liked yet is
    scored like any other.

    Parameters
    ----------
    vectors : ndarray or csr_matrix (n_items, dim)
        One row per item, of any length; a row of zeros is like nothing.
    power : float > 0
        Sharpness of the kernel.
    center : bool
        Subtract the items' mean vector first: what all items share says nothing about taste. Not
        for a csr_matrix, whose zeros it would fill.

    Raises
    ------
    ValueError for a power that is not positive and finite, and for vectors as `unit_rows`.
    """

    def __init__(
        self, vectors: np.ndarray | sparse.csr_matrix, power: float = 4.0, center: bool = True
    ):
        check_positive(power=power)
        self.power, self.center = power, center
        self.vectors_ = unit_rows(vectors, center=center)

    def fit(self, train: sparse.csr_matrix) -> ContentKernel:
        """Nothing to learn; ValueError unless `train` has a column for each item."""
        if as_likes(train, "train").shape[1] != self.vectors_.shape[0]:
            raise ValueError(f"train has {train.shape[1]} items, vectors {self.vectors_.shape[0]}")
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the summed kernel of each item with what the user liked."""
        history = check_history(history, self.vectors_.shape[0])
        liked = np.unique(history.indices)  # only their rows of the kernel are needed
        if not len(liked):
            return np.zeros(history.shape)
        cosine = self.vectors_[liked] @ self.vectors_.T  # (n_liked, n_items)
        kernel = cosine.toarray() if sparse.issparse(cosine) else cosine
        np.maximum(kernel, 0.0, out=kernel)
        if self.power != 1:
            np.power(kernel, self.power, out=kernel)
        return history[:, liked] @ kernel


class Blend:
    """A weighted sum of standardised scores: the simplest hybrid.

        score(u, i) = sum over models m of weight_m (s_mui - mean_i s_mui) / std_i s_mui

    Scores of different models have different units; the standard deviation over a user's row of
    scores is their common one.

    Parameters
    ----------
    models : sequence of recommenders
    weights : sequence of float, one each

    Raises
    ------
    ValueError for no models, another number of weights, and weights that are not finite.
    """

    def __init__(self, models: Sequence, weights: Sequence[float]):
        if len(models) != len(weights) or not len(models):
            raise ValueError(f"{len(models)} models need as many weights, got {len(weights)}")
        if not np.isfinite(weights).all():
            raise ValueError(f"weights must be finite, got {list(weights)}")
        self.models, self.weights = list(models), [float(weight) for weight in weights]

    def fit(self, train: sparse.csr_matrix) -> Blend:
        """Fit every model."""
        for model in self.models:
            model.fit(train)
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the weighted sum."""
        parts = zip(self.weights, self.models, strict=True)
        return sum(weight * standardize(model.score(history)) for weight, model in parts)


def attention_scores(
    history: sparse.csr_matrix, user_features: np.ndarray, item_features: np.ndarray, beta: float
) -> np.ndarray:
    """Attention over all pairs of a user's features u and an item's features v.

        r_ui = sum_jp alpha_jp (u_j . v_ip),   alpha = softmax over (j, p) of beta (u_j . v_ip)

    j runs over what the user liked, p over the parts of the item. beta = 0 is the mean of all
    pairs, a large beta their maximum. The function inside the softmax is fixed here.

    Parameters
    ----------
    history : csr_matrix (n_users, n_items), 1 where liked
    user_features : ndarray (n_items, dim): what a liked item says about the user
    item_features : ndarray (n_items, n_parts, dim)
    beta : float >= 0

    Returns
    -------
    ndarray (n_users, n_items); 0 for a user without likes

    Raises
    ------
    ValueError for a history of another width, and a beta that is negative or not finite.
    """
    history = check_history(history, len(user_features))
    check_at_least(0, beta=beta)
    liked = np.unique(history.indices)
    counts, u = history[:, liked], user_features[liked]  # (n_users, n_liked), (n_liked, dim)
    dots = [u @ item_features[:, p].T for p in range(item_features.shape[1])]  # (n_liked, n_items)
    highest = max((d.max() for d in dots if d.size), default=0.0)  # keeps exp from overflowing
    weighted = total = 0.0
    for d in dots:
        weight = np.exp(beta * (d - highest))
        weighted = weighted + counts @ (weight * d)  # (n_users, n_items)
        total = total + counts @ weight
    return weighted / np.where(total > 0, total, 1.0)


def unit_rows(
    vectors: np.ndarray | sparse.csr_matrix, *, center: bool = False
) -> np.ndarray | sparse.csr_matrix:
    """Rows scaled to length 1; rows of zeros stay.

    Parameters
    ----------
    vectors : ndarray or sparse matrix (n, dim)
    center : bool, subtract the mean of the rows first

    Returns
    -------
    ndarray or csr_matrix (n, dim), float64

    Raises
    ------
    ValueError for another shape, a row with a nan, such as an `EncodeError` carries, and for a
    sparse matrix that is to be centred.
    """
    if sparse.issparse(vectors):
        if center:
            raise ValueError("center=True would fill the zeros of a sparse matrix: pass False")
        vectors = sparse.csr_matrix(vectors, dtype=np.float64)
        length = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        return sparse.csr_matrix(sparse.diags(1 / np.where(length > 0, length, 1.0)) @ vectors)
    vectors = finite_vectors("vectors", vectors).astype(np.float64, copy=False)
    if center:
        vectors = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
