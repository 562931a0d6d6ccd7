"""Chapter 6's first stage, and the lists that it makes for a second one to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import PCA

from recsys_tutorial.course._features import BERT, bert_titles
from recsys_tutorial.course._fits import FADING_LIST
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models import EASE, CandidateLists, held_out_lists, training_lists
from recsys_tutorial.ranking import standardize
from recsys_tutorial.splits import Split

LENGTH = 4.0  # mean squared length of a film's features, over all parts


def film_parts(items: pd.DataFrame, encoder: str = BERT, dim: int = 64) -> list[np.ndarray]:
    """What chapter 6 reads of a film, in three parts that have the same say.

    Parameters
    ----------
    items : DataFrame with `title`, `genres` and `year`, a row per film
    encoder : name of a `TextEncoder`
    dim : int, principal components kept of its vectors

    Returns
    -------
    list of ndarray (n_items, .): the title's vector, genres, and decade (1930s to 2010s), centred
    and scaled to the same mean squared length
    """
    titles = PCA(dim, svd_solver="full").fit_transform(
        TextEncoder(encoder).encode(list(items["title"])).astype(np.float64)
    )
    genres = (
        items["genres"].str.get_dummies("|").drop(columns="(no genres listed)", errors="ignore")
    )
    year = items["year"].astype(float).fillna(items["year"].astype(float).median()).to_numpy()
    decade = np.abs(year[:, None] - np.arange(1935, 2020, 10)) <= 5
    parts = [titles, genres.to_numpy(float), decade.astype(float)]
    parts = [part - part.mean(axis=0) for part in parts]
    return [x * np.sqrt(LENGTH / len(parts) / (x**2).sum(axis=1).mean()) for x in parts]


class FirstStage:
    """Chapter 3's fading EASE + BERT, made so that it can be fitted on parts of the users, often.

    Its kernel is computed once for all films that anybody likes in the last window.

    Parameters
    ----------
    items : DataFrame with `title` and `genres`
    liked : int ndarray, columns that histories may hold
    encoder : name of a `TextEncoder`
    """

    def __init__(self, items: pd.DataFrame, liked: np.ndarray, encoder: str = BERT):
        vectors = bert_titles(items, encoder)
        self.liked = np.asarray(liked)
        self._kernel = np.maximum(vectors[self.liked] @ vectors.T, 0.0)  # (n_liked, n_items)

    def fit(self, split: Split, rows: np.ndarray | None = None) -> Callable:
        """On a window's training users, or some of them.

        Parameters
        ----------
        split : Split in time
        rows : int ndarray, row numbers of `split.train`; None for all

        Returns
        -------
        callable csr_matrix (n, n_items) -> ndarray (n, n_items), rounded to nine digits
        """
        rows = np.arange(split.train.shape[0]) if rows is None else rows
        weights = np.exp(-split.user_ages("likes") / 16000.0)[rows]
        ease = EASE(200.0).fit(split.train[rows], weights)

        def score(history: sparse.csr_matrix) -> np.ndarray:
            words = history[:, self.liked] @ self._kernel  # (n, n_items)
            return (0.5 * standardize(ease.score(history)) + 0.5 * standardize(words)).round(9)

        return score


def window_lists(
    first: FirstStage, windows: Sequence[Split], n: int = 200, seed: int = 0, **options
) -> list[tuple[CandidateLists, CandidateLists]]:
    """For each window lists to learn from, and those of its own users.

    Parameters
    ----------
    first : FirstStage
    windows : sequence of Split
    n : int, candidates in a list
    seed : int, of the folds and of what is hidden
    **options : more of `training_lists`'s

    Returns
    -------
    list of (CandidateLists, CandidateLists)
    """
    found = []
    for number, split in enumerate(windows):
        popularity = np.asarray(split.faded(FADING_LIST, "likes").sum(axis=0)).ravel()
        learned = training_lists(
            split.train,
            lambda rows, split=split: first.fit(split, rows),
            n,
            popularity=popularity,
            seed=seed + number,
            **options,
        )
        judged = held_out_lists(first.fit(split)(split.test.history), split.test, popularity, n)
        found.append((learned, judged))
    return found
