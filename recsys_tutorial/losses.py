"""Losses: pure functions of tensors that return a scalar to minimise."""

from __future__ import annotations

import math
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


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float | Tensor,
    in_batch: bool | None = None,
    symmetric: bool = False,
    log_q: Tensor | None = None,
    negative_log_q: Tensor | None = None,
    positive_ids: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """InfoNCE: tell each anchor's positive from negatives, by a softmax over all of them.

        loss = mean over rows of  -log( e^{s+} / (e^{s+} + sum over negatives of e^{s-}) ),
        s = anchor . candidate / temperature  [- log q(candidate)]

    (van den Oord, Li & Vinyals 2018, arXiv:1807.03748, equation 4; with in-batch negatives also
    called N-pairs or multiple-negatives ranking loss.) Vectors are taken as they come: scale them
    to length 1 first for a cosine.

    A batch draws item j as a negative with a probability q_j that grows with its popularity.
    Subtracting log q_j from the logits, the positive's included, undoes that (Yi et al. 2019,
    doi:10.1145/3298689.3346996); otherwise the scores learn log p(item | user) - log q(item).

    Parameters
    ----------
    anchors, positives : Tensor (batch, dim); row i of one belongs to row i of the other
    negatives : Tensor (n_neg, dim), shared by all rows, or (batch, n_neg, dim), each row's own
    temperature : float > 0, or scalar Tensor (for one that is learned); `scale` elsewhere is its
        inverse
    in_batch : the other rows of `positives` are negatives too; by default exactly when no
        `negatives` are given
    symmetric : mean with the other direction, in which each positive has to find its anchor among
        the anchors of the batch
    log_q : Tensor (batch,), log of the probability with which each positive is drawn; it corrects
        anchor -> positive only, where positives are the candidates
    negative_log_q : Tensor (n_neg,) or (batch, n_neg), the same of `negatives`
    positive_ids : int Tensor (batch,): rows with an equal id are no negatives of each other
    mask : bool Tensor (batch, n_candidates), True leaves a candidate out. The candidates are the
        batch's positives (only the row's own one without `in_batch`), then the negatives. A row's
        own positive cannot be left out.

    Returns
    -------
    scalar Tensor, in nats: log(number of candidates) where all scores are equal. A row whose
    negatives are all left out has nothing to tell apart and does not count; if no row counts,
    the loss is 0.

    Raises
    ------
    ValueError for wrong shapes, values that are not finite, a temperature that is not positive, or
    a row that has no negative at all.

    Examples
    --------
    >>> import torch
    >>> users = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(info_nce(users, users, temperature=1.0).item(), 4)  # log(1 + 1/e)
    0.3133
    >>> round(info_nce(users, users, temperature=0.1).item(), 4)
    0.0
    """
    import torch

    _check_info_nce(anchors, positives, negatives, temperature)
    n, in_batch = len(anchors), negatives is None if in_batch is None else in_batch
    if negatives is None and (n < 2 or not in_batch):
        raise ValueError(
            f"no row has a negative (batch {n}, in_batch={in_batch}, no negatives given): give "
            "negatives, or a batch of at least 2 rows with in_batch"
        )
    if anchors.itemsize < 4:  # logits of half precision are too coarse
        anchors, positives = anchors.float(), positives.float()
        negatives = None if negatives is None else negatives.float()

    if in_batch:
        pairs = anchors @ positives.T / temperature  # (batch, batch)
        place = torch.arange(n, device=anchors.device)  # where each row's positive stands
    else:
        pairs = (anchors * positives).sum(1, keepdim=True) / temperature  # (batch, 1)
        place = torch.zeros(n, dtype=torch.long, device=anchors.device)
    logits = pairs
    if log_q is not None:
        log_q = _log_probability("log_q", log_q, anchors, [(n,)])
        logits = pairs - (log_q if in_batch else log_q[:, None])
    if negatives is not None:
        many = torch.einsum("bd,bnd->bn", anchors, negatives) if negatives.ndim == 3 else None
        many = (anchors @ negatives.T if many is None else many) / temperature  # (batch, n_neg)
        if negative_log_q is not None:
            shapes = [(many.shape[1],), tuple(many.shape)]
            many = many - _log_probability("negative_log_q", negative_log_q, anchors, shapes)
        logits = torch.cat([logits, many], dim=1)  # (batch, n_candidates)
    elif negative_log_q is not None:
        raise ValueError("negative_log_q is given, but no negatives")

    left_out = torch.zeros_like(logits, dtype=torch.bool)
    if positive_ids is not None and in_batch:
        ids = torch.as_tensor(positive_ids, device=anchors.device)
        if ids.shape != (n,):
            raise ValueError(f"positive_ids must be ({n},), got {tuple(ids.shape)}")
        left_out[:, :n] = ids[:, None] == ids
    if mask is not None:
        mask = torch.as_tensor(mask, device=anchors.device)
        if mask.dtype != torch.bool or mask.shape != logits.shape:
            raise ValueError(
                f"mask must be bool {tuple(logits.shape)}, got {mask.dtype} {tuple(mask.shape)}"
            )
        left_out |= mask
    rows = torch.arange(n, device=anchors.device)
    left_out[rows, place] = False

    loss = _softmax_loss(logits, place, left_out)
    if symmetric:
        if not in_batch:
            raise ValueError("symmetric needs in_batch: the other anchors are what to tell apart")
        loss = 0.5 * (loss + _softmax_loss(pairs.T, place, left_out[:, :n].T))
    if not torch.isfinite(loss):
        raise ValueError(
            "the loss is not finite: " + (_first_bad(anchors, positives, negatives) or "overflow")
        )
    return loss


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

    Examples
    --------
    >>> import torch
    >>> scores = torch.tensor([[0.0, 0.0, 5.0]])
    >>> left_out = torch.tensor([[False, False, True]])
    >>> round(multinomial_loss(scores, torch.tensor([[1.0, 0, 0]]), left_out).item(), 4)  # log 2
    0.6931
    """
    if scores.shape != targets.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)} differ")
    if scores.itemsize < 4:  # half precision
        scores = scores.float()
    if mask is not None:
        if bool((mask & (targets > 0)).any()):
            raise ValueError("mask leaves a target out")
        scores = scores.masked_fill(mask, _LEFT_OUT)
    return -(targets * scores.log_softmax(1)).sum() / targets.sum().clamp(min=1)


_LEFT_OUT = -1e30  # e^-1e30 is 0 in every precision, but unlike -inf it makes no nan of 0 * log 0


def _softmax_loss(logits: Tensor, place: Tensor, left_out: Tensor) -> Tensor:
    """Mean -log softmax at `place` over the rows that have a negative."""
    import torch

    losses = torch.nn.functional.cross_entropy(
        logits.masked_fill(left_out, _LEFT_OUT), place, reduction="none"
    )
    counts = (~left_out).sum(1) > 1
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def _check_info_nce(anchors, positives, negatives, temperature) -> None:
    if anchors.ndim != 2 or anchors.shape != positives.shape:
        raise ValueError(
            "anchors and positives must both be (batch, dim), got "
            f"{tuple(anchors.shape)} and {tuple(positives.shape)}"
        )
    n, dim = anchors.shape
    if negatives is not None:
        shape = tuple(negatives.shape)
        own = len(shape) == 3 and shape[0] == n
        if not (own or len(shape) == 2) or shape[-1] != dim or 0 in shape:
            raise ValueError(
                f"negatives must be (n_neg, {dim}) or ({n}, n_neg, {dim}), got {shape}"
            )
    value = float(temperature.detach() if hasattr(temperature, "detach") else temperature)
    if not 0 < value < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {value}")


def _log_probability(name: str, values, like: Tensor, shapes: list[tuple]) -> Tensor:
    import torch

    values = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    if tuple(values.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"{name} must be {expected}, got {tuple(values.shape)}")
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} holds a value that is not finite: no probability may be 0")
    return values


def _first_bad(anchors, positives, negatives) -> str | None:
    for name, values in (("anchors", anchors), ("positives", positives), ("negatives", negatives)):
        if values is not None and not values.isfinite().all():
            row = int((~values.isfinite()).nonzero()[0, 0])
            return f"row {row} of {name} holds nan or infinity"
    return None
