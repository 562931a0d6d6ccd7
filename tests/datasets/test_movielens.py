"""Loading MovieLens: the committed copy, every format, and every way in which a file can be bad."""

import csv
import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial import datasets
from recsys_tutorial.datasets import DataFileError, MovieLens, load_movielens, movielens
from tests.datasets.movielens_files import (
    LAYOUTS,
    MOVIES_CSV,
    RATINGS,
    RATINGS_CSV,
    RATINGS_DAT,
    U_DATA,
    assert_same,
    expected,
    write,
)

SMALL = datasets.data_dir() / "movielens-small"

# ----------------------------------------------------------------------------- the committed copy


@pytest.fixture(scope="module")
def small() -> MovieLens:
    return load_movielens()


def test_small_has_the_published_size_and_types(small):
    ratings, items = small
    assert len(ratings) == 100_004
    assert ratings["user_id"].nunique() == 671
    assert len(items) == items["item_id"].nunique() == ratings["item_id"].nunique() == 9_066
    assert ratings.dtypes.astype(str).to_dict() == {
        "user_id": "int64",
        "item_id": "int64",
        "rating": "float64",
        "timestamp": "int64",
    }
    assert items.dtypes.astype(str).to_dict() == {
        "item_id": "int64",
        "title": "object",
        "year": "Int64",
        "genres": "object",
    }
    assert set(ratings["rating"]) == set(np.arange(0.5, 5.5, 0.5))
    assert ratings.groupby("user_id").size().min() == 20  # as GroupLens's README promises
    when = pd.to_datetime(ratings["timestamp"], unit="s")
    assert (when.min().year, when.max().year) == (1995, 2016)


def test_small_agrees_with_a_plain_reading_of_its_files(small):
    with open(SMALL / "ratings.csv", encoding="utf-8", newline="") as file:
        rows = [(int(u), int(i), float(r), int(t)) for u, i, r, t in list(csv.reader(file))[1:]]
    assert list(small.ratings.itertuples(index=False, name=None)) == rows
    with open(SMALL / "movies.csv", encoding="utf-8", newline="") as file:
        films = [(int(i), title, genres) for i, title, genres in list(csv.reader(file))[1:]]
    assert (
        list(zip(small.items.item_id, small.items.title, small.items.genres, strict=True)) == films
    )


def test_small_years_are_those_of_the_titles(small):
    items = small.items.set_index("item_id")
    assert items.loc[1, "title"] == "Toy Story (1995)"
    assert items.loc[1, "year"] == 1995
    assert items.loc[81660, "year"] == 1982  # "1990: The Bronx Warriors (1990: ...) (1982)"
    assert items.loc[108583, "year"] == 1975  # "Fawlty Towers (1975-1979)"
    assert items.loc[108548, "year"] == 2007  # "Big Bang Theory, The (2007-)"
    assert items["year"].isna().sum() == 3
    assert items["year"].min() == 1902
    assert items["year"].max() == 2016


