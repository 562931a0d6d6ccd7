"""What a language model is taught by: the loss of the answers' tokens, or of preferences."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys_tutorial._checks import check_positive, check_shape

__all__ = ["answer_loss", "preference_loss"]


def answer_loss(logits: Tensor, tokens: Tensor, is_answer: Tensor) -> Tensor:
    """Cross-entropy of the answers' tokens, each by the logits one place before it:

        L = - 1/n sum_(t is answer) log softmax(logits_(t-1))[token_t]

    What the prompt says is not learned: only that an answer follows it.

    Parameters
    ----------
    logits : Tensor (batch, n_tokens, n_vocabulary)
    tokens : int64 Tensor (batch, n_tokens)
    is_answer : bool Tensor (batch, n_tokens); the first token of a row has nothing before it

    Returns
    -------
    Tensor, a scalar: the mean over all tokens of answers

    Raises
    ------
    ValueError
        For shapes that do not fit, and where no token is an answer's.
    """
    check_shape("tokens", tokens, tuple(logits.shape[:-1]))
    check_shape("is_answer", is_answer, tuple(tokens.shape))
    wanted = is_answer[:, 1:]
    if not wanted.any():
        raise ValueError("no token belongs to an answer")
    before = logits[:, :-1][wanted]  # (n, n_vocabulary)
    log_p = torch.log_softmax(before, -1)
    return -log_p.gather(1, tokens[:, 1:][wanted][:, None]).mean()


def preference_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor | float = 0.0,
    reference_rejected: Tensor | float = 0.0,
    beta: float = 1.0,
) -> Tensor:
    """One answer should be preferred to several others, as S-DPO has it:

        r(y) = beta (log p(y | x) - log p_reference(y | x))
        L = - log sigmoid(- log sum_j exp(r(y_j) - r(y)))  =  - log exp(r(y)) / sum exp(r)

    where the last sum is over y and all y_j: a softmax over the candidates (Chen et al. 2024,
    "On Softmax Direct Preference Optimization for Recommendation", arXiv:2406.09215). One
    rejected answer makes it DPO (Rafailov et al. 2023, arXiv:2305.18290, equation 7). Without a
    reference and with beta 1 it is the loss of ranking by log p(y | x).

    Parameters
    ----------
    chosen : Tensor (batch,), log p(y | x)
    rejected : Tensor (batch, n_rejected), log p(y_j | x)
    reference_chosen, reference_rejected : Tensor of the same shapes, or one number for all
    beta : float > 0

    Returns
    -------
    Tensor, a scalar: the mean over the batch

    Raises
    ------
    ValueError
        For shapes that do not fit, and a beta that is not positive.
    """
    check_positive(beta=beta)
    if chosen.ndim != 1 or rejected.shape[:-1] != chosen.shape or not rejected.shape[-1]:
        raise ValueError(
            f"chosen (batch,) and rejected (batch, n) do not fit: {tuple(chosen.shape)} and "
            f"{tuple(rejected.shape)}"
        )
    for name, reference, own in (
        ("reference_chosen", reference_chosen, chosen),
        ("reference_rejected", reference_rejected, rejected),
    ):
        if isinstance(reference, Tensor):
            check_shape(name, reference, tuple(own.shape))
    better = beta * (chosen - reference_chosen)  # (batch,)
    worse = beta * (rejected - reference_rejected)  # (batch, n_rejected)
    rewards = torch.cat([better[:, None], worse], 1)
    return -torch.log_softmax(rewards, 1)[:, 0].mean()
