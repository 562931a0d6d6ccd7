"""Losses: pure functions of tensors that return a scalar to minimise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def bpr_loss(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Bayesian personalised ranking: mean of -log sigmoid(positive - negative).

    It asks only that an item the user liked scores above one that they did not; the size of the
    scores themselves is free (Rendle et al. 2009, arXiv:1205.2618, section 4.1, without the
    regularisation).

    Parameters
    ----------
    positive_scores : Tensor (batch,) or any shape that broadcasts against
    negative_scores : Tensor, for example (batch, n_negatives) against (batch, 1)

    Returns
    -------
    scalar Tensor; log 2 when scores are equal. Stable: -log sigmoid(x) = softplus(-x) neither
    overflows nor loses its gradient for large negative x.

    Examples
    --------
    >>> import torch
    >>> round(bpr_loss(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0])).item(), 4)
    0.41
    """
    import torch

    positive_scores, negative_scores = map(torch.as_tensor, (positive_scores, negative_scores))
    return torch.nn.functional.softplus(negative_scores - positive_scores).mean()
