"""Chapter 4's and chapter 10's two-towers, as `evaluate_rolling` asks for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recsys_tutorial.course._fits import Features, Fit, fading_likes
from recsys_tutorial.models import TwoTower, towers
from recsys_tutorial.splits import Split


def _untrained_towers(features: np.ndarray, seed: int, ids: bool) -> TwoTower:
    x = features.astype(np.float64)
    x = 0.1 * (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)  # training starts at the prior

    def tower() -> torch.nn.Module:
        text = towers.FeatureTower(x, 32)
        return towers.SumTower(text, towers.IdTower(len(x), 32)) if ids else text

    torch.manual_seed(seed)
    users = towers.HistoryTower(tower(), pooling="sqrt")
    return TwoTower(users, tower(), popularity_prior=True, dtype=torch.float64)


def in_windows(make: Callable[[Split], TwoTower], decay: float, seed: int) -> Fit:
    """Chapter 4's training: forty epochs in the first window, six in each later one.

    Parameters
    ----------
    make : function (first Split) -> TwoTower with a popularity prior, untrained
    decay : float >= 0, of the weights
    seed : int, of the batches

    Returns
    -------
    function Split -> TwoTower, for windows in their order. An `IdTower` in it keeps the vectors of
    liked films alone
    """
    model = None

    def fit(split: Split) -> TwoTower:
        nonlocal model
        epochs = 40 if model is None else 6
        model = model or make(split)
        liked = torch.from_numpy(np.bincount(split.train.indices, minlength=len(split.items)))
        for part in model.modules():
            if isinstance(part, towers.IdTower):  # no like, no vector
                part.known.copy_(liked > 0)
        return model.fit(
            split.train,
            popularity=fading_likes(split),
            epochs=epochs,
            negatives="liked",
            learning_rate=0.01,
            weight_decay=decay,
            batch_size=256,
            seed=seed,
        )

    return fit


def two_tower(features: Features, decay: float, ids: bool = False) -> Callable[[int], Fit]:
    """Chapter 4: heads of 32 numbers on frozen features, trained `in_windows`.

    With `ids`, chapter 10: a free vector is added to each film that somebody liked.
    """

    def begin(seed: int) -> Fit:
        def untrained(split: Split) -> TwoTower:
            return _untrained_towers(features(split.items), seed, ids)

        return in_windows(untrained, decay, seed)

    return begin
