"""Parse the file formats of MovieLens; a bad file gets an error that names its first fault.

GroupLens has used three layouts: comma-separated files with a header (20M and later, "latest"),
fields joined by ``::`` without a header (1M, 10M), and the tab- and bar-separated ``u.data`` and
``u.item`` of 100K. Ratings are parsed by pandas in C and checked as whole columns; where something
is not plain they are read as text, which takes longer and names the fault.
"""

import io
import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from recsys_tutorial.datasets._tables import (
    DataFileError,
    Table,
    plain,
    refuse_repeats,
    whole_number,
)

ITEM_COLUMNS = ("movieId", "title", "genres")
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
RATING_NAMES = ("user_id", "item_id", "rating", "timestamp")
SEPARATORS = {"csv": ",", "dat": "::", "data": "\t", "item": "|"}
CHUNK_LINES = 1_000_000  # lines of which pandas holds the ratings as text at a time
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
    films = table.read(kinds | (dict.fromkeys(flags, _flag) if flags else {"genres": str}))
    if films.empty:
        raise DataFileError("no film below the header", path, table.first_line)
    message = "film {0} is already on line {first}; keep one line for it"
    refuse_repeats(films[["movieId"]], path, "movieId", message)
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

    def rating(text: str) -> float:
        return _stars(text, scale)

    try:
        frame = _parse_in_c(table, rating)
    except (ValueError, OverflowError):  # pandas' and the decoder's errors are ValueErrors
        frame = None
    if frame is None or not _is_valid(frame, item_ids):
        frame = read_ratings(table, item_ids, rating)
    return frame


def read_ratings(table: Table, item_ids: np.ndarray, rating: Callable[[str], float]):
    """Parse ratings as text, as `parse_ratings` does but slower; raise for the first fault.

    A repeated (user, film) pair is looked for last, when every line has been read.
    """
    known = set(item_ids.tolist())

    def film(text: str) -> int:
        number = whole_number(text)
        if number not in known:
            raise ValueError(f"film {number} is not among the films of this data set")
        return number

    functions = [whole_number, film, rating, whole_number]
    frame = table.read(dict(zip(RATING_COLUMNS, functions, strict=True)))
    if frame.empty:
        raise DataFileError("no rating below the header", table.path, table.first_line)
    message = "user {0} has already rated film {1} on line {first}; keep one rating for each "
    message += "user and film"
    refuse_repeats(frame[["userId", "movieId"]], table.path, "userId, movieId", message)
    return frame.set_axis(RATING_NAMES, axis=1).reset_index(drop=True)


def _table(data: bytes, path, kind: str, names, encodings=("utf-8-sig",)) -> Table:
    if kind != "csv":
        return Table(data, path, names=names, separator=SEPARATORS[kind], encodings=encodings)
    table = Table(data, path, separator=",", encodings=encodings[:1])
    table.require(names)
    return table


def _parse_in_c(table: Table, rating: Callable[[str], float]) -> pd.DataFrame | None:
    """Return the unchecked frame, or None when the layout is not plain enough for pandas."""
    data, separator, names = table.data, table.separator, table.header
    start = sum(map(len, data[:65536].splitlines(keepends=True)[: table.header_lines]))
    # Numbers need no quotation marks, and pandas reads '""1' as 1.
    if data.find(b'"', start) >= 0 or (separator == "::" and b"\t" in data):
        return None
    if separator == "::":  # pandas in C takes separators of one character
        data, separator = data.replace(b"::", b"\t"), "\t"
    # Whole numbers are left to inference: asked for int64, pandas goes through float64 where a
    # field does not fit, and rounds or wraps it. Ratings take few values, each read once by Python.
    whole = [name for name in RATING_COLUMNS if name != "rating"]
    dtype = dict.fromkeys(set(names) - set(whole), object)
    options = {"sep": separator, "header": None, "names": names, "dtype": dtype}
    options |= {"encoding": "utf-8-sig", "na_filter": False, "chunksize": CHUNK_LINES}
    stream, chunks = io.BytesIO(data), []
    stream.seek(start)
    with pd.read_csv(stream, **options) as reader:
        for chunk in reader:
            if not isinstance(chunk.index, pd.RangeIndex):  # a field too many became an index
                return None
            if any(chunk[name].dtype != np.int64 for name in whole):
                return None
            codes, texts = pd.factorize(chunk["rating"].to_numpy())
            chunk["rating"] = np.array([rating(text) for text in texts])[codes]
            chunks.append([chunk[name].to_numpy(copy=True) for name in RATING_COLUMNS])
    if not chunks:
        return None
    columns = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
    # A line that ends early is filled up by pandas, unseen where the last columns are not ours.
    if data.count(separator.encode(), start) != len(columns[0]) * (len(names) - 1):
        return None
    return pd.DataFrame(dict(zip(RATING_NAMES, columns, strict=True)), copy=False)


def _is_valid(frame: pd.DataFrame, item_ids: np.ndarray) -> bool:
    user, item, time = (frame[name].to_numpy() for name in RATING_NAMES if name != "rating")
    if min(user.min(), item.min(), time.min()) < 0 or not np.isin(item, item_ids).all():
        return False
    # GroupLens sorts by user, then film: where that holds, neighbours show every repeat.
    ascending = (user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (item[1:] > item[:-1]))
    return bool(ascending.all()) or not frame.duplicated(["user_id", "item_id"]).any()


def _stars(text: str, scale: tuple[float, float]) -> float:
    """Return a finite number between the ends of the scale."""
    try:
        number = float(plain(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    if not scale[0] <= number <= scale[1]:
        raise ValueError(f"{text} is outside the scale from {scale[0]:g} to {scale[1]:g}")
    return number


def _title(text: str) -> str:
    if not text.strip():
        raise ValueError("the title is empty")
    if "\n" in text or "\r" in text:
        raise ValueError("the title runs into the next line; look for a quotation mark left open")
    return text


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"{text!r} is not 0 or 1")
    return text == "1"
