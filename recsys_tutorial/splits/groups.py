"""Held out by whole groups: users of unseen families, items by unseen hands."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._likes import as_likes, only_entries
from recsys_tutorial.splits import _tables as tables
from recsys_tutorial.splits.parts import Holdout, Split

__all__ = ["group_split", "hold_out_by_group"]


def group_split(
    likes: sparse.csr_matrix,
    items: pd.DataFrame,
    groups: np.ndarray | None = None,
    n_test: int = 2000,
    n_validation: int = 1000,
    history_fraction: float = 0.5,
    max_group_share: float = 0.1,
    seed: int = 0,
) -> Split:
    """Hold users out by whole groups, and show a random part of what each of them likes.

    Users of one group resemble each other, as projects do that one team maintains: with some of
    them in training, a test on the others asks less than a user from elsewhere would. Groups are
    dealt in a random order, whole, to the test users, then to the validation users; the others
    train. A group that would be more than `max_group_share` of the test users trains, so that no
    single one decides a result. Redraw groups, not users, for an interval: see
    `evaluation.group_interval`.

    Parameters
    ----------
    likes : csr_matrix (n_users, n_items), > 0 where liked
    items : DataFrame of n_items rows in the order of the columns, for example
        `load_packages().packages`; its rows become the items 0, 1, ...
    groups : ndarray (n_users,), the group of each user; by default each is their own, which is a
        random split of the users
    n_test, n_validation : int >= 1: at most so many users, and as many as whole groups make up
    history_fraction : float in (0, 1): a held-out user shows floor(n * history_fraction) of their n
        likes, drawn at random, and is judged on the rest
    max_group_share : float in (0, 1], of `n_test`
    seed : int, of all draws

    Returns
    -------
    Split, with user ids that are rows of `likes`; `train_ratings` is `train`

    Raises
    ------
    ValueError
        For likes that are none, items or groups of another length, fractions out of range, and
        numbers of users that leave none to train, test or validate with.
    """
    likes = as_likes(likes, "likes", len(items))
    n_users = likes.shape[0]
    groups = np.arange(n_users) if groups is None else np.asarray(groups)
    if groups.shape != (n_users,):
        raise ValueError(f"{n_users} users need as many groups, got shape {groups.shape}")
    tables.check_fractions(history_fraction=history_fraction)
    if not 0 < max_group_share <= 1:
        raise ValueError(f"max_group_share must be from 0 to 1, got {max_group_share}")
    if min(n_test, n_validation) < 1:
        raise ValueError(
            f"n_test and n_validation must be 1 at least, got {n_test}, {n_validation}"
        )
    rng = np.random.default_rng(seed)
    part = _deal(groups, n_test, n_validation, max_group_share * n_test, rng)
    shown = _some_of_each(likes, history_fraction, rng)
    rows = np.flatnonzero(part == 0)
    return Split(
        item_ids=np.arange(len(items)),
        items=items.reset_index(drop=True).assign(item_id=np.arange(len(items))),
        train=likes[rows],
        train_ratings=likes[rows],
        train_user_ids=rows,
        validation=_holdout(likes, shown, np.flatnonzero(part == 2)),
        test=_holdout(likes, shown, np.flatnonzero(part == 1)),
    )


def hold_out_by_group(
    groups: np.ndarray,
    candidates: np.ndarray,
    n: int,
    seed: int = 0,
    *,
    largest: int,
    stay: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """Hold items out by whole groups, such as pictures by who drew them.

    Groups leave in a random order until `n` candidates have gone, and once more for validation:
    nothing by a test item's hand is in what trains for the test. (For users: `group_split`.)

    Parameters
    ----------
    groups : ndarray (n_items,) of str, the group of each item
    candidates : bool ndarray (n_items,), which items a test may ask for
    n : int >= 1, candidates in each part
    seed : int, of the order of the groups and of the candidates that are taken
    largest : int, groups of more candidates than this always train
    stay : names of groups that always train, such as "unknown"

    Returns
    -------
    dict name -> int ndarray of rows, ascending: "test" and "validation" (n candidates each),
    "train+" (all but the test's groups) and "train" (without the validation's, too)

    Raises
    ------
    ValueError
        For arrays of unequal length, and where the groups hold too few candidates.
    """
    groups, candidates = np.asarray(groups), np.asarray(candidates)
    if groups.shape != candidates.shape or groups.ndim != 1 or candidates.dtype != bool:
        raise ValueError(
            f"candidates must be a bool array like groups, {groups.shape}, got "
            f"{candidates.dtype} {candidates.shape}"
        )
    names, sizes = np.unique(groups[candidates], return_counts=True)
    may_leave = np.flatnonzero((sizes <= largest) & ~np.isin(names, stay))
    rng = np.random.default_rng(seed)
    order = rng.permutation(may_leave)
    names, total = names[order], np.cumsum(sizes[order])
    parts, gone, start = [], [], 0
    for _ in range(2):
        taken = total[start - 1] if start else 0
        stop = int(np.searchsorted(total, taken + n)) + 1
        if n < 1 or stop > len(names):
            there = int(total[-1]) if len(total) else 0
            raise ValueError(f"two parts of {n} ask too much: such groups hold {there} candidates")
        gone.append(np.flatnonzero(np.isin(groups, names[start:stop])))
        mine = gone[-1][candidates[gone[-1]]]
        parts.append(np.sort(rng.permutation(mine)[:n]))
        start = stop
    more = np.setdiff1d(np.arange(len(groups)), gone[0])
    less = np.setdiff1d(more, gone[1])
    return {"test": parts[0], "validation": parts[1], "train+": more, "train": less}


def _deal(
    groups: np.ndarray, n_test: int, n_validation: int, largest: float, rng: np.random.Generator
) -> np.ndarray:
    """(n_users,): 0 for who trains, 1 for who tests, 2 for who validates; ValueError for nobody."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    part, room = np.zeros(len(sizes), dtype=int), {1: n_test, 2: n_validation}
    for g in rng.permutation(len(sizes)):
        fits = [p for p in room if sizes[g] <= room[p]] if sizes[g] <= max(largest, 1) else []
        if fits:
            part[g] = fits[0]
            room[fits[0]] -= sizes[g]
    part = part[group]
    n_users = np.bincount(part, minlength=3)
    if not n_users.all():
        raise ValueError(
            f"of {len(part)} users in {len(sizes)} groups {n_users[0]} train, {n_users[1]} test "
            f"and {n_users[2]} validate: ask for other numbers"
        )
    return part


def _some_of_each(
    likes: sparse.csr_matrix, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Mark (likes.nnz,) floor(n * fraction) of each row's n likes, at random."""
    n_likes = np.diff(likes.indptr)
    user = np.repeat(np.arange(likes.shape[0]), n_likes)
    order = np.lexsort((rng.random(likes.nnz), user))  # the rows as they are, each one shuffled
    place = np.empty(likes.nnz)
    place[order] = np.arange(likes.nnz) - likes.indptr[user]
    return place < np.floor(n_likes * fraction + 1e-9)[user]


def _holdout(likes: sparse.csr_matrix, shown: np.ndarray, rows: np.ndarray) -> Holdout:
    """These users, as far as they have a like to show and one to find."""
    parts = [only_entries(likes, kept)[rows] for kept in (shown, ~shown)]
    judged = np.all([np.diff(part.indptr) > 0 for part in parts], axis=0)
    history, targets = (part[judged] for part in parts)
    n_left_out = int((~judged).sum())
    return Holdout(rows[judged], history, history, history, targets, n_left_out=n_left_out)
