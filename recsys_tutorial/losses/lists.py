"""Losses over a user's list of candidates: pure functions of tensors (n_lists, list_size).

`teacher` holds another model's scores of the same candidates. Computed in float32 or float64, also
under autocast.
"""

from torch import Tensor
from torch.nn import functional

from recsys_tutorial._checks import check_pairs, check_positive
from recsys_tutorial._torch.precision import in_full_precision
from recsys_tutorial.losses.scores import multinomial_loss


@in_full_precision
def pointwise_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Each pair is a question of its own, answered yes or no: binary cross-entropy.

        loss = mean over pairs of  -y log sigmoid(s) - (1 - y) log(1 - sigmoid(s))

    The only one of the three that asks for the level of the scores, not just for their order.

    Parameters
    ----------
    scores, labels : Tensor (n_lists, list_size), labels 1 for liked and 0 for the rest

    Returns
    -------
    scalar Tensor, in nats; log 2 where all scores are 0

    Raises
    ------
    ValueError for tensors of other or different shapes, or without a candidate.

    Examples
    --------
    >>> import torch
    >>> round(pointwise_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)  # log 2
    0.6931
    """
    _check(scores, labels)
    return functional.binary_cross_entropy_with_logits(scores, labels.to(scores))


@in_full_precision
def pairwise_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Every liked candidate against every other one of its list: -log sigmoid(s+ - s-), mean.

    (RankNet: Burges et al. 2005, doi:10.1145/1102351.1102363, with certain targets; as BPR,
    but within a list.) A list whose labels are all equal has no pair; without any pair 0.

    Parameters
    ----------
    scores, labels : Tensor (n_lists, list_size), labels 1 for liked and 0 for the rest

    Returns
    -------
    scalar Tensor, in nats; log 2 where all scores are 0

    Raises
    ------
    ValueError for tensors of other or different shapes, or without a candidate.

    Examples
    --------
    >>> import torch
    >>> loss = pairwise_loss(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    >>> round(loss.item(), 4)
    0.1269
    """
    _check(scores, labels)
    differs = (labels[:, :, None] > 0) & (labels[:, None, :] == 0)  # (n_lists, size, size)
    gap = scores[:, :, None] - scores[:, None, :]  # (n_lists, size, size)
    return (functional.softplus(-gap) * differs).sum() / differs.sum().clamp(min=1)


@in_full_precision
def listwise_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """A softmax over the list has to give its probability to what was liked.

        loss = - sum over liked of log softmax(s)  /  number of liked

    The target is labels / their sum. ListNet's top-one loss (Cao et al. 2007,
    doi:10.1145/1273496.1273513) is the same cross-entropy with softmax(labels) as its target, in
    which every candidate has a share. A list without a liked candidate says nothing; without any
    the loss is 0.

    Parameters
    ----------
    scores, labels : Tensor (n_lists, list_size), labels 1 for liked and 0 for the rest

    Returns
    -------
    scalar Tensor, in nats; log(list_size) where all scores are equal

    Raises
    ------
    ValueError for tensors of other or different shapes, or without a candidate.

    Examples
    --------
    >>> import torch
    >>> round(listwise_loss(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]])).item(), 4)  # log 4
    1.3863
    """
    _check(scores, labels)
    return multinomial_loss(scores, labels.to(scores))


@in_full_precision
def distillation_loss(scores: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's softmax over the list to the teacher's, in nats.

        loss = - mean over lists of  sum_i softmax(t / T)_i log softmax(s / T)_i

    (Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 2.) Its least value is the entropy of
    the teacher's distribution, not 0.

    Parameters
    ----------
    scores, teacher : Tensor (n_lists, list_size), of the student and of its teacher
    temperature : float > 0, T; larger than 1 softens both distributions

    Returns
    -------
    scalar Tensor, in nats

    Raises
    ------
    ValueError for shapes that differ, an empty list, or a temperature that is not positive.

    Examples
    --------
    >>> import torch
    >>> teacher = torch.tensor([[0.0, 0.0]])
    >>> round(distillation_loss(torch.zeros(1, 2), teacher).item(), 4)  # log 2
    0.6931
    """
    _check(scores, teacher)
    check_positive(temperature=temperature)
    target = (teacher.to(scores) / temperature).softmax(1)
    return -(target * (scores / temperature).log_softmax(1)).sum(1).mean()


@in_full_precision
def margin_mse(scores: Tensor, teacher: Tensor) -> Tensor:
    """The differences between the candidates of a list shall be the teacher's.

        loss = mean over lists and pairs i < j of  ((s_i - s_j) - (t_i - t_j))^2

    (Hofstaetter et al. 2020, arXiv:2010.02666, there for one pair of a relevant and
    another passage.) Over all pairs it is 2 size / (size - 1) times the mean squared error of the
    scores after each list's own mean was subtracted, which is how it is computed: the level of a
    teacher's scores is free.

    Parameters
    ----------
    scores, teacher : Tensor (n_lists, list_size), of the student and of its teacher

    Returns
    -------
    scalar Tensor, in squared units of the teacher's scores

    Raises
    ------
    ValueError for shapes that differ, or lists of fewer than two candidates.

    Examples
    --------
    >>> import torch
    >>> margin_mse(torch.tensor([[5.0, 6.0]]), torch.tensor([[0.0, 3.0]])).item()  # (1 - 3)^2
    4.0
    """
    _check(scores, teacher)
    size = scores.shape[1]
    if size < 2:
        raise ValueError("a list of one candidate has no margin")
    error = scores - teacher.to(scores)
    error = error - error.mean(1, keepdim=True)
    return 2 * size / (size - 1) * (error**2).mean()


def _check(scores: Tensor, other: Tensor) -> None:
    check_pairs(scores, other)
    if not scores.numel():
        raise ValueError(f"there is no candidate in lists {tuple(scores.shape)}")
