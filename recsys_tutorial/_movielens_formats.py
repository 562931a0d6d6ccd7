"""Parse the file formats of MovieLens; a bad file gets an error that names its first fault.

GroupLens has used three layouts: comma-separated files with a header (20M and later, "latest"),
fields joined by ``::`` without a header (1M, 10M), and the tab- and bar-separated ``u.data`` and
``u.item`` of 100K. Ratings are parsed by pandas in C and checked as whole columns; only when
something is wrong are the lines walked one by one, to name it. Films are few and always walked.
"""

import csv
import io
import re
from array import array

import numpy as np
import pandas as pd

from recsys_tutorial._tables import DataFileError, Table, header_of, plain

ITEM_COLUMNS = ("movieId", "title", "genres")
RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
RATING_NAMES = ("user_id", "item_id", "rating", "timestamp")
CHUNK_LINES = 1_000_000  # lines that pandas holds as text at a time
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
    table = Table(data, path, kind, ITEM_COLUMNS, latin1=kind in ("dat", "item"))
    width = 5 + len(GENRES_100K) if kind == "item" else len(table.header)
    where = [table.header.index(name) for name in ITEM_COLUMNS]
    titles, genres, line_of = [], [], {}
    for line, fields in table.rows():
        table.check_width(fields, width, line)
        item, title, genre = (fields[index] for index in where)
        item_id = table.whole_number(item, line, "movieId")
        if item_id in line_of:
            message = f"film {item_id} is already on line {line_of[item_id]}; keep one line for it"
            raise DataFileError(message, path, line, "movieId")
        if not title.strip():
            raise DataFileError("the title is empty", path, line, "title")
        if "\n" in title or "\r" in title:
            message = "the title runs into the next line; look for a quotation mark left open"
            raise DataFileError(message, path, line, "title")
        line_of[item_id] = line
        titles.append(title)
        genres.append((_flagged(fields[5:], path, line) if kind == "item" else genre) or NO_GENRES)
    if not titles:
        raise DataFileError("no film below the header", path, table.first_line)
    years = [match and int(match[1]) for match in map(YEAR.search, titles)]
    return pd.DataFrame(
        {
            "item_id": np.fromiter(line_of, dtype=np.int64),
            "title": pd.Series(titles, dtype=object),
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
    try:
        frame = _parse_in_c(data, kind)
    except (ValueError, OverflowError):  # pandas' and the decoder's errors are ValueErrors
        frame = None
    if frame is None or not _is_valid(frame, item_ids, scale):
        frame = walk_ratings(data, path, kind, item_ids, scale)
    return frame


def _parse_in_c(data: bytes, kind: str) -> pd.DataFrame | None:
    """Return the unchecked frame, or None when the layout is not plain enough for pandas."""
    if b"\0" in data:  # C strings end at a zero byte: what follows it in a field would be lost
        return None
    names = list(RATING_COLUMNS)
    layout = {"sep": "\t", "header": None, "quoting": csv.QUOTE_NONE}
    if kind == "csv":
        layout = {"sep": ",", "header": 0}
        # Numbers need no quotation marks, and pandas reads '""1' as 1.
        header_end = re.search(rb"[\r\n]|$", data).start()
        if data.find(b'"', header_end) >= 0:
            return None
        names, _ = header_of(data[:65536])
        if not set(RATING_COLUMNS) <= set(names) or len(set(names)) < len(names):
            return None
    elif kind == "dat":
        if b"\t" in data:
            return None
        data = data.replace(b"::", b"\t")  # pandas in C takes separators of one character
    # Whole numbers are left to inference: asked for int64, pandas goes through float64 where a
    # field does not fit, and rounds or wraps it. Ratings take few values, each read once by Python.
    dtype = {name: str for name in names if name not in RATING_COLUMNS} | {"rating": "category"}
    chunks = []
    options = {"names": names, "dtype": dtype, "encoding": "utf-8-sig", "na_filter": False}
    with pd.read_csv(io.BytesIO(data), chunksize=CHUNK_LINES, **options, **layout) as reader:
        for chunk in reader:
            if not isinstance(chunk.index, pd.RangeIndex):  # a field too many became an index
                return None
            if any(chunk[name].dtype != np.int64 for name in RATING_COLUMNS if name != "rating"):
                return None
            texts = chunk["rating"].cat.categories
            values = np.array([float(plain(text)) for text in texts])
            chunk["rating"] = values[chunk["rating"].cat.codes.to_numpy()]
            chunks.append([chunk[name].to_numpy(copy=True) for name in RATING_COLUMNS])
    if not chunks:
        return None
    columns = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
    # A line that ends early is filled up by pandas, unseen where the last columns are not ours.
    if kind == "csv" and data.count(b",") != (len(columns[0]) + 1) * (len(names) - 1):
        return None
    return pd.DataFrame(dict(zip(RATING_NAMES, columns, strict=True)), copy=False)


def _is_valid(frame: pd.DataFrame, item_ids: np.ndarray, scale) -> bool:
    user, item, rating, time = (frame[name].to_numpy() for name in RATING_NAMES)
    if len(frame) == 0 or min(user.min(), item.min(), time.min()) < 0:
        return False
    if not ((rating >= scale[0]) & (rating <= scale[1])).all():  # false for nan too
        return False
    if not np.isin(item, item_ids).all():
        return False
    # GroupLens sorts by user, then film: where that holds, neighbours show every repeat.
    ascending = (user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (item[1:] > item[:-1]))
    return bool(ascending.all()) or not frame.duplicated(["user_id", "item_id"]).any()


def walk_ratings(data: bytes, path, kind: str, item_ids: np.ndarray, scale) -> pd.DataFrame:
    """Parse ratings line by line, as `parse_ratings` does but slower; raise for the first fault.

    A repeated (user, film) pair is looked for last, when every line has been read.
    """
    table = Table(data, path, kind, RATING_COLUMNS)
    where = [table.header.index(name) for name in RATING_COLUMNS]
    known = set(item_ids.tolist())
    # Arrays of machine numbers: a set of 25 million pairs would not fit into a small machine.
    columns = array("q"), array("q"), array("d"), array("q")
    lines = array("q")
    for line, fields in table.rows():
        table.check_width(fields, len(table.header), line)
        user, item, rating, time = (fields[index] for index in where)
        item_id = table.whole_number(item, line, "movieId")
        row = (
            table.whole_number(user, line, "userId"),
            item_id,
            table.rating(rating, line, scale),
            table.whole_number(time, line, "timestamp"),
        )
        if item_id not in known:
            message = f"film {item_id} is not among the films of this data set"
            raise DataFileError(message, path, line, "movieId")
        lines.append(line)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    if not lines:
        raise DataFileError("no rating below the header", path, table.first_line)
    frame = pd.DataFrame(
        {name: np.array(column) for name, column in zip(RATING_NAMES, columns, strict=True)}
    )
    repeated = frame.duplicated(["user_id", "item_id"]).to_numpy()
    if repeated.any():
        second = int(repeated.argmax())
        user, item = frame["user_id"].iat[second], frame["item_id"].iat[second]
        first = int(((frame["user_id"] == user) & (frame["item_id"] == item)).to_numpy().argmax())
        message = (
            f"user {user} has already rated film {item} on line {lines[first]}; "
            "keep one rating for each user and film"
        )
        raise DataFileError(message, path, lines[second], "userId, movieId")
    return frame


def _flagged(flags: list[str], path, line: int) -> str:
    """Return the genres whose flag is 1, joined by "|"."""
    for genre, flag in zip(GENRES_100K, flags, strict=True):
        if flag not in ("0", "1"):
            raise DataFileError(f"{flag!r} is not 0 or 1", path, line, f"genre {genre}")
    return "|".join(genre for genre, flag in zip(GENRES_100K, flags, strict=True) if flag == "1")
