"""Read rating data: MovieLens in any of GroupLens's formats, checked before it is used."""

import os
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pooch

from recsys_tutorial._movielens_formats import DataFileError, parse_items, parse_ratings

__all__ = ["DataFileError", "MovieLens", "cache_dir", "data_dir", "load_movielens"]


class MovieLens(NamedTuple):
    """A MovieLens release as two frames.

    Attributes
    ----------
    ratings : DataFrame
        One row per rating, in the order of the file: ``user_id`` int64, ``item_id`` int64,
        ``rating`` float64 (stars), ``timestamp`` int64 (seconds since 1970-01-01 UTC). No
        (user, item) pair occurs twice.
    items : DataFrame
        One row per film, in the order of the file: ``item_id`` int64, ``title`` str (as in the
        file, so "Toy Story (1995)"), ``year`` Int64 (of release, missing where the title has
        none), ``genres`` str (joined by "|"). Holds every ``item_id`` of `ratings`.
    """

    ratings: pd.DataFrame
    items: pd.DataFrame


def data_dir() -> Path:
    """Return the folder of the data that come with the package, installed or in a checkout."""
    packaged = Path(str(files("recsys_tutorial"))) / "_data"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[1] / "data"


def cache_dir() -> Path:
    """Return the folder for downloads: ``$RECSYS_TUTORIAL_CACHE``, or the system's cache folder."""
    return Path(os.environ.get("RECSYS_TUTORIAL_CACHE") or pooch.os_cache("recsys_tutorial"))


def load_movielens(source: str | os.PathLike = "small") -> MovieLens:
    """Load a MovieLens release.

    Parameters
    ----------
    source : str or path-like
        "small": latest-small of 2016, which comes with the package.

    Returns
    -------
    MovieLens
        The named tuple ``(ratings, items)``.

    Raises
    ------
    DataFileError
        A ValueError that names the file, the line and the column at fault.

    Examples
    --------
    >>> ratings, items = load_movielens()
    >>> ratings.shape, items.shape
    ((100004, 4), (9066, 4))
    """
    folder = data_dir() / "movielens-small" if source == "small" else Path(source)
    item_path, rating_path = folder / "movies.csv", folder / "ratings.csv"
    items = parse_items(item_path.read_bytes(), item_path, "csv")
    item_ids = items["item_id"].to_numpy()
    ratings = parse_ratings(rating_path.read_bytes(), rating_path, "csv", item_ids, (0.5, 5.0))
    return MovieLens(ratings, items)
