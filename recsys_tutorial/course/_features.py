"""What the course's chapters read of a film, as numbers: genres, counted words, BERT's vectors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_tutorial.datasets import film_texts
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models import unit_rows

BERT = "all-MiniLM-L6-v2"


def genre_columns(genres: pd.Series) -> pd.DataFrame:
    """A column of zeros and ones for each genre; "(no genres listed)" is none."""
    return genres.str.get_dummies("|").drop(columns="(no genres listed)", errors="ignore")


def decade_columns(years: pd.Series, first: int = 1930) -> np.ndarray:
    """True where a year is at most five from first, first + 10, ...; unknown ones are the median's.

    Bool ndarray (n_films, decades to the 2010s).
    """
    year = years.astype(float)
    year = year.fillna(year.median()).to_numpy()
    return np.abs(year[:, None] - np.arange(first, 2020, 10)) <= 5


def rare_genres(items: pd.DataFrame) -> sparse.csr_matrix:
    """A 1 for each genre, times log(films / films of that genre)."""
    ones = genre_columns(items["genres"]).to_numpy(float)
    return unit_rows(sparse.csr_matrix(ones * np.log(len(ones) / ones.sum(axis=0))))


def centred_genres(items: pd.DataFrame) -> np.ndarray:
    return unit_rows(rare_genres(items).toarray(), center=True)


def counted_titles(items: pd.DataFrame) -> sparse.csr_matrix:
    """Chapter 3's choice among counted words: a title's (TF-IDF), with the genres beside them.

    Parameters
    ----------
    items : DataFrame with `title` and `genres`, a row per film

    Returns
    -------
    csr_matrix (n_items, n_words + n_genres), rows of length 1; a cosine is the mean of the two
    """
    words = unit_rows(TfidfVectorizer(sublinear_tf=True).fit_transform(items["title"]))
    return unit_rows(sparse.hstack([words, rare_genres(items)]).tocsr())


def bert_titles(items: pd.DataFrame, encoder: str = BERT, *, to_scale: bool = True) -> np.ndarray:
    """Chapter 3's choice among BERT's readings: a title's vector, with the genres beside it.

    Both are divided by the root of the spread of their cosines over films paired at random, so that
    neither has the larger say.

    Parameters
    ----------
    items : DataFrame with `title` and `genres`, a row per film
    encoder : name of a `TextEncoder`
    to_scale : bool, False leaves out the division, which was better without EASE beside it

    Returns
    -------
    ndarray (n_items, encoder's width + n_genres), rows of length 1
    """
    titles = TextEncoder(encoder).encode(list(items["title"]))
    blocks = [unit_rows(titles, center=True), rare_genres(items).toarray()]
    if not to_scale:
        return unit_rows(np.hstack(blocks))
    pairs = np.random.default_rng(0).integers(len(items), size=(2, 20_000))
    spread = [np.std((x[pairs[0]] * x[pairs[1]]).sum(axis=1)) for x in blocks]
    # Where all films have the same genres, say, there is no spread, and x is 0.
    scaled = [x / np.sqrt(s) if s else x for x, s in zip(blocks, spread, strict=True)]
    return unit_rows(np.hstack(scaled))


def counted_texts(items: pd.DataFrame) -> np.ndarray:
    counted = TfidfVectorizer(min_df=2).fit_transform(film_texts(items))
    return TruncatedSVD(min(384, counted.shape[1] - 1), random_state=0).fit_transform(counted)


def bert_texts(items: pd.DataFrame) -> np.ndarray:
    return TextEncoder(BERT).encode(film_texts(items))


def genres_and_decade(items: pd.DataFrame) -> np.ndarray:
    """Columns of ones: chapter 4's cheapest features."""
    return np.hstack([genre_columns(items["genres"]), decade_columns(items["year"])]).astype(float)
