"""Evaluate recommenders: full ranking, seen items masked, intervals, pairs, slices.

`evaluate` asks a model for scores a block of users at a time, ranks the whole catalogue, and keeps
one value per user and metric; `compare` asks whether a difference between two models on the same
users is more than luck; `slices` shows for whom and for what a model works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial import metrics
from recsys_tutorial.ranking import rank
from recsys_tutorial.splits import Holdout

METRICS: dict[str, Callable] = {
    "ndcg": metrics.ndcg_at_k,
    "recall": metrics.recall_at_k,
    "precision": metrics.precision_at_k,
    "hit_rate": metrics.hit_rate_at_k,
    "map": metrics.average_precision_at_k,
    "mrr": metrics.reciprocal_rank_at_k,
}
# The part of the score matrix that is held at a time. Larger blocks were measured to be slower:
# above about 32 MB the system maps and clears fresh memory for every temporary array.
_BLOCK_BYTES = 16 * 2**20
_RESAMPLES = 2000  # a percentile interval from 2,000 moves by about 2 % of its width over seeds


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured.

    Attributes
    ----------
    per_user : DataFrame, index user_id, one column per metric such as "ndcg@10"; nan for users
        without a relevant item in the slice that was asked for
    ranked : ndarray (n_users, max(ks)), int: the recommended columns, -1 padded
    ms_per_user : float, milliseconds that scoring took per user (ranking apart)
    """

    per_user: pd.DataFrame
    ranked: np.ndarray
    ms_per_user: float = float("nan")

    @property
    def summary(self) -> pd.DataFrame:
        """Mean and 95 % bootstrap interval over users: index metric, columns mean, low, high."""
        values = self.per_user.dropna()
        if values.empty:
            raise ValueError("no user has a relevant item here: there is nothing to average")
        means = bootstrap_means(values.to_numpy())  # (n_resamples, n_metrics)
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
        return pd.DataFrame(
            {"mean": values.mean().to_numpy(), "low": low, "high": high}, index=values.columns
        )

    def __getitem__(self, metric: str) -> float:
        """The mean of one metric over the users, for example `evaluation["ndcg@10"]`."""
        return float(_column(self.per_user, metric).mean())


@dataclass(frozen=True)
class Comparison:
    """`difference` = mean of a minus mean of b on the same users, with its 95 % interval."""

    metric: str
    difference: float
    low: float
    high: float
    n_users: int

    def __str__(self) -> str:
        return (
            f"{self.metric}: {self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}], "
            f"{self.n_users} users"
        )


