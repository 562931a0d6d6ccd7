"""Metrics of rows, not of lists: order over all rows, order within users, and calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import rankdata

__all__ = ["auc", "calibration_error", "group_quality", "platt_scaling", "reliability"]


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: how often a row with label 1 scores above a row with label 0.

    Ties count one half.

    Parameters
    ----------
    labels : ndarray (n,) of 0 and 1
    scores : ndarray (n,), finite

    Returns
    -------
    float, 0 to 1; nan where all labels are alike

    Raises
    ------
    ValueError
        For other labels, and arrays of different lengths.
    """
    labels, scores = _checked(labels, scores)
    n_ones = labels.sum()
    pairs = n_ones * (len(labels) - n_ones)
    if not pairs:
        return float("nan")
    return float((rankdata(scores)[labels].sum() - n_ones * (n_ones + 1) / 2) / pairs)


def group_quality(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, k: int = 10
) -> pd.DataFrame:
    """The order of rows within each group, such as a user: what a list shows.

    The mean of the groups' AUC weighed by their rows is the *grouped AUC* (Zhou et al. 2018,
    doi:10.1145/3219819.3219823). Of rows with equal scores NDCG takes the mean over their orders.

    Parameters
    ----------
    labels : ndarray (n,) of 0 and 1
    scores : ndarray (n,), finite
    groups : ndarray (n,), whom each row belongs to
    k : int, places that NDCG looks at

    Returns
    -------
    DataFrame, index group, columns auc, ndcg, n (rows); groups whose labels are all alike are left
    out, since no order of them is better than another

    Raises
    ------
    ValueError
        As `auc`.
    """
    labels, scores = _checked(labels, scores)
    groups = np.asarray(groups)
    order = np.lexsort([-scores, groups])
    names, starts = np.unique(groups[order], return_index=True)
    rows, discount = {}, 1 / np.log2(np.arange(2, k + 2))
    for name, own in zip(names, np.split(order, starts[1:]), strict=True):
        hits, n_ones = labels[own], labels[own].sum()
        if 0 < n_ones < len(own):
            # Among equal scores each order is as likely: everybody there gets the mean.
            _, tie, size = np.unique(scores[own], return_inverse=True, return_counts=True)
            expected = (np.bincount(tie, weights=hits) / size)[tie]
            gain = (expected[:k] * discount[: len(own)]).sum()
            ideal = discount[: min(n_ones, k)].sum()
            rows[name] = (auc(hits, scores[own]), gain / ideal, len(own))
    return pd.DataFrame.from_dict(rows, "index", columns=["auc", "ndcg", "n"])


def reliability(labels: np.ndarray, probabilities: np.ndarray, n_bins: int = 10) -> pd.DataFrame:
    """What was predicted against what happened, in bins of equally many rows.

    Parameters
    ----------
    labels : ndarray (n,) of 0 and 1
    probabilities : ndarray (n,), 0 to 1
    n_bins : int >= 1

    Returns
    -------
    DataFrame (n_bins, 3), from the lowest predictions up: predicted and observed (means of a bin),
    n (its rows)

    Raises
    ------
    ValueError
        As `auc`; for probabilities outside 0 to 1, and more bins than rows.
    """
    labels, probabilities = _checked(labels, probabilities)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must be from 0 to 1")
    if not 1 <= n_bins <= len(labels):
        raise ValueError(f"n_bins must be from 1 to {len(labels)} rows, got {n_bins}")
    bins = np.array_split(np.argsort(probabilities, kind="stable"), n_bins)
    rows = [(probabilities[own].mean(), labels[own].mean(), len(own)) for own in bins]
    return pd.DataFrame(rows, columns=["predicted", "observed", "n"])


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error: the mean distance of prediction and truth over `reliability`.

    ECE = sum_b n_b / n |observed_b - predicted_b| (Naeini et al. 2015,
    doi:10.1609/aaai.v29i1.9602; here with bins of equally many rows).

    Parameters
    ----------
    labels, probabilities, n_bins : see `reliability`

    Returns
    -------
    float, 0 to 1

    Raises
    ------
    ValueError
        As `reliability`.
    """
    bins = reliability(labels, probabilities, n_bins)
    return float(np.average((bins["observed"] - bins["predicted"]).abs(), weights=bins["n"]))


def platt_scaling(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """The a and b for which sigmoid(a logit + b) has the smallest log loss (Platt 1999).

    Two numbers, learned on rows that trained nothing else. They keep the order of all rows.

    Parameters
    ----------
    labels : ndarray (n,) of 0 and 1
    logits : ndarray (n,), finite

    Returns
    -------
    a, b : float

    Raises
    ------
    ValueError
        As `auc`; and where the minimum is at infinity or everywhere: labels all alike, logits all
        alike, or all logits of one label at least as high as all of the other.
    """
    labels, logits = _checked(labels, logits)
    if labels.all() or not labels.any() or np.ptp(logits) == 0:
        raise ValueError("labels and logits must not be all alike")
    ones, zeros = logits[labels], logits[~labels]
    if ones.min() >= zeros.max() or zeros.min() >= ones.max():
        raise ValueError("the logits part the labels without a mistake: the best a is infinite")
    x = np.column_stack([logits, np.ones(len(logits))])  # (n, 2)

    def loss(found: np.ndarray) -> float:
        z = x @ found
        return (np.logaddexp(0, z) - labels * z).sum()

    found = np.zeros(2)
    for _ in range(100):  # Newton's method
        p = expit(x @ found)
        slope = x.T @ (labels - p)
        step = np.linalg.solve((x.T * (p * (1 - p))) @ x + 1e-12 * np.eye(2), slope)
        # Far from the minimum a whole step may lead further away. The rest is rounding.
        while loss(found + step) > (1 + 1e-9) * loss(found):
            step = step / 2
        found = found + step
        if np.abs(step).max() < 1e-10:
            break
    return float(found[0]), float(found[1])


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"labels must be 0 or 1, one for each score, got shapes {labels.shape}, {scores.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    return labels.astype(bool), scores
