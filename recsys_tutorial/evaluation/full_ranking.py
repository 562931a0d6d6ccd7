"""Rank the whole catalogue for held-out users, a block at a time, and measure the lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial import metrics
from recsys_tutorial._likes import only_entries
from recsys_tutorial.evaluation.intervals import bootstrap_means
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
        return float(self.values(metric).mean())

    def values(self, metric: str) -> pd.Series:
        """Each user's value of one metric.

        Parameters
        ----------
        metric : str, such as "ndcg@10"

        Returns
        -------
        Series (n_users,), float, index user_id

        Raises
        ------
        ValueError
            When the metric was not evaluated.
        """
        if metric not in self.per_user:
            raise ValueError(
                f"{metric!r} was not evaluated: there is {list(self.per_user.columns)}"
            )
        return self.per_user[metric]


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
        score matrix never exists. One with ``reads_times = True`` has `score(history, times)` and
        gets `holdout.history_times`, too.
    holdout : Holdout; `seen` is never recommended, `targets` is what should be found
    ks : sequence of int >= 1, list lengths
    candidate_items : bool ndarray (n_items,) or None
        Rank only these items, and look only for targets among them ("of the items nobody has
        rated, which suit this user?"). Users without such a target get nan.

    Returns
    -------
    Evaluation, with every metric of `METRICS` at every k

    Raises
    ------
    ValueError
        For list lengths below 1, scores of another shape or with a nan, or a bad mask.
    """
    ks = list(ks)
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must hold list lengths of at least 1, got {ks}")
    n_users, n_items = shape = holdout.targets.shape
    score, targets = _scorer(model_or_scores, shape), holdout.targets
    if candidate_items is not None:
        candidate_items = _checked_mask(candidate_items, n_items, "candidate_items")
        targets = only_items(targets, candidate_items)
    ranked, seconds = np.empty((n_users, max(ks)), dtype=np.int64), 0.0
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
    columns = {f"{name}@{k}": f(ranked, targets, k) for name, f in METRICS.items() for k in ks}
    per_user = pd.DataFrame(columns, index=pd.Index(holdout.user_ids, name="user_id"))
    return Evaluation(per_user, ranked, 1000 * seconds / max(n_users, 1))


def only_items(matrix: sparse.csr_matrix, items: np.ndarray) -> sparse.csr_matrix:
    """The entries in some columns only.

    Parameters
    ----------
    matrix : csr_matrix (n_users, n_items)
    items : bool ndarray (n_items,), True for the columns to keep

    Returns
    -------
    csr_matrix of the same shape, without stored zeros
    """
    return only_entries(matrix, items[matrix.indices])


def _scorer(model_or_scores, shape: tuple[int, int]) -> Callable:
    """(holdout, rows) -> scores of these rows, whatever form the model has."""
    if getattr(model_or_scores, "reads_times", False):
        return lambda holdout, rows: model_or_scores.score(
            holdout.history[rows], holdout.history_times[rows]
        )
    if hasattr(model_or_scores, "score"):
        model_or_scores = model_or_scores.score
    if callable(model_or_scores):
        return lambda holdout, rows: model_or_scores(holdout.history[rows])
    scores = np.asarray(model_or_scores)
    if scores.shape != shape:
        raise ValueError(f"scores has shape {scores.shape}, the holdout {shape}")
    return lambda holdout, rows: scores[rows]


def _checked_mask(mask: np.ndarray, n_items: int, name: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (n_items,):
        raise ValueError(f"{name} must be a bool array of {n_items} items, got {mask.shape}")
    return mask
