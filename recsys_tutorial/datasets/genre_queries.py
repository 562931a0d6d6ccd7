"""Wishes in words over films' genres: "comedy without romance", and which films answer them.

The answers follow from the data, so there are as many labelled queries as one likes, and a filter
in a database answers all of them without a mistake. They are here because they show what a model
can *read*: whether two words are both there, one without the other, or exactly one of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from recsys_tutorial._checks import check_one_of

PARTS = "train", "validation", "test"

KINDS = {
    "both": "{} and {}",
    "without": "{} without {}",
    "not both": "either {} or {}, not both",
}


@dataclass(frozen=True)
class GenreQueries:
    """Queries and their answers.

    Attributes
    ----------
    texts : list of str (n_queries,)
    kind : ndarray of str (n_queries,)
        One of `KINDS`.
    part : ndarray of str (n_queries,)
        "train", "validation" or "test"; all queries about one pair of genres are in the same part,
        so that a test query's pair was never learned.
    relevant : ndarray of bool (n_queries, n_films)
    """

    texts: list[str]
    kind: np.ndarray
    part: np.ndarray
    relevant: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """Return the numbers of the queries of a part.

        Parameters
        ----------
        part : {"train", "validation", "test"}

        Returns
        -------
        ndarray of int64 (n_rows,), ascending

        Raises
        ------
        ValueError
            For another part.
        """
        check_one_of(PARTS, part=part)
        return np.flatnonzero(self.part == part)


def learned_films(n_films: int, seed: int = 0) -> np.ndarray:
    """Draw the half of the films that is for training; the other half is searched.

    Parameters
    ----------
    n_films : int
    seed : int
        Of the draw, which takes each film with probability 1/2.

    Returns
    -------
    ndarray of bool (n_films,)
    """
    return np.random.default_rng([seed, 1]).random(n_films) < 0.5


def genre_queries(genres: Sequence[str], *, least: int = 30, seed: int = 0) -> GenreQueries:
    """Make all queries about two genres that at least `least` films have together.

    Parameters
    ----------
    genres : sequence of str (n_films,)
        Each such as "Action|Comedy"; "" where nothing is known.
    least : int
    seed : int
        Of which pairs of genres are for training (0.6), validation (0.1) and test (0.3).

    Returns
    -------
    GenreQueries

    Raises
    ------
    ValueError
        When no two genres are together on so many films.

    Examples
    --------
    >>> queries = genre_queries(["Comedy|Romance", "Comedy", "Romance|War"], least=1)
    >>> queries.texts[0], queries.relevant[0].tolist()
    ('comedy and romance', [True, False, False])
    """
    split = [set(row.split("|")) - {""} for row in genres]
    names = sorted(set().union(*split))
    has = np.array([[name in row for name in names] for row in split])
    together = has.T.astype(int) @ has  # (n_genres, n_genres)
    pairs = [p for p in permutations(range(len(names)), 2) if together[p] >= least]
    if not pairs:
        raise ValueError(f"no two genres are together on {least} films")
    unordered = sorted({tuple(sorted(pair)) for pair in pairs})
    tenths = np.arange(len(unordered)) * 10 // len(unordered)
    tenth = np.random.default_rng(seed).permutation(tenths)
    part = dict(zip(unordered, np.digitize(tenth, [6, 7]), strict=True))
    texts, kinds, parts, answers = [], [], [], []
    for kind, wording in KINDS.items():
        for a, b in pairs:
            if kind != "without" and (a, b) not in part:
                continue  # the order of the two changes nothing
            texts.append(wording.format(names[a].lower(), names[b].lower()))
            kinds.append(kind)
            parts.append(PARTS[part[min(a, b), max(a, b)]])
            a, b = has[:, a], has[:, b]
            answers.append({"both": a & b, "without": a & ~b, "not both": a ^ b}[kind])
    return GenreQueries(texts, np.array(kinds), np.array(parts), np.array(answers))
