"""Chapter 6's first stage, and the lists that it makes for a second one to learn from."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.decomposition import PCA

from recsys_tutorial.course._features import BERT, bert_titles, decade_columns, genre_columns
from recsys_tutorial.course._fits import Fit, fading_likes
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models import (
    EASE,
    CandidateLists,
    InteractionRanker,
    TargetAttention,
    held_out_lists,
    training_lists,
)
from recsys_tutorial.ranking import standardize
from recsys_tutorial.splits import Split

LENGTH = 4.0  # mean squared length of a film's features, over all parts
CANDIDATES, DIM = 200, 16  # chapter 6's: films in a list, and numbers in a vector


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
    vectors = TextEncoder(encoder).encode(list(items["title"])).astype(np.float64)
    dim = min(dim, *vectors.shape)  # of fewer films there are fewer components
    titles = PCA(dim, svd_solver="full").fit_transform(vectors)
    columns = genre_columns(items["genres"]).to_numpy(), decade_columns(items["year"], 1935)
    parts = [part.astype(float) for part in (titles, *columns)]
    parts = [part - part.mean(axis=0) for part in parts]
    # A part in which all films are alike stays 0.
    size = [max((x**2).sum(axis=1).mean(), 1e-9) for x in parts]
    return [x * np.sqrt(LENGTH / len(parts) / s) for x, s in zip(parts, size, strict=True)]


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
        popularity = fading_likes(split)
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


def dot(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Row by row."""
    return (users * items).sum(1)


def target_attention() -> torch.nn.Module:
    return TargetAttention(DIM, 16)


def reranked(design: Callable[[], Callable], learning_rate: float) -> Callable[[int], Fit]:
    """Chapter 6: the first stage's lists in the order of a ranker, which goes on with each window.

    Parameters
    ----------
    design : callable -> what `InteractionRanker` lets a user's and a film's vectors meet by
    learning_rate : float > 0, chosen for this design

    Returns
    -------
    callable seed -> callable Split -> ndarray (n_test_users, n_items), -inf outside of the lists
    """

    def begin(seed: int) -> Fit:
        ranker, numbers = None, itertools.count()

        def fit(split: Split) -> np.ndarray:
            nonlocal ranker
            number = next(numbers)
            learned, judged = _lists_of(split, number)
            if ranker is None:
                torch.manual_seed(seed)
                ranker = InteractionRanker(film_parts(split.items), design(), DIM)
            ranker.fit(
                learned,
                epochs=4 if number else 20,
                seed=seed,
                batch_size=64,
                learning_rate=learning_rate,
                weight_decay=3.0,
            )
            return judged.full(ranker.score(judged).round(9))

        return fit

    return begin


@functools.lru_cache(maxsize=12)  # all seeds and designs read the lists of the same windows
def _lists_of(split: Split, number: int) -> tuple[CandidateLists, CandidateLists]:
    first = FirstStage(split.items, np.union1d(split.train.indices, split.test.history.indices))
    taken = max(np.diff(part.indptr).max() for part in (split.train, split.test.seen))
    n = min(CANDIDATES, split.train.shape[1] - taken)  # everybody must have so many left
    return window_lists(first, [split], n, seed=number)[0]
