"""Ratings and items of your own: from a table as it was exported to frames that a split can take.

`load_movielens` refuses a file with a fault; here each fault is mended and counted in a report, or
named in an error with what to do about it. Nothing is guessed silently.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from recsys_tutorial.datasets import _mending as mend
from recsys_tutorial.datasets._exports import read_table as read_table  # chapters find it here
from recsys_tutorial.datasets._times import as_text
from recsys_tutorial.splits import Split

RATING_COLUMNS = {
    "user_id": "userId",
    "item_id": "movieId",
    "rating": "rating",
    "timestamp": "timestamp",
}
ITEM_COLUMNS = {"item_id": "movieId", "title": "title", "genres": "genres"}
FEWEST = 30  # users of a part of a split


class Cleaned(NamedTuple):
    """What `clean` returns.

    Attributes
    ----------
    ratings : DataFrame
        ``user_id``, ``item_id`` int64 from 0, ``rating`` float64, ``timestamp`` int64 (seconds
        since 1970-01-01 UTC), ascending in time.
    items : DataFrame
        ``item_id`` int64, ascending, ``title`` str, ``year`` Int64 (missing), ``genres`` str;
        every item of `ratings`, then those that nobody has rated.
    report : DataFrame
        Index "what", columns ``rows``, ``of``, ``done``: each decision and each fault, how many of
        how many rows it concerns, and what was done; the last row is the total left out.
    user_names, item_names : ndarray of str (n_users,), (n_items,)
        What the file called the user or the item of a number.
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
    without_times: bool = False,
) -> Cleaned:
    """Mend what can be mended, count it, and number users and items.

    Rows are left out, and counted, that lack a user or an item, whose rating is no number or means
    none, or whose time cannot be read; of several ratings of one item by one user the latest stays.
    Without a rating column every row is a like. Ids written "1.0" are "1".

    Parameters
    ----------
    raw_ratings : DataFrame
        Text (or numbers, or dates) in ``user_id``, ``item_id``, ``timestamp`` and perhaps
        ``rating``; of one from `read_table` errors name file and line.
    raw_items : DataFrame, optional
        Text in ``item_id``, ``title`` and perhaps ``genres``.
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
        From where on a rating will count as liked; warns when that tells hardly anything apart, or
        lies below the middle of a scale.
    without_times : bool
        For a file that has none. Users stand in a random order, each one's rows together and in a
        random order, and ``timestamp`` counts them: `new_user_split` then holds out random users
        and shows a random part of what each of them liked. What everybody did at any time is known
        in training, so a trend, and an item that was not there yet, cannot be seen; results are
        better than a service's would be. Of two ratings of a pair the last in the file stays.

    Returns
    -------
    Cleaned

    Raises
    ------
    TypeError
        For a file name instead of a table.
    ValueError
        When a needed column is missing, a decision is needed from you, or no row is left.
    """
    _require(raw_ratings, without_times)
    log = mend.Log(raw_ratings)
    frame = raw_ratings[[name for name in RATING_COLUMNS if name in raw_ratings]].apply(as_text)
    for name in ("user_id", "item_id"):
        frame = log.drop(frame, frame[name].isin(mend.MISSING), f"no {name}")
        frame = frame.assign(**{name: mend.tidy_ids(frame[name], name, log)})
    frame = mend.with_ratings(frame, log, unrated, min_rating)
    if without_times:
        frame = mend.with_random_order(frame, log)
    else:
        frame = mend.with_times(frame, log, date_format, time_unit)
    if frame.empty:
        rows = [row for row in log.rows if row[3].startswith("left out")]
        lost = "; ".join(f"{what}: {n} rows, {done}" for what, n, _, done in rows)
        worded = any(row[0] == "rating is not a number" and row[1] == row[2] for row in rows)
        mended = (
            "; where a rating is a word, such as 'like', write a number for each word, or leave "
            "the ratings out if every row is a like"
        )
        raise ValueError(f"no row is left: {lost or 'the table is empty'}{mended * worded}")
    frame = frame.sort_values("timestamp", kind="stable")
    again = frame.duplicated(["user_id", "item_id"], keep="last")
    frame = log.drop(frame, again, "rated again by the same user", done="the latest stays")
    numbers, user_names, rated = _numbered(frame)
    items, item_names = mend.catalogue(raw_items, rated, log)
    n_left, n_raw = len(numbers), log.n_raw
    log.rows.append(("left out in all", n_raw - n_left, n_raw, f"{n_left:,} ratings stay"))
    return Cleaned(numbers, items, log.report(), user_names, item_names)


def _require(raw: pd.DataFrame, without_times: bool) -> None:
    """Raise unless the columns are there, and `without_times` is said of a file without any."""
    if not isinstance(raw, pd.DataFrame):
        raise TypeError(f"clean takes a table, not a {type(raw).__name__}: read_table makes one")
    timed = "timestamp" in raw
    if timed and without_times:
        raise ValueError("the ratings have a timestamp: without_times=True would throw it away")
    needed = ["user_id", "item_id"] if without_times else ["user_id", "item_id", "timestamp"]
    missing = [name for name in needed if name not in raw]
    if missing:
        why = ""
        if "timestamp" in missing:
            why = (
                "; an honest split needs to know what came first. If nobody knows, say "
                "without_times=True: random users are held out, which cannot show what time does"
            )
        raise ValueError(f"the ratings have no {' and no '.join(missing)}{why}")


def _numbered(frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return ratings with numbers for users and items, and the names that these stand for."""
    user_names, users = np.unique(frame["user_id"].to_numpy(str), return_inverse=True)
    item_names, items = np.unique(frame["item_id"].to_numpy(str), return_inverse=True)
    columns = {"user_id": users, "item_id": items}
    columns |= {"rating": frame["rating"].to_numpy(), "timestamp": frame["timestamp"].to_numpy()}
    kinds = {"user_id": np.int64, "item_id": np.int64, "rating": float, "timestamp": np.int64}
    return pd.DataFrame(columns).astype(kinds), user_names, item_names


def check_enough(split: Split) -> None:
    """Refuse a split that has too few users, or likes, to say anything by them.

    Each part must have 30 users, and the training likes must be ten times as many.

    Parameters
    ----------
    split : Split

    Raises
    ------
    ValueError
        When it has fewer, with what to change.
    """
    likes = split.train.nnz
    parts = {"training": split.train.shape[0], "test": len(split.test)}
    if split.validation is not None:
        parts["validation"] = len(split.validation)
    for name, n_users in parts.items():
        if n_users < FEWEST:
            raise ValueError(
                f"only {n_users} {name} users have likes on both sides of the split; an interval "
                f"is worth printing from {FEWEST} on: lower min_rating, take a longer time span, "
                "or leave more users to this part"
            )
    if likes < 10 * FEWEST:
        raise ValueError(f"only {likes} likes are left to train on: lower min_rating?")
