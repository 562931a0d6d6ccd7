"""Parse the three file formats of MovieLens and say exactly what is wrong with a bad file.

GroupLens has used three layouts: comma-separated files with a header (20M and later, "latest"),
fields joined by ``::`` without a header (1M, 10M), and the tab- and bar-separated ``u.data`` and
``u.item`` of 100K. Ratings are parsed by pandas in C and checked as whole columns; only when
something is wrong are the lines walked one by one, to name the first that is. Items are few, so
they are always walked.
"""

import csv
import io
import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
ITEM_COLUMNS = ("movieId", "title", "genres")
RATING_NAMES = ("user_id", "item_id", "rating", "timestamp")
SEPARATORS = {"csv": ",", "dat": "::", "data": "\t", "item": "|"}
NO_GENRES = "(no genres listed)"

_INT64_MAX = np.iinfo(np.int64).max
# The year of release closes the title, "Toy Story (1995)"; a series has a range, "Fawlty Towers
# (1975-1979)", of which the first year counts.
_YEAR = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$")


class DataFileError(ValueError):
    """A data file that cannot be used; the message names the file, the line and the column.

    Attributes
    ----------
    path : str
        The file, or ``archive.zip/member``.
    line : int or None
        One-based line, where the fault has one.
    column : str or None
        The column as the file calls it, where the fault has one.
    """

    def __init__(self, message: str, path, line: int | None = None, column: str | None = None):
        self.path, self.line, self.column = str(path), line, column
        place = [self.path]
        place += [f"line {line}"] if line is not None else []
        place += [f"column {column}"] if column is not None else []
        super().__init__(f"{', '.join(place)}: {message}")


def parse_items(data: bytes, path, kind: str, genre_names: tuple[str, ...] = ()) -> pd.DataFrame:
    """Parse the films of a release.

    Parameters
    ----------
    data : bytes
        Content of ``movies.csv`` (kind "csv"), ``movies.dat`` ("dat") or ``u.item`` ("item").
    path : path-like
        Name of the file for error messages.
    kind : {"csv", "dat", "item"}
    genre_names : tuple of str
        The genres behind the 0/1 flags that close a line of ``u.item``; unused otherwise.

    Returns
    -------
    DataFrame
        ``item_id`` int64, ``title`` str, ``year`` Int64 (nullable), ``genres`` str joined by "|".

    Raises
    ------
    DataFileError
        Naming the first line and column at fault.
    """
    text = _decode(data, path, ITEM_COLUMNS, kind)
    header, first_line = _header(text, path, kind, ITEM_COLUMNS, "film")
    width = 5 + len(genre_names) if kind == "item" else len(header)
    where = {name: header.index(name) for name in ITEM_COLUMNS} if kind != "item" else {}
    item_ids, titles, genres, seen = [], [], [], {}
    for line, fields in _rows(text, path, kind, first_line):
        _check_width(fields, width, line, path, kind)
        if kind == "item":
            item, title = fields[:2]
            flags = fields[5:]
            bad = next(
                (n for n, flag in zip(genre_names, flags, strict=True) if flag not in "01"), None
            )
            if bad is not None:
                raise DataFileError("a genre flag must be 0 or 1", path, line, f"genre {bad}")
            genre = "|".join(n for n, flag in zip(genre_names, flags, strict=True) if flag == "1")
        else:
            item, title, genre = (fields[where[name]] for name in ITEM_COLUMNS)
        item_id = _integer(item, path, line, "movieId")
        if item_id in seen:
            message = f"film {item_id} is already on line {seen[item_id]}; each film has one line"
            raise DataFileError(message, path, line, "movieId")
        if not title.strip():
            raise DataFileError("the title is empty", path, line, "title")
        if "\n" in title or "\r" in title:
            message = 'the title runs over the end of the line; a quotation mark (") is left open'
            raise DataFileError(message, path, line, "title")
        seen[item_id] = line
        item_ids.append(item_id)
        titles.append(title)
        genres.append(genre or NO_GENRES)
    if not item_ids:
        raise DataFileError("the file has no film, only a header", path, first_line)
    years = [match and int(match[1]) for match in map(_YEAR.search, titles)]
    return pd.DataFrame(
        {
            "item_id": np.array(item_ids, dtype=np.int64),
            "title": pd.Series(titles, dtype=object),
            "year": pd.array(years, dtype="Int64"),
            "genres": pd.Series(genres, dtype=object),
        }
    )


