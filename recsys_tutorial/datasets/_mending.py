"""The steps of `cleaning.clean`: each mends a column or leaves rows out, and counts what it did."""

import warnings

import numpy as np
import pandas as pd

from recsys_tutorial.datasets._delimited import DataFileError
from recsys_tutorial.datasets._times import (
    FIRST_YEAR,
    UnclearTime,
    as_text,
    last_year,
    numbers_of,
    read_times,
)

LIKED = 5.0  # what a row counts where there is no rating: somebody bought, watched, clicked it
MISSING = ("", "nan", "None", "NULL", "\\N")  # what Python and databases write for nothing
MOST = 0.5  # share of times that cannot be read from which on the whole column is refused
SCALE = 21  # different ratings up to which they are a scale; more are counts, such as plays
UNTOLD = 0.9  # share of ratings from which on min_rating tells nothing apart


class Log:
    """Collects the report; knows where a row stands in the file."""

    def __init__(self, raw: pd.DataFrame):
        self.attrs = raw.attrs if raw.index.name == "line" else {}
        self.rows = list(self.attrs.get("decisions", []))
        self.n_raw = len(raw) + sum(rows for what, rows, *_ in self.rows if what.startswith("line"))

    def report(self) -> pd.DataFrame:
        """Return the report, as `Cleaned` describes it."""
        return pd.DataFrame(self.rows, columns=["what", "rows", "of", "done"]).set_index("what")

    def add(self, what: str, bad, done: str) -> None:
        """Report how many rows something concerns, if any."""
        if np.any(bad):
            self.rows.append((what, int(np.sum(bad)), len(bad), done))

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


def tidy_ids(texts: pd.Series, name: str, log: Log) -> pd.Series:
    """Ids without the ".0" that spreadsheets and float columns add to whole numbers."""
    decimal = texts.str.fullmatch(r"[+-]?\d+\.0+")
    if texts.str.fullmatch(r"[+-]?\d+\.\d*[1-9]\d*").any():
        return texts
    log.add(f"{name} written with .0", decimal, "1.0 is the same as 1")
    return texts.where(~decimal, texts.str.replace(r"\.0+$", "", regex=True))


def with_ratings(frame, log: Log, unrated, min_rating) -> pd.DataFrame:
    """The frame with a rating in each row, those left out that have none."""
    if "rating" not in frame:
        done = f"every row counts as a like ({LIKED:g})"
        log.rows.append(("no rating column", len(frame), len(frame), done))
        return frame.assign(rating=LIKED)
    numbers, comma = numbers_of(frame["rating"])
    if comma:
        with_comma = frame["rating"].str.contains(",")
        log.add("rating with a decimal comma", with_comma, "4,5 is read as 4.5")
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


def _tell_scale(ratings: np.ndarray, log: Log, min_rating: float | None) -> None:
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
        elif different <= SCALE and min_rating < (ratings.min() + ratings.max()) / 2:
            warnings.warn(
                f"min_rating={min_rating:g} is below the middle of the scale, {ratings.min():g} to "
                f"{ratings.max():g}: is such a rating a like?",
                stacklevel=4,
            )


def with_times(frame, log: Log, date_format, time_unit) -> pd.DataFrame:
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
    for label, rows in pd.Series(how[~unread]).value_counts().items():
        done = "as time_unit= says" if time_unit else "the only unit that fits"
        done = "UTC where no zone is named" if "date" in label else done
        log.rows.append((f"time in {label}", int(rows), len(frame), done))
    frame = frame.assign(seconds=seconds, how=how)
    years = f"time is outside {FIRST_YEAR} to {last_year()}"
    frame = log.drop(frame, frame["how"] == "outside", years, "timestamp")
    frame = log.drop(frame, frame["how"] == "", "time cannot be read", "timestamp")
    return frame.assign(timestamp=frame["seconds"])


def with_random_order(frame, log: Log) -> pd.DataFrame:
    """The frame with a made-up order: users at random, the rows of each together, at random."""
    again = frame.duplicated(["user_id", "item_id"], keep="last")
    frame = log.drop(
        frame, again, "rated again by the same user", done="the last in the file stays"
    )
    rng = np.random.default_rng(0)
    names, users = np.unique(frame["user_id"].to_numpy(str), return_inverse=True)
    place = rng.permutation(len(names))
    order = np.lexsort((rng.permutation(len(users)), place[users]))
    done = "random users are held out; nothing here says what came first"
    log.rows.append(("no times", len(frame), len(frame), done))
    return frame.iloc[order].assign(timestamp=np.arange(len(frame)))


def catalogue(raw: pd.DataFrame | None, rated: np.ndarray, log: Log):
    """Return (items, names): the rated ones first, numbered as they are, then all others."""
    known = pd.DataFrame({"item_id": [], "title": [], "genres": []})
    if raw is not None:
        known = raw.reindex(columns=known.columns).apply(as_text)
        log.rows += raw.attrs.get("decisions", [])
        nameless = (known["title"] == "").to_numpy()
        known["item_id"] = tidy_ids(known["item_id"], "item_id of the items", log)
        known["title"] = known["title"].mask(nameless, known["item_id"])
        again = known.duplicated("item_id").to_numpy()
        log.add("item without a title", nameless, "its name is its title")
        log.add("item listed again", again, "the first stays")
        known = known[~again & ~known["item_id"].isin(MISSING)]
    known = known.set_index("item_id")
    unknown = ~pd.Index(rated).isin(known.index)
    log.add("rated item without a title", unknown, "its name is its title")
    names = np.concatenate([rated, np.setdiff1d(known.index.to_numpy(str), rated)])
    known = known.reindex(names)
    items = pd.DataFrame(
        {
            "item_id": np.arange(len(names)),
            "title": np.where(known["title"].isna(), names.astype(object), known["title"]),
            "year": pd.array([None] * len(names), dtype="Int64"),
            "genres": np.where(known["genres"].isna(), "", known["genres"]),
        }
    )
    return items.astype({"title": object, "genres": object}), names
