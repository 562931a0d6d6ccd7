"""Ratings and items of your own: from a table as it was exported to frames that a split can take.

`load_movielens` refuses a file with a fault; here each fault is mended and counted in a report, or
named in an error with what to do about it. Nothing is guessed silently.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_tutorial.datasets._exports import read_table
from recsys_tutorial.datasets._tables import DataFileError
from recsys_tutorial.datasets._times import (
    FIRST_YEAR,
    UnclearTime,
    as_text,
    last_year,
    numbers_of,
    read_times,
)
from recsys_tutorial.splits import Split

__all__ = [
    "ITEM_COLUMNS",
    "LIKED",
    "RATING_COLUMNS",
    "Cleaned",
    "check_enough",
    "clean",
    "read_table",
    "seconds_of",
]

RATING_COLUMNS = {
    "user_id": "userId",
    "item_id": "movieId",
    "rating": "rating",
    "timestamp": "timestamp",
}
ITEM_COLUMNS = {"item_id": "movieId", "title": "title", "genres": "genres"}
LIKED = 5.0  # what a row counts where there is no rating: somebody bought, watched, clicked it
MISSING = ("", "nan", "None", "NULL", "\\N")  # what Python and databases write for nothing
MOST = 0.5  # share of times that cannot be read from which on the whole column is refused
UNTOLD = 0.9  # share of ratings from which on min_rating tells nothing apart


class Cleaned(NamedTuple):
    """What `clean` returns.

    Attributes
    ----------
    ratings : DataFrame, user_id, item_id (int64), rating (float64), timestamp (int64, seconds)
    items : DataFrame, item_id, title, year (missing), genres; every item of `ratings`, ascending
    report : DataFrame, index "what", columns rows, of, done: each decision and each fault, how many
        of how many rows it concerns, and what was done; the last row is the total left out
    user_names : ndarray, user_names[user_id] is what the file called the user
    item_names : ndarray, item_names[item_id] is what the file called the item
    """

    ratings: pd.DataFrame
    items: pd.DataFrame
    report: pd.DataFrame
    user_names: np.ndarray
    item_names: np.ndarray


def clean(
    raw_ratings: pd.DataFrame,
    raw_items: pd.DataFrame | None = None,
    *,
    date_format: str | Sequence[str] | None = None,
    time_unit: str | None = None,
    unrated: float | Collection[float] | None = None,
    min_rating: float | None = None,
) -> Cleaned:
    """Mend what can be mended, count it, and number users and items.

    Rows are left out, and counted, that lack a user or an item, whose rating is no number or means
    none, or whose time cannot be read; of several ratings of one item by one user the latest stays.
    Without a rating column every row is a like. Ids written "1.0" are "1".

    Parameters
    ----------
    raw_ratings : DataFrame of text with user_id, item_id, timestamp and perhaps rating, for
        example from `read_table`, of which errors then name file and line
    raw_items : DataFrame of text with item_id, title and perhaps genres; or None
    date_format : str or sequence of str, optional
        "day first", "month first" or "year first", for dates such as 03/04/2024 that no other date
        of the column explains; or formats as of `datetime.strptime`, believed for any year.
    time_unit : {"s", "ms", "us", "ns", "days", "yyyymmdd"}, optional
        What numbers count, believed for any year: since 1970, or days as spreadsheets count them.
        By default each number is read in the only unit that puts it between 1990 and next year.
    unrated : float or collection of float, optional
        Ratings that mean "not rated", such as ``[0]`` or ``[0, -1]``; ``[]`` when there are none.
        Needed where a rating is zero or negative.
    min_rating : float, optional
        From where on a rating will count as liked; warns when that tells hardly anything apart.

    Raises
    ------
    ValueError
        When a needed column is missing, a decision is needed from you, or no row is left.
    """
    missing = [name for name in ("user_id", "item_id", "timestamp") if name not in raw_ratings]
    if missing:
        why = "; an honest split needs to know what came first" if "timestamp" in missing else ""
        raise ValueError(f"the ratings have no {' and no '.join(missing)}{why}")
    log = _Log(raw_ratings)
    frame = raw_ratings[[name for name in RATING_COLUMNS if name in raw_ratings]].apply(as_text)
    for name in ("user_id", "item_id"):
        frame = log.drop(frame, frame[name].isin(MISSING), f"no {name}")
        frame = frame.assign(**{name: _ids(frame[name], name, log)})
    frame = _with_ratings(frame, log, unrated, min_rating)
    frame = _with_times(frame, log, date_format, time_unit)
    if frame.empty:
        rows = [row for row in log.rows if row[3].startswith("left out")]
        lost = "; ".join(f"{what}: {n} rows, {done}" for what, n, _, done in rows)
        raise ValueError(f"no row is left: {lost or 'the table is empty'}")
    frame = frame.sort_values("timestamp", kind="stable")
    again = frame.duplicated(["user_id", "item_id"], keep="last")
    frame = log.drop(frame, again, "rated again by the same user", done="the latest stays")
    user_names, users = np.unique(frame["user_id"].to_numpy(str), return_inverse=True)
    item_names, columns = np.unique(frame["item_id"].to_numpy(str), return_inverse=True)
    ratings = pd.DataFrame(
        {
            "user_id": users.astype(np.int64),
            "item_id": columns.astype(np.int64),
            "rating": frame["rating"].to_numpy(float),
            "timestamp": frame["timestamp"].to_numpy(np.int64),
        }
    )
    n_raw, n_left = log.n_raw, len(ratings)
    items, item_names = _items(raw_items, item_names, log)
    log.rows.append(("left out in all", n_raw - n_left, n_raw, f"{n_left:,} ratings stay"))
    table = pd.DataFrame(log.rows, columns=["what", "rows", "of", "done"]).set_index("what")
    return Cleaned(ratings, items, table, user_names, item_names)


def seconds_of(values: pd.Series, **options) -> pd.Series:
    """Times as float seconds since 1970; nan where they cannot be read.

    `options` are the ``date_format`` and ``time_unit`` of `clean`.

    >>> seconds_of(pd.Series(["964982703", "964982703000", "2000-07-30 18:45:03", "soon"])).tolist()
    [964982703.0, 964982703.0, 964982703.0, nan]
    """
    return pd.Series(read_times(values, **options)[0], index=values.index)


def check_enough(split: Split, fewest: int = 30) -> None:
    """Raise ValueError when a split has too few users, or likes, to say anything by them."""
    likes = split.train.nnz
    parts = {"training": split.train.shape[0], "test": len(split.test)}
    if split.validation is not None:
        parts["validation"] = len(split.validation)
    for name, n_users in parts.items():
        if n_users < fewest:
            raise ValueError(
                f"only {n_users} {name} users have likes on both sides of the split; an interval "
                f"is worth printing from {fewest} on: lower min_rating, take a longer time span, "
                "or leave more users to this part"
            )
    if likes < 10 * fewest:
        raise ValueError(f"only {likes} likes are left to train on: lower min_rating?")


class _Log:
    """Collects the report; knows where a row stands in the file."""

    def __init__(self, raw: pd.DataFrame):
        self.attrs = raw.attrs if raw.index.name == "line" else {}
        self.rows = list(self.attrs.get("decisions", []))
        self.n_raw = len(raw) + sum(rows for what, rows, *_ in self.rows if what.startswith("line"))

    def drop(self, frame, bad, what: str, column="", done="left out") -> pd.DataFrame:
        """Leave rows out; the report shows the first, with its text in a column."""
        bad = np.asarray(bad)
        if bad.any():
            label = frame.index[int(bad.argmax())]
            text = f" {frame[column].iat[int(bad.argmax())]!r}" if column else ""
            where = "line" if "path" in self.attrs else "row"
            done = f"{done}; first{text} on {where} {label}"
            self.rows.append((what, int(bad.sum()), len(frame), done))
        return frame[~bad]

    def error(self, frame: pd.DataFrame, row: int, column: str, message: str) -> ValueError:
        """An error that names the place of a row, where it is known."""
        label = frame.index[row]
        if "path" not in self.attrs:
            return ValueError(f"row {label}, column {column}: {message}")
        names = self.attrs["columns"]
        return DataFileError(message, self.attrs["path"], int(label), names.get(column, column))


def _ids(texts: pd.Series, name: str, log: _Log) -> pd.Series:
    """Ids without the ".0" that spreadsheets and float columns add to whole numbers."""
    decimal = texts.str.fullmatch(r"[+-]?\d+\.0+")
    if not decimal.any() or texts.str.fullmatch(r"[+-]?\d+\.\d*[1-9]\d*").any():
        return texts
    done = "1.0 is the same as 1"
    log.rows.append((f"{name} written with .0", int(decimal.sum()), len(texts), done))
    return texts.where(~decimal, texts.str.replace(r"\.0+$", "", regex=True))


def _with_ratings(frame, log: _Log, unrated, min_rating) -> pd.DataFrame:
    """The frame with a rating in each row, those left out that have none."""
    if "rating" not in frame:
        done = f"every row counts as a like ({LIKED:g})"
        log.rows.append(("no rating column", len(frame), len(frame), done))
        return frame.assign(rating=LIKED)
    numbers, comma = numbers_of(frame["rating"])
    if comma:
        rows = int(frame["rating"].str.contains(",").sum())
        log.rows.append(("rating with a decimal comma", rows, len(frame), "4,5 is read as 4.5"))
    frame = log.drop(frame, ~np.isfinite(numbers), "rating is not a number", "rating")
    numbers = numbers[np.isfinite(numbers)]
    low = numbers <= 0
    if unrated is None and low.any():
        which = ", ".join(f"{value:g}" for value in np.unique(numbers[low])[:5])
        message = (
            f"{low.sum():,} of {len(numbers):,} ratings are zero or negative ({which}), and the "
            f"highest is {numbers.max():g}; say which mean 'not rated' by unrated=[{which}], or "
            "unrated=[]"
        )
        raise log.error(frame, int(low.argmax()), "rating", message)
    unrated = [] if unrated is None else list(unrated) if np.iterable(unrated) else [unrated]
    without = np.isin(numbers, unrated)
    frame = log.drop(frame, without, "not rated", "rating").assign(rating=numbers[~without])
    if len(frame):
        _tell_scale(frame["rating"].to_numpy(), log, min_rating)
    return frame


def _tell_scale(ratings: np.ndarray, log: _Log, min_rating: float | None) -> None:
    """Report the scale; warn where nearly all ratings reach `min_rating`."""
    n, different = len(ratings), len(np.unique(ratings))
    scale = f"{ratings.min():g} to {ratings.max():g}, {different} different values; "
    scale += f"{(ratings == 0).sum():,} zeros, {(ratings < 0).sum():,} negative"
    log.rows.append(("scale of the ratings", n, n, scale))
    if min_rating is not None and different > 1:
        liked = int((ratings >= min_rating).sum())
        log.rows.append(("liked", liked, n, f"at least {min_rating:g}"))
        if liked >= UNTOLD * n:
            warnings.warn(
                f"{liked / n:.0%} of the ratings reach min_rating={min_rating:g}, which tells "
                f"hardly anything apart on their scale, {ratings.min():g} to {ratings.max():g}",
                stacklevel=4,
            )


def _with_times(frame, log: _Log, date_format, time_unit) -> pd.DataFrame:
    """The frame with seconds since 1970 in each row, those left out that have none."""
    try:
        seconds, how = read_times(frame["timestamp"], date_format, time_unit)
    except UnclearTime as error:
        raise log.error(frame, error.row, "timestamp", str(error)) from None
    unread = np.isnan(seconds)
    if unread.sum() > MOST * len(frame):
        row = int(unread.argmax())
        message = (
            f"{frame['timestamp'].iat[row]!r} is no time from {FIRST_YEAR} to {last_year()}, as "
            f"{unread.sum():,} of {len(frame):,} are not; say what they are by time_unit= or "
            "date_format="
        )
        raise log.error(frame, row, "timestamp", message)
    for label, rows in pd.Series(how[~unread], dtype=object).value_counts().items():
        done = "as time_unit= says" if time_unit else "the only unit that fits"
        done = "UTC where no zone is named" if "date" in label else done
        log.rows.append((f"time in {label}", int(rows), len(frame), done))
    frame = frame.assign(seconds=seconds, how=how)
    years = f"time is outside {FIRST_YEAR} to {last_year()}"
    frame = log.drop(frame, frame["how"] == "outside", years, "timestamp")
    frame = log.drop(frame, frame["how"] == "", "time cannot be read", "timestamp")
    return frame.assign(timestamp=frame["seconds"])


def _items(
    raw: pd.DataFrame | None, rated: np.ndarray, log: _Log
) -> tuple[pd.DataFrame, np.ndarray]:
    """The catalogue: the rated items first, numbered as they are, then those nobody has rated."""
    known = pd.DataFrame({"item_id": [], "title": [], "genres": []}, dtype=object)
    if raw is not None:
        known = raw.reindex(columns=known.columns, fill_value="").apply(as_text)
        log.rows += raw.attrs.get("decisions", [])
        n_items, nameless = len(known), (known["title"] == "").to_numpy()
        known["item_id"] = _ids(known["item_id"], "item_id of the items", log)
        known["title"] = known["title"].mask(nameless, known["item_id"])
        again = known.duplicated("item_id").to_numpy()
        for bad, what, done in (
            (nameless, "item without a title", "its name is its title"),
            (again, "item listed again", "the first stays"),
        ):
            if bad.any():
                log.rows.append((what, int(bad.sum()), n_items, done))
        known = known[~again & ~known["item_id"].isin(MISSING)]
    known = known.set_index("item_id")
    unknown = int((~pd.Index(rated, dtype=object).isin(known.index)).sum())
    if unknown:
        done = "its name is its title"
        log.rows.append(("rated item without a title", unknown, len(rated), done))
    others = np.setdiff1d(known.index.to_numpy(str), rated)
    names = np.concatenate([rated, others])
    known = known.reindex(pd.Index(names, dtype=object))
    items = pd.DataFrame(
        {
            "item_id": np.arange(len(names)),
            "title": np.where(known["title"].isna(), names.astype(object), known["title"]),
            "year": pd.array([None] * len(names), dtype="Int64"),
            "genres": np.where(known["genres"].isna(), "", known["genres"]),
        }
    )
    return items.astype({"title": object, "genres": object}), names
