"""Which films satisfy a text: rules over a catalogue's genres, years and likes."""

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.datasets.wishes import ERAS, GENRES

MIN_RATING = 4.0  # stars from which on a film was liked
N_TOGETHER, MIN_TOGETHER = 50, 5  # films most often liked together, and the fewest such users


class Catalogue:
    """Films as the rules look at them.

    Parameters
    ----------
    items : DataFrame with item_id, year and genres, as `load_movielens` gives it
    ratings : DataFrame with user_id, item_id and rating

    Attributes
    ----------
    has : ndarray of bool (n_films, n_genres), in the order of `GENRES`
    weight : ndarray of float (n_genres,), log(n_films / films with this genre): what a genre that
        two films share says about them
    """

    def __init__(self, items: pd.DataFrame, ratings: pd.DataFrame):
        self.place = {item: row for row, item in enumerate(items["item_id"])}
        sets = [set(cell.split("|")) for cell in items["genres"]]
        self.has = np.array([[name in cell for name in GENRES] for cell in sets], dtype=bool)
        self.weight = np.log(len(items) / np.maximum(self.has.sum(axis=0), 1))
        self.year = items["year"].astype("float64").to_numpy()
        liked = ratings[(ratings["rating"] >= MIN_RATING) & ratings["item_id"].isin(self.place)]
        users, names = pd.factorize(liked["user_id"])
        films = liked["item_id"].map(self.place).to_numpy(int)
        shape = (len(names), len(items))
        self.likes = sparse.csc_matrix((np.ones(len(films)), (users, films)), shape=shape)

    def genre(self, name: str) -> np.ndarray:
        """Which films have a genre.

        Parameters
        ----------
        name : str, of `GENRES`

        Returns
        -------
        ndarray of bool (n_films,)
        """
        return self.has[:, GENRES.index(name)]

    def era(self, name: str) -> np.ndarray:
        """Which films are of a time; those without a year are of none.

        Parameters
        ----------
        name : str, of `ERAS`

        Returns
        -------
        ndarray of bool (n_films,)
        """
        first, end = ERAS[name]
        return (self.year >= first) & (self.year < end)

    def similar(self, item_id: int, without: tuple[str, ...] = ()) -> np.ndarray:
        """Which films are like a film: of like genres, or liked by the same users.

        Parameters
        ----------
        item_id : int
        without : tuple of str, genres that do not count: those that the text itself speaks of

        Returns
        -------
        ndarray of bool (n_films,), without the film itself
            Either the genres that both films have weigh at least half of those that one of them
            has (`weight`); or the film is among the 50 with the highest cosine of likes, and at
            least 5 users like both.

        Raises
        ------
        ValueError
            For a film that the catalogue does not have.
        """
        if item_id not in self.place:
            raise ValueError(f"item_id {item_id}, which a text names, is not in the catalogue")
        row = self.place[item_id]
        counts = np.array([name not in without for name in GENRES])
        own, other = self.has[row] & counts, self.has & counts
        shared = (own & other) @ self.weight
        either = (own | other) @ self.weight
        # Rounded, so that the last bit of a sum of logarithms decides nothing.
        found = (either > 0) & (np.round(shared / np.maximum(either, 1e-9), 9) >= 0.5)
        together = (self.likes.T @ self.likes[:, [row]]).toarray().ravel()
        n_likes = np.asarray(self.likes.sum(axis=0)).ravel()
        cosine = np.round(together / np.sqrt(np.maximum(n_likes * n_likes[row], 1)), 9)
        cosine[together < MIN_TOGETHER] = 0
        cosine[row] = 0
        nearest = np.argsort(-cosine, kind="stable")[:N_TOGETHER]
        found[nearest[cosine[nearest] > 0]] = True
        found[row] = False
        return found


def relevant_films(texts: pd.DataFrame, items: pd.DataFrame, ratings: pd.DataFrame) -> np.ndarray:
    """Which films satisfy each text, by its labels.

    A film satisfies a text when it has every liked genre (one of them where the text's `join` is
    "any"), is of one of the liked times, is like one of the liked films (`Catalogue.similar`,
    where the genres that the text names do not count), has no disliked genre, is of no disliked
    time, is like no disliked film, and is not itself a film that the text is about or names. What a
    text does not mention asks for nothing.

    Parameters
    ----------
    texts : DataFrame with liked, disliked, join and about, as `load_wishes` gives it
    items : DataFrame with item_id, year and genres
    ratings : DataFrame with user_id, item_id and rating: who likes two films

    Returns
    -------
    ndarray of bool (n_texts, n_films), columns in the order of `items`

    Raises
    ------
    ValueError
        For a film that the catalogue does not have.

    Examples
    --------
    >>> from recsys_tutorial.datasets import load_movielens, load_wishes
    >>> ratings, items = load_movielens()
    >>> texts = load_wishes().texts.iloc[:1]
    >>> texts["liked"][0], int(relevant_films(texts, items, ratings).sum())
    (('2000s', 'Comedy', 'Crime'), 99)
    """
    catalogue = Catalogue(items, ratings)
    rows = zip(texts["liked"], texts["disliked"], texts["join"], texts["about"], strict=True)
    found = [_satisfy(catalogue, *row) for row in rows]
    return np.array(found, dtype=bool).reshape(len(texts), len(items))


def _satisfy(films: Catalogue, liked, disliked, join: str, about) -> np.ndarray:
    """Return bool (n_films,) for one text."""
    named = tuple(word for word in (*liked, *disliked) if word in GENRES)

    def which(words):
        genres = [films.genre(word) for word in words if word in GENRES]
        eras = [films.era(word) for word in words if word in ERAS]
        numbers = [int(word[5:]) for word in words if word.startswith("film:")]
        return genres, eras, [films.similar(number, named) for number in numbers], numbers

    genres, eras, alike, numbers = which(liked)
    found = np.ones(len(films.year), dtype=bool)
    if genres:
        found &= (np.any if join == "any" else np.all)(genres, axis=0)
    for choices in (eras, alike):
        if choices:
            found &= np.any(choices, axis=0)
    genres, eras, alike, more = which(disliked)
    for refused in (*genres, *eras, *alike):
        found &= ~refused
    for number in (*numbers, *more, *about):
        if number not in films.place:
            raise ValueError(f"item_id {number}, which a text is about, is not in the catalogue")
        found[films.place[number]] = False
    return found
