"""The vectors of two towers: what `TwoTower` trains and serves."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from recsys_tutorial._checks import check_at_least, check_one_of
from recsys_tutorial._torch.precision import at_least_float32, dot_products
from recsys_tutorial.encoders.base import Encoder
from recsys_tutorial.models._catalogue import CatalogueModel, default_dtype


class TwoTowerVectors(CatalogueModel):
    """f(user) / temperature and g(item), with gradients; see `TwoTower` for the parameters."""

    def __init__(
        self,
        user_tower: nn.Module,
        item_tower: nn.Module,
        *,
        similarity: str = "dot",
        temperature: float | None = None,
        popularity_prior: bool = False,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_one_of(("dot", "cosine"), similarity=similarity)
        cosine = similarity == "cosine"
        temperature = (0.1 if cosine else 1.0) if temperature is None else temperature
        check_at_least(0.01, temperature=temperature)
        if user_tower.dim != item_tower.dim:
            lengths = f"user tower {user_tower.dim}, item tower {item_tower.dim}"
            raise ValueError(f"the towers' vectors must be equally long: {lengths}")
        self.n_items = item_tower.n_rows
        self.reads_history = getattr(user_tower, "reads_history", False)
        if self.reads_history and user_tower.n_items != self.n_items:
            reads = f"the user tower reads histories of {user_tower.n_items} items"
            raise ValueError(f"{reads}, but the item tower has {self.n_items}")
        self.user_tower, self.item_tower = user_tower, item_tower
        self.similarity = similarity
        self.log_temperature = nn.Parameter(
            torch.tensor(float(np.log(temperature))), requires_grad=cosine
        )
        self._add_prior(self.n_items, popularity_prior)
        _cast_heads(self, default_dtype() if dtype is None else dtype)

    @property
    def temperature(self) -> Tensor:
        """What dot products are divided by."""
        return self.log_temperature.exp().clamp(min=0.01)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.log_temperature.device

    def forward(self, users, items=None) -> Tensor:
        """Scores of all pairs, with gradients: the dot products of the two sides' vectors.

        Parameters
        ----------
        users, items : see `user_vectors` and `item_vectors`

        Returns
        -------
        Tensor (n_users, n_items)
        """
        return dot_products(self.user_vectors(users), self.item_vectors(items))

    def user_vectors(self, users) -> Tensor:
        """f(user) / temperature, and the prior's weight w, with gradients.

        Parameters
        ----------
        users : csr_matrix, int ndarray or what the user tower's `embed` takes; see `encode_users`

        Returns
        -------
        Tensor (n, dim), or (n, dim + 1) with the prior

        Raises
        ------
        ValueError
            For row numbers where the tower reads histories, and the other way round, and for a row
            that does not exist.
        """
        if sparse.issparse(users):
            if not self.reads_history:
                raise ValueError(
                    "this user tower knows users by their row and cannot read a history: pass row "
                    "numbers, or build it from HistoryTower"
                )
            vectors = self.user_tower(users)
        elif _are_rows(users):
            if self.reads_history:
                raise ValueError("this user tower reads histories, not row numbers")
            vectors = self.user_tower(self._rows(users, self.user_tower.n_rows, "user"))
        else:
            vectors = self.user_tower.embed(users)
        return self._with_weight(self._scaled(vectors) / self.temperature)

    def item_vectors(self, items=None) -> Tensor:
        """g(item), and the prior's log(1 + n_item), with gradients.

        Parameters
        ----------
        items : None for all, int ndarray or what the item tower's `embed` takes; see `encode_items`

        Returns
        -------
        Tensor (n, dim), or (n, dim + 1) with the prior, which is 0 for items without a row
        """
        if items is None:
            return self._with_counts(self._scaled(self.item_tower(None)), slice(None))
        if _are_rows(items):
            rows = self._rows(items, self.n_items, "item")
            return self._with_counts(self._scaled(self.item_tower(rows)), rows)
        # Nobody has liked a new item.
        return self._with_counts(self._scaled(self.item_tower.embed(items)), None)

    def _rows(self, rows: np.ndarray, n: int, what: str) -> Tensor:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < n:
            bad = rows[(rows < 0) | (rows >= n)][0]
            raise ValueError(f"{what} row {bad} does not exist: there are {n}")
        return torch.from_numpy(rows).to(self.device)

    def _scaled(self, vectors: Tensor) -> Tensor:
        vectors = at_least_float32(vectors)  # lengths, temperature and prior are for no half
        return _of_length_one(vectors) if self.similarity == "cosine" else vectors


def _are_rows(given) -> bool:
    """Whether a side is named by its row numbers.

    By the form of the argument, since no protocol tells them apart: whatever else comes is for
    `embed`, and each tower reads its own kind there, texts, pictures or a matrix of features.
    """
    return isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype.kind in "iu"


def _of_length_one(vectors: Tensor) -> Tensor:
    """Rows scaled to length 1; a row of zeros, such as an empty history's, stays as it is.

    Through `normalize` it would have a gradient of 1e12: harmless where that meets the zeros that
    the row came from, but in float16 it is infinite, and infinity times 0 is nan.
    """
    some = vectors.detach().any(1, keepdim=True)  # (n, 1)
    return torch.where(some, functional.normalize(vectors, dim=1), vectors.detach())


def _cast_heads(module: nn.Module, dtype: torch.dtype) -> None:
    if isinstance(module, Encoder):
        return
    for child in module.children():
        _cast_heads(child, dtype)
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.is_floating_point():
            setattr(module, name, buffer.to(dtype))
