"""Recommenders. Each has `fit(train)` and `score(history)`; see `recsys_tutorial`."""

from recsys_tutorial.models.baselines import EASE, ItemKNN, Popularity
from recsys_tutorial.models.content import Blend, ContentKernel
from recsys_tutorial.models.matrix_factorization import BPR, BiasedMF, ImplicitALS

__all__ = [
    "BPR",
    "EASE",
    "BiasedMF",
    "Blend",
    "ContentKernel",
    "ImplicitALS",
    "ItemKNN",
    "Popularity",
    "TwoTower",
]


def __getattr__(name: str):
    if name == "TwoTower":  # torch is imported by those who need it
        from recsys_tutorial.models.two_tower import TwoTower

        return TwoTower
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