def test_small_files_have_the_checksums_of_their_readme():
    readme = (SMALL / "README.md").read_text(encoding="utf-8")
    for name in ("ratings.csv", "movies.csv"):
        data = (SMALL / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() in readme
        assert f"{len(data):,}" in readme
    script = (
        subprocess.run(
            [sys.executable, SMALL / "make.py", "--check"],
            capture_output=True,
            text=True,
            check=False,
        )
        if (SMALL / "make.py").exists()
        else None
    )
    assert script is None or script.returncode == 0, script.stderr


def test_rebuilding_refuses_another_package(tmp_path):
    script = SMALL / "make.py"
    if not script.exists():
        pytest.skip("the installed package has no build script")
    pytest.importorskip("rdata")
    (tmp_path / "other.deb").write_bytes(b"!<arch>\n")
    command = [sys.executable, script, "--deb", tmp_path / "other.deb", "--out", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "sha256" in result.stderr
    assert not (tmp_path / "ratings.csv").exists()


def test_small_loads_in_well_under_a_second():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        load_movielens()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.7  # measured 0.06; walking every line of the ratings takes 0.3 or more


# ------------------------------------------------------------------------------------ the formats


@pytest.mark.parametrize("contents", LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_gives_the_same_frames(tmp_path, contents):
    assert_same(load_movielens(write(tmp_path, contents)), expected())
    assert_same(load_movielens(str(tmp_path)), expected())


VARIANTS = {
    "quotation marks around every number": lambda text: re.sub(
        r"(?m)^(\d+),(\d+),([\d.]+),(\d+)$", r'"\1","\2","\3","\4"', text
    ).encode(),
    "quotation marks around the header": lambda text: re.sub(
        r"\A(\w+),(\w+),(\w+)", r'"\1","\2","\3"', text
    ).encode(),
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-8 with byte order mark": lambda text: text.encode("utf-8-sig"),
    "byte order mark and Windows line ends": lambda text: text.replace("\n", "\r\n").encode(
        "utf-8-sig"
    ),
    "no line end after the last line": lambda text: text.rstrip("\n").encode(),
    "blank lines": lambda text: ("\n" + text.replace("\n", "\n\n") + "  \n").encode(),
}


@pytest.mark.parametrize("encode", VARIANTS.values(), ids=VARIANTS)
def test_harmless_variants_of_csv_files_are_read(tmp_path, encode):
    write(tmp_path, {"ratings.csv": encode(RATINGS_CSV), "movies.csv": encode(MOVIES_CSV)})
    assert_same(load_movielens(tmp_path), expected())


def test_columns_may_come_in_any_order_among_others(tmp_path):
    rows = [f"{t},x,{r},{i},{u}\n" for u, i, r, t in RATINGS]
    text = "timestamp,note,rating,movieId,userId\n" + "".join(rows)
    write(tmp_path, LAYOUTS["csv"] | {"ratings.csv": text.encode()})
    assert_same(load_movielens(tmp_path), expected())


def test_rating_scale_can_be_given(tmp_path):
    text = RATINGS_CSV.replace("4.0", "9.5")
    write(tmp_path, LAYOUTS["csv"] | {"ratings.csv": text.encode()})
    assert load_movielens(tmp_path, rating_scale=(1, 10)).ratings["rating"].max() == 9.5
    with pytest.raises(DataFileError, match=r"line 2, column rating: 9.5 is outside .* 0.5 to 5"):
        load_movielens(tmp_path)


def test_half_stars_are_off_the_scale_of_u_data_alone(tmp_path):
    write(
        tmp_path / "a",
        LAYOUTS["u.data"] | {"u.data": U_DATA.replace("\t1\t", "\t0.5\t", 1).encode()},
    )
    with pytest.raises(
        DataFileError, match=r"u\.data, line 4, column rating: 0.5 is outside .* 1 to 5"
    ):
        load_movielens(tmp_path / "a")
    write(
        tmp_path / "b",
        LAYOUTS["dat"] | {"ratings.dat": RATINGS_DAT.replace("::1::", "::0.5::").encode()},
    )
    assert load_movielens(tmp_path / "b").ratings["rating"].min() == 0.5


@pytest.mark.parametrize(
    "name, megabytes, scale, mirrored",
    [
        ("100k", 5, (1, 5), True),
        ("1m", 6, (1, 5), True),
        ("25m", 262, (0.5, 5), False),
        ("32m", 239, (0.5, 5), False),
    ],
)
def test_a_release_is_asked_for_where_it_is_and_with_its_size(
    monkeypatch, tmp_path, name, megabytes, scale, mirrored
):
    asked = {}

    def fetch(urls, path, known_hash, **settings):
        asked.update(urls=urls, path=path, known_hash=known_hash, **settings)
        raise KeyError("enough")

    monkeypatch.setattr(movielens, "fetch", fetch)
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(KeyError, match="enough"):
        load_movielens(name, progress=False)
    places = ["files.grouplens.org", "huggingface.co"] if mirrored else ["files.grouplens.org"]
    assert [url.split("/")[2] for url in asked["urls"]] == places
    assert all(url.endswith(f"/ml-{name}.zip") for url in asked["urls"])
    assert asked["path"] == tmp_path / "movielens" / f"ml-{name}.zip"
    assert asked["size"] == megabytes * 1_000_000 and asked["progress"] is False
    assert asked["page"] == f"https://grouplens.org/datasets/movielens/{name}/"
    assert movielens.RELEASES[name].scale == scale


# -------------------------------------------------------------------------------------- bad files

MANY = 10**30
# name: (layout, file, what to replace, by what, line, column, words of the message)
# fmt: off
BAD = {
    "missing column": ("csv", "ratings.csv", "rating,", "", 1, "rating", "not in the header"),
    "renamed column": ("csv", "ratings.csv", "userId", "user_id", 1, "userId", "rename 'user_id'"),
    "renamed item column": ("csv", "ratings.csv", "movieId", "itemId", 1, "movieId",
        "rename 'itemId'"),
    "renamed film column": ("csv", "movies.csv", "title", "Title", 1, "title", "rename 'Title'"),
    "column named twice": ("csv", "ratings.csv", "timestamp", "rating", 1, "timestamp", "header"),
    "extra column twice": ("csv", "movies.csv", "genres\n", "genres,title\n", 1, "title", "twice"),
    "no header": ("csv", "ratings.csv", "userId,movieId,rating,timestamp\n", "", 1, "userId",
        "header"),
    "text in rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,five", 4, "rating",
        "'five' is not a number"),
    "two faults": ("csv", "ratings.csv", "3.0,964982704\n2,", "x,964982704\nu2,", 3, "rating",
        "'x' is not a number"),
    "text in user": ("csv", "ratings.csv", "2,10,5.0", "u2,10,5.0", 4, "userId",
        "'u2' is not a whole"),
    "text in item": ("csv", "ratings.csv", "2,10,5.0", "2,tt10,5.0", 4, "movieId",
        "'tt10' is not a whole"),
    "text in time": ("csv", "ratings.csv", "1260759144", "2009-12-14", 4, "timestamp",
        "'2009-12-14'"),
    "text in film": ("csv", "movies.csv", "30,NA", "x30,NA", 4, "movieId",
        "'x30' is not a whole number"),
    "decimal comma": ("csv", "ratings.csv", "2,10,5.0", "2,10,5,0", 4, None, "5 fields"),
    "number with underscore": ("csv", "ratings.csv", "835355664", "835_355_664", 6, "timestamp",
        "whole"),
    "fraction in user": ("csv", "ratings.csv", "2,10,5.0", "2.5,10,5.0", 4, "userId",
        "'2.5' is not a whole"),
    "empty rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,", 4, "rating", "'' is not a number"),
    "empty user": ("csv", "ratings.csv", "2,10,5.0", ",10,5.0", 4, "userId",
        "'' is not a whole number"),
    "NaN rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,NaN", 4, "rating",
        "NaN is not a finite"),
    "NA rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,NA", 4, "rating", "'NA' is not a number"),
    "infinite rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,inf", 4, "rating",
        "inf is not a finite"),
    "negative infinity": ("csv", "ratings.csv", "2,10,5.0", "2,10,-Infinity", 4, "rating",
        "not a finite"),
    "overflowing rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,1e999", 4, "rating",
        "not a finite"),
    "rating too high": ("csv", "ratings.csv", "2,10,5.0", "2,10,5.5", 4, "rating",
        "outside the scale from 0.5 to 5"),
    "rating too low": ("csv", "ratings.csv", "2,10,5.0", "2,10,0", 4, "rating",
        "outside the scale"),
    "negative rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,-1", 4, "rating",
        "outside the scale"),
    "true in rating": ("csv", "ratings.csv", "2,10,5.0", "2,10,True", 4, "rating", "'True' is not"),
    "2^53 + 1 beside 2.0": ("csv", "ratings.csv", "2,10,5.0,", f"{2**53 + 1},10,5.0,1\n2.0,10,5.0,",
        5, "userId", "'2.0' is not a whole number"),
    "negative user": ("csv", "ratings.csv", "2,10,5.0", "-2,10,5.0", 4, "userId", "-2 is negative"),
    "negative item": ("csv", "ratings.csv", "2,10,5.0", "2,-10,5.0", 4, "movieId",
        "-10 is negative"),
    "negative time": ("csv", "ratings.csv", "1260759144", "-1", 4, "timestamp", "-1 is negative"),
    "negative film": ("csv", "movies.csv", "30,NA", "-30,NA", 4, "movieId", "-30 is negative"),
    "user of 2^63": ("csv", "ratings.csv", "2,10,5.0", f"{2**63},10,5.0", 4, "userId",
        "does not fit"),
    "item of 10^30": ("csv", "ratings.csv", "2,10,5.0", f"2,{MANY},5.0", 4, "movieId",
        "does not fit"),
    "time of 10^30": ("csv", "ratings.csv", "1260759144", f"{MANY}", 4, "timestamp",
        "does not fit"),
    "film of 10^30": ("csv", "movies.csv", "30,NA", f"{MANY},NA", 4, "movieId", "does not fit"),
    "repeated rating": ("csv", "ratings.csv", "3,20,2.0", "1,10,2.0", 6, "userId, movieId",
        "film 10 on line 2"),
    "repeated rating next to it": ("csv", "ratings.csv", "1,20,3.0", "1,10,3.0", 3,
        "userId, movieId", "on line 2"),
    "repeated rating of a large user": ("csv", "ratings.csv", "2,10,5.0,",
        f"{2**53 + 1},10,5.0,1\n{2**53},10,5.0,1\n{2**53 + 1},10,5.0,", 6, "userId, movieId",
        f"user {2**53 + 1} has already rated film 10 on line 4"),
    "repeated film": ("csv", "movies.csv", "30,NA", "20,NA", 4, "movieId",
        "film 20 is already on line 3"),
    "unknown film": ("csv", "ratings.csv", "2,10,5.0", "2,11,5.0", 4, "movieId",
        "film 11 is not among"),
    "empty file": ("csv", "ratings.csv", RATINGS_CSV, "", 1, None, "the file is empty"),
    "empty film file": ("csv", "movies.csv", MOVIES_CSV, "", 1, None, "the file is empty"),
    "blank file": ("csv", "ratings.csv", RATINGS_CSV, " \n\n", 1, None, "the file is empty"),
    "header only": ("csv", "ratings.csv", RATINGS_CSV[32:], "", 1, None,
        "no row below the header"),
    "header and blank lines": ("csv", "ratings.csv", RATINGS_CSV[32:], "\n \n", 1, None,
        "no row below the header"),
    "mark and blank lines": ("csv", "ratings.csv", RATINGS_CSV, "\ufeff\n\n", 1, None,
        "the file is empty"),
    "header only, films": ("csv", "movies.csv", MOVIES_CSV[21:], "", 1, None,
        "no row below the header"),
    "semicolons": ("csv", "ratings.csv", ",", ";", 1, None,
        "separated by semicolons, expected commas"),
    "tabs": ("csv", "ratings.csv", ",", "\t", 1, None, "separated by tabs, expected commas"),
    "tabs, films": ("csv", "movies.csv", ",", "\t", 1, None, "separated by tabs, expected commas"),
    "double colons in csv": ("csv", "ratings.csv", ",", "::", 1, None,
        "separated by '::', expected commas"),
    "one line with semicolons": ("csv", "ratings.csv", "2,10,5.0,", "2;10;5.0;", 4, None,
        "1 fields"),
    "field too many": ("csv", "ratings.csv", "1260759144", "1260759144,9", 4, None, "5 fields"),
    "field too many, first": ("csv", "ratings.csv", "964982703", "964982703,9", 2, None,
        "5 fields"),
    "field too many, all": ("csv", "ratings.csv", ".0,", ".0,9,", 2, None, "5 fields"),
    "field too few": ("csv", "ratings.csv", ",1260759144", "", 4, None, "3 fields"),
    "cut off in a line": ("csv", "ratings.csv", "0,835355665\n", "", 7, None, "3 fields"),
    "field too few, films": ("csv", "movies.csv", ",Action|Sci-Fi", "", 4, None, "2 fields"),
    "empty title": ("csv", "movies.csv", "NA (2001)", "", 4, "title", "the title is empty"),
    "quotation mark left open": ("csv", "movies.csv", "30,NA", '30,"NA', 4, None, "quotation mark"),
    "quotation mark closed later": ("csv", "movies.csv", 'Les (1995)"', "Les (1995)", 2, None,
        "quotation mark"),
    "quotation mark in ratings": ("csv", "ratings.csv", "2,10,5.0", '2,"10,5.0', 4, None,
        "quotation mark"),
    "two quotation marks": ("csv", "ratings.csv", "2,10,5.0", '""2,10,5.0', 4, None,
        "quotation mark"),
    "field too few, of others": ("csv", "ratings.csv", "timestamp\n", "timestamp,note\n", 2, None,
        "4 fields separated by ',', expected 5"),
    "zero byte": ("csv", "ratings.csv", "2,10,5.0", "2,10,5\0.0", 4, "rating", "zero byte"),
    "zero bytes at the end": ("csv", "ratings.csv", "835355665", "8353\0\0\0\0\0", 7, "timestamp",
        "zero byte"),
    "dat: text": ("dat", "ratings.dat", "2::10::5::", "2::10::x::", 3, "rating",
        "'x' is not a number"),
    "dat: one colon": ("dat", "ratings.dat", "2::10::5::", "2:10::5::", 3, None, "3 fields"),
    "dat: three colons": ("dat", "ratings.dat", "2::10::5::", "2:::10::5::", 3, "movieId", "':10'"),
    "dat: tab inside": ("dat", "ratings.dat", "2::10::5::", "2\t10::5::", 3, None, "3 fields"),
    "dat: commas": ("dat", "ratings.dat", "::", ",", 1, None, "1 fields"),
    "dat: film without genres": ("dat", "movies.dat", "::Comedy", "", 2, None, "2 fields"),
    "dat: repeated": ("dat", "ratings.dat", "3::20::", "1::10::", 5, "userId, movieId",
        "on line 1"),
    "dat: empty": ("dat", "ratings.dat", RATINGS_DAT, "", 1, None, "the file is empty"),
    "u.data: text": ("u.data", "u.data", "2\t10\t5", "2\tten\t5", 3, "movieId",
        "'ten' is not a whole"),
    "u.data: commas": ("u.data", "u.data", "\t", ",", 1, None, "1 fields"),
    "u.data: NaN": ("u.data", "u.data", "2\t10\t5", "2\t10\tnan", 3, "rating", "not a finite"),
    "u.data: repeated": ("u.data", "u.data", "3\t20\t", "1\t10\t", 5, "userId, movieId",
        "on line 1"),
    "u.item: flag": ("u.data", "u.item", "|0|0|0|0\n", "|0|2|0|0\n", 1, "genre Thriller",
        "'2' is not 0 or 1"),
    "u.item: field too few": ("u.data", "u.item", "|0|0|0|0\n", "|0|0|0\n", 1, None, "23 fields"),
}
# fmt: on


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_file_is_named_with_line_and_column(tmp_path, case):
    layout, name, old, new, line, column, words = case
    encoding = "utf-8" if layout == "csv" else "latin-1"
    text = LAYOUTS[layout][name].decode(encoding)
    assert old in text, "the case changes nothing"
    write(tmp_path, LAYOUTS[layout] | {name: text.replace(old, new).encode(encoding)})
    with pytest.raises(DataFileError, match=re.escape(words)) as caught:
        load_movielens(tmp_path)
    error = caught.value
    assert (Path(error.path), error.line, error.column) == (tmp_path / name, line, column)
    where = f"line {line}" if column is None else f"line {line}, column {column}"
    assert str(error).startswith(f"{tmp_path / name}, {where}: ")


