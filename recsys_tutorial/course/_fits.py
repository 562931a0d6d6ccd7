"""The chapters' models as `evaluate_rolling` asks for them: begun with a seed, fitted in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from recsys_tutorial.course._features import bert_texts, bert_titles
from recsys_tutorial.models import (
    EASE,
    BiasedMF,
    Blend,
    ContentKernel,
    ImplicitALS,
    TwoTower,
    towers,
)
from recsys_tutorial.splits import Split

FADING_LIST = 2000  # likes since, after which one counts 1 / e

# What `evaluate_rolling` calls with one window after the other; all have the same items.
Fit = Callable[[Split], object]
Features = Callable[[pd.DataFrame], np.ndarray | sparse.csr_matrix]


def fading_ease(split: Split, reg: float = 200.0, likes: float = 16000.0) -> EASE:
    """EASE in which a user weighs less, the more likes were given since their last one.

    Parameters
    ----------
    split : Split in time
    reg : float > 0, EASE's penalty
    likes : float > 0, the number of later likes at which a user counts 1 / e

    Returns
    -------
    EASE, fitted
    """
    return EASE(reg).fit(split.train, np.exp(-split.user_ages("likes") / likes))


def anew(make: Fit) -> Callable[[int], Fit]:
    """Of a model without a seed, made anew for each window."""
    return lambda seed: make


def als(likes: float | None) -> Callable[[int], Fit]:
    """Chapter 2: eight sweeps in the first window, three from there on in each later one."""

    def begin(seed: int) -> Fit:
        model = ImplicitALS(32, 10.0, 3.0, 8, seed=seed, warm_start=True)

        def fit(split: Split) -> ImplicitALS:
            model.fit(split.train if likes is None else split.faded(likes, "likes"))
            model.iterations = 3
            return model

        return fit

    return begin


def biased_mf(seed: int) -> Fit:
    """Chapter 2: factors of ratings, their penalties chosen by the list."""

    def scores(split: Split) -> np.ndarray:
        model = BiasedMF(32, 10.0, 5, seed, bias_reg=30.0).fit(split.train_ratings)
        return model.score(split.test.history_ratings)

    return scores


def hybrid(features: Features, power: float, weight: float) -> Callable[[int], Fit]:
    """Chapter 3: fading EASE and a kernel on what films are about."""

    def begin(seed: int) -> Fit:
        kernel = None

        def fit(split: Split) -> Blend:
            nonlocal kernel
            kernel = kernel or ContentKernel(features(split.items), power, center=False)
            return Blend([fading_ease(split), kernel], [1 - weight, weight])

        return fit

    return begin


def _untrained_towers(features: np.ndarray, seed: int) -> TwoTower:
    x = features.astype(np.float64)
    x = 0.1 * (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)  # training starts at the prior
    torch.manual_seed(seed)
    users = towers.HistoryTower(towers.FeatureTower(x, 32), pooling="sqrt")
    films = towers.FeatureTower(x, 32)
    return TwoTower(users, films, popularity_prior=True, dtype=torch.float64)


def two_tower(features: Features, decay: float) -> Callable[[int], Fit]:
    """Chapter 4: heads of 32 numbers on frozen features, forty epochs, then six in each window."""

    def begin(seed: int) -> Fit:
        model = None

        def fit(split: Split) -> TwoTower:
            nonlocal model
            epochs = 40 if model is None else 6
            model = model or _untrained_towers(features(split.items), seed)
            return model.fit(
                split.train,
                popularity=np.asarray(split.faded(FADING_LIST, "likes").sum(axis=0)).ravel(),
                epochs=epochs,
                negatives="liked",
                learning_rate=0.01,
                weight_decay=decay,
                batch_size=256,
                seed=seed,
            )

        return fit

    return begin


def blend(seed: int) -> Fit:
    """Chapter 4: fading EASE, chapter 3's kernel on titles that BERT read, and the text tower."""
    tower, kernel = two_tower(bert_texts, 20.0)(seed), None

    def fit(split: Split) -> Blend:
        nonlocal kernel
        kernel = kernel or ContentKernel(bert_titles(split.items), 1.0, center=False)
        return Blend([fading_ease(split), kernel, tower(split)], [1.0, 1.4, 0.8])

    return fit
