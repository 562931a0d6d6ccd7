"""Small data whose right answer is known, for the models with a vector per user and item."""

import numpy as np
import pandas as pd
from scipy import sparse


def rating_frame(seed=0, n_users=60, n_items=40, rank_=2, density=0.5, noise=0.0):
    """Planted ratings: 3.5 + biases + a product of rank 2; item i has id 10 + 2 i."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(n_users, rank_)), rng.normal(size=(n_items, rank_))
    b_u, b_i = rng.normal(0, 0.5, n_users), rng.normal(0, 0.5, n_items)
    u, i = np.nonzero(rng.random((n_users, n_items)) < density)
    rating = 3.5 + b_u[u] + b_i[i] + (p[u] * q[i]).sum(axis=1) + rng.normal(0, noise, len(u))
    return pd.DataFrame({"user_id": 100 + u, "item_id": 10 + 2 * i, "rating": rating})


def likes(seed=0, n_users=40, n_items=30, density=0.3):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix((rng.random((n_users, n_items)) < density).astype(float))


def groups_of_taste(n_users=60, n_items=30, n_groups=3, missing=0.4, seed=0):
    """Users like the items of their own group alone; one like of each user is withheld."""
    rng = np.random.default_rng(seed)
    group_u, group_i = np.arange(n_users) % n_groups, np.arange(n_items) % n_groups
    liked = (group_u[:, None] == group_i) & (rng.random((n_users, n_items)) > missing)
    withheld = np.array([rng.choice(np.flatnonzero(row)) for row in liked])
    liked[np.arange(n_users), withheld] = False
    # Also what the user's group likes but this user was not seen to: it may rank as high.
    return sparse.csr_matrix(liked.astype(float)), group_u, group_i, withheld


def with_value(matrix, value):
    matrix = matrix.copy()
    matrix.data[3] = value
    return matrix


def sparse_likes(n_users, n_items, seed=0, density=0.15):
    """Random likes; the last two items are liked by nobody, and one user likes nothing."""
    dense = np.random.default_rng(seed).random((n_users, n_items)) < density
    dense[:, -2:] = False
    dense[n_users // 2] = False
    return sparse.csr_matrix(dense.astype(float))


def histories(n_items, seed=1):
    """Histories with an empty row and with likes of items that nobody liked in training."""
    dense = np.random.default_rng(seed).random((12, n_items)) < 0.2
    dense[3] = False
    dense[4, -1] = True
    return sparse.csr_matrix(dense.astype(float))
