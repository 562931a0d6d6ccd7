"""What numbers support: is one model better than another, and does the prose say no more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_tutorial.evaluation.full_ranking import Evaluation
from recsys_tutorial.evaluation.intervals import bootstrap_means


@dataclass(frozen=True)
class Comparison:
    """How much better a is than b on the same users.

    Attributes
    ----------
    metric : str, such as "ndcg@10"
    difference : float, mean of a minus mean of b
    low, high : float, the ends of its interval
    n_users : int, users with a value on both sides
    """

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


def compare(
    a: Evaluation, b: Evaluation, metric: str = "ndcg@10", *, confidence: float = 0.95
) -> Comparison:
    """Paired bootstrap of mean(a) - mean(b) over the users that both were judged on.

    The same resampled users serve both sides, so what makes a user easy for either cancels: the
    interval is narrower than the two models' own intervals suggest. An interval that excludes 0
    says that another draw of users like these would probably order the models the same way; it
    says nothing about other data, and with 20 comparisons one such interval is expected by luck.

    Parameters
    ----------
    a, b : Evaluation of the same users
    metric : str, a column of both, such as "ndcg@10"
    confidence : float in (0, 1), of the interval

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        For different users, a metric that was not evaluated, or no user with a value on both sides.
    """
    if not a.per_user.index.equals(b.per_user.index):
        raise ValueError("a and b were evaluated on different users")
    difference = (a.values(metric) - b.values(metric)).dropna()
    if difference.empty:
        raise ValueError(f"no user has a value of {metric} on both sides")
    means = bootstrap_means(difference.to_numpy()[:, None])[:, 0]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Comparison(metric, float(difference.mean()), float(low), float(high), len(difference))


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
