"""What epsilon training with noise has spent: exact for whole batches, a bound for drawn ones.

(epsilon, delta)-differential privacy of a mechanism M (Dwork & Roth 2014,
doi:10.1561/0400000042): for data with and without any one user, and any set S of results,

    P(M(with) in S) <= e^epsilon P(M(without) in S) + delta

A privacy accountant adds up what many noisy steps give away together.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

from recsys_tutorial._checks import check_at_least, check_positive, check_within

__all__ = ["gaussian_delta", "gaussian_epsilon", "noise_for", "sampled_gaussian_epsilon"]

# Of Renyi's divergence. With little noise the best order is next to 1.
_ORDERS = np.concatenate(
    [1 + np.geomspace(0.01, 1, 41)[:-1], np.arange(2, 16, 0.25), np.arange(16, 257)]
)


def gaussian_delta(epsilon: float, noise: float, steps: int = 1) -> float:
    """The exact delta of sums that anybody moves by 1 at most, and that get Gaussian noise.

        delta = Phi(m / 2 - epsilon / m) - e^epsilon Phi(-m / 2 - epsilon / m)

    with m = sqrt(steps) / noise (Balle & Wang 2018, arXiv:1805.06530, theorem 8; steps compose to
    one with noise / sqrt(steps), since noise in all of them together is one Gaussian).

    Parameters
    ----------
    epsilon : float >= 0
    noise : float > 0, the noise's standard deviation, in multiples of what one user can change
    steps : int >= 1

    Returns
    -------
    float, 0 to 1

    Raises
    ------
    ValueError for numbers out of range.

    Examples
    --------
    >>> round(gaussian_delta(0.0, noise=1.0), 4)  # the total variation of N(0, 1) and N(1, 1)
    0.3829
    """
    check_at_least(0, epsilon=epsilon)
    check_positive(noise=noise)
    check_at_least(1, steps=steps)
    m = math.sqrt(steps) / noise
    second = epsilon + norm.logcdf(-m / 2 - epsilon / m)
    return max(0.0, float(norm.cdf(m / 2 - epsilon / m) - np.exp(second)))


def gaussian_epsilon(noise: float, steps: int = 1, delta: float = 1e-5) -> float:
    """The exact epsilon of `gaussian_delta`: every user is in every step.

    Parameters
    ----------
    noise, steps : see `gaussian_delta`
    delta : float in (0, 1)

    Returns
    -------
    float >= 0

    Raises
    ------
    ValueError for numbers out of range.
    """
    _check_delta(delta)
    if gaussian_delta(0.0, noise, steps) <= delta:
        return 0.0
    high = 1.0
    while gaussian_delta(high, noise, steps) > delta:
        high *= 2
    return float(brentq(lambda e: gaussian_delta(e, noise, steps) - delta, 0.0, high, xtol=1e-10))


def sampled_gaussian_epsilon(rate: float, noise: float, steps: int, delta: float = 1e-5) -> float:
    """A bound on the epsilon of DP-SGD: each step draws each user with a chance, and adds noise.

    Renyi's divergence of order a > 1 of one step is (Mironov, Talwar & Zhang 2019,
    arXiv:1908.10530, section 3)

        R(a) = log(mean over x ~ N(0, noise^2) of (1 - q + q e^((2x - 1) / 2 noise^2))^a) / (a - 1)

    which for whole a is a sum (their section 3.3),

        R(a) = log(sum over k of C(a, k) (1 - q)^(a - k) q^k e^((k^2 - k) / 2 noise^2)) / (a - 1)

    and for others is integrated numerically. Steps add up, and from the sum follows, for every a
    (Canonne, Kamath & Steinke 2020, arXiv:2004.00010, proposition 12),

        epsilon = R(a) + log(1 - 1 / a) - (log delta + log a) / (a - 1)

    The smallest over orders from 1.01 to 256 is returned. It is an upper bound: `gaussian_epsilon`
    is what is exact for rate 1. Orders below 2 count where noise is small: whole ones alone would
    give several times as much.

    Parameters
    ----------
    rate : float in (0, 1], q, the chance with which a step draws a user, each on their own
    noise : float > 0, standard deviation, in multiples of what one user can change
    steps : int >= 1
    delta : float in (0, 1)

    Returns
    -------
    float >= 0

    Raises
    ------
    ValueError for numbers out of range.
    """
    check_within(0, 1, rate=rate)
    check_positive(rate=rate, noise=noise)
    check_at_least(1, steps=steps)
    _check_delta(delta)
    spent = steps * np.array([_renyi(order, rate, noise) for order in _ORDERS])
    epsilon = spent + np.log1p(-1 / _ORDERS) - (np.log(delta) + np.log(_ORDERS)) / (_ORDERS - 1)
    return max(0.0, float(epsilon.min()))


def _renyi(order: float, rate: float, noise: float) -> float:
    """Of one step; a / (2 noise^2) for rate 1, as for the plain Gaussian."""
    if rate == 1:
        return order / (2 * noise**2)
    if order != int(order):
        return _integrated(order, rate, noise)
    k = np.arange(order + 1)
    log_choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    log_chance = k * np.log(rate) + (order - k) * np.log1p(-rate)
    return float(logsumexp(log_choose + log_chance + (k * k - k) / (2 * noise**2)) / (order - 1))


def _integrated(order: float, rate: float, noise: float) -> float:
    """R(a) by the trapezoidal rule, whose error falls exponentially with finer steps.

    The integrand is at most 2^a times the sum of two Gaussians, about 0 and a, and is analytic up
    to pi noise^2 off the real line.
    """
    step = min(noise / 4, noise**2 / 2)
    x = np.arange(-14 * noise, order + 14 * noise, step)
    ratio = np.logaddexp(np.log1p(-rate), np.log(rate) + (2 * x - 1) / (2 * noise**2))
    return float(logsumexp(norm.logpdf(x, 0, noise) + order * ratio, b=step) / (order - 1))


def noise_for(epsilon: float, rate: float, steps: int, delta: float = 1e-5) -> float:
    """The least noise with which `sampled_gaussian_epsilon` is at most epsilon.

    Parameters
    ----------
    epsilon : float > 0
    rate, steps, delta : see `sampled_gaussian_epsilon`

    Returns
    -------
    float > 0, good to three digits, and on the safe side

    Raises
    ------
    ValueError for numbers out of range, and an epsilon that noise up to 10,000 does not reach.
    """
    check_positive(epsilon=epsilon)
    low, high = 1e-2, 1e4
    if sampled_gaussian_epsilon(rate, high, steps, delta) > epsilon:
        raise ValueError(f"no noise up to {high:g} is enough for epsilon = {epsilon}")
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        enough = sampled_gaussian_epsilon(rate, middle, steps, delta) <= epsilon
        low, high = (low, middle) if enough else (middle, high)
    return high


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
