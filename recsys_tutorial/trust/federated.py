"""Histories that stay on their devices: what is sent instead, and what that still gives away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recsys_tutorial._checks import check_at_least, check_shape

__all__ = ["federated_average", "likes_in_gradient", "masked_shares", "unmasked_sum"]


def federated_average(
    parameters: np.ndarray,
    gradients: Sequence[Callable[[np.ndarray], np.ndarray]],
    weights: np.ndarray,
    learning_rate: float,
    local_steps: int = 1,
) -> np.ndarray:
    """One round: every device goes on from the parameters on its own, and the results are averaged.

    With one local step a round is exactly the step that a server with all the data would make on
    the weighted mean loss; with more of them it is not, where devices differ (FedAvg: McMahan et
    al. 2017, arXiv:1602.05629, algorithm 1).

    Parameters
    ----------
    parameters : ndarray of any shape, the same for all
    gradients : one function for each device, parameters -> gradient of its own mean loss
    weights : ndarray (n_devices,), >= 0, such as numbers of likes
    learning_rate : float
    local_steps : int >= 1

    Returns
    -------
    ndarray, of the parameters' shape

    Raises
    ------
    ValueError
        For another number of weights, weights that are negative or all 0, and no local step.
    """
    check_at_least(1, local_steps=local_steps)
    weights = np.asarray(weights, dtype=np.float64)
    check_shape("weights", weights, (len(gradients),))
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError("weights must be 0 or more, and not all 0")
    total = np.zeros_like(parameters, dtype=np.float64)
    for gradient, weight in zip(gradients, weights / weights.sum(), strict=True):
        local = np.array(parameters, dtype=np.float64)
        for _ in range(local_steps):
            local -= learning_rate * gradient(local)
        total += weight * local
    return total


def likes_in_gradient(gradient: np.ndarray) -> np.ndarray:
    """What a user likes, read off the gradient that they send for the item vectors.

    Of a softmax over the catalogue, with the user's vector x, an item vector's gradient is

        dV_i = (p_i - t_i) x,   t_i = 1 / n for each of the n items the user likes, else 0

    All rows lie along x, and those of the liked items point the other way than all the others
    (wherever p_i < 1 / n). Neither x nor the model is needed to see it. That gradients give their
    data away holds in general (Zhu, Liu & Han 2019, arXiv:1906.08935).

    Parameters
    ----------
    gradient : ndarray (n_items, dim), one user's

    Returns
    -------
    int ndarray (n_found,), columns: the fewer of the rows that point against the others

    Raises
    ------
    ValueError for another number of axes, or a gradient that is 0.
    """
    gradient = np.asarray(gradient, dtype=np.float64)
    if gradient.ndim != 2 or not gradient.any():
        raise ValueError(f"gradient must be (n_items, dim) and not 0, got {gradient.shape}")
    direction = np.linalg.svd(gradient, full_matrices=False)[2][0]  # x, but for length and sign
    along = gradient @ direction
    small = np.abs(along) <= 1e-12 * np.abs(along).max()
    sides = np.flatnonzero((along > 0) & ~small), np.flatnonzero((along < 0) & ~small)
    return min(sides, key=len)


def masked_shares(vectors: np.ndarray, seed: int, digits: int = 6) -> np.ndarray:
    """What devices send where the server may learn the sum alone: secure aggregation's idea.

    Each pair of devices agrees on random numbers, which one adds and the other subtracts. Numbers
    are whole, modulo 2^64, so that a mask hides everything and the masks cancel to the last bit
    (Bonawitz et al. 2017, doi:10.1145/3133956.3133982; there pairs agree by public keys, and
    devices that drop out are provided for. Here one seed deals all masks, which shows the sum and
    protects nobody).

    Parameters
    ----------
    vectors : ndarray (n_devices, n), float, n_devices >= 2
    seed : int, of the masks
    digits : int >= 0, decimals that are kept

    Returns
    -------
    uint64 ndarray (n_devices, n)

    Raises
    ------
    ValueError for one device, or numbers whose sum would not fit.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    check_at_least(0, digits=digits)
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"vectors must be (n_devices, n), n_devices >= 2, got {vectors.shape}")
    if not np.abs(vectors).sum(axis=0).max(initial=0.0) * 10.0**digits < 2.0**62:
        raise ValueError(f"sums with {digits} decimals do not fit into 64 bits")
    shares = np.rint(vectors * 10.0**digits).astype(np.int64).astype(np.uint64)
    rng = np.random.default_rng(seed)
    for i in range(len(shares)):
        for j in range(i + 1, len(shares)):
            mask = rng.integers(2**64, size=shares.shape[1], dtype=np.uint64)
            shares[i] += mask  # modulo 2^64
            shares[j] -= mask
    return shares


def unmasked_sum(shares: np.ndarray, digits: int = 6) -> np.ndarray:
    """The sum of what devices hold, from what they sent; all of them have to be there.

    Parameters
    ----------
    shares : uint64 ndarray (n_devices, n), of `masked_shares`
    digits : int, as there

    Returns
    -------
    ndarray (n,), float64

    Examples
    --------
    >>> shares = masked_shares(np.array([[1.5, -2.0], [0.25, 1.0]]), seed=0)
    >>> unmasked_sum(shares)
    array([ 1.75, -1.  ])
    """
    return shares.sum(axis=0, dtype=np.uint64).astype(np.int64) / 10.0**digits
