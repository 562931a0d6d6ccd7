"""Evaluate a way of making models, not one model: anew at the start of every window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from recsys_tutorial.evaluation.full_ranking import Evaluation, evaluate
from recsys_tutorial.splits import Split

__all__ = ["evaluate_rolling"]


def evaluate_rolling(
    fit: Callable[[Split], object], windows: Sequence[Split], ks: Sequence[int] = (10, 20)
) -> Evaluation:
    """Fit a model for each window, and judge it on the window's own users.

    Parameters
    ----------
    fit : callable Split -> what `evaluate` takes, such as a model. It is called window after window
        in their order, so that it may go on from the weights of the last one.
    windows : sequence of Split, `Rolling.tuning` or `Rolling.test`
    ks : list lengths

    Returns
    -------
    Evaluation with one row per user over all windows, in the order of the windows: `compare` takes
    it like any other

    Raises
    ------
    ValueError
        When there is no window, or when somebody is judged in two; and from `evaluate`.

    Examples
    --------
    >>> from recsys_tutorial.datasets import load_movielens
    >>> from recsys_tutorial.models import Popularity
    >>> from recsys_tutorial.splits import new_user_split, rolling_split
    >>> rolling = rolling_split(*load_movielens())
    >>> frozen = new_user_split(*load_movielens(), test_fraction=0.55).refit()
    >>> def fit(split):
    ...     return Popularity().fit(split.train)
    >>> [round(evaluate_rolling(fit, part)["ndcg@10"], 2) for part in ([frozen], rolling.test)]
    [0.14, 0.16]
    """
    if not windows:
        raise ValueError("there is no window to evaluate on")
    results = [evaluate(fit(split), split.test, ks) for split in windows]
    per_user = pd.concat([result.per_user for result in results])
    repeated = per_user.index.duplicated()
    if repeated.any():
        raise ValueError(f"user_id {per_user.index[repeated][0]} is judged in two windows")
    n_users = [len(result.per_user) for result in results]
    ms_per_user = np.average([result.ms_per_user for result in results], weights=n_users)
    return Evaluation(per_user, np.vstack([r.ranked for r in results]), float(ms_per_user))