def parse_ratings(
    data: bytes, path, kind: str, item_ids: np.ndarray, scale: tuple[float, float]
) -> pd.DataFrame:
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
        frame = _parse_ratings_in_c(data, kind)
    except (ValueError, OverflowError, pd.errors.ParserError):  # decoding errors are ValueErrors
        frame = None
    if frame is None or not _is_valid(frame, item_ids, scale):
        _raise_first_fault(data, path, kind, item_ids, scale)
    return frame


def _parse_ratings_in_c(data: bytes, kind: str) -> pd.DataFrame | None:
    """Return the frame, or None when the layout is not plain enough to be trusted to pandas."""
    if b"\0" in data:  # C strings end at a zero byte: what follows it in a field would be lost
        return None
    options = {"quoting": csv.QUOTE_NONE, "header": None}
    names = list(RATING_COLUMNS)
    if kind == "csv":
        first = data.partition(b"\n")[0].decode("utf-8-sig")
        names = next(csv.reader([first]), [])
        if not set(RATING_COLUMNS) <= set(names) or len(set(names)) < len(names):
            return None
        options = {"header": 0}
    elif kind == "dat":
        if b"\t" in data:
            return None
        data = data.replace(b"::", b"\t")  # the C parser takes separators of one character only
    frame = pd.read_csv(
        io.BytesIO(data),
        sep="," if kind == "csv" else "\t",
        names=names,
        dtype=dict.fromkeys(names, str)
        | {"userId": np.int64, "movieId": np.int64, "rating": np.float64, "timestamp": np.int64},
        encoding="utf-8-sig",
        na_filter=False,
        float_precision="round_trip",
        **options,
    )
    if not isinstance(frame.index, pd.RangeIndex):  # more fields than columns: pandas made an index
        return None
    return frame[list(RATING_COLUMNS)].set_axis(list(RATING_NAMES), axis=1)


def _is_valid(frame: pd.DataFrame, item_ids: np.ndarray, scale: tuple[float, float]) -> bool:
    rating = frame["rating"].to_numpy()
    user, item, time = (frame[name].to_numpy() for name in ("user_id", "item_id", "timestamp"))
    if len(frame) == 0 or min(user.min(), item.min(), time.min()) < 0:
        return False
    if not ((rating >= scale[0]) & (rating <= scale[1])).all():  # false for nan as well
        return False
    if not np.isin(item, item_ids).all():
        return False
    # GroupLens sorts by (user, item): where that holds, one comparison of neighbours is enough.
    same_user = user[1:] == user[:-1]
    if ((user[1:] > user[:-1]) | (same_user & (item[1:] > item[:-1]))).all():
        return True
    return not frame.duplicated(["user_id", "item_id"]).any()


def _raise_first_fault(data, path, kind, item_ids, scale):
    """Walk the lines in order and raise for the first fault."""
    text = _decode(data, path, RATING_COLUMNS, kind)
    header, first_line = _header(text, path, kind, RATING_COLUMNS, "rating")
    where = [header.index(name) for name in RATING_COLUMNS]
    known, seen = set(item_ids.tolist()), {}
    for line, fields in _rows(text, path, kind, first_line):
        _check_width(fields, len(header), line, path, kind)
        user, item, rating, time = (fields[index] for index in where)
        user = _integer(user, path, line, "userId")
        item = _integer(item, path, line, "movieId")
        _rating(rating, path, line, scale)
        _integer(time, path, line, "timestamp")
        if item not in known:
            message = f"film {item} is not among the films of this data set"
            raise DataFileError(message, path, line, "movieId")
        if (user, item) in seen:
            message = (
                f"user {user} has already rated film {item} on line {seen[user, item]}; "
                "keep one rating for each user and film"
            )
            raise DataFileError(message, path, line, "movieId")
        seen[user, item] = line
    if not seen:
        raise DataFileError("the file has no rating, only a header", path, first_line)
    raise DataFileError("the file is not in a layout that can be read", path)


