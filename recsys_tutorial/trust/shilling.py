"""Shilling: accounts that are made to lift one item into other people's lists, and how they show.

The kinds are those of Lam & Riedl 2004 (doi:10.1145/988672.988726) and Mobasher et al. 2007
(doi:10.1145/1278366.1278372), for likes instead of ratings.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from recsys_tutorial._checks import check_at_least, check_one_of, check_within
from recsys_tutorial._likes import as_likes, check_train
from recsys_tutorial.ranking import rank

__all__ = ["KINDS", "fake_profiles", "holds_target", "neighbour_suspicion", "pca_suspicion"]

KINDS = ("random", "average", "bandwagon")


def fake_profiles(
    kind: str,
    n_fakes: int,
    target: int,
    train: sparse.csr_matrix,
    n_likes: int,
    rng: np.random.Generator,
) -> sparse.csr_matrix:
    """Likes of accounts that all like the target, and other items so as to look like somebody.

    Parameters
    ----------
    kind : how the other items of each account are drawn, without replacement, from those that
        somebody likes: "random", evenly; "average", in proportion to how many like them (ratings
        would be drawn about each item's mean; of likes, it is the crowd's choice that is average);
        "bandwagon", half of them the most liked ones, the same for all accounts, the rest evenly
    n_fakes : int >= 1, accounts
    target : int, the column to be lifted
    train : csr_matrix (n_users, n_items), > 0 where liked: what the attacker knows of the site. The
        bandwagon takes only what stands in any chart
    n_likes : int >= 2, of each account, the target included
    rng : numpy Generator

    Returns
    -------
    csr_matrix (n_fakes, n_items) of ones

    Raises
    ------
    ValueError
        For another kind, a target that is no column, and numbers out of range.
    """
    train = check_train(train)
    n_items = train.shape[1]
    counts = np.bincount(train.indices, minlength=n_items).astype(float)
    check_one_of(KINDS, kind=kind)
    check_at_least(1, n_fakes=n_fakes)
    check_within(0, n_items - 1, target=target)
    counts[target] = 0  # everybody has it already
    check_within(2, 1 + np.count_nonzero(counts), n_likes=n_likes)
    chance = counts / counts.sum() if kind == "average" else (counts > 0) / (counts > 0).sum()
    n_chart = (n_likes - 1) // 2 if kind == "bandwagon" else 0
    chart = np.argsort(-counts, kind="stable")[:n_chart]
    chance[chart] = 0
    columns = [
        [target, *chart, *_drawn(chance, n_likes - 1 - n_chart, rng)] for _ in range(n_fakes)
    ]
    rows = np.repeat(np.arange(n_fakes), n_likes)
    ones = np.ones(n_fakes * n_likes)
    return sparse.csr_matrix((ones, (rows, np.ravel(columns))), shape=(n_fakes, n_items))


def _drawn(chance: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(len(chance), n, replace=False, p=chance / chance.sum())


def holds_target(
    scores: np.ndarray, seen: sparse.csr_matrix, target: int, k: int = 10
) -> np.ndarray:
    """Whether the target stands in each user's list.

    Parameters
    ----------
    scores : ndarray (n_users, n_items)
    seen : csr_matrix (n_users, n_items), what a list leaves out
    target : int, column
    k : int >= 1, places of a list

    Returns
    -------
    bool ndarray (n_users,): False also for who has seen the target
    """
    return (rank(scores, seen, k) == target).any(axis=1)


def pca_suspicion(likes: sparse.csr_matrix, n_components: int = 3) -> np.ndarray:
    """How little each user shares with what users have in common: higher is more suspicious.

    Rows are standardised; of the matrix's leading left singular vectors a user has the coordinates
    v, and those with the least |v|^2 are suspected (PCA-VarSelect: Mehta & Nejdl 2009,
    doi:10.1007/s11257-008-9050-4). It needs no example of an attack. The standardised rows are
    dense: 8 n_users n_items bytes, twice, and an eigendecomposition of the smaller side's square.

    Parameters
    ----------
    likes : csr_matrix (n_users, n_items), > 0 where liked
    n_components : int >= 1

    Returns
    -------
    ndarray (n_users,), -|v|^2, from -1 to 0; -inf for who likes nothing or everything

    Raises
    ------
    ValueError for a number of components out of range.
    """
    likes = as_likes(likes, "likes")
    check_within(1, min(likes.shape), n_components=n_components)
    x = (likes.toarray() > 0).astype(float)
    x -= x.mean(axis=1, keepdims=True)
    spread = x.std(axis=1, keepdims=True)
    x /= np.where(spread > 0, spread, 1.0)
    n_users, n_items = x.shape
    smaller = x @ x.T if n_users <= n_items else x.T @ x
    last = [len(smaller) - n_components, len(smaller) - 1]  # eigenvalues come in rising order
    values, vectors = linalg.eigh(smaller, subset_by_index=last)
    if n_users > n_items:  # from right singular vectors to left ones
        lengths = np.sqrt(np.maximum(values, 0.0))
        real = lengths > 1e-7 * lengths[-1]  # squaring has lost what is below
        vectors = (x @ vectors) * np.divide(1.0, lengths, out=np.zeros_like(lengths), where=real)
    return np.where(spread[:, 0] > 0, -(vectors**2).sum(axis=1), -np.inf)


def neighbour_suspicion(likes: sparse.csr_matrix, k: int = 25) -> np.ndarray:
    """How much each user is like their k nearest others: accounts from one hand are alike.

    The mean cosine with the k most similar users ("degree of similarity", Chirita, Nejdl & Zamfir
    2005, doi:10.1145/1097047.1097061). Cosines are taken of a block of users with all others at a
    time: n_users^2 of them are computed, and 1,000 n_users kept at once.

    Parameters
    ----------
    likes : csr_matrix (n_users, n_items), > 0 where liked
    k : int >= 1; all others if there are fewer

    Returns
    -------
    ndarray (n_users,), 0 to 1, higher is more suspicious

    Raises
    ------
    ValueError for a k out of range, and a user alone.
    """
    check_at_least(1, k=k)
    likes = as_likes(likes, "likes").sign()
    length = np.sqrt(np.diff(likes.indptr))
    unit = sparse.diags(1 / np.maximum(length, 1)) @ likes
    unit = unit.tocsr()
    n_users = unit.shape[0]
    if n_users < 2:
        raise ValueError(f"likes must be of two users at least, got {n_users}")
    k = min(k, n_users - 1)
    suspicion = np.empty(n_users)
    for first in range(0, n_users, 1000):
        cosine = (unit[first : first + 1000] @ unit.T).toarray()  # (n_block, n_users)
        rows = np.arange(len(cosine))
        cosine[rows, first + rows] = -1.0  # not with oneself
        nearest = np.partition(cosine, n_users - k, axis=1)[:, n_users - k :]
        suspicion[first : first + 1000] = nearest.mean(axis=1)
    return suspicion