def evaluate(
    model_or_scores,
    holdout: Holdout,
    ks: Sequence[int] = (10, 20),
    *,
    candidate_items: np.ndarray | None = None,
) -> Evaluation:
    """Rank the catalogue for every held-out user and measure the lists.

    Parameters
    ----------
    model_or_scores : an object with `score(history)`, a function of a history, or an array of
        scores (n_users, n_items). A model is asked for a block of users at a time, so the whole
        score matrix never exists.
    holdout : Holdout; `seen` is never recommended, `targets` is what should be found
    ks : list lengths
    candidate_items : bool ndarray (n_items,) or None
        Rank only these items, and look only for targets among them ("of the items nobody has
        rated, which suit this user?"). Users without such a target get nan.
    """
    ks = list(ks)
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must hold list lengths of at least 1, got {ks}")
    n_users, n_items = holdout.targets.shape
    score = _scorer(model_or_scores, n_users, n_items)
    targets = holdout.targets
    if candidate_items is not None:
        candidate_items = _mask(candidate_items, n_items, "candidate_items")
        targets = _only(targets, candidate_items)
    ranked = np.empty((n_users, max(ks)), dtype=np.int64)
    seconds = 0.0
    block = max(1, _BLOCK_BYTES // (8 * n_items))
    for start in range(0, n_users, block):
        rows = slice(start, min(start + block, n_users))
        began = time.perf_counter()
        scores = np.asarray(score(holdout, rows))
        seconds += time.perf_counter() - began
        expected = (rows.stop - rows.start, n_items)
        if scores.shape != expected:
            raise ValueError(f"the model returned scores of shape {scores.shape}, not {expected}")
        if candidate_items is not None:
            scores = np.where(candidate_items, scores, -np.inf)
        ranked[rows] = rank(scores, holdout.seen[rows], max(ks), first_row=start)
    return Evaluation(
        _per_user(ranked, targets, holdout.user_ids, ks), ranked, 1000 * seconds / max(n_users, 1)
    )


def compare(
    a: Evaluation, b: Evaluation, metric: str = "ndcg@10", *, confidence: float = 0.95
) -> Comparison:
    """Paired bootstrap of mean(a) - mean(b) over the users that both were judged on.

    The same resampled users serve both sides, so what makes a user easy for either cancels: the
    interval is narrower than the two models' own intervals suggest. An interval that excludes 0
    says that another draw of users like these would probably order the models the same way; it
    says nothing about other data, and with 20 comparisons one such interval is expected by luck.
    """
    if not a.per_user.index.equals(b.per_user.index):
        raise ValueError("a and b were evaluated on different users")
    difference = (_column(a.per_user, metric) - _column(b.per_user, metric)).dropna()
    if difference.empty:
        raise ValueError(f"no user has a value of {metric} on both sides")
    means = bootstrap_means(difference.to_numpy()[:, None])[:, 0]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Comparison(metric, float(difference.mean()), float(low), float(high), len(difference))


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

    Returns
    -------
    DataFrame, index (by, slice), columns mean, low, high, n_users, n_targets
    """
    name, k = _parse(metric)
    counts = np.bincount(train.indices, minlength=train.shape[1])  # likes per item
    activity = np.diff(holdout.seen.indptr)
    popularity = counts[holdout.targets.indices]
    parts = [("items", "warm", counts > 0, None), ("items", "cold", counts == 0, None)]
    for text, low, high in _bins(popularity[popularity > 0], n_bins):
        parts.append(("popularity", text, (counts >= low) & (counts <= high), None))
    for text, low, high in _bins(activity, n_bins):
        parts.append(("activity", text, None, (activity >= low) & (activity <= high)))
    rows, keys = [], []
    for by, text, item_mask, user_mask in parts:
        users = np.arange(len(activity)) if user_mask is None else np.flatnonzero(user_mask)
        targets = holdout.targets[users]
        targets = targets if item_mask is None else _only(targets, item_mask)
        if targets.nnz == 0:
            continue
        values = METRICS[name](evaluation.ranked[users], targets, k)
        values = values[~np.isnan(values)]
        low, high = np.percentile(bootstrap_means(values[:, None])[:, 0], [2.5, 97.5])
        rows.append([values.mean(), low, high, len(values), targets.nnz])
        keys.append((by, text))
    index = pd.MultiIndex.from_tuples(keys, names=["by", "slice"])
    return pd.DataFrame(rows, index=index, columns=["mean", "low", "high", "n_users", "n_targets"])


def bootstrap_means(values: np.ndarray, n_resamples: int = _RESAMPLES, seed: int = 0) -> np.ndarray:
    """Means of `values` (n_users, n_columns) over users drawn with replacement.

    Returns ndarray (n_resamples, n_columns). All columns share the draws (Efron & Tibshirani 1993).
    """
    return _bootstrap_sums(values, n_resamples, seed) / len(values)


def group_interval(
    values: np.ndarray,
    groups: np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = _RESAMPLES,
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
    _, group = np.unique(groups, return_inverse=True)
    per_group = np.column_stack([np.bincount(group, values), np.bincount(group)])
    total, size = _bootstrap_sums(per_group, n_resamples, seed).T  # (n_resamples,) each
    low, high = np.percentile(total / size, [50 - 50 * confidence, 50 + 50 * confidence])
    return float(low), float(high)


def claim(holds: bool, *, applies: bool = True) -> None:
    """What a chapter's prose concludes: an error unless it holds where it applies.

    A chapter's sentences are about its stored outputs. Other data or settings may say otherwise, so
    it binds once what it claims for: `claim = partial(claim, applies=SCALE == "laptop")`.

    Parameters
    ----------
    holds : bool, whether the conclusion is true of the numbers at hand
    applies : bool, whether these settings are the ones that the conclusion is about

    Raises
    ------
    AssertionError
        When it does not hold although it applies.
    """
    if applies and not holds:
        raise AssertionError("the prose claims what these numbers do not show")


def _bootstrap_sums(values: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Sums of the columns over as many rows as there are, drawn with replacement."""
    n_rows = len(values)
    rng = np.random.default_rng(seed)
    chunk = max(1, 2**22 // n_rows)  # draws held at a time
    sums = np.empty((n_resamples, values.shape[1]))
    for start in range(0, n_resamples, chunk):
        n = min(chunk, n_resamples - start)
        drawn = rng.integers(n_rows, size=(n, n_rows)) + n_rows * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_rows).reshape(n, n_rows)
        sums[start : start + n] = counts @ values  # (n, n_columns)
    return sums


def _per_user(
    ranked: np.ndarray, targets: sparse.csr_matrix, user_ids: np.ndarray, ks: Sequence[int]
) -> pd.DataFrame:
    columns = {f"{name}@{k}": f(ranked, targets, k) for name, f in METRICS.items() for k in ks}
    return pd.DataFrame(columns, index=pd.Index(user_ids, name="user_id"))


def _scorer(model_or_scores, n_users: int, n_items: int) -> Callable:
    if hasattr(model_or_scores, "score"):
        return lambda holdout, rows: model_or_scores.score(holdout.history[rows])
    if callable(model_or_scores):
        return lambda holdout, rows: model_or_scores(holdout.history[rows])
    scores = np.asarray(model_or_scores)
    if scores.shape != (n_users, n_items):
        raise ValueError(f"scores has shape {scores.shape}, the holdout {(n_users, n_items)}")
    return lambda holdout, rows: scores[rows]


def _mask(mask: np.ndarray, n_items: int, name: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (n_items,):
        raise ValueError(f"{name} must be a bool array of {n_items} items, got {mask.shape}")
    return mask


def _only(matrix: sparse.csr_matrix, item_mask: np.ndarray) -> sparse.csr_matrix:
    kept = sparse.csr_matrix(
        (matrix.data * item_mask[matrix.indices], matrix.indices.copy(), matrix.indptr.copy()),
        shape=matrix.shape,
    )
    kept.eliminate_zeros()
    return kept


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


def _column(per_user: pd.DataFrame, metric: str) -> pd.Series:
    if metric not in per_user:
        raise ValueError(f"{metric!r} was not evaluated: there is {list(per_user.columns)}")
    return per_user[metric]
