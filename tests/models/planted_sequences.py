"""Histories in which only the order says what comes next."""

import numpy as np
from scipy import sparse

N_ITEMS = 40


def chains(n_users=300, length=12, apart=1, seed=0):
    """Each event follows from the one `apart` steps earlier, by one fixed permutation.

    After three such steps the chain starts anew somewhere else, so that the set of a user's items
    has several ends and does not say which one goes on.

    Returns
    -------
    history, times : csr_matrix (n_users, N_ITEMS)
    following : int ndarray (n_users,), the one item that comes next
    """
    rng = np.random.default_rng(seed)
    cycle = np.random.default_rng(99).permutation(N_ITEMS)
    after = np.empty(N_ITEMS, int)
    after[cycle] = np.roll(cycle, -1)
    rows = np.zeros((n_users, length + 1), int)
    for user in range(n_users):
        while len(set(rows[user])) <= length:  # until no item comes twice
            for t in range(length + 1):
                new = (t - 1) % (3 * apart) < apart  # the last event of a history is no start
                new = new or t < apart
                rows[user, t] = rng.integers(N_ITEMS) if new else after[rows[user, t - apart]]
    shown = rows[:, :-1]
    users = np.repeat(np.arange(n_users), length)
    when = (
        1000.0 + 60 * np.tile(np.arange(length), n_users) + rng.integers(10**6, size=n_users)[users]
    )
    shape = n_users, N_ITEMS
    history = sparse.csr_matrix((np.ones(users.size), (users, shown.ravel())), shape)
    times = sparse.csr_matrix((when, (users, shown.ravel())), shape)
    return history, times, rows[:, -1]


def hits(scores, history, following):
    """Share of the users whose next item has the highest score of those not in the history."""
    scores = np.where(history.toarray() > 0, -np.inf, scores)
    return float((scores.argmax(1) == following).mean())