def _decode(data: bytes, path, columns: tuple[str, ...], kind: str) -> str:
    """Return the text without a byte order mark; films of the old releases may be in Latin-1."""
    if not data.strip():
        raise DataFileError("the file is empty", path, 1)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataFileError("the file is in UTF-16; save it as UTF-8", path, 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if kind == "item" or (kind == "dat" and columns == ITEM_COLUMNS):
            text = data.decode("latin-1")
        else:
            start = data.rfind(b"\n", 0, error.start) + 1
            line = data.count(b"\n", 0, error.start) + 1
            before = data[start : error.start].decode("utf-8-sig")
            column = _column_at(data, before, kind, columns)
            message = (
                f"byte 0x{data[error.start]:02x} after {before[-20:]!r} is not UTF-8; "
                "convert the file, e.g. with iconv -f latin1 -t utf-8"
            )
            raise DataFileError(message, path, line, column) from None
    if "\0" in text:
        position = text.index("\0")
        before = text[text.rfind("\n", 0, position) + 1 : position]
        line, column = text.count("\n", 0, position) + 1, _column_at(data, before, kind, columns)
        raise DataFileError("the file has a zero byte; it is damaged", path, line, column)
    return text


def _column_at(data: bytes, before: str, kind: str, columns: tuple[str, ...]) -> str | None:
    """Name the column in which a line that starts with `before` stops."""
    names = list(columns)
    if kind == "csv":
        names = next(csv.reader([data.partition(b"\n")[0].decode("utf-8-sig", "replace")]), [])
        index = len(next(csv.reader([before]), [""])) - 1
    else:
        index = before.count(SEPARATORS[kind])
    return names[index] if index < len(names) else None


def _header(text: str, path, kind: str, columns: tuple[str, ...], what: str):
    """Return (column names, last line of the header); only comma-separated files have one."""
    if kind != "csv":
        return list(columns), 0
    line, header = next(_rows(text, path, kind, 0))
    missing = [name for name in columns if name not in header]
    if len(header) == 1 and missing:
        for separator, name in ((";", "semicolon"), ("\t", "tab"), ("::", "'::'"), ("|", "bar")):
            if separator in header[0]:
                message = f"the columns are separated by a {name}, not by a comma"
                raise DataFileError(message, path, line, header[0].split(separator)[0])
    if missing:
        plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in header}
        plain |= {"movieid": plain["itemid"]} if "itemid" in plain else {}
        found = plain.get(missing[0].lower())
        mend = f"rename {found!r} to {missing[0]!r}" if found else f"found {', '.join(header)}"
        message = f"the column is missing from the header of the {what}s file; {mend}"
        raise DataFileError(message, path, line, missing[0])
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataFileError("the header names the column twice", path, line, twice)
    return header, line


def _rows(text: str, path, kind: str, skip_lines: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (one-based line, fields) of each line that is not blank."""
    if kind == "csv":
        yield from _csv_rows(text, path, skip_lines)
        return
    for line, content in enumerate(io.StringIO(text), start=1):
        content = content.rstrip("\r\n")
        if content:
            yield line, content.split(SEPARATORS[kind])


def _csv_rows(text: str, path, skip_lines: int):
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1  # a record in quotes may span lines: name its first
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataFileError(f"{error}; look for a stray quotation mark", path, line) from None
        if fields and line > skip_lines:
            yield line, fields


def _check_width(fields: list[str], width: int, line: int, path, kind: str) -> None:
    if len(fields) != width:
        message = (
            f"{len(fields)} fields where {width} are expected, separated by {SEPARATORS[kind]!r}"
        )
        raise DataFileError(message, path, line)


def _integer(text: str, path, line: int, column: str) -> int:
    try:
        if not text.isascii() or "_" in text:
            raise ValueError
        number = int(text)
    except ValueError:
        raise DataFileError(f"{text!r} is not a whole number", path, line, column) from None
    if number < 0:
        raise DataFileError(f"{number} is negative", path, line, column)
    if number > _INT64_MAX:
        message = f"{number} does not fit into 64 bits (at most {_INT64_MAX})"
        raise DataFileError(message, path, line, column)
    return number


def _rating(text: str, path, line: int, scale: tuple[float, float]) -> float:
    try:
        if not text.isascii() or "_" in text:
            raise ValueError
        number = float(text)
    except ValueError:
        raise DataFileError(f"{text!r} is not a number", path, line, "rating") from None
    if not np.isfinite(number):
        raise DataFileError(f"{text} is not a finite number", path, line, "rating")
    if not scale[0] <= number <= scale[1]:
        message = f"{text} is outside the scale from {scale[0]:g} to {scale[1]:g}"
        raise DataFileError(message, path, line, "rating")
    return number
