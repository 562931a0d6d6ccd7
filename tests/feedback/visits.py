"""Visits to a shop that does not exist: random lists and clicks, for the tests of learners."""

import numpy as np

from recsys_tutorial.feedback import random_lists

E = np.array([1.0, 0.6, 0.4])


def history(n_days=6, n_shoppers=4, n_items=12, dim=5, seed=0):
    """Features of pictures, and (shown, clicks) of some days."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_items, dim))
    shape = (n_shoppers, len(E))
    days = [(random_lists(np.arange(n_items), shape, rng), rng.random(shape) < 0.4)
            for _ in range(n_days)]  # fmt: skip
    return features, days
