"""For whom and for what a model works: its metric on parts of the targets and of the users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._likes import only_entries
from recsys_tutorial.evaluation.full_ranking import METRICS, Evaluation
from recsys_tutorial.evaluation.intervals import mean_interval
from recsys_tutorial.splits import Holdout, Split


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
    return _slices(evaluation, [(holdout, train)], metric, n_bins)


def rolling_slices(
    evaluation: Evaluation, windows: Sequence[Split], metric: str = "recall@20", n_bins: int = 3
) -> pd.DataFrame:
    """`slices` of what `evaluate_rolling` gave: an item is cold that nobody liked before a window.

    Parameters
    ----------
    evaluation : Evaluation of `evaluate_rolling` on these windows
    windows : sequence of Split, in the same order
    metric : str, a name of `METRICS` with @k, such as "recall@20"
    n_bins : int >= 1

    Returns
    -------
    DataFrame as of `slices`

    Raises
    ------
    ValueError
        As `slices`; and for windows that hold another number of users.
    """
    n_users = sum(len(split.test) for split in windows)
    if n_users != len(evaluation.ranked):
        raise ValueError(f"the windows hold {n_users} users, not {len(evaluation.ranked)}")
    return _slices(evaluation, [(split.test, split.train) for split in windows], metric, n_bins)


def _slices(
    evaluation: Evaluation,
    judged: Sequence[tuple[Holdout, sparse.csr_matrix]],
    metric: str,
    n_bins: int,
) -> pd.DataFrame:
    name, k = _metric_and_k(metric)
    rows = {}
    for by, text, targets, users in _parts_of_targets(judged, n_bins):
        if targets.nnz:
            values = METRICS[name](evaluation.ranked[users], targets, k)
            values = values[~np.isnan(values)]
            rows[by, text] = [values.mean(), *mean_interval(values), len(values), targets.nnz]
    index = pd.MultiIndex.from_tuples(rows, names=["by", "slice"])
    columns = ["mean", "low", "high", "n_users", "n_targets"]
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def _parts_of_targets(judged: Sequence[tuple[Holdout, sparse.csr_matrix]], n_bins: int):
    """Yields (by, slice, targets, users): the targets of some users, or some targets of all."""
    targets = sparse.vstack([holdout.targets for holdout, _ in judged])
    popularity = np.concatenate(  # (targets.nnz,), how many had liked each target before
        [np.bincount(t.indices, minlength=t.shape[1])[h.targets.indices] for h, t in judged]
    )
    everyone = np.arange(targets.shape[0])
    items = [("items", "warm", popularity > 0), ("items", "cold", popularity == 0)]
    for text, low, high in _ranges(popularity[popularity > 0], n_bins):
        items.append(("popularity", text, (popularity >= low) & (popularity <= high)))
    for by, text, mask in items:
        yield by, text, only_entries(targets, mask), everyone
    activity = np.concatenate([np.diff(holdout.seen.indptr) for holdout, _ in judged])
    for text, low, high in _ranges(activity, n_bins):
        users = np.flatnonzero((activity >= low) & (activity <= high))
        yield "activity", text, targets[users], users


def _ranges(values: np.ndarray, n_bins: int) -> list[tuple[str, int, int]]:
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


def _metric_and_k(metric: str) -> tuple[str, int]:
    name, _, k = metric.partition("@")
    if name not in METRICS or not k.isdigit():
        raise ValueError(f"unknown metric {metric!r}: use one of {sorted(METRICS)} with @k")
    return name, int(k)
