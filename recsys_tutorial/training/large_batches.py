"""Large contrastive batches: in constant memory (GradCache), and over several processes.

    z = in_chunks(model.user_vectors, users, 32)       # the same vectors, the same gradients
    v = gather_rows(in_chunks(model.item_vectors, items, 32))
    loss = info_nce(gather_rows(z), v, temperature=1.0)

A contrastive loss looks at all vectors of a batch together, so a batch cannot be cut up and the
gradients be added, as for other losses. But only the *vectors* have to be together.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recsys_tutorial._checks import check_at_least


def in_chunks(encode: Callable, inputs: Sequence | Tensor, chunk_size: int) -> Tensor:
    """`encode(inputs)`, with the activations of one chunk in memory at a time.

    GradCache (Gao et al. 2021, doi:10.18653/v1/2021.repl4nlp-1.31) has three steps: all chunks are
    encoded without keeping what the backward pass needs; the loss of all vectors gives the gradient
    of each vector; then chunk after chunk is encoded once more, now with its activations, and its
    vectors' gradient goes on to the weights. For the caller this is a tensor whose `backward` does
    the second and third step, so any loss and any training loop will do. The price is one more
    forward pass, about a third of a step.

    What is random in torch (dropout) is replayed: the second pass sees what the first one saw. A
    numpy generator is not; draw from it before.

    Parameters
    ----------
    encode : function of a slice of `inputs` -> Tensor (n, dim), rows independent of each other: a
        batch norm would see the chunk instead of the batch
    inputs : anything with a length that can be sliced: Tensor, ndarray, list, csr_matrix
    chunk_size : int

    Returns
    -------
    Tensor (len(inputs), dim)

    Raises
    ------
    ValueError
        For no inputs, or a chunk size below 1.
    """
    n = inputs.shape[0] if hasattr(inputs, "shape") else len(inputs)
    check_at_least(1, chunk_size=chunk_size, **{"number of inputs": n})
    chunks = [inputs[start : start + chunk_size] for start in range(0, n, chunk_size)]
    if not torch.is_grad_enabled():
        return torch.cat([encode(chunk) for chunk in chunks])
    return torch.cat([checkpoint(encode, chunk, use_reentrant=False) for chunk in chunks])


def gather_rows(own: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks, with gradients.

    With in-batch negatives each process would otherwise have only its own part of the batch to tell
    apart. When every process computes the same loss from the gathered rows and gradients are
    *averaged* over processes, as `training.train` does, the result is that of one process with the
    whole batch. In the backward pass the gradients of all processes are added up.

    Parameters
    ----------
    own : Tensor (n, ...); n may differ between processes. Integers (ids) are gathered, too.

    Returns
    -------
    Tensor (sum of n, ...); `own` itself where there is one process
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return own
    size = torch.tensor([len(own)], device=own.device)
    sizes = [torch.empty_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, size)
    return _Gather.apply(own, [int(size) for size in sizes])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = own.new_zeros(max(sizes), *own.shape[1:])  # all_gather wants equal shapes
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)  # the sum: each process's loss depends on these rows
        return gradient.split(ctx.sizes)[dist.get_rank()], None
