"""The losses that are functions of scores; `losses` lists them and says when each is right.

Almost two thirds of the lines are docstrings: the equation, shapes and source of each.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from recsys_tutorial._checks import check_pairs, check_within
from recsys_tutorial._torch.precision import in_full_precision, leave_out
from recsys_tutorial.losses._checks import bool_mask, check_finite, log_probability, softmax_loss


@in_full_precision
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
    positive_scores, negative_scores = map(torch.as_tensor, (positive_scores, negative_scores))
    return functional.softplus(negative_scores - positive_scores).mean()


@in_full_precision
def bce_loss(
    positive_scores: Tensor, negative_scores: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy: each pair on its own is liked (1) or drawn at random (0).

        loss = mean over all pairs of  -log sigmoid(s+)  and  -log(1 - sigmoid(s-))

    With n negatives drawn from q it is smallest where s = log p(item | user) - log(n q(item))
    (Levy & Goldberg 2014, for word vectors): subtract log q from the scores to learn p itself.

    Parameters
    ----------
    positive_scores : Tensor (batch,)
    negative_scores : Tensor (batch, n_neg), or (batch,) for one each
    mask : bool Tensor like negative_scores, True leaves a negative out

    Returns
    -------
    scalar Tensor; log 2 when all scores are 0

    Raises
    ------
    ValueError for wrong shapes, a mask of another shape or dtype, or scores that are not finite.

    Examples
    --------
    >>> import torch
    >>> round(bce_loss(torch.tensor([0.0]), torch.tensor([[0.0, 0.0]])).item(), 4)
    0.6931
    """
    _check_scores(positive_scores, negative_scores)
    negative = functional.softplus(negative_scores)
    n_negative = negative.numel()
    if mask is not None:
        mask = bool_mask("mask", mask, negative_scores)
        negative, n_negative = negative.masked_fill(mask, 0), (~mask).sum()
    total = functional.softplus(-positive_scores).sum() + negative.sum()
    loss = total / (len(positive_scores) + n_negative)
    return check_finite(loss, positive_scores=positive_scores, negative_scores=negative_scores)


