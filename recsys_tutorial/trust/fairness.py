"""For whom a model works: gaps, the gap that so few users can show, and exposure with a limit.

The module is a little long: what a number leaves open is said beside it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from recsys_tutorial._checks import check_at_least, check_shape, check_within
from recsys_tutorial.evaluation import bootstrap_means

__all__ = ["capped_lists", "detectable_gap", "exposure_gini", "group_gaps"]


def detectable_gap(
    group: np.ndarray, others: np.ndarray, power: float = 0.8, confidence: float = 0.95
) -> float:
    """How large a true gap between two groups' means has to be for such samples to show it.

        (z_((1 + confidence) / 2) + z_power) sqrt(s_a^2 / n_a + s_b^2 / n_b)

    is the gap at which an interval of that confidence excludes 0 with that probability (the normal
    approximation; Cohen 1988). It tells what a study can find, before it is made: with the power of
    0.8 a gap as large as this is missed one time in five. How large a gap may be that was not found
    say the ends of its interval, not this number.

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


def capped_lists(
    ranked: np.ndarray,
    k: int,
    most: int | np.ndarray,
    seed: int = 0,
    *,
    owner: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Lists in which an item stands so often at most, where candidates allow: exposure is shared.

    Place after place, the users in a new random order each take their best candidate that is not
    used up. Whose candidates are all used up takes the best of them all the same, over the limit:
    it holds for certain only where each user has candidates enough that nobody else takes.

    Parameters
    ----------
    ranked : int ndarray (n_users, n), candidates' columns, best first; -1 pads
    k : int, 1 to n, places of a list
    most : int >= 1, lists that an item may stand in, of these users; with `owner` the places of all
        lists that an owner's items may take together, also as ndarray (n_owners,) >= 0
    seed : int, of the orders
    owner : int ndarray (n_items,), optional: whose each item is, counted from 0

    Returns
    -------
    list of int ndarray (k,), for each user the places in `ranked` of what they are shown

    Raises
    ------
    ValueError for numbers out of range, and columns that have no owner.
    """
    n_users, n = ranked.shape
    check_within(1, n, k=k)
    owner = np.arange(ranked.max() + 1) if owner is None else np.asarray(owner)
    if len(owner) <= ranked.max():
        raise ValueError(f"{len(owner)} items have an owner, and column {ranked.max()} is ranked")
    if np.ndim(most) == 0:
        check_at_least(1, most=most)
    rng, left = np.random.default_rng(seed), np.zeros(owner.max(initial=-1) + 2, np.int64)
    left[:-1] = most
    whose = np.append(owner, len(left) - 1)[ranked]  # -1, the padding, has nothing left
    taken = np.zeros(ranked.shape, dtype=bool)
    lists = np.empty((n_users, k), dtype=np.int64)
    for place in range(k):
        for user in rng.permutation(n_users):
            free = ~taken[user]
            good = free & (left[whose[user]] > 0)
            lists[user, place] = (good if good.any() else free).argmax()
            taken[user, lists[user, place]] = True
            left[whose[user, lists[user, place]]] -= 1
    return list(lists)


def exposure_gini(exposure: np.ndarray, size: np.ndarray) -> float:
    """How unevenly owners are shown, for what each of them has: 0 if in proportion, towards 1.

    The Gini coefficient of exposure per unit of size, where each unit counts: with shares of size
    x and of exposure y, added up from the owners with the least exposure for their size,

        G = 1 - sum_i (x_i - x_(i-1)) (y_i + y_(i-1))

    twice the area between the Lorenz curve and the diagonal. It does not change where an owner is
    divided into two with the same exposure per unit.

    Parameters
    ----------
    exposure : ndarray (n_owners,) >= 0, such as the places in which an owner's items were shown
    size : ndarray (n_owners,) > 0, such as the number of the owner's items

    Returns
    -------
    float

    Raises
    ------
    ValueError for other shapes or signs, and where nothing was shown.

    Examples
    --------
    >>> exposure_gini([20, 10], [2, 1])
    0.0
    >>> round(exposure_gini([0, 30], [2, 1]), 3)
    0.667
    """
    exposure, size = np.asarray(exposure, dtype=float), np.asarray(size, dtype=float)
    check_shape("exposure", exposure, size.shape)
    if not (size > 0).all() or not (exposure >= 0).all() or not exposure.sum() > 0:
        raise ValueError("sizes must be positive, exposures not negative and not all 0")
    order = np.argsort(exposure / size, kind="stable")
    x, y = (np.append(0.0, np.cumsum(v[order]) / v.sum()) for v in (size, exposure))
    twice = 1.0 - (np.diff(x) * (y[1:] + y[:-1])).sum()
    return round(float(twice), 12) + 0.0
