"""For whom a model works: gaps between groups of users, and the gap that so few users can show."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from recsys_tutorial._checks import check_at_least
from recsys_tutorial.evaluation import bootstrap_means

__all__ = ["detectable_gap", "group_gaps"]


def detectable_gap(
    group: np.ndarray, others: np.ndarray, power: float = 0.8, confidence: float = 0.95
) -> float:
    """How large a true gap between two groups' means has to be for such samples to show it.

        (z_(1 + confidence) / 2 + z_power) sqrt(s_a^2 / n_a + s_b^2 / n_b)

    is the gap at which an interval of that confidence excludes 0 with that probability (the normal
    approximation; Cohen 1988). A gap not found says only that it is hardly larger than this.

    Parameters
    ----------
    group, others : ndarray (n_a,), (n_b,), a value for each user; at least two each
    power, confidence : float in (0, 1)

    Returns
    -------
    float, in the unit of the values

    Raises
    ------
    ValueError for fewer values, and shares out of range.
    """
    for name, share in (("power", power), ("confidence", confidence)):
        if not 0 < share < 1:
            raise ValueError(f"{name} must be in (0, 1), got {share}")
    if min(len(group), len(others)) < 2:
        raise ValueError(f"two users a side are needed, got {len(group)} and {len(others)}")
    error = np.sqrt(np.var(group, ddof=1) / len(group) + np.var(others, ddof=1) / len(others))
    return float((norm.ppf((1 + confidence) / 2) + norm.ppf(power)) * error)


def group_gaps(values: pd.Series, groups: pd.Series, least: int = 20) -> pd.DataFrame:
    """Each group's mean, and how far it is from everybody else's.

    Parameters
    ----------
    values : Series (n_users,), such as ``evaluation.values("ndcg@10")``; a nan is left out
    groups : Series (n_users,), on the same index; who has no group (nan) is left out
    least : int >= 2, users below which nothing is said of a group

    Returns
    -------
    DataFrame, index group, columns n_users, mean; gap, the mean minus that of all others, gap_low
    and gap_high, its 95 % interval (bootstrap within both), and detectable, see `detectable_gap`.
    All but n_users are nan for a group that is too small, or has too few others: unknown, not equal

    Raises
    ------
    ValueError
        For another index, and `least` below 2.

    Examples
    --------
    >>> values = pd.Series([0.0, 1.0] * 20 + [0.9] * 3)
    >>> groups = pd.Series(["many"] * 40 + ["few"] * 3)
    >>> group_gaps(values, groups)["mean"].to_dict()
    {'few': nan, 'many': nan}
    """
    check_at_least(2, least=least)
    if not values.index.equals(groups.index):
        raise ValueError("values and groups must be of the same users, in the same order")
    known = values.notna() & groups.notna()
    values, groups = values[known], groups[known]
    rows = {}
    for group in sorted(groups.unique()):
        inside, others = (values[groups == group], values[groups != group])
        rows[group] = {"n_users": len(inside)} | _gap(inside.to_numpy(), others.to_numpy(), least)
    columns = ["n_users", "mean", "gap", "gap_low", "gap_high", "detectable"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _gap(inside: np.ndarray, others: np.ndarray, least: int) -> dict[str, float]:
    if min(len(inside), len(others)) < least:
        return {}
    draws = [
        bootstrap_means(v[:, None], seed=seed)[:, 0] for seed, v in enumerate((inside, others))
    ]
    low, high = np.percentile(draws[0] - draws[1], [2.5, 97.5])
    return {
        "mean": inside.mean(),
        "gap": inside.mean() - others.mean(),
        "gap_low": low,
        "gap_high": high,
        "detectable": detectable_gap(inside, others),
    }
