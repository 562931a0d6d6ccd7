"""Times as they are written: read by one rule, or asked about; none is ever moved."""

import re
from datetime import date

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_tutorial import datasets
from recsys_tutorial.datasets import cleaning
from recsys_tutorial.datasets._times import RULES, UNITS, read_times
from recsys_tutorial.datasets.cleaning import RATING_COLUMNS
from tests.datasets.raw_tables import HEAD, raw, written


def test_half_of_the_times_may_be_unreadable_and_no_more():
    rows = [["u", str(n), "4", time] for n, time in enumerate(["881250949", "x"] * 2)]
    report = cleaning.clean(raw(*rows)).report
    assert report.loc["time cannot be read"].tolist() == [2, 4, "left out; first 'x' on row 1"]
    with pytest.raises(ValueError, match=r"row 1, column timestamp: 'x' is no time .* 3 of 5 are"):
        cleaning.clean(raw(*rows, ["u", "9", "4", "x"]))
    numbers = raw(["u", "1", "4", "881250949000"])
    done = cleaning.clean(numbers, time_unit="ms").report["done"]
    assert done["time in milliseconds since 1970"] == "as time_unit= says"


def test_days_of_march_do_not_become_months(tmp_path):
    dates = [f"{day:02}/03/2024" for day in range(11, 15)] + ["03/11/2024", "03/12/2024"]
    lines = "".join(f"{n},{n},4,{date}\n" for n, date in enumerate(dates))
    frame = cleaning.read_table(written(tmp_path, HEAD.decode() + lines), RATING_COLUMNS)
    cleaned = cleaning.clean(frame)
    when = pd.to_datetime(cleaned.ratings["timestamp"], unit="s").dt.strftime("%d/%m/%Y")
    assert when.tolist() == dates
    assert cleaned.report.loc["time in dates, day first", "rows"] == 6
    unclear = frame.iloc[[0, 1, 4]]  # 11 and 12 March: no day above 12
    message = r"line 2, column timestamp: '11/03/2024' may be day first or month first"
    with pytest.raises(datasets.DataFileError, match=message + ".*say which by date_format="):
        cleaning.clean(unclear)
    for date_format, months in (
        ("day first", {3, 11}),
        ("month first", {11, 12, 3}),
        ("%m/%d/%Y", {11, 12, 3}),
    ):
        stamps = cleaning.clean(unclear, date_format=date_format).ratings["timestamp"]
        assert set(pd.to_datetime(stamps, unit="s").dt.month) == months


def test_two_rules_in_a_column_are_refused_unless_one_is_named():
    table = raw(*[["u", str(n), "4", date] for n, date in enumerate(
        ["31/12/2023", "12/31/2023", "01/02/2024", "32/01/2024"])])  # fmt: skip
    message = "'12/31/2023' cannot be day first, '31/12/2023' cannot be month first"
    with pytest.raises(ValueError, match=f"row 1, column timestamp: {message}"):
        cleaning.clean(table)
    report = cleaning.clean(table, date_format="day first").report
    assert report.loc["time cannot be read"].tolist() == [
        2,
        4,
        "left out; first '12/31/2023' on row 1",
    ]
    both = cleaning.clean(table, date_format=["%d/%m/%Y", "%m/%d/%Y"])
    assert len(both.ratings) == 3 and "time in dates written %m/%d/%Y" in both.report.index


DATES = {
    "2024-03-04 05:06:07": "2024-03-04 05:06:07",
    "2024-03-04T05:06:07.999Z": "2024-03-04 05:06:07",
    "2024-03-04T05:06:07+02:00": "2024-03-04 03:06:07",
    "2024-03-04 05:06:07 -0330": "2024-03-04 08:36:07",
    "2024/3/4 5:06 PM": "2024-03-04 17:06:00",
    "2024-03-04 12:06 a.m.": "2024-03-04 00:06:00",
    "4-Mar-24": "2024-03-04 00:00:00",
    "Mar 4, 2024": "2024-03-04 00:00:00",
    "Monday, 4 March 2024 10:30": "2024-03-04 10:30:00",
    "Tue Nov 15 11:29:22 -0800 2011": "2011-11-15 19:29:22",
    "25.12.99": "1999-12-25 00:00:00",
    "12/25/2003 11:59:59 PM": "2003-12-25 23:59:59",
    "99-01-31": "1999-01-31 00:00:00",
    "31.12.90": "1990-12-31 00:00:00",
    "June 4, 2024": "2024-06-04 00:00:00",  # a month of four letters is no year
    "2024-Mar-04": "2024-03-04 00:00:00",
    "2024-03-04 23:59 +05:30": "2024-03-04 18:29:00",
    "2024-03-04 12:30 PM -00:30": "2024-03-04 13:00:00",
    "2016-12-31 23:59:60": "2017-01-01 00:00:00",  # a leap second
}


NO_DATES = ["soon", "May 2024", "2024-02-30", "2024-03-04 25:00", "13/13/2024", "1/2/3/4", "12:30",
            "2024-03-04 24:00", "2024-03-04 10:60", "2024-03-04 13:00 PM", "2016-12-31 23:59:61",
            "2024-03-00", "2024-00-04", "2024-13-04", "1.1.100"]  # fmt: skip


