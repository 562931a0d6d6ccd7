"""Times as people write them: the unit of a number, the rule of a date; nothing is guessed."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

FIRST_YEAR = 1990  # nobody rated anything in a file before; the last year is the next one
DAY = 86_400.0
# Each takes numbers to seconds since 1970. Between FIRST_YEAR and next year no two overlap.
UNITS = {
    "s": ("seconds since 1970", lambda x: x),
    "ms": ("milliseconds since 1970", lambda x: x / 1e3),
    "us": ("microseconds since 1970", lambda x: x / 1e6),
    "ns": ("nanoseconds since 1970", lambda x: x / 1e9),
    "days": ("days of a spreadsheet", lambda x: np.round((x - 25_569) * DAY, 3)),
    "yyyymmdd": ("days as YYYYMMDD", lambda x: civil(x // 10_000, x // 100 % 100, x % 100)),
}
RULES = ("day first", "month first", "year first")
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
PART = r"(\d{1,4}|[A-Za-z]{3,9})"
# weekday, three parts of a date, time, AM or PM, zone
DATE = re.compile(
    rf"^(?:[A-Za-z]+,?\s+)??{PART}[-/.,\s]+{PART}[-/.,\s]+(\d{{1,4}})"
    r"(?:(?:[,\s]+|T)(\d{1,2}):(\d\d)(?::(\d\d(?:[.,]\d+)?))?\s*([AaPp])?(?:\.?[Mm]\.?)?)?"
    r"\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?$"
)
# "Tue Nov 15 11:29:22 -0800 2011", as Unix and the interfaces of some services write it.
UNIX = re.compile(r"^(?:[A-Za-z]{3} )?([A-Za-z]{3} +\d+) (\d+:\d\d:\d\d) (?:(\S+) )?(\d{4})$")


class UnclearTime(ValueError):
    """Times that could be read in two ways; `row` is the position of the first of them."""

    def __init__(self, message: str, row: int):
        self.row = row
        super().__init__(message)


def civil(year, month, day) -> np.ndarray:
    """Return seconds from 1970 to the beginning of a day; nan where there is no such day."""
    parts = np.array(np.broadcast_arrays(year, month, day), dtype=float)  # (3, n)
    with np.errstate(invalid="ignore"):
        good = ((parts >= 1) & (parts <= [[9999], [12], [31]])).all(axis=0)
    year, month, day = np.where(good, parts, 1).astype(np.int64)
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    good &= days.astype("datetime64[M]") == months
    return np.where(good, days.astype(np.int64) * DAY, np.nan)


def read_times(
    values: pd.Series,
    date_format: str | Sequence[str] | None = None,
    time_unit: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds since 1970 (float, nan where unreadable) and how each was read (str).

    See `cleaning.clean` for the arguments. What is not read is "" or, outside the
    years that are believed, "outside"; a unit or a format that is named is believed for any year.

    Raises
    ------
    UnclearTime
        When several rules fit the dates of the column, or none fits all.
    """
    codes, texts = pd.factorize(as_text(values).to_numpy())
    texts = pd.Series(texts, dtype=object)
    rule = date_format if date_format in RULES else None
    formats = [] if rule or not date_format else np.atleast_1d(date_format).tolist()
    start, end = civil([FIRST_YEAR, last_year() + 1], 1, 1)
    seconds, how = np.full(len(texts), np.nan), np.full(len(texts), "", dtype=object)

    def take(found: np.ndarray, label: str, limited: bool = True) -> None:
        new = np.isnan(seconds) & np.isfinite(found)
        inside = ((found >= start) & (found < end)) | (not limited)
        how[new] = np.where(inside, label, "outside")[new]
        seconds[new & inside] = found[new & inside]

    for each in formats:
        dates = pd.to_datetime(texts, format=each, errors="coerce", utc=True)
        of_dates = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
        take(of_dates.to_numpy(float), f"dates written {each}", limited=False)
    numbers, _ = numbers_of(texts)
    if time_unit is not None and time_unit not in UNITS:
        raise ValueError(f"time_unit must be one of {', '.join(UNITS)}, got {time_unit!r}")
    if time_unit is not None:
        label, to_seconds = UNITS[time_unit]
        take(to_seconds(numbers), label, limited=False)
    elif not formats:
        for label, to_seconds in UNITS.values():
            take(to_seconds(numbers), label)
    if not formats and np.isnan(seconds).any():
        try:
            for label, found in _dates(texts, rule):
                take(found, label)
        except UnclearTime as error:
            error.row = int((codes == error.row).argmax())
            raise
    return np.floor(seconds)[codes], how[codes]


