"""The chapters' models as `evaluate_rolling` asks for them: begun with a seed, fitted in order.

A short function for each: their number makes the module a little long.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.course._features import bert_titles
from recsys_tutorial.models import (
    BPR,
    EASE,
    BiasedMF,
    Blend,
    ContentKernel,
    ImplicitALS,
)
from recsys_tutorial.ranking import standardize
from recsys_tutorial.splits import Split, SteadyRows

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


def fading_likes(split: Split) -> np.ndarray:
    """How often each film was liked, an older like counting less: chapter 1's fading list.

    Parameters
    ----------
    split : Split in time

    Returns
    -------
    float64 ndarray (n_items,)
    """
    return np.asarray(split.faded(FADING_LIST, "likes").sum(axis=0)).ravel()


def fading_log(split: Split) -> np.ndarray:
    """log(1 + how often a film was liked lately), (n_items,): what SASRec adds to its scores.

    Parameters
    ----------
    split : Split in time

    Returns
    -------
    float64 ndarray (n_items,)
    """
    return np.log1p(fading_likes(split))


def anew(make: Fit) -> Callable[[int], Fit]:
    """Of a model without a seed, made anew for each window."""
    return lambda seed: make


def going_on(
    untrained: Callable[[Split, int], object], train: Callable[[object, Split, int, bool], object]
) -> Callable[[int], Fit]:
    """Of a model that begins in the first window and is trained on in each later one.

    Parameters
    ----------
    untrained : callable (first Split, seed) -> model
    train : callable (model, Split, seed, whether it is the first) -> the same model

    Returns
    -------
    callable seed -> callable Split -> model; one model, which goes on
    """

    def begin(seed: int) -> Fit:
        model = None

        def fit(split: Split) -> object:
            nonlocal model
            is_first = model is None
            if is_first:
                model = untrained(split, seed)
            return train(model, split, seed, is_first)

        return fit

    return begin


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


def bpr(reg: float, learning_rate: float, later: int) -> Callable[[int], Fit]:
    """Chapter 2: sixty epochs in the first window, `later` in each one after it.

    Parameters
    ----------
    reg, learning_rate : float, see `BPR`
    later : int >= 0, epochs

    Returns
    -------
    function seed -> function Split -> BPR, for windows in their order
    """

    def begin(seed: int) -> Fit:
        options = {"learning_rate": learning_rate, "batch_size": 512, "warm_start": True}
        model, rows = BPR(32, reg, 60, seed, **options), SteadyRows()

        def fit(split: Split) -> BPR:
            model.fit(split.train[rows(split)])
            model.iterations = later
            return model

        return fit

    return begin


def biased_mf(reg: float, bias_reg: float) -> Callable[[int], Fit]:
    """Chapter 2: factors of ratings."""

    def begin(seed: int) -> Fit:
        def scores(split: Split) -> np.ndarray:
            model = BiasedMF(32, reg, 5, seed, bias_reg=bias_reg).fit(split.train_ratings)
            return model.score(split.test.history_ratings)

        return scores

    return begin


def content(features: Features, power: float, *, center: bool = False) -> Callable[[int], Fit]:
    """Chapter 3: what is liked speaks for what is like it, and nothing else."""

    def begin(seed: int) -> Fit:
        kernel = None

        def fit(split: Split) -> ContentKernel:
            nonlocal kernel
            kernel = kernel or ContentKernel(features(split.items), power, center=center)
            return kernel

        return fit

    return begin


def beside_prior(features: Features, power: float, weight: float) -> Callable[[int], Fit]:
    """Chapter 4: a kernel that nobody trained, and a share of what is popular lately."""

    def begin(seed: int) -> Fit:
        kernel = content(features, power, center=True)(seed)

        def scores(split: Split) -> np.ndarray:
            said = kernel(split).score(split.test.history)
            prior = np.tile(fading_log(split), (len(said), 1))
            return standardize(said) + weight * standardize(prior)

        return scores

    return begin


def hybrid(features: Features, power: float, weight: float) -> Callable[[int], Fit]:
    """Chapter 3: fading EASE and a kernel on what films are about."""

    def begin(seed: int) -> Fit:
        kernel = content(features, power)(seed)
        return lambda split: Blend([fading_ease(split), kernel(split)], [1 - weight, weight])

    return begin


def blend(tower: Callable[[int], Fit], weight: float) -> Callable[[int], Fit]:
    """Fading EASE, chapter 3's kernel on titles that BERT read, and a two-tower.

    Chapter 4 chose the kernel's weight, and chapter 8 the same.
    """

    def begin(seed: int) -> Fit:
        parts = fading_ease, content(bert_titles, 1.0)(seed), tower(seed)
        return lambda split: Blend([part(split) for part in parts], [1.0, 1.4, weight])

    return begin
