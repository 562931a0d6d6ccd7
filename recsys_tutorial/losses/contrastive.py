"""Contrastive losses: a vector's partner among many vectors."""

import torch
from torch import Tensor

from recsys_tutorial._checks import check_positive
from recsys_tutorial._torch.precision import in_full_precision, leave_out
from recsys_tutorial.losses import _candidates as parts
from recsys_tutorial.losses._checks import bool_mask, check_finite, log_probability, softmax_loss


@in_full_precision
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
    hardness: float = 0.0,
    decoupled: bool = False,
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
    hardness : float >= 0: a negative counts e^(hardness * anchor . negative) times, so that those
        near the anchor count for more (Robinson et al. 2021, arXiv:2010.04592; in this form, with
        no gradient through the weight, Lan et al. 2025, arXiv:2503.04812, equation 5)
    decoupled : leave the positive out of the denominator (Yeh et al. 2022, arXiv:2110.06848,
        equation 6); the loss may then be negative

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
    in_batch = negatives is None if in_batch is None else in_batch
    parts.check_info_nce(anchors, positives, negatives, temperature, in_batch, symmetric, hardness)
    rows = torch.arange(len(anchors), device=anchors.device)
    place = rows if in_batch else torch.zeros_like(rows)  # where each row's positive stands
    similarity = parts.similarities(
        anchors, positives, negatives, in_batch
    )  # (batch, n_candidates)
    correction = parts.corrections(similarity, log_q, negative_log_q, in_batch)
    left_out = parts.left_out_of(similarity, positive_ids, mask, in_batch)
    left_out[rows, place] = False
    weight = hardness * similarity.detach()  # log of how much a negative counts
    weight[rows, place] = 0.0
    logits = similarity / temperature - correction + weight
    loss = softmax_loss(logits, place, left_out, decoupled=decoupled)
    if symmetric:  # now the batch's anchors are the candidates, and nothing has to be corrected
        weight, left_out = weight[:, : len(rows)].T, left_out[:, : len(rows)].T  # (batch, batch)
        back = similarity[:, : len(rows)].T / temperature + weight
        loss = 0.5 * (loss + softmax_loss(back, place, left_out, decoupled=decoupled))
    return check_finite(loss, anchors=anchors, positives=positives, negatives=negatives)


@in_full_precision
def multi_positive_nce(
    anchors: Tensor,
    candidates: Tensor,
    is_positive: Tensor,
    *,
    temperature: float | Tensor,
    log_q: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """InfoNCE where an anchor may have several positives among the candidates.

        loss = mean over anchors a with a positive of
               mean over its positives p of  -log( e^{s_ap} / sum over candidates c of e^{s_ac} ),
        s = anchor . candidate / temperature  [- log q(candidate)]

    (supervised contrastive learning, Khosla et al. 2020, arXiv:2004.11362, equation 2.) Each anchor
    counts the same, however many positives it has; `multinomial_loss` counts each positive.

    Parameters
    ----------
    anchors : Tensor (batch, dim)
    candidates : Tensor (n_candidates, dim)
    is_positive : bool Tensor (batch, n_candidates)
    temperature : as in `info_nce`
    log_q : Tensor (n_candidates,), log probability with which each candidate is drawn
    mask : bool Tensor (batch, n_candidates), True leaves a candidate out, for example the anchor
        itself; no positive may be left out

    Returns
    -------
    scalar Tensor, in nats. With k positives it cannot be below log k: they share the softmax. 0 if
    no anchor has a positive.

    Raises
    ------
    ValueError for wrong shapes or dtypes, values that are not finite, a temperature that is not
    positive, or a mask that leaves a positive out.

    Examples
    --------
    >>> import torch
    >>> vectors, kind = torch.eye(3)[[0, 0, 1]], torch.tensor([0, 0, 1])
    >>> same = kind[:, None] == kind
    >>> round(multi_positive_nce(vectors, vectors, same, temperature=0.1).item(), 4)  # 2/3 log 2
    0.4621
    """
    if anchors.ndim != 2 or candidates.ndim != 2 or anchors.shape[1] != candidates.shape[1]:
        shapes = f"{tuple(anchors.shape)} and {tuple(candidates.shape)}"
        raise ValueError(f"anchors must be (batch, dim), candidates (n, dim), got {shapes}")
    check_positive(temperature=torch.as_tensor(temperature).item())
    logits = anchors @ candidates.T / temperature  # (batch, n_candidates)
    if log_q is not None:
        logits = logits - log_probability("log_q", log_q, anchors, [(len(candidates),)])
    is_positive = bool_mask("is_positive", is_positive, logits)
    if mask is not None:
        mask = bool_mask("mask", mask, logits)
        if bool((mask & is_positive).any()):
            raise ValueError("mask leaves a positive out")
        logits = leave_out(logits, mask)
    counts = is_positive.sum(1)
    total = (logits.log_softmax(1) * is_positive).sum(1) / counts.clamp(min=1)
    loss = -total.sum() / (counts > 0).sum().clamp(min=1)
    return check_finite(loss, anchors=anchors, candidates=candidates)
