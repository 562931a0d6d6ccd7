"""The stages between a request and a list: candidates, what a ranker reads of them, and the log.

    candidates = rank(scores, holdout.seen, 100)                 # retrieve
    x = candidate_features(tables, holdout, candidates, scores)  # (n_users, 100, n_features)
    p = ranker.predict(x)                                        # rank
    lists = diverse_lists(p, candidates, similarity, 0.9, 10)    # rerank
    log = Visits(lists, candidates, 0.1).log(liked, examination, rng)

The module is a little long, since half of it says what goes in and comes out of each stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from recsys_tutorial._checks import check_positive, check_shape, check_within
from recsys_tutorial.course import fading_likes
from recsys_tutorial.metrics import ndcg_at_k
from recsys_tutorial.ranking import standardize
from recsys_tutorial.splits import Holdout, Split
from recsys_tutorial.splits.parts import YEAR
from recsys_tutorial.trust import mmr

__all__ = [
    "FilmTables",
    "LogRanker",
    "Visits",
    "candidate_features",
    "diverse_lists",
    "film_tables",
    "list_quality",
]


@dataclass(frozen=True, eq=False)
class FilmTables:
    """What a ranker looks up of a film, whoever asks.

    Attributes
    ----------
    popular : float64 ndarray (n_items,), log(1 + likes), an older like counting less
    age : float64 ndarray (n_items,), log(1 + years since it came out), at least 0
    genres : csr_matrix (n_items, n_genres), the shares of its genres; rows sum to 1, or to 0 where
        a film has none
    """

    popular: np.ndarray
    age: np.ndarray
    genres: sparse.csr_matrix

    def shifted(self, rows: int = 1) -> FilmTables:
        """The same tables with each film's row read for another one: a fault, to be found.

        Parameters
        ----------
        rows : int, how far

        Returns
        -------
        FilmTables
        """
        order = np.roll(np.arange(len(self.popular)), rows)
        return FilmTables(self.popular[order], self.age[order], self.genres[order])

    def without(self, name: str) -> FilmTables:
        """The same tables with zeros in one of them: a job that did not run.

        Parameters
        ----------
        name : "popular" or "age"

        Returns
        -------
        FilmTables
        """
        return replace(self, **{name: np.zeros_like(getattr(self, name))})


def film_tables(split: Split) -> FilmTables:
    """The tables as they are when a window starts.

    Parameters
    ----------
    split : Split in time, whose items have year and genres

    Returns
    -------
    FilmTables
    """
    year = split.items["year"].astype(float)
    years = 1970 + split.start / YEAR - year.fillna(year.median()).to_numpy()
    ones = split.items["genres"].str.get_dummies("|")
    ones = ones.drop(columns="(no genres listed)", errors="ignore").to_numpy(float)
    shares = ones / np.maximum(ones.sum(axis=1, keepdims=True), 1)
    return FilmTables(
        np.log1p(fading_likes(split)), np.log1p(np.maximum(years, 0)), sparse.csr_matrix(shares)
    )


def candidate_features(
    tables: FilmTables,
    holdout: Holdout,
    candidates: np.ndarray,
    scores: Mapping[str, np.ndarray],
    *,
    relative: bool = True,
) -> tuple[np.ndarray, list[str]]:
    """What the ranking stage reads of each candidate.

    Parameters
    ----------
    tables : FilmTables
    holdout : Holdout, whose histories say what the users like
    candidates : int ndarray (n_users, n), columns
    scores : {name: ndarray (n_users, n_items)}, models' scores; read in standard deviations of the
        user's own
    relative : bool, minus the mean of the user's candidates, so that what sets users apart (who
        is active finds more that they like) does not pass for what sets films apart

    Returns
    -------
    x : float64 ndarray (n_users, n, n_features)
    names : list of str, of the features: those of `scores`, then popular, age and genres (the share
        of the user's likes that a film's genres have, mean over these)

    Raises
    ------
    ValueError for candidates of another number of users.
    """
    n_users = holdout.history.shape[0]
    check_shape("candidates", candidates, (n_users, np.shape(candidates)[-1]))
    taken = [np.take_along_axis(standardize(s), candidates, axis=1) for s in scores.values()]
    n_likes = np.maximum(np.diff(holdout.history.indptr), 1)[:, None]
    has = (tables.genres > 0).astype(float)  # (n_items, n_genres)
    taste = np.asarray((holdout.history @ has).todense()) / n_likes  # (n_users, n_genres)
    fits = np.asarray(tables.genres @ taste.T).T  # (n_users, n_items)
    of_user = np.take_along_axis(fits, candidates, axis=1)
    parts = [*taken, tables.popular[candidates], tables.age[candidates], of_user]
    x = np.stack(parts, axis=2)  # (n_users, n, n_features)
    x = x - x.mean(axis=1, keepdims=True) if relative else x
    return x, [*scores, "popular", "age", "genres"]


class LogRanker:
    """The probability that a candidate is liked: a logistic regression on standardised features.

    Parameters
    ----------
    reg : float > 0, on the squared weights, in rows of the log

    Attributes
    ----------
    weights_ : float64 ndarray (n_features,), of the features in standard deviations
    bias_ : float
    """

    def __init__(self, reg: float = 1.0):
        check_positive(reg=reg)
        self.reg = reg

    def fit(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> LogRanker:
        """Learn from rows.

        Parameters
        ----------
        x : ndarray (n_rows, n_features)
        y : ndarray (n_rows,) of 0 and 1
        weights : ndarray (n_rows,) >= 0, how often a row counts; once by default

        Returns
        -------
        LogRanker, itself

        Raises
        ------
        ValueError where all rows have the same label.
        """
        if len(np.unique(y)) < 2:
            raise ValueError("a ranker learns nothing from rows that are all liked, or none")
        self._mean, spread = x.mean(axis=0), x.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1.0)
        model = LogisticRegression(
            C=1 / self.reg, solver="newton-cholesky", tol=1e-10, max_iter=200
        ).fit((x - self._mean) / self._spread, y, weights)
        self.weights_, self.bias_ = model.coef_[0], float(model.intercept_[0])
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities.

        Parameters
        ----------
        x : ndarray (..., n_features)

        Returns
        -------
        float64 ndarray (...)
        """
        logit = ((x - self._mean) / self._spread) @ self.weights_ + self.bias_
        return 1 / (1 + np.exp(-logit))


