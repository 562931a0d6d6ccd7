"""Whether a service does what it did: drift of its inputs, an alarm, and when to stop a trial."""

from __future__ import annotations

import numpy as np

from recsys_tutorial._checks import check_positive, check_shape

__all__ = ["Alarm", "list_overlap", "population_stability", "sequential_radius"]


def population_stability(reference: np.ndarray, sample: np.ndarray, n_bins: int = 10) -> float:
    """Population stability index: how differently two samples fall into the reference's bins.

        PSI = sum_b (s_b - r_b) log(s_b / r_b)

    over bins that hold equally many of the reference, r_b and s_b being the shares of reference and
    sample; a half is added to each count, so that an empty bin is no infinity. It is the sum of the
    Kullback-Leibler divergences in both directions, and over the same distribution about
    (n_bins - 1) (1 / n_reference + 1 / n_sample) (Yurdakul 2018).

    Parameters
    ----------
    reference, sample : ndarray (n,), finite; of equal values in the reference bins are made one
    n_bins : int >= 2

    Returns
    -------
    float >= 0

    Raises
    ------
    ValueError
        For an empty side, a value that is not finite, and fewer than two bins.
    """
    reference, sample = np.ravel(reference), np.ravel(sample)
    if not len(reference) or not len(sample):
        raise ValueError(f"nothing to compare: {len(reference)} and {len(sample)} values")
    if not (np.isfinite(reference).all() and np.isfinite(sample).all()):
        raise ValueError("a value is not finite: count those apart, they are a fault of their own")
    if n_bins < 2:
        raise ValueError(f"n_bins must be at least 2, got {n_bins}")
    edges = np.unique(np.quantile(reference, np.arange(1, n_bins) / n_bins))
    # A value that fills a bin alone gets one of its own: what is above it must be told apart.
    often = np.array([np.mean(reference == edge) >= 1 / n_bins for edge in edges])
    edges = np.union1d(edges, np.nextafter(edges[often], np.inf))
    shares = []
    for values in (reference, sample):
        place = np.searchsorted(edges, values, side="right")
        counts = np.bincount(place, minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    r, s = shares
    return float(((s - r) * np.log(s / r)).sum())


def list_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of each list that is in the other one, in whatever order.

    Parameters
    ----------
    a, b : int ndarray (n_users, k), without repetition in a row

    Returns
    -------
    float64 ndarray (n_users,)

    Raises
    ------
    ValueError for other shapes.

    Examples
    --------
    >>> list_overlap(np.array([[1, 2, 3, 4]]), np.array([[4, 5, 1, 6]]))
    array([0.5])
    """
    check_shape("b", b, np.shape(a))
    return (np.asarray(a)[:, :, None] == np.asarray(b)[:, None, :]).any(axis=2).mean(axis=1)


class Alarm:
    """Fires when one of several statistics leaves what quiet weeks showed.

    Each statistic is read in its distance from the quiet weeks' median, in median distances; the
    limit is the distance that a week's largest one seldom passes. Of weeks that are as the quiet
    ones, one more is above the limit with a probability of `rate` at most, but for what the medians
    themselves were taken from (the quantile of conformal prediction: Vovk, Gammerman & Shafer
    2005).

    Parameters
    ----------
    rate : float in (0, 1), of false alarms among quiet weeks

    Attributes
    ----------
    limit_ : float

    Raises
    ------
    ValueError for a rate out of range.
    """

    def __init__(self, rate: float = 0.05):
        if not 0 < rate < 1:
            raise ValueError(f"rate must be in (0, 1), got {rate}")
        self.rate = rate

    def fit(self, quiet: np.ndarray) -> Alarm:
        """Learn what is usual.

        Parameters
        ----------
        quiet : ndarray (n_weeks, n_statistics), finite

        Returns
        -------
        Alarm, itself

        Raises
        ------
        ValueError
            For fewer weeks than such a rate needs, and values that are not finite.
        """
        quiet = np.asarray(quiet, dtype=float)
        place = int(np.ceil((len(quiet) + 1) * (1 - self.rate)))  # of the sorted distances, from 1
        if place > len(quiet):
            need = int(np.ceil(1 / self.rate)) - 1
            raise ValueError(f"a rate of {self.rate} needs {need} quiet weeks, got {len(quiet)}")
        if not np.isfinite(quiet).all():
            raise ValueError("a statistic of a quiet week is not finite")
        self._middle = np.median(quiet, axis=0)
        width = np.median(np.abs(quiet - self._middle), axis=0)
        self._width = np.where(width > 0, width, 1.0)
        self.limit_ = float(np.sort(self.distances(quiet).max(axis=1))[place - 1])
        return self

    def distances(self, weeks: np.ndarray) -> np.ndarray:
        """How far from usual.

        Parameters
        ----------
        weeks : ndarray (n_weeks, n_statistics)

        Returns
        -------
        float64 ndarray (n_weeks, n_statistics); the alarm fires above `limit_`
        """
        return np.abs(np.asarray(weeks, dtype=float) - self._middle) / self._width

    def fires(self, weeks: np.ndarray) -> np.ndarray:
        """Which weeks it fires in; what is not a number fires, too.

        Parameters
        ----------
        weeks : ndarray (n_weeks, n_statistics)

        Returns
        -------
        bool ndarray (n_weeks,)
        """
        return ~(self.distances(weeks) <= self.limit_).all(axis=1)


def sequential_radius(
    n: np.ndarray, variance: float, alpha: float = 0.05, best_at: float = 1000.0
) -> np.ndarray:
    """How far a mean may be from the truth, at all n at once, with probability 1 - alpha.

        sqrt((n v + rho) log((n v + rho) / (rho alpha^2))) / n,   rho = v best_at / c

    the normal mixture of Robbins (1970) as in Howard et al. (2021, arXiv:1810.08240).
    For normal values of variance v; for others it is about so once n is large. With
    c = -2 log(alpha) + log(1 - 2 log(alpha)) it is about the narrowest at `best_at`.

    Parameters
    ----------
    n : ndarray > 0, values so far, such as users
    variance : float > 0, v, of one value
    alpha : float in (0, 1)
    best_at : float > 0, the n at which it is to be narrowest for its alpha

    Returns
    -------
    float64 ndarray of n's shape

    Raises
    ------
    ValueError for numbers out of range.
    """
    check_positive(variance=variance, best_at=best_at)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    n = np.asarray(n, dtype=float)
    if not (n > 0).all():
        raise ValueError("n must be positive: before the first value nothing is known")
    log = -2 * np.log(alpha)
    rho = variance * best_at / (log + np.log1p(log))
    spread = n * variance + rho
    return np.sqrt(spread * (np.log(spread / rho) + log)) / n
