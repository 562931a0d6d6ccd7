"""Ratings and items of your own: from a table as it was exported to frames that a split can take.

`load_movielens` refuses a file with a fault; here each fault is mended and counted in a report, or
named in an error with what to do about it. Nothing is guessed silently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_tutorial._tables import DataFileError
from recsys_tutorial.splits import Split

RATING_COLUMNS = {
    "user_id": "userId",
    "item_id": "movieId",
    "rating": "rating",
    "timestamp": "timestamp",
}
ITEM_COLUMNS = {"item_id": "movieId", "title": "title", "genres": "genres"}
LIKED = 5.0  # what a row counts where there is no rating: somebody bought, watched, clicked it


class Cleaned(NamedTuple):
    """What `clean` returns.

    Attributes
    ----------
    ratings : DataFrame, user_id, item_id (int64), rating (float64), timestamp (int64, seconds)
    items : DataFrame, item_id, title, year (missing), genres; every item of `ratings`, ascending
    report : DataFrame, index "what", columns rows, done: each fault that was met
    user_names : ndarray, user_names[user_id] is what the file called the user
    item_names : ndarray, item_names[item_id] is what the file called the item
    """

    ratings: pd.DataFrame
    items: pd.DataFrame
    report: pd.DataFrame
    user_names: np.ndarray
    item_names: np.ndarray


def read_table(path: str | os.PathLike, columns: Mapping[str, str | None]) -> pd.DataFrame:
    """Read a CSV file (also compressed) as text, its columns renamed; others are left out.

    Parameters
    ----------
    path : path-like
    columns : {our name: the file's name, or None for a column that the file does not have}

    Raises
    ------
    DataFileError
        A ValueError that names the file and the fault: missing, empty, not a table, a column that
        is not there (with those that are).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.csv*")) if path.parent.is_dir() else []
        there = f"its folder has {', '.join(near)}" if near else "nor any CSV file beside it"
        raise DataFileError(f"there is no such file; {there}", path)
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise DataFileError("the file is empty", path) from None
    except UnicodeDecodeError as error:
        message = f"it is not UTF-8 text ({error.reason}); save it as 'CSV UTF-8'"
        raise DataFileError(message, path) from None
    except pd.errors.ParserError as error:
        raise DataFileError(f"it is not a CSV table: {str(error).strip()}", path) from None
    frame.columns = frame.columns.str.strip().str.removeprefix("\ufeff")
    wanted = {ours: theirs for ours, theirs in columns.items() if theirs is not None}
    for ours, theirs in wanted.items():
        if theirs not in frame:
            message = (
                f"it has no column {theirs!r}, only {', '.join(map(repr, frame.columns))}; name "
                f'the one that holds {ours} in the settings: "{ours}": "..."'
            )
            raise DataFileError(message, path, 1)
    if frame.empty:
        raise DataFileError("there is no row below the header", path, 1)
    return frame[list(wanted.values())].set_axis(list(wanted), axis=1)


def clean(raw_ratings: pd.DataFrame, raw_items: pd.DataFrame | None = None) -> Cleaned:
    """Mend what can be mended, count it, and number users and items.

    Rows are left out, and counted, that lack a user or an item, whose rating is no number or whose
    time cannot be read; of several ratings of one item by one user the latest stays. Times may be
    seconds or milliseconds since 1970, or dates. Without a rating column every row is a like.

    Parameters
    ----------
    raw_ratings : DataFrame of text with user_id, item_id, timestamp and perhaps rating, for
        example from `read_table`
    raw_items : DataFrame of text with item_id, title and perhaps genres; or None

    Raises
    ------
    ValueError
        When a needed column is missing or when no row is left.
    """
    missing = [name for name in ("user_id", "item_id", "timestamp") if name not in raw_ratings]
    if missing:
        why = "; an honest split needs to know what came first" if "timestamp" in missing else ""
        raise ValueError(f"the ratings have no {' and no '.join(missing)}{why}")
    report: list[tuple[str, int, str]] = []

    def drop(frame: pd.DataFrame, bad, what: str, done: str = "left out") -> pd.DataFrame:
        if bad.any():
            report.append((what, int(bad.sum()), done))
        return frame[~bad]

    frame = raw_ratings.copy()
    for name in ("user_id", "item_id"):
        frame[name] = frame[name].astype(str).str.strip()
        frame = drop(frame, frame[name].isin(["", "nan", "None"]), f"no {name}")
    if "rating" in frame:
        frame["rating"] = pd.to_numeric(frame["rating"], errors="coerce").astype(float)
        frame = drop(frame, ~np.isfinite(frame["rating"]), "rating is not a number")
    else:
        frame["rating"] = LIKED
        report.append(("no rating column", len(frame), f"every row counts as a like ({LIKED:g})"))
    frame["timestamp"] = seconds_of(frame["timestamp"])
    frame = drop(frame, frame["timestamp"].isna(), "time cannot be read")
    if frame.empty:
        raise ValueError(
            "no row is left: " + "; ".join(f"{what}: {rows} rows" for what, rows, _ in report)
        )
    frame = frame.sort_values("timestamp", kind="stable")
    again = frame.duplicated(["user_id", "item_id"], keep="last")
    frame = drop(frame, again, "rated again by the same user", "the latest stays")
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
    items, item_names = _items(raw_items, item_names, report)
    table = pd.DataFrame(report, columns=["what", "rows", "done"]).set_index("what")
    return Cleaned(ratings, items, table, user_names, item_names)


def seconds_of(values: pd.Series) -> pd.Series:
    """Times as float seconds since 1970; nan where they cannot be read.

    >>> seconds_of(pd.Series(["964982703", "964982703000", "2000-07-30 18:45:03", "soon"])).tolist()
    [964982703.0, 964982703.0, 964982703.0, nan]
    """
    seconds = pd.to_numeric(values, errors="coerce").astype(float)
    seconds = seconds.where(seconds < 1e11, seconds / 1000)  # 1e11 seconds is the year 5138
    seconds = seconds.where(np.isfinite(seconds) & (seconds >= 0))
    dates = pd.to_datetime(values.where(seconds.isna()), errors="coerce", utc=True, format="mixed")
    of_dates = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds.fillna(of_dates).floordiv(1)


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


def _items(
    raw: pd.DataFrame | None, rated: np.ndarray, report: list[tuple[str, int, str]]
) -> tuple[pd.DataFrame, np.ndarray]:
    """The catalogue: the rated items first, numbered as they are, then those nobody has rated."""
    known = pd.DataFrame({"item_id": [], "title": [], "genres": []}, dtype=str)
    if raw is not None:
        known = raw.reindex(columns=known.columns, fill_value="").astype(str)
        known["item_id"] = known["item_id"].str.strip()
        nameless = known["title"].str.strip() == ""
        if nameless.any():
            report.append(("item without a title", int(nameless.sum()), "its name is its title"))
            known.loc[nameless, "title"] = known.loc[nameless, "item_id"]
        again = known.duplicated("item_id")
        if again.any():
            report.append(("item listed again", int(again.sum()), "the first stays"))
        known = known[~again & (known["item_id"] != "")]
    known = known.set_index("item_id")
    unknown = ~np.isin(rated, known.index)
    if unknown.any():
        report.append(("rated item without a title", int(unknown.sum()), "its name is its title"))
    names = np.concatenate([rated, np.setdiff1d(known.index.to_numpy(str), rated)])
    known = known.reindex(names)
    items = pd.DataFrame(
        {
            "item_id": np.arange(len(names)),
            "title": known["title"].fillna(pd.Series(names, index=names)).to_numpy(object),
            "year": pd.array([None] * len(names), dtype="Int64"),
            "genres": known["genres"].fillna("").to_numpy(object),
        }
    )
    return items, names
