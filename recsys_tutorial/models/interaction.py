"""Between the dot product and BERT: functions of a user's vector and an item's vector.

Those of this module read one vector on either side, pair by pair; those of `models.attention`,
which may be imported from here, too, read several. `InteractionRanker` trains any of them.
"""

import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_pairs
from recsys_tutorial.models.attention import *  # noqa: F403  (see above)


class _PairModel(nn.Module):
    """What the models of pairs share: `forward`, which checks the vectors and asks `_scores`."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of pairs.

        Parameters
        ----------
        users, items : Tensor (batch, dim), row by row a pair

        Returns
        -------
        Tensor (batch,)

        Raises
        ------
        ValueError for vectors of other shapes.
        """
        check_pairs(users, items, self.dim)
        return self._scores(users, items)


class GMF(_PairModel):
    """s = w . (u * v): a dot product with a learned weight for each dimension.

    (He et al. 2017, doi:10.1145/3038912.3052569, without the outer sigmoid.) With
    w = 1, as it starts, this is the dot product.

    Parameters
    ----------
    dim : int, length of the vectors
    """

    def __init__(self, dim: int):
        super().__init__(dim)
        self.weight = nn.Parameter(torch.ones(dim))

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        return (users * items) @ self.weight  # (batch,)


class MLP(_PairModel):
    """s = w . relu(W [u; v] + b) + c: the concatenation, through one hidden layer.

    (He et al. 2017.) Nothing in it multiplies u by v: it has to learn to.

    Parameters
    ----------
    dim : int, length of the vectors
    hidden : int, width of the hidden layer
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__(dim)
        self.layers = nn.Sequential(nn.Linear(2 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        return self.layers(torch.cat([users, items], 1))[:, 0]  # (batch,)


class NeuMF(_PairModel):
    """s = w_1 . (u * v) + w_2 . relu(W [u; v] + b) + c: GMF and MLP added.

    (He et al. 2017; there each part has its own embeddings.)

    Parameters
    ----------
    dim, hidden : see `MLP`
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__(dim)
        self.gmf, self.mlp = GMF(dim), MLP(dim, hidden)

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        return self.gmf(users, items) + self.mlp(users, items)  # (batch,)


class ConvNCF(_PairModel):
    """A convolution over the outer product u v': the interaction map, read like a picture.

    Layers of 2 x 2 with stride 2 halve the map until one place is left (He et al. 2018,
    arXiv:1808.03912). Neighbours on the map are neighbours in the numbering of the dimensions,
    which means nothing for learned embeddings (Ferrari Dacrema et al. 2020,
    doi:10.1145/3340531.3411901).

    Parameters
    ----------
    dim : int, length of the vectors: a power of two, at least 2
    channels : int, of each layer

    Raises
    ------
    ValueError for another dim.
    """

    def __init__(self, dim: int, channels: int = 8):
        super().__init__(dim)
        n_layers = dim.bit_length() - 1
        if dim < 2 or dim != 2**n_layers:
            raise ValueError(f"dim must be a power of two, at least 2, got {dim}")
        layers = []
        for number in range(n_layers):
            layers += [nn.Conv2d(channels if number else 1, channels, 2, stride=2), nn.ReLU()]
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(channels, 1)

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        outer = users[:, :, None] * items[:, None, :]  # (batch, dim, dim)
        return self.head(self.layers(outer[:, None]).flatten(1))[:, 0]  # (batch,)


class FeatureCrosses(_PairModel):
    """s = b + w_u . u + w_v . v + sum over a, b of W_ab u_a v_b: a weight for each crossed feature.

    Logistic regression on features, and on products of a feature of the user with one of the item
    ("liked westerns" times "is from the fifties"), which is where ranking models began; the
    sigmoid is the loss's business. W has a number for every pair, each learned from the cases in
    which both occur. All start at 0.

    Parameters
    ----------
    dim : int, number of features on either side
    """

    def __init__(self, dim: int):
        super().__init__(dim)
        self.linear = nn.Linear(2 * dim, 1)
        self.crosses = nn.Parameter(torch.zeros(dim, dim))  # W
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        crossed = (users @ self.crosses * items).sum(1)  # (batch,)
        return self.linear(torch.cat([users, items], 1))[:, 0] + crossed


class FactorizationMachine(_PairModel):
    """s = w_0 + w . x + sum over i < j of (f_i . f_j) x_i x_j, for x = [u; v].

    (Rendle 2010, doi:10.1109/ICDM.2010.127; computed in
    O(factors * dim): the sum over pairs is half of |sum_i f_i x_i|^2 - sum_i |f_i|^2 x_i^2.)

    Parameters
    ----------
    dim : int, length of the vectors
    factors : int, length of the f_i
    """

    def __init__(self, dim: int, factors: int):
        super().__init__(dim)
        self.linear = nn.Linear(2 * dim, 1)
        self.factors = nn.Parameter(torch.randn(2 * dim, factors) / (2 * dim) ** 0.5)

    def _scores(self, users: Tensor, items: Tensor) -> Tensor:
        x = torch.cat([users, items], 1)  # (batch, 2 dim)
        squares = (x @ self.factors) ** 2 - x**2 @ self.factors**2  # (batch, factors)
        return self.linear(x)[:, 0] + squares.sum(1) / 2  # (batch,)
