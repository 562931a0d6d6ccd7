"""How far a mean would move with other users: the bootstrap (Efron & Tibshirani 1993)."""

from __future__ import annotations

import numpy as np

_BLOCK = 2**22  # draws that are held at a time
RESAMPLES = 2000  # a percentile interval from 2,000 moves by about 2 % of its width over seeds


def bootstrap_means(values: np.ndarray, n_resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Means over users drawn with replacement; all columns share the draws.

    Parameters
    ----------
    values : ndarray (n_users, n_columns), finite
    n_resamples : int, how often as many users as there are get drawn
    seed : int, of the draws

    Returns
    -------
    ndarray (n_resamples, n_columns)
    """
    return _bootstrap_sums(values, n_resamples, seed) / len(values)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over users.

    Parameters
    ----------
    values : ndarray (n_users,), finite

    Returns
    -------
    low, high : float
    """
    low, high = np.percentile(bootstrap_means(values[:, None]), [2.5, 97.5])
    return low, high


def group_interval(
    values: np.ndarray,
    groups: np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the mean of values that stand or fall together with their group.

    Whole groups are drawn with replacement: the pictures of one artist, the queries of one user or
    several runs on the same users are no independent values, and an interval that redraws them one
    by one is too narrow (Davison & Hinkley 1997, section 3.8).

    Parameters
    ----------
    values : ndarray (n_values,), float or bool, such as hits or differences of two models
    groups : ndarray (n_values,), whom each value belongs to: a creator, a query or a user
    confidence : float in (0, 1), the share of the resampled means that lies inside
    n_resamples : int, how often as many groups as there are get drawn
    seed : int, of the draws

    Returns
    -------
    low, high : float, percentiles of the resampled means (a mean weighs a group by its size)

    Raises
    ------
    ValueError
        When `values` and `groups` are not of one length, or empty.

    Examples
    --------
    >>> low, high = group_interval(np.array([1, 1, 1, 0, 0, 0]), np.array(list("aaabbb")))
    >>> float(low), float(high)  # two artists: nothing is known
    (0.0, 1.0)
    """
    values, groups = np.asarray(values), np.asarray(groups)
    if values.ndim != 1 or values.shape != groups.shape or len(values) == 0:
        raise ValueError(
            f"give each value its group: values have shape {values.shape}, groups {groups.shape}"
        )
    means = group_means(values[:, None], groups, n_resamples, seed)
    low, high = np.percentile(means, [50 - 50 * confidence, 50 + 50 * confidence])
    return float(low), float(high)


def group_means(
    values: np.ndarray, groups: np.ndarray, n_resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Means of the columns with whole groups drawn with replacement; all columns share the draws.

    Parameters
    ----------
    values : ndarray (n_values, n_columns), finite
    groups : ndarray (n_values,), whom each row belongs to
    n_resamples : int, how often as many groups as there are get drawn
    seed : int, of the draws

    Returns
    -------
    ndarray (n_resamples, n_columns); a mean weighs a group by its size
    """
    _, group = np.unique(groups, return_inverse=True)
    sums = [np.bincount(group, column) for column in values.T]
    drawn = _bootstrap_sums(np.column_stack([*sums, np.bincount(group)]), n_resamples, seed)
    return drawn[:, :-1] / drawn[:, -1:]  # (n_resamples, n_columns)


def _bootstrap_sums(values: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Sums of the columns over as many rows as there are, drawn with replacement."""
    n_rows = len(values)
    rng = np.random.default_rng(seed)
    chunk = max(1, _BLOCK // n_rows)
    sums = np.empty((n_resamples, values.shape[1]))
    for start in range(0, n_resamples, chunk):
        n = min(chunk, n_resamples - start)
        drawn = rng.integers(n_rows, size=(n, n_rows)) + n_rows * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_rows).reshape(n, n_rows)
        sums[start : start + n] = counts @ values  # (n, n_columns)
    return sums
