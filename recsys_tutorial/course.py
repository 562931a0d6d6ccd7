"""The course's models with the settings that its chapters chose: for data of your own.

Chapters choose settings in view, on the windows of `Rolling.tuning`. What they chose stands here,
so that `make leaderboard DATA=folder` can ask whether it holds elsewhere.

Examples
--------
>>> from recsys_tutorial.datasets import load_movielens
>>> from recsys_tutorial.evaluation import evaluate_rolling
>>> from recsys_tutorial.splits import rolling_split
>>> windows = rolling_split(*load_movielens()).test
>>> round(evaluate_rolling(MODELS["fading EASE"].fit(), windows)["ndcg@10"], 2)
0.21
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys_tutorial.models import EASE, ItemKNN, Popularity
from recsys_tutorial.splits import Split

__all__ = ["MODELS", "CourseModel"]


@dataclass(frozen=True)
class CourseModel:
    """One row of the leaderboard, to be made anew on other data.

    Attributes
    ----------
    chapter : int, the chapter that introduces it
    make : callable (Split, seed) -> fitted model
    n_seeds : int, over how many seeds its row is the mean
    """

    chapter: int
    make: Callable[[Split, int], object]
    n_seeds: int = 1

    def fit(self, seed: int = 0) -> Callable[[Split], object]:
        """What `evaluate_rolling` asks for.

        Parameters
        ----------
        seed : int, of models that have one

        Returns
        -------
        callable Split -> fitted model
        """
        return lambda split: self.make(split, seed)


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


MODELS = {
    "popularity": CourseModel(1, lambda split, seed: Popularity().fit(split.train)),
    "fading popularity": CourseModel(
        1, lambda split, seed: Popularity().fit(split.faded(2000, "likes"))
    ),
    "item-kNN": CourseModel(1, lambda split, seed: ItemKNN(100, shrink=20).fit(split.train)),
    "fading item-kNN": CourseModel(
        1, lambda split, seed: ItemKNN(100, shrink=20).fit(split.faded(64000, "likes"))
    ),
    "EASE": CourseModel(1, lambda split, seed: EASE(200).fit(split.train)),
    "fading EASE": CourseModel(1, lambda split, seed: fading_ease(split)),
}