def seconds_of(values, **options):
    return pd.Series(read_times(values, **options)[0], index=values.index)


@pytest.mark.parametrize("text", DATES)
def test_dates_as_they_are_written(text):
    (seconds,) = seconds_of(pd.Series([text]))
    assert str(pd.Timestamp(seconds, unit="s")) == DATES[text]


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_no_date(text):
    assert seconds_of(pd.Series([text])).isna().all()


@pytest.mark.parametrize(
    "text", ["0", "-1", "631151999", "1985-03-01", "4102444800", "2e30", "9999-12-31"]
)
def test_times_outside_the_years_are_refused_and_counted(text):
    good = [["u", str(n), "4", "881250949"] for n in range(3)]
    report = cleaning.clean(raw(*good, ["v", "1", "4", text])).report
    (what,) = [name for name in report.index if name.startswith("time is outside 1990 to 20")]
    assert report.loc[what].tolist() == [1, 4, f"left out; first {text!r} on row 3"]
    bad = [["u", str(n), "4", text] for n in range(3)]
    message = rf"row 0, column timestamp: '{re.escape(text)}' is no time from 1990 to .* 3 of 3"
    with pytest.raises(ValueError, match=message + ".*say what they are by time_unit="):
        cleaning.clean(raw(*bad))


def test_two_digits_are_a_year_from_1990_to_the_next():
    next_year = pd.Timestamp.now(tz="UTC").year + 1
    for year, is_one in ((next_year, True), (next_year + 1, False), (1989, False), (1990, True)):
        (seconds,) = seconds_of(pd.Series([f"31.12.{year % 100:02}"]))
        assert (pd.Timestamp(seconds, unit="s") == pd.Timestamp(f"{year}-12-31")) == is_one


def test_a_year_in_front_explains_no_other_date():
    seconds = seconds_of(pd.Series(["2024-03-04", "31/12/2023", "2024-05-06"]))
    assert pd.to_datetime(seconds, unit="s").dt.month.tolist() == [3, 12, 5]


def test_with_a_format_nothing_else_is_read():
    read = seconds_of(pd.Series(["1985", "2024-03-04", "881250949"]), date_format="%Y")
    assert read.notna().tolist() == [True, False, False]


def test_a_named_unit_or_format_is_believed_for_any_year():
    assert seconds_of(pd.Series(["5", "x"]), time_unit="s").tolist()[0] == 5
    assert seconds_of(pd.Series(["1985"]), date_format="%Y").tolist() == [473385600]
    with pytest.raises(ValueError, match=r"time_unit must be one of s, ms, .* got 'weeks'"):
        seconds_of(pd.Series(["5"]), time_unit="weeks")


START = 631_152_000  # 1990-01-01


END = int(pd.Timestamp(f"{pd.Timestamp.now().year + 2}-01-01", tz="UTC").timestamp())


WRITERS = {
    "s": str,
    "ms": lambda s: str(s * 10**3),
    "us": lambda s: str(s * 10**6),
    "ns": lambda s: str(s * 10**9),
    "days": lambda s: repr(s / 86400 + 25569),
    "yyyymmdd": lambda s: f"{pd.Timestamp(s // 86400 * 86400, unit='s'):%Y%m%d}",
}


def test_the_years_that_are_believed_end_with_the_next():
    assert seconds_of(pd.Series([str(START - 1), str(END)])).isna().all()


@pytest.mark.parametrize("unit", WRITERS)
@settings(max_examples=30, deadline=None)
@given(times=st.lists(st.integers(START, END - 1), min_size=1, max_size=20))
@example(times=[START, END - 1])
def test_every_unit_is_recognised_between_1990_and_next_year(unit, times):
    values = pd.Series([WRITERS[unit](time) for time in times])
    wanted = [time // 86400 * 86400 if unit == "yyyymmdd" else time for time in times]
    assert seconds_of(values).tolist() == wanted
    assert seconds_of(values, time_unit=unit).tolist() == wanted
    report = cleaning.clean(pd.DataFrame({"user_id": "u", "item_id": range(len(times)),
                                          "timestamp": values})).report  # fmt: skip
    (how,) = [what for what in report.index if what.startswith("time in ")]
    assert how == f"time in {UNITS[unit][0]}"


@settings(max_examples=100, deadline=None)
@given(
    dates=st.lists(st.dates(date(1990, 1, 1), date(2026, 12, 31)), min_size=1, max_size=12),
    written_as=st.sampled_from(["%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%y{0}%m{0}%d"]),
    separator=st.sampled_from("/-."),
)
def test_dates_of_one_rule_are_read_by_it_or_not_at_all(dates, written_as, separator):
    """No date is ever moved: the column is read as it was written, or the caller is asked."""
    texts = pd.Series([f"{day:{written_as.format(separator)}}" for day in dates])
    truth = [(day - date(1970, 1, 1)).days * 86400 for day in dates]
    named = seconds_of(texts, date_format=written_as.format(separator))
    assert named.tolist() == truth
    readings = [seconds_of(texts, date_format=rule) for rule in RULES]
    if len({tuple(seconds) for seconds in readings if seconds.notna().all()}) == 1:
        assert seconds_of(texts).tolist() == truth
    else:
        with pytest.raises(ValueError, match=r"may be (day|month) first or .*date_format="):
            seconds_of(texts)
