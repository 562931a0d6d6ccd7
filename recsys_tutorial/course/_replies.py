"""What users write back, as a step of their vector: a simulation with texts whose labels are known.

Chapter 11 shows what comes of it.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsys_tutorial import metrics
from recsys_tutorial.models import unit_rows
from recsys_tutorial.ranking import rank
from recsys_tutorial.splits import Holdout, Split


def true_texts(
    holdout: Holdout, rows: np.ndarray, fits: np.ndarray, themes: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give each user one of the texts that a film which they liked later satisfies.

    Parameters
    ----------
    holdout : Holdout, its users and their later likes
    rows : ndarray of int, the texts that may be given
    fits : bool ndarray (n_texts, n_items), which films satisfy which text
    themes : ndarray (n_texts,), a number for each theme
    seed : int

    Returns
    -------
    tuple of three int ndarrays (n,)
        The users that got one, as rows of the holdout; their texts; and for each a text of another
        theme out of the same `rows`, drawn evenly.
    """
    rng = np.random.default_rng(seed)
    n_right = holdout.targets.astype(bool).astype(float) @ fits[rows].T  # (n_users, len(rows))
    users = np.flatnonzero((n_right > 0).any(axis=1))
    said = np.array([rng.choice(rows[n_right[user] > 0]) for user in users], dtype=int)
    other = [rng.choice(rows[themes[rows] != themes[text]]) for text in said]
    return users, said, np.array(other, dtype=int)


def told_ndcg(
    windows: Sequence[Split],
    rows: np.ndarray,
    words: np.ndarray,
    weight: float,
    *,
    films: np.ndarray,
    fits: np.ndarray,
    themes: np.ndarray,
    wrong: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """NDCG@10 of lists by the user's vector and `weight` times that of what the user writes.

    The user's vector is the sum of the liked films' vectors, of length 1; the films are ranked by
    their dot product with it and with the step that the words add. What counts is what the user
    liked later *and* what satisfies the text that is true of the user.

    Parameters
    ----------
    windows : sequence of Split
    rows : ndarray of int, the texts that users may write, as `true_texts` gives them
    words : ndarray (n_texts, dim), the step that each text asks for
    weight : float, of the step; 0 for the history alone
    films : ndarray (n_items, dim)
    fits, themes : as `true_texts` takes them
    wrong : bool, step as the text of another theme says; what counts stays

    Returns
    -------
    tuple of two ndarrays (n,), over all windows: the values, and the text that is true of each user
    """
    values, texts = [], []
    for number, split in enumerate(windows):
        users, said, other = true_texts(split.test, rows, fits, themes, number)
        u = unit_rows(split.test.history[users] @ films)  # (n, dim)
        u = u + weight * words[other if wrong else said]
        wanted = split.test.targets[users].toarray().astype(bool) & fits[said]
        ranked = rank(u @ films.T, split.test.seen[users], 10)
        values.append(metrics.ndcg_at_k(ranked, sparse.csr_matrix(wanted.astype(float)), 10))
        texts.append(said)
    return np.concatenate(values), np.concatenate(texts)
