"""A catalogue's vectors, with the popularity prior: what all models of item towers share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys_tutorial._torch.modules import evaluating, version
from recsys_tutorial.encoders.networks import best_device
from recsys_tutorial.models._saving import SavedModel


class CatalogueModel(SavedModel):
    """A model whose scores are dot products with item vectors, (n_items, dim).

    With the prior w log(1 + n_i), one number more on either side: w, which is learned, and
    log(1 + n_i).
    """

    _catalogue: tuple[int, np.ndarray] | None = None

    def encode_items(self) -> np.ndarray:
        """Vectors of the catalogue, computed once: ndarray (n_items, dim [+ 1]), float64."""
        now = version(self)
        if self._catalogue is None or self._catalogue[0] != now:
            with evaluating(self):
                self._catalogue = now, self.item_vectors().double().cpu().numpy()
        return self._catalogue[1]

    def _add_prior(self, n_items: int, popularity_prior: bool) -> None:
        self.n_items, self.popularity_prior = n_items, popularity_prior
        if popularity_prior:
            self.popularity_weight = nn.Parameter(torch.tensor(1.0))
            self.register_buffer("log_popularity", torch.zeros(n_items))

    def _with_counts(self, vectors: Tensor, rows: Tensor | slice | None) -> Tensor:
        """Item vectors (n, dim), and the prior's log(1 + n_i) of these rows: 0 for None."""
        if not self.popularity_prior:
            return vectors
        prior = vectors.new_zeros(len(vectors)) if rows is None else self.log_popularity[rows]
        return torch.cat([vectors, prior[:, None].to(vectors)], dim=1)

    def _with_weight(self, vectors: Tensor) -> Tensor:
        """Users' vectors (..., dim), and the prior's weight w."""
        if not self.popularity_prior:
            return vectors
        weight = self.popularity_weight.expand(*vectors.shape[:-1], 1).to(vectors)
        return torch.cat([vectors, weight], dim=-1)


def default_dtype() -> torch.dtype:
    """Of what is trained: float64 where results are to repeat, float32 where a GPU is."""
    return torch.float64 if best_device() == "cpu" else torch.float32