@in_full_precision
def gbce_loss(
    positive_scores: Tensor,
    negative_scores: Tensor,
    *,
    n_items: int,
    calibration: float = 0.75,
) -> Tensor:
    """Binary cross-entropy that takes back the overconfidence that few negatives bring.

        loss = mean of  -(beta log sigmoid(s+) + sum of log(1 - sigmoid(s-))) / (n + 1),
        beta = alpha (t (1 - 1 / alpha) + 1 / alpha),   alpha = n / (n_items - 1)

    With n negatives of each positive, `bce_loss` is smallest where the items' probabilities are far
    too high, all the more the fewer are drawn. A positive that counts beta times mends that: t = 0
    is `bce_loss`, at t = 1 sigmoid(s) is p(item | user) as if all others were negatives. (Petrov &
    Macdonald 2023, arXiv:2308.07192.)

    Parameters
    ----------
    positive_scores : Tensor (batch,)
    negative_scores : Tensor (batch, n), items drawn evenly
    n_items : int, in the catalogue
    calibration : float in [0, 1], t

    Returns
    -------
    scalar Tensor

    Raises
    ------
    ValueError for wrong shapes, a calibration out of range, more negatives than other items, or
    scores that are not finite.

    Examples
    --------
    >>> import torch
    >>> s = torch.tensor([1.0]), torch.tensor([[0.0, -1.0]])
    >>> torch.isclose(gbce_loss(*s, n_items=9, calibration=0.0), bce_loss(*s)).item()
    True
    >>> round(gbce_loss(*s, n_items=9, calibration=1.0).item(), 4)  # beta = 2 / 8
    0.3616
    """
    _check_scores(positive_scores, negative_scores)
    n = negative_scores.shape[1] if negative_scores.ndim == 2 else 1
    check_within(n + 1, math.inf, n_items=n_items)
    check_within(0, 1, calibration=calibration)
    alpha = n / (n_items - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    total = beta * functional.softplus(-positive_scores).sum()
    total = total + functional.softplus(negative_scores).sum()
    loss = total / (positive_scores.numel() + negative_scores.numel())
    return check_finite(loss, positive_scores=positive_scores, negative_scores=negative_scores)


@in_full_precision
def sampled_softmax_loss(
    positive_scores: Tensor, negative_scores: Tensor, negative_log_q: Tensor
) -> Tensor:
    """Estimate of the softmax over the whole catalogue from n negatives that were drawn from q.

        loss = mean of  -s+ + log( e^{s+} + 1/n sum over negatives of e^{s-} / q(item) )

    The positive is always there, so it is not corrected; drawn from the *other* items with
    probabilities q that sum to 1, the negatives estimate the rest of the sum without bias. Its
    logarithm is biased, by about -variance / 2, which shrinks as 1/n. (Bengio & Senecal 2008 for
    the estimate; that the usual logQ correction treats the positive as if it had been drawn is the
    point of Khrylchenko et al. 2025, arXiv:2507.09331.)

    Parameters
    ----------
    positive_scores : Tensor (batch,)
    negative_scores : Tensor (batch, n_neg)
    negative_log_q : Tensor (batch, n_neg) or (n_neg,), log probability of one draw

    Returns
    -------
    scalar Tensor, in nats; log(1 + number of other items) where all scores are 0 and q is even

    Raises
    ------
    ValueError for wrong shapes, or scores or probabilities that are not finite.

    Examples
    --------
    >>> import torch
    >>> q = torch.full((1, 4), 0.25).log()  # all four other items, once each: the exact softmax
    >>> round(sampled_softmax_loss(torch.zeros(1), torch.zeros(1, 4), q).item(), 4)  # log 5
    1.6094
    """
    _check_scores(positive_scores, negative_scores)
    if negative_scores.ndim != 2:
        raise ValueError(f"negative_scores must be (batch, n_neg), got {negative_scores.shape}")
    shapes = [tuple(negative_scores.shape), (negative_scores.shape[1],)]
    log_q = log_probability("negative_log_q", negative_log_q, negative_scores, shapes)
    log_n = torch.tensor(negative_scores.shape[1], dtype=negative_scores.dtype).log()
    logits = torch.cat([positive_scores[:, None], negative_scores - log_q - log_n], 1)
    place = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    loss = softmax_loss(logits, place, torch.zeros_like(logits, dtype=torch.bool))
    return check_finite(loss, positive_scores=positive_scores, negative_scores=negative_scores)


@in_full_precision
def multinomial_loss(scores: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the whole catalogue against everything a user likes: no negatives are drawn.

        loss = - sum over users and items of t_ui log softmax(s_u)_i  /  sum of t_ui

    (the multinomial likelihood of Liang et al. 2018, doi:10.1145/3178876.3186150, equation 2.)

    Parameters
    ----------
    scores : Tensor (batch, n_items)
    targets : Tensor (batch, n_items) >= 0: how often, or whether, a user likes an item
    mask : bool Tensor (batch, n_items), True leaves an item out of the softmax

    Returns
    -------
    scalar Tensor, the mean over likes, in nats; 0 when there are no targets

    Raises
    ------
    ValueError for shapes that differ, or a mask that leaves a target out.

    Examples
    --------
    >>> import torch
    >>> scores = torch.tensor([[0.0, 0.0, 5.0]])
    >>> left_out = torch.tensor([[False, False, True]])
    >>> round(multinomial_loss(scores, torch.tensor([[1.0, 0, 0]]), left_out).item(), 4)  # log 2
    0.6931
    """
    check_pairs(scores, targets)
    if mask is not None:
        if bool((mask & (targets > 0)).any()):
            raise ValueError("mask leaves a target out")
        scores = leave_out(scores, mask)
    return -(targets * scores.log_softmax(1)).sum() / targets.sum().clamp(min=1)


def _check_scores(positive_scores: Tensor, negative_scores: Tensor) -> None:
    shape, other = tuple(positive_scores.shape), tuple(negative_scores.shape)
    if len(shape) != 1 or other[:1] != shape or len(other) > 2 or 0 in other:
        expected = "positive_scores must be (batch,) and negative_scores (batch, n_neg) or (batch,)"
        raise ValueError(f"{expected}, got {shape} and {other}")
