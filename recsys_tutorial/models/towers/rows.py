"""Towers over the rows of a catalogue: a vector per row, from its number or its features."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import finite_vectors


class ProjectionHead(nn.Sequential):
    """Dropout, then one linear layer, or two with a GELU between: (n, in_dim) -> (n, dim).

    Parameters
    ----------
    in_dim, dim : int, lengths of the vectors that go in and come out
    hidden : int, width between two layers; None for one layer
    dropout : float, share of the numbers going in that are put to 0 at a training step
    """

    def __init__(self, in_dim: int, dim: int, *, hidden: int | None = None, dropout: float = 0.0):
        layers = [nn.Linear(in_dim, dim)]
        if hidden is not None:
            layers = [nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, dim)]
        super().__init__(nn.Dropout(dropout), *layers)

    def forward(self, features: Tensor) -> Tensor:
        """Project.

        Parameters
        ----------
        features : Tensor (n, in_dim) of any dtype: it is brought to that of the weights

        Returns
        -------
        Tensor (n, dim)
        """
        return super().forward(features.to(self[-1].weight))


class IdTower(nn.Module):
    """One learned vector per row: it knows a row by its number alone.

    Parameters
    ----------
    n_rows, dim : int
    dropout : float
        Share of the rows whose whole vector is put to 0 at each training step, the others scaled
        up: where other parts are added, they must do without it now and then.
    known : bool ndarray (n_rows,), optional
        False where nothing was seen in training: the vector is 0 there, always. (A softmax over
        all items would push the vectors of unseen ones away from everybody.)

    Raises
    ------
    ValueError for `known` of another form.
    """

    def __init__(
        self,
        n_rows: int,
        dim: int,
        *,
        dropout: float = 0.0,
        known: np.ndarray | None = None,
    ):
        super().__init__()
        self.n_rows, self.dim = n_rows, dim
        self.table = nn.Embedding(n_rows, dim)
        nn.init.normal_(self.table.weight, std=0.05)
        self.dropout = nn.Dropout(dropout)
        known = np.ones(n_rows, dtype=bool) if known is None else np.asarray(known)
        if known.shape != (n_rows,) or known.dtype != bool:
            raise ValueError(f"known must be a bool array of {n_rows} rows, got {known.shape}")
        self.register_buffer("known", torch.from_numpy(known), persistent=False)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        rows = slice(None) if rows is None else rows
        vectors = self.table.weight[rows] * self.known[rows, None]  # (n, dim)
        return vectors * self.dropout(torch.ones_like(vectors[:, :1]))

    def embed(self, things: Sequence) -> Tensor:
        """Zeros: what has no row has no vector."""
        return self.table.weight.new_zeros(len(things), self.dim)

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return {"rows": self.n_rows, "dim": self.dim, "known": int(self.known.sum())}


class FeatureTower(nn.Module):
    """Fixed features per row, such as a frozen encoder's vectors, through a head that learns.

    Parameters
    ----------
    features : ndarray (n_rows, n_features)
    dim : int, length of the vectors
    **head : hidden and dropout, see `ProjectionHead`

    Raises
    ------
    ValueError for features of another form, or not finite.
    """

    def __init__(self, features: np.ndarray, dim: int, **head):
        super().__init__()
        features = finite_vectors("features", features)
        self.n_rows, self.dim = len(features), dim
        self.fingerprint = hashlib.sha256(np.ascontiguousarray(features)).hexdigest()[:16]
        # Not persistent: a saved model holds what was learned, not the catalogue.
        self.register_buffer("features", torch.tensor(features), persistent=False)
        self.head = ProjectionHead(features.shape[1], dim, **head)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        return self.head(self.features if rows is None else self.features[rows])

    def embed(self, features: np.ndarray) -> Tensor:
        """Of an ndarray (n, n_features), made as the features of the rows were."""
        return self.head(torch.as_tensor(np.asarray(features), device=self.features.device))

    def describe(self) -> dict:
        """What a saved file must agree with."""
        return {"features": self.fingerprint, "shape": list(self.features.shape)}


class RawTower(FeatureTower):
    """Fixed features as they are, with no head: what early fusion lays side by side.

    Parameters
    ----------
    features : ndarray (n_rows, n_features); `dim` is n_features
    """

    def __init__(self, features: np.ndarray):
        super().__init__(features, np.shape(features)[-1])
        self.head = nn.Identity()


class SumTower(nn.Module):
    """The sum of several towers' vectors, for example of an `IdTower` and an `EncoderTower`.

    Parameters
    ----------
    *towers : towers over the same rows, with equally long vectors

    Raises
    ------
    ValueError for towers of other sizes.
    """

    def __init__(self, *towers: nn.Module):
        super().__init__()
        if len({(tower.n_rows, tower.dim) for tower in towers}) != 1:
            sizes = [(type(tower).__name__, tower.n_rows, tower.dim) for tower in towers]
            raise ValueError(f"the towers must have the same n_rows and dim, got {sizes}")
        self.towers = nn.ModuleList(towers)
        self.n_rows, self.dim = towers[0].n_rows, towers[0].dim

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None."""
        return sum(tower(rows) for tower in self.towers)

    def embed(self, things: Sequence) -> Tensor:
        """The sum of the parts' `embed`."""
        return sum(tower.embed(things) for tower in self.towers)


class ConcatTower(nn.Module):
    """Several towers' vectors one behind the other, so that dot products add up.

    On both sides of a two-tower each part has its own say, as in VBPR (He & McAuley 2016).

    Parameters
    ----------
    *towers : towers over the same rows; `dim` is the sum of theirs

    Raises
    ------
    ValueError for towers over unequally many rows.
    """

    def __init__(self, *towers: nn.Module):
        super().__init__()
        if len({tower.n_rows for tower in towers}) != 1:
            sizes = [(type(tower).__name__, tower.n_rows) for tower in towers]
            raise ValueError(f"the towers must have the same n_rows, got {sizes}")
        self.towers = nn.ModuleList(towers)
        self.n_rows, self.dim = towers[0].n_rows, sum(tower.dim for tower in towers)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows (int64 Tensor), or of all of them for None: (n, dim)."""
        return torch.cat([tower(rows) for tower in self.towers], dim=1)

    def embed(self, things: Sequence) -> Tensor:
        """The parts' `embed`."""
        return torch.cat([tower.embed(things) for tower in self.towers], dim=1)
