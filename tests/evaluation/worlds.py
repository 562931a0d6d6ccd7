"""Held-out users and measured models made by hand, for the tests of this folder."""

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.evaluation import Evaluation
from recsys_tutorial.splits import Holdout


def csr(dense):
    return sparse.csr_matrix(np.asarray(dense, dtype=float))


def holdout(n_users=50, n_items=40, seed=0):
    """Users with 7 to 12 seen items (about half of them liked) and 1 to 5 targets elsewhere."""
    rng = np.random.default_rng(seed)
    seen, history, targets = np.zeros((3, n_users, n_items))
    for user in range(n_users):
        order = rng.permutation(n_items)
        n_seen, n_targets = rng.integers(7, 13), rng.integers(1, 6)
        seen[user, order[:n_seen]] = 1
        history[user, order[: (n_seen + 1) // 2]] = 1
        targets[user, order[n_seen : n_seen + n_targets]] = 1
    user_ids = 100 + np.arange(n_users)
    return Holdout(user_ids, csr(history), csr(seen * 3.5), csr(seen), csr(targets))


def per_user_frame(**columns):
    n_users = len(next(iter(columns.values())))
    return Evaluation(pd.DataFrame(columns, index=np.arange(n_users)), np.zeros((n_users, 1), int))
