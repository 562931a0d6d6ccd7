"""InfoNCE of a large batch with the scores of a part of it in memory."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recsys_tutorial._checks import check_at_least, check_shape
from recsys_tutorial._torch.precision import in_full_precision
from recsys_tutorial.losses import _candidates as parts
from recsys_tutorial.losses._checks import check_finite, log_probability, softmax_loss


@in_full_precision
def info_nce_in_chunks(
    anchors: Tensor,
    positives: Tensor,
    *,
    temperature: float | Tensor,
    chunk_size: int,
    log_q: Tensor | None = None,
    positive_ids: Tensor | None = None,
) -> Tensor:
    """`info_nce` with in-batch negatives, the scores of one chunk of anchors in memory at a time.

    The scores of a batch are batch x batch numbers, and `info_nce` keeps several such arrays for
    the backward pass. A row's loss needs only the row: its log-sum-exp in the forward pass, and in
    the backward pass its softmax, which is computed again from the vectors. So chunk x batch
    numbers are enough, at the price of one more product of anchors and positives. Together with
    `training.in_chunks`, which does the same for the activations of an encoder, memory grows with
    the vectors alone.

    Parameters
    ----------
    anchors, positives : Tensor (batch, dim); row i of one belongs to row i of the other
    temperature : float > 0, or scalar Tensor
    chunk_size : int, anchors whose scores are in memory at a time; the result does not depend on it
    log_q : Tensor (batch,), as in `info_nce`
    positive_ids : int Tensor (batch,), as in `info_nce`

    Returns
    -------
    scalar Tensor, in nats: what `info_nce` returns, with the same gradients

    Raises
    ------
    ValueError as `info_nce`, and for a chunk size below 1.

    Examples
    --------
    >>> import torch
    >>> from recsys_tutorial.losses import info_nce
    >>> users = torch.eye(3)
    >>> loss = info_nce_in_chunks(users, users, temperature=1.0, chunk_size=2)
    >>> torch.isclose(loss, info_nce(users, users, temperature=1.0)).item()
    True
    """
    parts.check_info_nce(anchors, positives, None, temperature, in_batch=True)
    check_at_least(1, chunk_size=chunk_size)
    if log_q is not None:
        log_q = log_probability("log_q", log_q, anchors, [(len(anchors),)])
    if positive_ids is not None:
        positive_ids = torch.as_tensor(positive_ids, device=anchors.device)
        check_shape("positive_ids", positive_ids, (len(anchors),))

    def of_chunk(rows: Tensor) -> Tensor:
        """The sum of the losses of some rows."""
        logits = anchors[rows] @ positives.T / temperature  # (chunk, batch)
        if log_q is not None:
            logits = logits - log_q
        left_out = torch.zeros_like(logits, dtype=torch.bool)
        if positive_ids is not None:
            left_out = positive_ids[rows][:, None] == positive_ids
        left_out[torch.arange(len(rows), device=rows.device), rows] = False
        return len(rows) * softmax_loss(logits, rows, left_out)

    rows = torch.arange(len(anchors), device=anchors.device).split(chunk_size)
    # Without a mask either every row has a negative or, where all ids are equal, none has one.
    total = sum(checkpoint(of_chunk, chunk, use_reentrant=False) for chunk in rows)
    loss = total / len(anchors)
    return check_finite(loss, anchors=anchors, positives=positives)
