"""Recommenders. Each has `fit(train)` and `score(history)`; see `recsys_tutorial`."""

from recsys_tutorial.models.baselines import EASE, ItemKNN, Popularity

__all__ = ["EASE", "ItemKNN", "Popularity"]
