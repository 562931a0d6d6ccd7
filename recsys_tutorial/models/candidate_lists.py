"""What a second stage reads: each user's best candidates of a first stage, and its scores.

For the users who are judged that is `held_out_lists`. To train on, `training_lists` hides a part of
each training user's likes, and asks a first stage that was fitted without this user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least
from recsys_tutorial._likes import check_train
from recsys_tutorial.models._histories import checked_popularity, divide_likes
from recsys_tutorial.ranking import rank
from recsys_tutorial.splits import Holdout

__all__ = ["CandidateLists", "held_out_lists", "training_lists"]

# From a history, csr (n, n_items), to scores (n, n_items): a first stage, fitted.
Scorer = Callable[[sparse.csr_matrix], np.ndarray]


@dataclass(frozen=True)
class CandidateLists:
    """A list of candidates for each of n histories, best of the first stage first.

    Attributes
    ----------
    history : csr_matrix (n, n_items), 1.0 where liked
    columns : int ndarray (n, k), the candidates
    retriever : float ndarray (n, k), the first stage's scores of them
    log_popularity : float ndarray (n, k), log(1 + n_i)
    liked : bool ndarray (n, k), which candidates are to be found
    """

    history: sparse.csr_matrix
    columns: np.ndarray
    retriever: np.ndarray
    log_popularity: np.ndarray
    liked: np.ndarray

    def __len__(self) -> int:
        return len(self.columns)

    def full(self, scores: np.ndarray) -> np.ndarray:
        """Scores of the candidates as `evaluation.evaluate` takes them: -inf for all other items.

        Parameters
        ----------
        scores : ndarray (n, k)

        Returns
        -------
        ndarray (n, n_items), float64
        """
        found = np.full(self.history.shape, -np.inf)
        np.put_along_axis(found, self.columns, scores, axis=1)
        return found


def held_out_lists(
    scores: np.ndarray, holdout: Holdout, popularity: np.ndarray, n: int
) -> CandidateLists:
    """The lists of users who are judged.

    Parameters
    ----------
    scores : ndarray (n_users, n_items), the first stage's
    holdout : Holdout; what a user has seen is no candidate
    popularity : ndarray (n_items,) >= 0, n_i
    n : int, candidates per user

    Returns
    -------
    CandidateLists

    Raises
    ------
    ValueError
        For a user with fewer than n items left, and bad scores or popularity.
    """
    return _judged_lists(scores, holdout.history, holdout.seen, holdout.targets, popularity, n)


def training_lists(
    train: sparse.csr_matrix,
    fit: Callable[[np.ndarray], Scorer],
    n: int,
    *,
    popularity: np.ndarray | None = None,
    n_folds: int = 3,
    n_draws: int = 2,
    share: tuple[float, float] = (0.1, 0.9),
    seed: int = 0,
) -> CandidateLists:
    """Lists to learn from, made by first stages that have not seen the likes to be found.

    A first stage that was fitted on a user's likes knows them, hidden or not: a second stage would
    learn to trust it more than it deserves. So users are dealt into folds, and those of one fold
    get their lists from a first stage that was fitted on the others (stacking: Wolpert 1992,
    doi:10.1016/S0893-6080(05)80023-1).

    Parameters
    ----------
    train : csr_matrix (n_users, n_items) of ones
    fit : function of row numbers of `train`, int ndarray -> scorer, fitted on these users
    n : int, candidates in a list
    popularity : ndarray (n_items,) >= 0, n_i; by default the likes in `train`
    n_folds : int >= 2
    n_draws : int, how often each user's likes are divided into shown and hidden
    share : (low, high), how much of them is shown; drawn evenly for each user and division
    seed : int

    Returns
    -------
    CandidateLists; a division without a hidden like among its n candidates has none

    Raises
    ------
    ValueError
        For numbers out of range, fewer users than folds, and what `held_out_lists` refuses.
    """
    train = check_train(train)
    check_at_least(1, n=n, n_draws=n_draws)
    if not 2 <= n_folds <= train.shape[0]:
        raise ValueError(f"n_folds must be from 2 to {train.shape[0]} users, got {n_folds}")
    popularity = checked_popularity(popularity, train)[0]
    rng, parts = np.random.default_rng(seed), []
    folds = np.array_split(rng.permutation(train.shape[0]), n_folds)
    for fold in folds:
        score = fit(np.setdiff1d(np.arange(train.shape[0]), fold))
        for _ in range(n_draws):
            shown, hidden = divide_likes(train[fold], share, rng)
            some = np.diff(shown.indptr) > 0  # a list without a hidden like is left out below
            shown, hidden = shown[some], hidden[some]
            parts.append(_judged_lists(score(shown), shown, shown, hidden, popularity, n))
    return _with_a_like(parts)


def _judged_lists(scores, history, seen, targets, popularity, n: int) -> CandidateLists:
    columns = rank(scores, seen, n)
    if (columns < 0).any():
        row = int(np.flatnonzero((columns < 0).any(axis=1))[0])
        raise ValueError(f"user row {row} has fewer than {n} candidates")
    liked = np.take_along_axis(targets.toarray(), columns, axis=1) > 0
    taken = np.take_along_axis(np.asarray(scores, dtype=np.float64), columns, axis=1)
    n_i = checked_popularity(popularity, history)[0]
    return CandidateLists(history, columns, taken, np.log1p(n_i)[columns], liked)


def _with_a_like(parts: list[CandidateLists]) -> CandidateLists:
    """All of them as one, without lists in which there is nothing to find."""
    columns, retriever, popularity, liked = (
        np.vstack([getattr(part, name) for part in parts])
        for name in ("columns", "retriever", "log_popularity", "liked")
    )
    some = liked.any(axis=1)
    history = sparse.vstack([part.history for part in parts]).tocsr()[some]
    return CandidateLists(history, columns[some], retriever[some], popularity[some], liked[some])
