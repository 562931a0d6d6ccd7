"""What `info_nce` tells apart: the positives of a batch, then the negatives that are given."""

import torch
from torch import Tensor

from recsys_tutorial._checks import check_at_least, check_pairs, check_positive, check_shape
from recsys_tutorial.losses._checks import bool_mask, log_probability


def check_info_nce(
    a, positives, negatives, temperature, in_batch, symmetric=False, hardness=0.0
) -> None:
    """ValueError for arguments of `info_nce` that do not fit each other, or leave no negative."""
    check_pairs(a, positives)
    n, dim = a.shape
    if negatives is not None:
        shape = tuple(negatives.shape)
        if shape[:-2] not in ((), (n,)) or shape[-1] != dim or len(shape) < 2 or 0 in shape:
            expected = f"(n_neg, {dim}) or ({n}, n_neg, {dim})"
            raise ValueError(f"negatives must be {expected}, got {shape}")
    elif n < 2 or not in_batch:
        raise ValueError(
            f"no row has a negative (batch {n}, in_batch={in_batch}, no negatives given): give "
            "negatives, or a batch of at least 2 rows with in_batch"
        )
    if symmetric and not in_batch:
        raise ValueError("symmetric needs in_batch: the other anchors are what to tell apart")
    check_at_least(0, hardness=hardness)
    check_positive(temperature=torch.as_tensor(temperature).item())


def similarities(anchors, positives, negatives, in_batch: bool) -> Tensor:
    """Dot products (batch, n_candidates): with the positives, then with the negatives."""
    if in_batch:
        pairs = anchors @ positives.T  # (batch, batch)
    else:
        pairs = (anchors * positives).sum(1, keepdim=True)  # (batch, 1)
    if negatives is None:
        return pairs
    shared = negatives.ndim == 2
    many = anchors @ negatives.T if shared else torch.einsum("bd,bnd->bn", anchors, negatives)
    return torch.cat([pairs, many], dim=1)


def corrections(similarity: Tensor, log_q, negative_log_q, in_batch: bool) -> Tensor:
    """The log q (batch, n_candidates) of each candidate; 0 where none is given."""
    n, n_positives = len(similarity), len(similarity) if in_batch else 1
    n_negatives = similarity.shape[1] - n_positives
    correction = torch.zeros_like(similarity)
    if log_q is not None:
        log_q = log_probability("log_q", log_q, similarity, [(n,)])
        correction[:, :n_positives] = log_q if in_batch else log_q[:, None]
    if negative_log_q is not None:
        if not n_negatives:
            raise ValueError("negative_log_q is given, but no negatives")
        shapes = [(n_negatives,), (n, n_negatives)]
        log_q = log_probability("negative_log_q", negative_log_q, similarity, shapes)
        correction[:, n_positives:] = log_q
    return correction


def left_out_of(similarity: Tensor, positive_ids, mask, in_batch: bool) -> Tensor:
    """True (batch, n_candidates) where a candidate is no negative: an equal id, or masked."""
    n = len(similarity)
    left_out = torch.zeros_like(similarity, dtype=torch.bool)
    if positive_ids is not None and in_batch:
        ids = torch.as_tensor(positive_ids, device=similarity.device)
        check_shape("positive_ids", ids, (n,))
        left_out[:, :n] = ids[:, None] == ids
    if mask is not None:
        left_out |= bool_mask("mask", mask, similarity)
    return left_out
