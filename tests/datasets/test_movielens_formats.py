"""Ratings as the package reads them against a parser that walks line by line."""

import csv
import io
import re

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_tutorial.datasets import _movielens_formats as formats
from tests.datasets.movielens_files import RATINGS_CSV, RATINGS_DAT, U_DATA


def walk(data: bytes, kind: str, item_ids, scale) -> pd.DataFrame:
    """Ratings read with nothing but Python's csv, int and float; ValueError for any fault."""
    separator = {"csv": ",", "dat": "::", "data": "\t"}[kind]
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    if kind == "csv":
        rows = csv.reader(lines, strict=True)
    else:
        rows = (line.rstrip("\r\n").split(separator) for line in lines)
    try:
        rows = [row for row in rows if len(row) > 1 or (row and row[0].strip())]
    except csv.Error as error:
        raise ValueError(error) from None
    names = ["userId", "movieId", "rating", "timestamp"]
    header = rows.pop(0) if kind == "csv" and rows else names
    found = {}
    for row in rows:
        fields = dict(zip(header, row, strict=True))
        if any(ord(c) < 9 or 13 < ord(c) < 32 or ord(c) > 126 or c == "_" for c in "".join(row)):
            raise ValueError(row)
        if not set(names) <= set(fields) or len(fields) < len(row):
            raise ValueError(header)
        user, item, time = (int(fields[name]) for name in names if name != "rating")
        stars = float(fields["rating"])
        good = item in item_ids and scale[0] <= stars <= scale[1] and min(user, time) >= 0
        if not good or max(user, time) >= 2**63 or (user, item) in found:
            raise ValueError(row)
        found[user, item] = (user, item, stars, time)
    if not found:
        raise ValueError("empty")
    return pd.DataFrame(list(found.values()), columns=["user_id", "item_id", "rating", "timestamp"])


def read_twice(data: bytes, kind="csv"):
    """Return what the package and `walk` make of ratings, each a frame or an error message."""
    item_ids, scale = np.array([10, 20, 30, 40]), (0.5, 5.0)
    outcomes = []
    for parse in (
        lambda: formats.parse_ratings(data, "ratings", kind, item_ids, scale),
        lambda: walk(data, kind, item_ids, scale),
    ):
        try:
            outcomes.append(parse())
        except ValueError as error:
            outcomes.append(str(error))
    return outcomes


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(),
    kind=st.sampled_from(["csv", "dat", "data"]),
)
def test_changed_bytes_are_read_as_a_strict_parser_reads_them(data, kind):
    """Whatever stray bytes do to a file, pandas never reads what a strict parser refuses."""
    text = {"csv": RATINGS_CSV, "dat": RATINGS_DAT, "data": U_DATA}[kind].encode()
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 2))
        stray = data.draw(
            st.sampled_from(
                [b"", b'"', b",", b"\n", b"\r", b"\t", b":", b".", b"-", b"+", b" ", b"e"]
            )
            | st.sampled_from(
                [b"0", b"9", b"_", b"\0", b"\xff", b"#", b"'", b"nan", b"\x1f", b"\xef\xbb\xbf"]
            )
            | st.binary(min_size=1, max_size=2)
        )
        text = text[:position] + stray + text[position + length :]
    frame, oracle = read_twice(text, kind)
    if isinstance(oracle, str):
        assert isinstance(frame, str)
    else:
        pd.testing.assert_frame_equal(frame, oracle, check_exact=True)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**63 - 1),
            st.sampled_from([10, 20, 30, 40]),
            st.floats(0.5, 5.0),
            st.integers(0, 2**63 - 1),
        ),
        min_size=1,
        unique_by=lambda row: row[:2],
    )
)
@example(rows=[(2**63 - 1, 10, 0.1 + 0.5, 2**63 - 1)])
def test_every_valid_table_survives_writing_and_reading_to_the_last_bit(rows):
    text = "userId,movieId,rating,timestamp\n" + "".join(
        f"{u},{i},{r!r},{t}\n" for u, i, r, t in rows
    )
    quoted = re.sub(r"(?m)^(\d+),", r'"\1",', text)  # these are read as text
    for frame in read_twice(text.encode()) + read_twice(quoted.encode()):
        assert list(frame.itertuples(index=False, name=None)) == rows
