"""For whom and for what a model works: its metric on parts of the targets and of the users."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.evaluation.full_ranking import METRICS, Evaluation, only_items
from recsys_tutorial.evaluation.intervals import mean_interval
from recsys_tutorial.splits import Holdout


def slices(
    evaluation: Evaluation,
    holdout: Holdout,
    train: sparse.csr_matrix,
    metric: str = "recall@20",
    n_bins: int = 3,
) -> pd.DataFrame:
    """One metric for parts of the targets and of the users, from lists already ranked.

    Items are warm or cold (liked at least once in `train`, or never) and, when warm, fall into
    `n_bins` bins of popularity with about equally many targets each; users fall into `n_bins`
    bins of activity (items shown). Item slices look for these targets only, in the same lists.

    Parameters
    ----------
    evaluation : Evaluation on `holdout`, with lists as long as the metric looks
    holdout : Holdout
    train : csr_matrix (n_train_users, n_items), > 0 where liked
    metric : str, a name of `METRICS` with @k, such as "recall@20"
    n_bins : int >= 1

    Returns
    -------
    DataFrame, index (by, slice), columns mean, low, high (95 %), n_users, n_targets; a slice
    without targets has no row

    Raises
    ------
    ValueError
        For an unknown metric, or one that looks further down than the lists go.
    """
    name, k = _parse(metric)
    rows = {}
    for by, text, targets, users in _parts(holdout, train, n_bins):
        if targets.nnz:
            values = METRICS[name](evaluation.ranked[users], targets, k)
            values = values[~np.isnan(values)]
            rows[by, text] = [values.mean(), *mean_interval(values), len(values), targets.nnz]
    index = pd.MultiIndex.from_tuples(rows, names=["by", "slice"])
    columns = ["mean", "low", "high", "n_users", "n_targets"]
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def _parts(holdout: Holdout, train: sparse.csr_matrix, n_bins: int):
    """Yields (by, slice, targets, users): the targets of some users, or some targets of all."""
    counts = np.bincount(train.indices, minlength=train.shape[1])  # likes per item
    popularity = counts[holdout.targets.indices]
    everyone = np.arange(len(holdout))
    items = [("items", "warm", counts > 0), ("items", "cold", counts == 0)]
    for text, low, high in _bins(popularity[popularity > 0], n_bins):
        items.append(("popularity", text, (counts >= low) & (counts <= high)))
    for by, text, mask in items:
        yield by, text, only_items(holdout.targets, mask), everyone
    activity = np.diff(holdout.seen.indptr)
    for text, low, high in _bins(activity, n_bins):
        users = np.flatnonzero((activity >= low) & (activity <= high))
        yield "activity", text, holdout.targets[users], users


def _bins(values: np.ndarray, n_bins: int) -> list[tuple[str, int, int]]:
    """Up to n_bins ranges of whole numbers, inclusive, with about equally many values in each."""
    if len(values) == 0:
        return []
    shares = np.arange(1, n_bins + 1) / n_bins
    highs = np.unique(np.quantile(values, shares, method="inverted_cdf")).astype(int).tolist()
    lows = [int(values.min()), *(high + 1 for high in highs[:-1])]
    return [
        (f"{low}-{high}" if low < high else f"{low}", low, high)
        for low, high in zip(lows, highs, strict=True)
    ]


def _parse(metric: str) -> tuple[str, int]:
    name, _, k = metric.partition("@")
    if name not in METRICS or not k.isdigit():
        raise ValueError(f"unknown metric {metric!r}: use one of {sorted(METRICS)} with @k")
    return name, int(k)
