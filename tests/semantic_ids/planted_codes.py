"""A catalogue whose codes can be read off: groups far apart, smaller groups, items."""

import numpy as np

COARSE, FINE, EACH = 4, 3, 10


def planted_vectors(seed=0, dim=12, noise=0.01):
    """Vectors (120, dim), shuffled, with the group (120,) and the smaller group (120,) of each."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    coarse = np.repeat(np.arange(COARSE), FINE * EACH)
    fine = np.tile(np.repeat(np.arange(FINE), EACH), COARSE)
    small = axes[COARSE : COARSE + FINE] - axes[COARSE : COARSE + FINE].mean(
        0
    )  # no shift of groups
    vectors = 10 * axes[coarse] + 2 * small[fine] + noise * rng.normal(size=(len(coarse), dim))
    order = rng.permutation(len(coarse))
    return vectors[order], coarse[order], fine[order]