def test_first_fault_in_a_long_file_is_named_by_its_line(tmp_path, small):
    lines = (SMALL / "ratings.csv").read_bytes().split(b"\n")
    lines[77_776] = lines[77_776].replace(b",", b";", 1)
    lines[90_000] = b"x,1,1.0,1"
    write(
        tmp_path,
        {"ratings.csv": b"\n".join(lines), "movies.csv": (SMALL / "movies.csv").read_bytes()},
    )
    with pytest.raises(DataFileError, match="line 77777: 3 fields"):
        load_movielens(tmp_path)


FILMS_UTF8, FILMS_LATIN1 = MOVIES_CSV.encode(), MOVIES_CSV.encode("latin-1")
STRAY = RATINGS_CSV.encode().replace(b"2,10,5.0", b"2,10,\xff5.0")
HEADER = RATINGS_CSV.encode().replace(b"movieId", b"movie\xe9Id")
CUT = FILMS_UTF8[: FILMS_UTF8.index(b"\xa9")]
ENCODINGS = {
    "Latin-1 film": ("movies.csv", FILMS_LATIN1, 2, "title", "byte 0xe9 is not UTF-8"),
    "after a mark": ("movies.csv", b"\xef\xbb\xbf" + FILMS_LATIN1, 2, "title", "0xe9 is not UTF-8"),
    "UTF-16 film": ("movies.csv", MOVIES_CSV.encode("utf-16"), 1, None, "UTF-16"),
    "UTF-16 ratings": ("ratings.csv", RATINGS_CSV.encode("utf-16"), 1, None, "UTF-16"),
    "stray byte in ratings": ("ratings.csv", STRAY, 4, "rating", "0xff is not UTF-8"),
    "stray byte in header": ("ratings.csv", HEADER, 1, "movie\ufffdId", "0xe9 is not UTF-8"),
    "cut in the middle of a letter": ("movies.csv", CUT, 2, "title", "0xc3 is not UTF-8"),
}


@pytest.mark.parametrize("case", ENCODINGS.values(), ids=ENCODINGS)
def test_text_that_is_not_utf8_is_named_with_line_and_column(tmp_path, case):
    name, content, line, column, words = case
    write(tmp_path, LAYOUTS["csv"] | {name: content})
    with pytest.raises(DataFileError, match=re.escape(words)) as caught:
        load_movielens(tmp_path)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert "UTF-16" in words or "with: iconv -f latin1 -t utf-8" in str(caught.value)
