"""Estimates of what a policy would have earned, from the log of another one.

A log holds contexts, actions and rewards, and the probability with which each action was taken. All
functions are pure; `n` is the number of rounds in the log. With pi_0 the logging policy, pi the
target policy and q a model of the reward,

    w   = pi(a | x) / pi_0(a | x)
    IPS   = mean w r                                               Horvitz & Thompson 1952
    SNIPS = sum w r / sum w                                        Swaminathan & Joachims 2015
    DR    = mean [ sum_a pi(a | x) q(x, a) + w (r - q(x, a)) ]     Dudik, Langford & Li 2011
"""

from typing import NamedTuple

import numpy as np

from recsys_tutorial._checks import check_positive


class Estimate(NamedTuple):
    """A value, and the standard error of a mean over rounds."""

    value: float
    standard_error: float


def importance_weights(
    target: np.ndarray, logging: np.ndarray, *, clip: float | None = None
) -> np.ndarray:
    """How much more often the target policy takes the logged action.

    Parameters
    ----------
    target, logging : ndarray (n,), probabilities of the logged action under the two policies
    clip : float, optional; larger weights become this: less variance, and a bias downwards

    Returns
    -------
    ndarray (n,)

    Raises
    ------
    ValueError
        For shapes that differ, probabilities outside [0, 1], a logged action of probability 0 (it
        cannot have been taken), or a clip that is not positive.
    """
    target, logging = np.asarray(target, dtype=float), np.asarray(logging, dtype=float)
    if target.shape != logging.shape or target.ndim != 1 or not len(target):
        raise ValueError(f"target {target.shape} and logging {logging.shape} must be (n,), n > 0")
    for name, values, low in (("target", target, target >= 0), ("logging", logging, logging > 0)):
        wrong = ~(low & (values <= 1 + 1e-9))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"the {name} probability of round {row} is {values[row]}: it must be at most 1 "
                f"and {'above' if name == 'logging' else 'not below'} 0"
            )
    if clip is None:
        return target / logging
    check_positive(clip=clip)
    return np.minimum(target / logging, clip)


def ips(rewards: np.ndarray, weights: np.ndarray) -> Estimate:
    """Inverse propensity scoring: unbiased where the logging policy may take every action.

    Parameters
    ----------
    rewards : ndarray (n,), finite
    weights : ndarray (n,), of `importance_weights`

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        For shapes that differ, an empty log, or values that are not finite.
    """
    _check_rewards(rewards, weights)
    return _mean_and_error(weights * rewards)


def snips(rewards: np.ndarray, weights: np.ndarray) -> Estimate:
    """Self-normalized IPS: a weighted mean of rewards, so it stays in their range.

    Biased, but the bias goes with 1/n; the standard error is the delta method's.

    Parameters
    ----------
    rewards : ndarray (n,), finite
    weights : ndarray (n,), of `importance_weights`

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        As `ips` does, and when all weights are 0.
    """
    _check_rewards(rewards, weights)
    if not weights.any():
        raise ValueError("all weights are 0: the log holds no action that the target would take")
    value = float((weights * rewards).sum() / weights.sum())
    spread = weights * (rewards - value) / weights.mean()
    return Estimate(value, _mean_and_error(spread).standard_error)


def doubly_robust(
    rewards: np.ndarray,
    weights: np.ndarray,
    actions: np.ndarray,
    target: np.ndarray,
    predicted: np.ndarray,
) -> Estimate:
    """The reward model, corrected by importance-weighted residuals.

    Unbiased if the propensities or the model are right; q must not have been fitted to these rounds
    (fit it to one half and estimate on the other).

    Parameters
    ----------
    rewards : ndarray (n,), finite
    weights : ndarray (n,), of `importance_weights`
    actions : int ndarray (n,), the logged actions
    target : ndarray (n, n_actions), the target policy's probabilities
    predicted : ndarray (n, n_actions), q

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        As `ips` does, for shapes that do not fit, or probabilities that do not sum to 1.
    """
    _check_rewards(rewards, weights)
    expected = _expected(target, predicted)
    if len(actions) != len(rewards) or len(expected) != len(rewards):
        counts = f"{len(rewards)} rewards, {len(actions)} actions"
        raise ValueError(f"{counts}, {len(expected)} rows of predictions")
    logged = predicted[np.arange(len(actions)), actions]  # (n,)
    return _mean_and_error(expected + weights * (rewards - logged))


def _expected(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    if target.shape != predicted.shape or target.ndim != 2:
        shapes = f"target {target.shape} and predicted {predicted.shape}"
        raise ValueError(f"{shapes} must be (n, n_actions)")
    total = target.sum(axis=1)
    if not np.allclose(total, 1.0):
        row = int(np.argmax(np.abs(total - 1)))
        raise ValueError(f"the target probabilities of round {row} sum to {total[row]:.4f}, not 1")
    return (target * predicted).sum(axis=1)  # (n,)


def _check_rewards(rewards: np.ndarray, weights: np.ndarray) -> None:
    if np.shape(rewards) != np.shape(weights) or np.ndim(rewards) != 1 or not len(rewards):
        shapes = f"rewards {np.shape(rewards)} and weights {np.shape(weights)}"
        raise ValueError(f"{shapes} must be (n,), n > 0")
    if not (np.isfinite(rewards).all() and np.isfinite(weights).all()):
        raise ValueError("rewards and weights must be finite")


def _mean_and_error(values: np.ndarray) -> Estimate:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), float(error))