def diverse_lists(
    p: np.ndarray, candidates: np.ndarray, genres: sparse.csr_matrix, weight: float, k: int
) -> np.ndarray:
    """The last stage: the best candidates, each unlike those above it (`trust.mmr`).

    Parameters
    ----------
    p : ndarray (n_users, n), the ranker's probabilities; read in standard deviations of a user's
    candidates : int ndarray (n_users, n), columns
    genres : csr_matrix (n_items, n_genres), see `FilmTables`; likeness is the cosine of two rows
    weight : float, 0 to 1; 1 is the ranker's order
    k : int, 1 to n, places

    Returns
    -------
    int ndarray (n_users, k), columns
    """
    check_shape("p", p, np.shape(candidates))
    length = np.sqrt(np.asarray(genres.multiply(genres).sum(axis=1)).ravel())
    unit = sparse.diags(1 / np.where(length > 0, length, 1.0)) @ genres
    lists = []
    for scores, columns in zip(standardize(p).round(9), candidates, strict=True):
        own = unit[columns]
        alike = np.asarray((own @ own.T).todense())  # (n, n)
        lists.append(columns[mmr(scores, alike.round(9), weight, k)])
    return np.array(lists)


def list_quality(lists: np.ndarray, targets: sparse.csr_matrix) -> np.ndarray:
    """NDCG of each user's list: what `evaluate` says of it, without scores of the whole catalogue.

    Parameters
    ----------
    lists : int ndarray (n_users, k), columns, best first
    targets : csr_matrix (n_users, n_items), 1.0 for what the user liked; everybody has one

    Returns
    -------
    float64 ndarray (n_users,), 0 to 1

    Raises
    ------
    ValueError for a user without a target.
    """
    n_targets = np.diff(targets.indptr)
    if not n_targets.all():
        raise ValueError(f"user row {int(n_targets.argmin())} has no target")
    return ndcg_at_k(lists, targets, lists.shape[1])


@dataclass(frozen=True, eq=False)
class Visits:
    """What is shown: the funnel's lists, or now and then a random one of the candidates.

    A random list is drawn without looking at anything, so that the probability with which a film
    stands at a place is known: share / n + (1 - share) where the funnel's own list has it there.

    Attributes
    ----------
    lists : int ndarray (n_users, k), columns, the funnel's
    candidates : int ndarray (n_users, n), columns, the lists' among them
    share : float, 0 to 1, of the visits that get a random list
    """

    lists: np.ndarray
    candidates: np.ndarray
    share: float

    def __post_init__(self):
        check_within(0, 1, share=self.share)

    def log(
        self, liked: sparse.csr_matrix, examination: np.ndarray, rng: np.random.Generator
    ) -> pd.DataFrame:
        """One visit of each user: who looks at a film that they like clicks it.

        Parameters
        ----------
        liked : csr_matrix (n_users, n_items), 1.0 where the user will like the film
        examination : ndarray (k,), the probability that a place is looked at
        rng : numpy Generator

        Returns
        -------
        DataFrame, n_users * k rows: user (row), item (column), place (0 is first), is_random,
        propensity (of this film at this place), clicked (0 or 1)
        """
        n_users, k = self.lists.shape
        n = self.candidates.shape[1]
        is_random = rng.random(n_users) < self.share
        drawn = np.argsort(rng.random((n_users, n)), axis=1)[:, :k]
        other = np.take_along_axis(self.candidates, drawn, axis=1)
        shown = np.where(is_random[:, None], other, self.lists)  # (n_users, k)
        propensity = self.share / n + (1 - self.share) * (shown == self.lists)
        user = np.repeat(np.arange(n_users), k)
        wanted = np.asarray(liked[user, shown.ravel()]).ravel()
        looked = rng.random(n_users * k) < np.tile(examination, n_users)
        return pd.DataFrame(
            {
                "user": user,
                "item": shown.ravel(),
                "place": np.tile(np.arange(k), n_users),
                "is_random": np.repeat(is_random, k),
                "propensity": propensity.ravel(),
                "clicked": (wanted * looked).astype(int),
            }
        )
