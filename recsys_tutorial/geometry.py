"""How vectors lie in their space: close pairs, a filled sphere, directions that are in use.

A contrastive loss can fall while vectors collapse onto a few directions. These numbers show it, and
none of them needs a label: compute them during training.
"""

import numpy as np
import torch
from torch import Tensor

from recsys_tutorial._checks import check_pairs, finite_vectors


def alignment(anchors: Tensor, positives: Tensor) -> Tensor:
    """Mean squared distance of the two vectors of a positive pair; 0 where all pairs coincide.

    Wang & Isola 2020, arXiv:2005.10242, with their exponent 2.

    Parameters
    ----------
    anchors, positives : Tensor (n, dim), rows of length 1

    Returns
    -------
    scalar Tensor, 0 to 4

    Raises
    ------
    ValueError for shapes that differ or are not (n, dim).

    Examples
    --------
    >>> alignment(torch.eye(2), torch.eye(2).flip(0)).item()
    2.0
    """
    check_pairs(anchors, positives)
    return ((anchors - positives) ** 2).sum(1).mean()


def uniformity(vectors: Tensor) -> Tensor:
    """Log of the mean of exp(-2 |v_a - v_b|^2) over all pairs of different rows.

    0 where all vectors are the same, the lower the more evenly they fill the sphere (Wang & Isola
    2020, arXiv:2005.10242, with their factor 2).

    Parameters
    ----------
    vectors : Tensor (n, dim) of at least 2 rows of length 1

    Returns
    -------
    scalar Tensor, -8 to 0

    Raises
    ------
    ValueError for another shape, or fewer than 2 rows.

    Examples
    --------
    >>> uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
    -8.0
    """
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"vectors must be (n, dim) with n >= 2, got {tuple(vectors.shape)}")
    n = len(vectors)
    squared = 2 - 2 * vectors @ vectors.T  # (n, n), rows of length 1
    other = ~torch.eye(n, dtype=torch.bool, device=vectors.device)
    return (-2 * squared[other]).logsumexp(0) - np.log(n * (n - 1))


def spectrum(vectors: np.ndarray) -> np.ndarray:
    """Standard deviations of centred vectors along their principal directions, largest first.

    Parameters
    ----------
    vectors : ndarray (n, dim)

    Returns
    -------
    ndarray (min(n, dim),): singular values of the centred vectors, divided by sqrt(n)

    Raises
    ------
    ValueError for another shape, no row, or values that are not finite.
    """
    vectors = finite_vectors("vectors", vectors, least=1).astype(np.float64)
    return np.linalg.svd(vectors - vectors.mean(0), compute_uv=False) / np.sqrt(len(vectors))


def effective_rank(vectors: np.ndarray) -> float:
    """Exponential of the entropy of the shares of variance along the principal directions.

    k where the variance is shared by k directions alike, 1 where one has it all (Roy & Vetterli
    2007, with variances in place of singular values); 0 where all vectors are the same.

    Parameters
    ----------
    vectors : ndarray (n, dim)

    Returns
    -------
    float, at most min(n, dim)

    Raises
    ------
    ValueError as `spectrum`.

    Examples
    --------
    >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
    2.0
    """
    variance = spectrum(vectors) ** 2
    if not variance.sum() > 0:
        return 0.0
    share = variance[variance > 0] / variance.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