def _dates(texts: pd.Series, rule: str | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (how dates are written, seconds since 1970 of those that are)."""
    parts = texts.str.replace(UNIX, r"\1 \4 \2\3", regex=True).str.extract(DATE)
    named = [parts[n].str.isalpha().eq(True).to_numpy() for n in (0, 1)]
    month_of = {name: n for n, name in enumerate(MONTHS, start=1)}
    first, second = (
        np.where(named[n], parts[n].str[:3].str.lower().map(month_of), parts[n]).astype(float)
        for n in (0, 1)
    )
    last = parts[2].astype(float).to_numpy()
    clock = _clock(parts)
    four = (parts[0].str.len() == 4).to_numpy() & ~named[0]
    free = ~(four | named[0] | named[1])
    day_first, month_first = (_year(last), second, first), (_year(last), first, second)
    for label, order, chosen in (
        ("dates, year first", (first, second, last), four),
        ("dates, month by name", month_first, named[0]),
        ("dates, month by name", day_first, named[1] & ~four),
    ):
        yield label, np.where(chosen, civil(*order), np.nan) + clock
    orders = day_first, month_first, (_year(first), second, last)  # as in RULES
    reads = np.where(free, [civil(*order) for order in orders], np.nan)  # (n_rules, n_texts)
    chosen = RULES.index(rule) if rule else _only_rule(texts, reads)
    yield f"dates, {RULES[chosen]}", reads[chosen] + clock


def _only_rule(texts: pd.Series, reads: np.ndarray) -> int:
    """Return the one rule that reads all dates that any rule reads; reads is (n_rules, n_texts)."""
    can = np.isfinite(reads)
    some = can.any(axis=0)
    fit = np.flatnonzero(can[:, some].all(axis=1))
    mend = f"say which by date_format=, one of {RULES} or such as '%d/%m/%y %H:%M'"
    if len(fit) == 0:
        best = can.sum(axis=1).argmax()
        row = int((some & ~can[best]).argmax())
        other = can[:, row].argmax()
        against = texts[int((some & ~can[other]).argmax())]
        raise UnclearTime(
            f"{texts[row]!r} cannot be {RULES[best]}, {against!r} cannot be {RULES[other]}; {mend}"
            "; others are left out",
            row,
        )
    differ = some & (reads[fit] != reads[fit[0]]).any(axis=0)
    if differ.any():
        row = int(differ.argmax())
        rules = " or ".join(RULES[n] for n in fit)
        raise UnclearTime(f"{texts[row]!r} may be {rules}, and no date tells; {mend}", row)
    return int(fit[0])


def _year(number: np.ndarray) -> np.ndarray:
    """Return years with their century; nan for two digits that are no year since FIRST_YEAR."""
    with np.errstate(invalid="ignore"):
        short = np.where(number + 2000 > last_year(), number + 1900, number + 2000)
        short = np.where(short < FIRST_YEAR, np.nan, short)
        return np.where(number < 100, short, number)


def _clock(parts: pd.DataFrame) -> np.ndarray:
    """Return seconds since midnight UTC, 0 where there is only a date; nan for no time of day."""
    hour, minute, second = (
        parts[n].str.replace(",", ".").astype(float).fillna(0.0).to_numpy() for n in (3, 4, 5)
    )
    half = parts[6].str.lower().to_numpy()
    wrong = (hour > np.where(pd.isna(half), 23, 12)) | (minute > 59) | (second >= 61)
    hour = np.where(pd.isna(half), hour, hour % 12 + 12 * (half == "p"))
    zone = parts[7].str.extract(r"([+-]\d\d):?(\d\d)").astype(float).fillna(0.0).to_numpy().T
    offset = zone[0] * 3600 + np.copysign(zone[1], zone[0]) * 60
    return np.where(wrong, np.nan, hour * 3600 + minute * 60 + second - offset)


def last_year() -> int:
    """Return the last year in which a time is believed: the next one."""
    return pd.Timestamp.now(tz="UTC").year + 1


def as_text(values: pd.Series) -> pd.Series:
    """Return values as str objects without blanks around them; "" where one is missing."""
    texts = [str(value).strip() for value in values.astype(object).where(values.notna(), "")]
    return pd.Series(texts, index=values.index, dtype=object)


def numbers_of(texts: pd.Series) -> tuple[np.ndarray, bool]:
    """Return (numbers, whether with a decimal comma); nan for what is none."""
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(float)
    comma = texts.str.fullmatch(r"[+-]?\d+,\d+").to_numpy(bool)
    if not comma.any() or texts.str.fullmatch(r"[+-]?\d+\.\d+").any():
        return numbers, False
    return pd.to_numeric(texts.str.replace(",", "."), errors="coerce").to_numpy(float), True
