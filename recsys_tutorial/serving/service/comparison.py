"""Two versions by what their users did: the share of shown items that were liked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_tutorial.evaluation import bootstrap_means, mean_interval
from recsys_tutorial.serving.service._feedback_tables import RATES
from recsys_tutorial.serving.service.feedback_store import FeedbackStore

FEWEST = 2  # users of an arm below which there is no interval


@dataclass(frozen=True)
class ArmComparison:
    """How much more of what it shows a version's users like than another's.

    Attributes
    ----------
    versions : (str, str), a and b
    n_users : (int, int), who was shown something by them
    rates : (float, float), the mean over users of liked / shown; nan without a user
    difference, low, high : float, a minus b and its 95 % interval; nan with fewer than 2 users in
        an arm
    paired : bool, whether it is of the same users under both versions
    """

    versions: tuple[str, str]
    n_users: tuple[int, int]
    rates: tuple[float, float]
    difference: float
    low: float
    high: float
    paired: bool


def compare_arms(store: FeedbackStore, a: str, b: str, *, paired: bool = False) -> ArmComparison:
    """Compare two versions on their users' feedback.

    The unit is the user: the lists of one user are no independent trials. Unpaired, the users of
    both arms are drawn independently, each arm as often as it has users; who met both versions
    (a version that was put on for everybody) counts in both, which widens the interval more than
    it need be. Paired, only users count who met both, each by their own difference.

    Parameters
    ----------
    store : FeedbackStore
    a, b : str, names of versions
    paired : bool

    Returns
    -------
    ArmComparison

    Raises
    ------
    ValueError when both are the same version.
    """
    if a == b:
        raise ValueError(f"{a} cannot be compared with itself")
    rates: dict[str, dict[str, float]] = {a: {}, b: {}}
    for version, user_id, n_shown, n_liked in store.read(RATES, (a, b)):
        rates[version][user_id] = n_liked / n_shown
    if paired:
        both = sorted(set(rates[a]) & set(rates[b]))
        first, second = (np.array([rates[name][user] for user in both]) for name in (a, b))
    else:
        first, second = (np.array([*rates[name].values()]) for name in (a, b))
    counts = (len(first), len(second))
    low = high = nan = float("nan")
    means = tuple(float(arm.mean()) if len(arm) else nan for arm in (first, second))
    if min(counts) >= FEWEST:
        low, high = mean_interval(first - second) if paired else _unpaired(first, second)
    difference = means[0] - means[1]
    return ArmComparison((a, b), counts, means, difference, float(low), float(high), paired)


def _unpaired(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """95 % interval of the difference of two means over different users."""
    draws = [bootstrap_means(values[:, None], seed=seed)[:, 0]
             for seed, values in enumerate((first, second))]  # fmt: skip
    low, high = np.percentile(draws[0] - draws[1], [2.5, 97.5])
    return low, high
