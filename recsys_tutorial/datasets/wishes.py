"""Wishes and reviews in plain words, with labels of what they like and dislike."""

import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_tutorial.datasets._delimited import DataFileError
from recsys_tutorial.datasets._snapshots import read_snapshot

KINDS = ("wish", "review", "exclusion", "comparison")
GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War",
    "Western",
)  # fmt: skip
# First year of release, and the first year after the last.
ERAS = {
    "old": (0, 1970),
    **{f"{year}s": (year, year + 10) for year in range(1930, 2020, 10)},
    "new": (2000, 10_000),
}
FILES = ["wishes.csv", "second_labels.csv"]
_COLUMNS = ["wish_id", "theme", "kind", "split", "liked", "disliked", "join", "about", "text"]


class Wishes(NamedTuple):
    """Texts with their labels, and the labels that a third of them was given a second time.

    Attributes
    ----------
    texts : DataFrame, a row for each text
        wish_id : int, from 1
        theme : str, such as "heist": eight texts that were written together
        kind : str, one of `KINDS`
        split : str, "tuning" or "test", the same for all texts of a theme
        liked, disliked : tuple of str, aspects in alphabetical order: a genre of `GENRES`, a time
        of `ERAS`, or "film:" and the film's number in MovieLens
        join : str, "all" when every liked genre has to be there, "any" when one is enough
        about : tuple of int, the films that a review is about, by their numbers in MovieLens
        text : str
    second : DataFrame, a row for each text that was labelled twice: wish_id, liked, disliked
    """

    texts: pd.DataFrame
    second: pd.DataFrame


def load_wishes(folder: str | os.PathLike | None = None) -> Wishes:
    """Load wishes, reviews, exclusions and comparisons with their labels.

    They were written for this course, one by one and without a template, and are dedicated to the
    public domain; ``data/wishes/README.md`` holds the guide by which they are labelled. Which
    films satisfy a text follows from its labels: `relevant_films`.

    Parameters
    ----------
    folder : str or path-like, optional; by default the copy that comes with the package

    Returns
    -------
    Wishes
        The named tuple ``(texts, second)``.

    Raises
    ------
    DataFileError
        A ValueError that names a file that is missing or differs from its checksum, and the line
        of a label outside the vocabulary.

    Examples
    --------
    >>> texts, second = load_wishes()
    >>> texts["text"][7], texts["liked"][7]
    ('Something in the vein of Snatch, only more recent. Say from 2010 on.', ('2010s', 'film:4011'))
    """
    first, second = read_snapshot("wishes", FILES, folder)
    texts = _labelled_texts(first, FILES[0])
    if list(texts.columns) != _COLUMNS:
        raise DataFileError(f"the columns must be {', '.join(_COLUMNS)}", FILES[0], 1)
    texts["about"] = [tuple(map(int, cell.split())) for cell in texts["about"]]
    return Wishes(texts, _labelled_texts(second, FILES[1]))


def is_aspect(word: str) -> bool:
    """Whether a word is a label: a genre, a time, or "film:" and a number.

    Parameters
    ----------
    word : str

    Returns
    -------
    bool

    Examples
    --------
    >>> is_aspect("Horror"), is_aspect("1980s"), is_aspect("film:260"), is_aspect("sad")
    (True, True, True, False)
    """
    film, _, number = word.partition(":")
    return word in GENRES or word in ERAS or (film == "film" and number.isdigit())


def _labelled_texts(data: bytes, name: str) -> pd.DataFrame:
    """A table whose labels are tuples; DataFileError for one outside the vocabulary."""
    table = pd.read_csv(io.BytesIO(data), keep_default_na=False, dtype={"about": str})
    for column in ("liked", "disliked"):
        cells = [tuple(sorted(cell.split())) for cell in table[column]]
        for row, cell in enumerate(cells):
            if wrong := [word for word in cell if not is_aspect(word)]:
                message = f"{wrong[0]!r} is neither a genre, a time nor a film"
                raise DataFileError(message, name, row + 2, column)
        table[column] = pd.Series(cells, index=table.index, dtype=object)
    return table


def label_agreement(
    first: pd.DataFrame, second: pd.DataFrame, aspects: Sequence[str] | None = None
) -> pd.DataFrame:
    """How far two labellings of the same texts agree: Cohen's kappa of each aspect.

    For an aspect, each labelling puts each text into one of three classes: liked, disliked or not
    mentioned. With p the share of texts in the same class and q the share that would be if both
    labelled by chance with their own frequencies, kappa = (p - q) / (1 - q): 1 for equal
    labels, 0 for no more than chance.

    Parameters
    ----------
    first, second : DataFrame with the columns wish_id, liked and disliked, as `load_wishes` gives
        them; texts that only one of them has are left out
    aspects : sequence of str, optional; by default those that either labelling uses

    Returns
    -------
    DataFrame, a row for each aspect, the most frequent first, and the last for "all", where the
    classes of all these aspects are pooled:
        aspect : str
        n_first, n_second : int, texts in which it is liked or disliked
        agree : float, share of texts in the same class
        kappa : float, nan where neither labelling mentions it

    Raises
    ------
    ValueError
        When the two have no text in common, or one has a text twice.

    Notes
    -----
    J. Cohen (1960), A Coefficient of Agreement for Nominal Scales, Educational and Psychological
    Measurement 20(1), 37-46. To see how often all labels of a text are the same, compare the
    columns themselves.

    Examples
    --------
    >>> one = pd.DataFrame({"wish_id": [1, 2], "liked": [("War",), ()], "disliked": [(), ("War",)]})
    >>> label_agreement(one, one)["kappa"].tolist()
    [1.0, 1.0]
    """
    for name, table in (("first", first), ("second", second)):
        if table["wish_id"].duplicated().any():
            raise ValueError(f"{name} has a text twice")
    both = first.merge(second, on="wish_id", suffixes=("_first", "_second"))
    if both.empty:
        raise ValueError("the two labellings have no text in common")
    sides = ("first", "second")
    used = [
        word for side in sides for part in ("liked", "disliked")
        for cell in both[f"{part}_{side}"] for word in cell
    ]  # fmt: skip
    aspects = sorted(set(used)) if aspects is None else list(aspects)
    classes = np.array([_classes(both, side, aspects) for side in sides])
    rows = [_kappa(a, *classes[:, k]) for k, a in enumerate(aspects)]
    rows.sort(key=lambda row: (-row["n_first"], row["aspect"]))
    return pd.DataFrame([*rows, _kappa("all", *classes.reshape(2, -1))])


def _classes(both: pd.DataFrame, side: str, aspects: list[str]) -> list[list[int]]:
    """(n_aspects, n_texts): 1 liked, -1 disliked, 0 not mentioned."""
    cells = list(zip(both[f"liked_{side}"], both[f"disliked_{side}"], strict=True))
    return [[(a in liked) - (a in disliked) for liked, disliked in cells] for a in aspects]


def _kappa(aspect: str, a: np.ndarray, b: np.ndarray) -> dict:
    agree = float(np.mean(a == b))
    chance = sum(float(np.mean(a == c) * np.mean(b == c)) for c in (-1, 0, 1))
    return {
        "aspect": aspect,
        "n_first": int(np.count_nonzero(a)),
        "n_second": int(np.count_nonzero(b)),
        "agree": agree,
        "kappa": (agree - chance) / (1 - chance) if chance < 1 else np.nan,
    }
