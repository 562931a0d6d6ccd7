"""Parse the file formats of MovieLens; a bad file gets an error that names its first fault.

GroupLens has used three layouts: comma-separated files with a header (20M and later, "latest"),
fields joined by ``::`` without a header (1M, 10M), and the tab- and bar-separated ``u.data`` and
``u.item`` of 100K. Ratings are parsed by pandas in C; where a number is not plain they are read as
text, as films are, which takes longer and names the fault. What they say is checked in one place.
"""

import io
import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from recsys_tutorial.datasets._fields import one_of, plain, whole_number
from recsys_tutorial.datasets._tables import Table

ITEM_COLUMNS = ("movieId", "title", "genres")
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
RATING_NAMES = ("user_id", "item_id", "rating", "timestamp")
SEPARATORS = {"csv": ",", "dat": "::", "data": "\t", "item": "|"}
NO_GENRES = "(no genres listed)"
# The order of the flags that close each line of u.item (the README of MovieLens 100K).
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
# The year of release closes the title, "Toy Story (1995)"; a series has a range, "Fawlty Towers
# (1975-1979)", of which the first year counts.
YEAR = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$")


def parse_items(data: bytes, path, kind: str) -> pd.DataFrame:
    """Parse the films of a release.

    Parameters
    ----------
    data : bytes
        Content of ``movies.csv`` (kind "csv"), ``movies.dat`` ("dat") or ``u.item`` ("item").
    path : path-like
        Name of the file for error messages.
    kind : {"csv", "dat", "item"}

    Returns
    -------
    DataFrame
        ``item_id`` int64, ``title`` str, ``year`` Int64 (nullable), ``genres`` str joined by "|".

    Raises
    ------
    DataFileError
        Naming the first line and column at fault.
    """
    flags = [f"genre {genre}" for genre in GENRES_100K] if kind == "item" else []
    names = ["movieId", "title", "released", "video", "url", *flags] if flags else ITEM_COLUMNS
    table = _table(data, path, kind, names, ("utf-8-sig", "latin-1"))
    kinds = {"movieId": whole_number, "title": _title}
    films = table.read(
        kinds | (dict.fromkeys(flags, one_of(("0", "1"))) if flags else {"genres": str})
    )
    message = "film {0} is already on line {first}; keep one line for it"
    table.refuse_repeats(films[["movieId"]], "movieId", message)
    if flags:
        flagged = films[flags].to_numpy(bool)  # (n_films, n_genres)
        genres = ["|".join(np.array(GENRES_100K)[row]) or NO_GENRES for row in flagged]
    else:
        genres = films["genres"].replace("", NO_GENRES).to_numpy()
    years = [match and int(match[1]) for match in map(YEAR.search, films["title"])]
    return pd.DataFrame(
        {
            "item_id": films["movieId"].to_numpy(np.int64),
            "title": pd.Series(films["title"].to_numpy(), dtype=object),
            "year": pd.array(years, dtype="Int64"),
            "genres": pd.Series(genres, dtype=object),
        }
    )


def parse_ratings(data: bytes, path, kind: str, item_ids: np.ndarray, scale) -> pd.DataFrame:
    """Parse the ratings of a release.

    Parameters
    ----------
    data : bytes
        Content of ``ratings.csv`` (kind "csv"), ``ratings.dat`` ("dat") or ``u.data`` ("data").
    path : path-like
        Name of the file for error messages.
    kind : {"csv", "dat", "data"}
    item_ids : ndarray of int64
        The films that may occur.
    scale : (float, float)
        Lowest and highest rating that may occur, in stars.

    Returns
    -------
    DataFrame
        ``user_id`` int64, ``item_id`` int64, ``rating`` float64, ``timestamp`` int64 (seconds since
        1970), in the order of the file.

    Raises
    ------
    DataFileError
        Naming the first line and column at fault.
    """
    table = _table(data, path, kind, RATING_COLUMNS)
    stars = _stars(scale)
    frame = _numbers_in_c(table, stars)
    if frame is None:
        functions = [whole_number, whole_number, stars, whole_number]
        frame = table.read(dict(zip(RATING_COLUMNS, functions, strict=True)))
    user, item = frame["userId"].to_numpy(), frame["movieId"].to_numpy()
    message = "film {0} is not among the films of this data set"
    table.refuse(~np.isin(item, item_ids), frame[["movieId"]], "movieId", message)
    # GroupLens sorts by user, then film: where that holds, no pair can come again.
    ascending = (user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (item[1:] > item[:-1]))
    if not ascending.all():
        message = "user {0} has already rated film {1} on line {first}; keep one rating for each "
        message += "user and film"
        table.refuse_repeats(frame[["userId", "movieId"]], "userId, movieId", message)
    return frame.set_axis(RATING_NAMES, axis=1)


def _table(data: bytes, path, kind: str, names, encodings=("utf-8-sig",)) -> Table:
    if kind != "csv":
        return Table(data, path, names=names, separator=SEPARATORS[kind], encodings=encodings)
    table = Table(data, path, separator=",", encodings=encodings[:1])
    table.require(names)
    return table


def _numbers_in_c(table: Table, stars: Callable[[str], float]) -> pd.DataFrame | None:
    """Return the columns of ratings, or None where a line or a number of them is not plain."""
    data, separator, names = table.data, table.separator, table.header
    start = sum(map(len, data[:65536].splitlines(keepends=True)[: table.header_lines]))
    # Numbers need no quotation marks, and pandas reads '""1' as 1.
    if data.find(b'"', start) >= 0 or (separator == "::" and b"\t" in data):
        return None
    if separator == "::":  # pandas in C takes separators of one character
        data, separator = data.replace(b"::", b"\t"), "\t"
    stream = io.BytesIO(data)
    stream.seek(start)
    # Whole numbers are left to inference: asked for int64, pandas goes through float64 where a
    # field does not fit, and rounds or wraps it. Ratings take few values, each read once by Python.
    whole = [name for name in RATING_COLUMNS if name != "rating"]
    kinds = {name: object for name in names if name not in whole}
    try:
        frame = pd.read_csv(
            stream, sep=separator, header=None, names=names, dtype=kinds, encoding="utf-8-sig",
            na_filter=False, low_memory=False,
        )  # fmt: skip
        codes, texts = pd.factorize(frame["rating"])
        values = np.array([stars(text) for text in texts], dtype=float)
    except (ValueError, OverflowError):  # pandas' and the decoder's errors are ValueErrors
        return None
    # A field too many becomes an index. A line that ends early is filled up, which can hide in the
    # columns that are not ours.
    if not isinstance(frame.index, pd.RangeIndex):
        return None
    if data.count(separator.encode(), start) != len(frame) * (len(names) - 1):
        return None
    numbers = frame[whole]
    if frame.empty or (numbers.dtypes != np.int64).any() or (numbers.to_numpy() < 0).any():
        return None
    return frame.assign(rating=values[codes])[list(RATING_COLUMNS)]


def _stars(scale: tuple[float, float]) -> Callable[[str], float]:
    """Return a function that reads a finite number between the ends of the scale."""

    def stars(text: str) -> float:
        try:
            number = float(plain(text))
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
        if not math.isfinite(number):
            raise ValueError(f"{text} is not a finite number")
        if not scale[0] <= number <= scale[1]:
            raise ValueError(f"{text} is outside the scale from {scale[0]:g} to {scale[1]:g}")
        return number

    return stars


def _title(text: str) -> str:
    if not text.strip():
        raise ValueError("the title is empty")
    if "\n" in text or "\r" in text:
        raise ValueError("the title runs into the next line; look for a quotation mark left open")
    return text
