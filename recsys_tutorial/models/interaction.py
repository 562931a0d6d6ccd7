"""Between the dot product and BERT: functions of a user's vector and an item's vector.

Each takes `users` (batch, dim) and `items` (batch, dim), row by row a pair, and returns (batch,)
scores; `TargetAttention`, `PairAttention` and `late_interaction` read several vectors on a side.
`InteractionRanker` trains any of them on histories.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys_tutorial._precision import leave_out


class GMF(nn.Module):
    """s = w . (u * v): a dot product with a learned weight for each dimension.

    (He et al. 2017, doi:10.1145/3038912.3052569, without the outer sigmoid.) With
    w = 1, as it starts, this is the dot product.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores (batch,) of pairs: users, items (batch, dim)."""
        _check(users, items, len(self.weight))
        return (users * items) @ self.weight  # (batch,)


class MLP(nn.Module):
    """s = w . relu(W [u; v] + b) + c: the concatenation, through one hidden layer.

    (He et al. 2017.) Nothing in it multiplies u by v: it has to learn to.
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.dim = dim
        self.layers = nn.Sequential(nn.Linear(2 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores (batch,) of pairs: users, items (batch, dim)."""
        _check(users, items, self.dim)
        return self.layers(torch.cat([users, items], 1))[:, 0]  # (batch,)


class NeuMF(nn.Module):
    """s = w_1 . (u * v) + w_2 . relu(W [u; v] + b) + c: GMF and MLP added.

    (He et al. 2017; there each part has its own embeddings.)
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.gmf, self.mlp = GMF(dim), MLP(dim, hidden)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores (batch,) of pairs: users, items (batch, dim)."""
        return self.gmf(users, items) + self.mlp(users, items)  # (batch,)


class ConvNCF(nn.Module):
    """A convolution over the outer product u v': the interaction map, read like a picture.

    Layers of 2 x 2 with stride 2 halve the map until one place is left (He et al. 2018,
    arXiv:1808.03912). Neighbours on the map are neighbours in the numbering of the dimensions,
    which means nothing for learned embeddings (Ferrari Dacrema et al. 2020,
    doi:10.1145/3340531.3411901).

    Parameters
    ----------
    dim : a power of two; channels : of each layer
    """

    def __init__(self, dim: int, channels: int = 8):
        super().__init__()
        n_layers = dim.bit_length() - 1
        if dim < 2 or dim != 2**n_layers:
            raise ValueError(f"dim must be a power of two, at least 2, got {dim}")
        self.dim = dim
        layers = []
        for number in range(n_layers):
            layers += [nn.Conv2d(channels if number else 1, channels, 2, stride=2), nn.ReLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(channels, 1)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores (batch,) of pairs: users, items (batch, dim)."""
        _check(users, items, self.dim)
        outer = users[:, :, None] * items[:, None, :]  # (batch, dim, dim)
        return self.head(self.layers(outer[:, None]).flatten(1))[:, 0]  # (batch,)


class FeatureCrosses(nn.Module):
    """s = b + w_u . u + w_v . v + sum over a, b of W_ab u_a v_b: a weight for each crossed feature.

    Logistic regression on features, and on products of a feature of the user with one of the item
    ("liked westerns" times "is from the fifties"), which is where ranking models began; the
    sigmoid is the loss's business. W has a number for every pair, each learned from the cases in
    which both occur. All start at 0.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.linear = nn.Linear(2 * dim, 1)
        self.crosses = nn.Parameter(torch.zeros(dim, dim))  # W
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores (batch,) of pairs: users, items (batch, dim)."""
        _check(users, items, self.dim)
        crossed = (users @ self.crosses * items).sum(1)  # (batch,)
        return self.linear(torch.cat([users, items], 1))[:, 0] + crossed


class FactorizationMachine(nn.Module):
    """s = w_0 + w . x + sum over i < j of (f_i . f_j) x_i x_j, for x = [u; v].

    (Rendle 2010, doi:10.1109/ICDM.2010.127; computed in
    O(factors * dim): the sum over pairs is half of |sum_i f_i x_i|^2 - sum_i |f_i|^2 x_i^2.)
    """

    def __init__(self, dim: int, factors: int):
        super().__init__()
        self.dim = dim
        self.linear = nn.Linear(2 * dim, 1)
        self.factors = nn.Parameter(torch.randn(2 * dim, factors) / (2 * dim) ** 0.5)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores (batch,) of pairs: users, items (batch, dim)."""
        _check(users, items, self.dim)
        x = torch.cat([users, items], 1)  # (batch, 2 dim)
        squares = (x @ self.factors) ** 2 - x**2 @ self.factors**2  # (batch, factors)
        return self.linear(x)[:, 0] + squares.sum(1) / 2  # (batch,)


class TargetAttention(nn.Module):
    """The candidate asks the history: s = (sum_j a_j h_j) . v, a_j = net([h_j; v; h_j * v]).

    A user is another vector for each candidate (DIN: Zhou et al. 2018,
    doi:10.1145/3219819.3219823). ``softmax=False`` is DIN's choice: the sum of the
    weights may grow, so that five liked films of a kind say more than one. ``softmax=True``
    scales the weights of each history to a sum of 1.
    """

    reads_history = True

    def __init__(self, dim: int, hidden: int, *, softmax: bool = False):
        super().__init__()
        self.dim, self.softmax = dim, softmax
        self.net = nn.Sequential(nn.Linear(3 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def weights(self, history: Tensor, mask: Tensor, items: Tensor) -> Tensor:
        """How much each item of the history counts for the candidate: (batch, length)."""
        if history.ndim != 3 or mask.shape != history.shape[:2] or mask.dtype != torch.bool:
            raise ValueError(
                "history must be (batch, length, dim) and mask bool (batch, length), got "
                f"{tuple(history.shape)} and {mask.dtype} {tuple(mask.shape)}"
            )
        _check(history[:, 0], items, self.dim)
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
        """History (batch, length, dim); mask (batch, length), True where there is an item."""
        weights = self.weights(history, mask, items)  # (batch, length)
        return torch.einsum("bl,bld,bd->b", weights, history, items)  # (batch,)


class PairAttention(nn.Module):
    """s = sum_ij a_ij u_i . v_j, with a = softmax over all pairs (i, j) of net([u_i; v_j]).

    The attention score as introductions write it, with a feed-forward network inside the softmax.
    u_i may be the films of a history or the tokens of a text, v_j the tokens of an item. With one
    v it is `TargetAttention` with a softmax, less the product among the network's inputs.
    """

    reads_history = True

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.dim = dim
        self.net = nn.Sequential(nn.Linear(2 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(
        self, users: Tensor, mask: Tensor, items: Tensor, item_mask: Tensor | None = None
    ) -> Tensor:
        """Scores (batch,); a user without a vector gets 0.

        Parameters
        ----------
        users : Tensor (batch, n, dim); mask : bool (batch, n), True where there is a vector
        items : Tensor (batch, m, dim) with item_mask bool (batch, m), or (batch, dim): one vector
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


def late_interaction(
    users: Tensor, items: Tensor, user_mask: Tensor, item_mask: Tensor, beta: float | None = None
) -> Tensor:
    """Tokens against tokens, after both sides were encoded alone.

    beta=None: each token of the user takes its best partner, s = sum_i max_j u_i . v_j (ColBERT:
    Khattab & Zaharia 2020, doi:10.1145/3397271.3401075). A number: the attention score
    s = sum_ij a_ij u_i . v_j with a = softmax over all pairs (i, j) of beta u_i . v_j.

    Parameters
    ----------
    users (batch, n, dim), items (batch, m, dim); masks bool (batch, n), (batch, m), True for tokens

    Returns
    -------
    Tensor (batch,)
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


def _check(users: Tensor, items: Tensor, dim: int) -> None:
    if users.shape != items.shape or users.ndim != 2 or users.shape[1] != dim:
        raise ValueError(
            f"users and items must both be (batch, {dim}), got {tuple(users.shape)} and "
            f"{tuple(items.shape)}"
        )


def _real_pairs(users: Tensor, items: Tensor, user_mask: Tensor, item_mask: Tensor) -> Tensor:
    shapes = tuple(users.shape[:2]), tuple(items.shape[:2])
    if (tuple(user_mask.shape), tuple(item_mask.shape)) != shapes:
        raise ValueError(f"masks must be {shapes[0]} and {shapes[1]}, one flag for each token")
    return user_mask[:, :, None] & item_mask[:, None]
