"""How the modalities of a `FusionTower` keep learning: losses of their own, and who is asleep."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


def modality_losses(
    loss: Callable[[Tensor, Tensor], Tensor], anchors: Tensor, parts: Sequence[Tensor],
    there: Tensor,
) -> list[Tensor]:  # fmt: skip
    """One loss for each modality alone: added to the fused one, they make a shared space.

    Each tower then has to answer by itself and cannot sleep while another does the work; and since
    all of them meet the same anchors, their vectors can be compared with each other.

    Parameters
    ----------
    loss : function (anchors, vectors) -> scalar Tensor, both (n, dim), for example `info_nce`
    anchors : Tensor (batch, dim), such as the queries' vectors
    parts, there : what `FusionTower.parts` returns for the batch

    Returns
    -------
    list of scalar Tensors, of the modalities that at least two items of the batch have
    """
    return [
        loss(anchors[seen], part[seen])
        for part, seen in zip(parts, there.T, strict=True)
        if int(seen.sum()) >= 2  # a softmax over the batch needs somebody to be told from
    ]


def gradient_norms(loss: Tensor, modules: Mapping[str, nn.Module]) -> dict[str, float]:
    """The length of the loss's gradient in each module's parameters: who is still learning.

    Leaves `.grad` and the graph as they are.

    Parameters
    ----------
    loss : scalar Tensor
    modules : mapping name -> Module

    Returns
    -------
    dict name -> float, the Euclidean norm; 0 for a module that the loss does not reach
    """
    norms = {}
    for name, module in modules.items():
        weights = [p for p in module.parameters() if p.requires_grad]
        slopes = ()
        if weights:
            slopes = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        norms[name] = sum(float(g.square().sum()) for g in slopes if g is not None) ** 0.5
    return norms
