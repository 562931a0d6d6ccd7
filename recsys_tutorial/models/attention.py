"""Between the dot product and BERT, with several vectors on a side: who attends to whom.

The vectors of a user are those of what they liked, or of a text's tokens. `mask` says which are
real: the others are padding and count for nothing. Four ways stand here side by side, each with its
equation, source and shapes: that makes the module a little long.
"""

import torch
from torch import Tensor, nn

from recsys_tutorial._torch.precision import leave_out

__all__ = ["BestPartners", "PairAttention", "TargetAttention", "late_interaction"]


class TargetAttention(nn.Module):
    """The candidate asks the history: s = p . v, p = sum_j a_j h_j, a_j = net([h_j; v; h_j * v]).

    A user is another vector p for each candidate (DIN: Zhou et al. 2018,
    doi:10.1145/3219819.3219823). ``softmax=False`` is DIN's choice: the sum of the
    weights may grow, so that five liked films of a kind say more than one. ``softmax=True``
    scales the weights of each history to a sum of 1. DIN has no dot product at its end but an MLP
    of [p; v]: that is ``mlp``.

    Parameters
    ----------
    dim : int, length of the vectors
    hidden : int, width of the net's hidden layer
    softmax : bool
    mlp : int, width of a hidden layer that reads [p; v] and gives the score; None: s = p . v
    """

    reads_history = True

    def __init__(self, dim: int, hidden: int, *, softmax: bool = False, mlp: int | None = None):
        super().__init__()
        self.dim, self.softmax, self.mlp = dim, softmax, None
        if mlp is not None:
            self.mlp = nn.Sequential(nn.Linear(2 * dim, mlp), nn.ReLU(), nn.Linear(mlp, 1))
        self.net = nn.Sequential(nn.Linear(3 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def weights(self, history: Tensor, mask: Tensor, items: Tensor) -> Tensor:
        """How much each item of the history counts for the candidate.

        Parameters
        ----------
        history, mask, items : see `forward`

        Returns
        -------
        Tensor (batch, length), 0 where there is no item

        Raises
        ------
        ValueError for tensors whose shapes or dtype do not fit.
        """
        shapes = (*mask.shape, self.dim), (len(mask), self.dim)
        if mask.ndim != 2 or mask.dtype != torch.bool or (history.shape, items.shape) != shapes:
            found = ", ".join(str(tuple(part.shape)) for part in (mask, history, items))
            raise ValueError(
                f"need a mask bool (batch, length), history (batch, length, {self.dim}) and items "
                f"(batch, {self.dim}), got {mask.dtype} {found}"
            )
        # One layer of [h; v; h * v] is W_h h + W_v v + W_p (h * v) = (W_h + W_p diag(v)) h + W_v v.
        first, _, last = self.net
        of_h, of_v, of_product = first.weight.split(self.dim, 1)  # (hidden, dim) each
        layer = of_h + of_product * items[:, None]  # (batch, hidden, dim)
        inside = history @ layer.transpose(1, 2) + (items @ of_v.T + first.bias)[:, None]
        raw = last(inside.relu())[:, :, 0]  # (batch, length)
        if self.softmax:
            raw = leave_out(raw, ~mask).softmax(1)
        return raw * mask

    def forward(self, history: Tensor, mask: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs; a user without a vector has p = 0.

        Parameters
        ----------
        history : Tensor (batch, length, dim), vectors of what each user liked
        mask : bool Tensor (batch, length), True where there is an item
        items : Tensor (batch, dim), the candidates

        Returns
        -------
        Tensor (batch,)
        """
        weights = self.weights(history, mask, items)  # (batch, length)
        pooled = torch.einsum("bl,bld->bd", weights, history)  # (batch, dim)
        if self.mlp is not None:
            return self.mlp(torch.cat([pooled, items], 1))[:, 0]  # (batch,)
        return (pooled * items).sum(1)  # (batch,)


class PairAttention(nn.Module):
    """s = sum_ij a_ij u_i . v_j, with a = softmax over all pairs (i, j) of net([u_i; v_j]).

    The attention score as introductions write it, with a feed-forward network inside the softmax.
    u_i may be the films of a history or the tokens of a text, v_j the tokens of an item, or its
    title, genres and year. With one v it is `TargetAttention` with a softmax, less the product
    among the network's inputs.

    Parameters
    ----------
    dim : int, length of the vectors
    hidden : int, width of the net's hidden layer
    """

    reads_history = reads_parts = True

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.dim = dim
        self.net = nn.Sequential(nn.Linear(2 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(
        self, users: Tensor, mask: Tensor, items: Tensor, item_mask: Tensor | None = None
    ) -> Tensor:
        """Scores of pairs; a user without a vector gets 0.

        Parameters
        ----------
        users : Tensor (batch, n, dim)
        mask : bool Tensor (batch, n), True where there is a vector
        items : Tensor (batch, m, dim), or (batch, dim): one vector each
        item_mask : bool Tensor (batch, m), True where there is a vector; by default everywhere

        Returns
        -------
        Tensor (batch,)

        Raises
        ------
        ValueError for masks of another shape than the vectors'.
        """
        if items.ndim == 2:
            items = items[:, None]  # (batch, 1, dim)
        if item_mask is None:
            item_mask = torch.ones(items.shape[:2], dtype=torch.bool, device=items.device)
        real = _real_pairs(users, items, mask, item_mask)  # (batch, n, m)
        # The first layer of [u_i; v_j] is a sum of a part for u_i and a part for v_j.
        first, _, last = self.net
        of_users = users @ first.weight[:, : self.dim].T  # (batch, n, hidden)
        of_items = items @ first.weight[:, self.dim :].T + first.bias  # (batch, m, hidden)
        raw = last((of_users[:, :, None] + of_items[:, None]).relu())[..., 0]  # (batch, n, m)
        weights = leave_out(raw, ~real).flatten(1).softmax(1).view_as(raw) * real
        return (weights * (users @ items.transpose(1, 2))).sum((1, 2))


class BestPartners(nn.Module):
    """s = sum_i max_j u_i . v_j / sqrt(number of u_i): late interaction on learned vectors.

    `late_interaction` without beta, scaled so that a long history speaks louder, but not as many
    times louder as it is long. It has no weights of its own.
    """

    reads_history = reads_parts = True

    def __init__(self):
        super().__init__()

    def forward(self, users: Tensor, mask: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs.

        Parameters
        ----------
        users : Tensor (batch, n, dim)
        mask : bool Tensor (batch, n), True where there is a vector
        items : Tensor (batch, m, dim)

        Returns
        -------
        Tensor (batch,)

        Raises
        ------
        ValueError
            As `late_interaction`.
        """
        real = torch.ones(items.shape[:2], dtype=torch.bool, device=items.device)
        return late_interaction(users, items, mask, real) / mask.sum(1).sqrt()


def late_interaction(
    users: Tensor, items: Tensor, user_mask: Tensor, item_mask: Tensor, beta: float | None = None
) -> Tensor:
    """Tokens against tokens, after both sides were encoded alone.

    beta=None: each token of the user takes its best partner, s = sum_i max_j u_i . v_j (ColBERT:
    Khattab & Zaharia 2020, doi:10.1145/3397271.3401075). A number: the attention score
    s = sum_ij a_ij u_i . v_j with a = softmax over all pairs (i, j) of beta u_i . v_j.

    Parameters
    ----------
    users : Tensor (batch, n, dim)
    items : Tensor (batch, m, dim)
    user_mask, item_mask : bool Tensor (batch, n) and (batch, m), True for tokens
    beta : float or None

    Returns
    -------
    Tensor (batch,)

    Raises
    ------
    ValueError
        For masks of another shape than the vectors', and a text without a token.
    """
    real = _real_pairs(users, items, user_mask, item_mask)  # (batch, n, m)
    if not (user_mask.any(1).all() and item_mask.any(1).all()):
        raise ValueError("each text needs at least one token")
    dots = users @ items.transpose(1, 2)  # (batch, n, m)
    if beta is None:
        best = leave_out(dots, ~real).amax(2)  # (batch, n)
        return (best * user_mask).sum(1)
    weights = leave_out(beta * dots, ~real).flatten(1).softmax(1)  # (batch, n * m)
    return (weights * dots.flatten(1)).sum(1)


def _real_pairs(users: Tensor, items: Tensor, user_mask: Tensor, item_mask: Tensor) -> Tensor:
    shapes = tuple(users.shape[:2]), tuple(items.shape[:2])
    if (tuple(user_mask.shape), tuple(item_mask.shape)) != shapes:
        raise ValueError(f"masks must be {shapes[0]} and {shapes[1]}, one flag for each token")
    return user_mask[:, :, None] & item_mask[:, None]
