"""Reading on: a history that grows by an event, without reading it again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recsys_tutorial._checks import check_within
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.models.sequential import SASRec


class Reading:
    """One user's history as a model has read it so far: a new event costs one row of attention.

    Keys and values of earlier events are kept. Once there are more events than the model reads,
    places move and the last ones are read again.

    Parameters
    ----------
    model : SASRec

    Examples
    --------
    >>> import torch
    >>> from recsys_tutorial.models import SASRec
    >>> from recsys_tutorial.models.towers import IdTower
    >>> model = SASRec(IdTower(6, 4), max_length=3)
    >>> reading = Reading(model).add([2, 5], [0, 60])
    >>> reading.add([1], [3600]).scores().shape
    (6,)
    """

    def __init__(self, model: SASRec):
        self.model, self.items, self.times = model, [], []
        self._kept, self._state = None, None

    def add(self, items: Sequence[int], times: Sequence[float]) -> Reading:
        """Read events that came after all that were read; return self.

        Parameters
        ----------
        items : sequence of int, columns
        times : sequence of float, seconds

        Raises
        ------
        ValueError
            For a column that does not exist, unequally many times, and times that fall.
        """
        items, times = list(map(int, items)), list(map(float, times))
        if len(items) != len(times) or not items:
            raise ValueError(f"{len(items)} items with {len(times)} times: give one for each")
        check_within(0, self.model.n_items - 1, **{"an item's column": min(items)})
        check_within(0, self.model.n_items - 1, **{"an item's column": max(items)})
        if np.diff([*self.times[-1:], *times]).min(initial=0) < 0:
            raise ValueError("times must not fall: events are read in their order")
        longest = self.model.max_length
        fits = len(self.items) + len(items) <= longest
        self.items, self.times = [*self.items, *items][-longest:], [*self.times, *times][-longest:]
        new, kept = (items, self._kept) if fits else (self.items, None)
        with evaluating(self.model):
            device = self.model.device
            clock = torch.tensor([self.times], dtype=torch.float64, device=device)
            found, self._kept = self.model(torch.tensor([new], device=device), clock, kept)
            self._state = self.model._with_weight(found)[0, -1].double().cpu().numpy()
        return self

    def scores(self) -> np.ndarray:
        """Scores of all items: ndarray (n_items,), float64, the row of `SASRec.score`."""
        vectors = self.model.encode_items()
        if self._state is None:
            state = np.zeros(vectors.shape[1])
            state[self.model.item_tower.dim :] = self.model._weight()
            return vectors @ state
        return vectors @ self._state
