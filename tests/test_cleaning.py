"""Every fault of an exported table is mended and counted, or named with what to do about it."""

import doctest
import gzip

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial import cleaning, datasets, splits
from recsys_tutorial.cleaning import ITEM_COLUMNS, RATING_COLUMNS


def raw(*rows, columns=("user_id", "item_id", "rating", "timestamp")):
    return pd.DataFrame(rows, columns=columns, dtype=str)


def lost(cleaned):
    """Rows left out or merged, by the reason."""
    rows = cleaned.report[cleaned.report["done"].str.contains("left out|latest|ratings stay")]
    return rows["rows"].to_dict()


def test_examples():
    assert doctest.testmod(cleaning).failed == 0


def test_the_courses_own_files_come_through_unchanged():
    folder = datasets.data_dir() / "movielens-small"
    (ratings_file,) = folder.glob("ratings.csv*")
    (items_file,) = folder.glob("movies.csv*")
    cleaned = cleaning.clean(
        cleaning.read_table(ratings_file, RATING_COLUMNS),
        cleaning.read_table(items_file, ITEM_COLUMNS),
    )
    ratings, items = datasets.load_movielens("small")
    assert lost(cleaned) == {"left out in all": 0}
    assert cleaned.report.loc["file ratings.csv", "done"] == (
        "UTF-8, separated by commas, names on line 1"
    )
    back = cleaned.ratings.assign(
        user_id=cleaned.user_names[cleaned.ratings["user_id"]].astype(int),
        item_id=cleaned.item_names[cleaned.ratings["item_id"]].astype(int),
    )
    order = ["user_id", "item_id"]
    pd.testing.assert_frame_equal(
        back.sort_values(order, ignore_index=True), ratings.sort_values(order, ignore_index=True)
    )
    titles = dict(zip(cleaned.item_names.astype(int), cleaned.items["title"], strict=True))
    assert titles == dict(zip(items["item_id"], items["title"], strict=True))


def test_every_fault_is_mended_and_counted():
    cleaned = cleaning.clean(
        raw(
            ["anna", "b1", "4", "2020-01-02"],
            ["anna", "b1", "5", "2020-01-03"],  # again: the latest stays
            ["anna", "b2", "good", "2020-01-03"],
            ["", "b2", "3", "2020-01-03"],
            ["bert", "b2", "3", "whenever"],
            ["bert", "b3", "2.5", "1577923200000"],  # milliseconds
            ["bert", " b1", "inf", "0"],
        ),
        raw(["b1", "One"], ["b1", "One again"], ["b4", ""], columns=["item_id", "title"]),
    )
    counts = cleaned.report["rows"].to_dict()
    assert counts == {
        "scale of the ratings": 4,
        "time in dates, year first": 2,
        "time in milliseconds since 1970": 1,
        "left out in all": 5,
        "no user_id": 1,
        "rating is not a number": 2,
        "time cannot be read": 1,
        "rated again by the same user": 1,
        "item without a title": 1,
        "item listed again": 1,
        "rated item without a title": 1,
    }
    assert cleaned.user_names.tolist() == ["anna", "bert"]
    assert cleaned.item_names.tolist() == ["b1", "b3", "b4"]
    assert cleaned.ratings.values.tolist() == [[1, 1, 2.5, 1577923200], [0, 0, 5.0, 1578009600]]
    assert cleaned.ratings.dtypes.astype(str).tolist() == ["int64", "int64", "float64", "int64"]
    assert cleaned.items["title"].tolist() == ["One", "b3", "b4"]
    assert cleaned.items["item_id"].tolist() == [0, 1, 2]


def test_without_ratings_every_row_is_a_like():
    names = ["user_id", "item_id", "timestamp"]
    cleaned = cleaning.clean(raw(["a", "x", "964982703"], ["a", "y", "964982704"], columns=names))
    assert cleaned.ratings["rating"].tolist() == [5.0, 5.0]
    assert cleaned.report.loc["no rating column", "rows"] == 2
    assert cleaned.items["title"].tolist() == ["x", "y"]


HEAD = b"userId,movieId,rating,timestamp\n"
BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "header alone": (b"userId,movieId,rating,timestamp\n", "no row below the header"),
    "other names": (b"user,movieId,rating,timestamp\n1,2,3,4\n", "has no column 'userId', only"),
    "no header": (b"1;2;3;4\n5;6;7;8\n", 'column .userId.* its position from 0.*"user_id": 0'),
    "unknown separator": (b"userId movieId rating timestamp\n1 2 3 4\n", "say separator="),
    "column twice": (HEAD.replace(b"\n", b",rating\n") + b"1,2,3,4,5\n", "rating: twice in"),
    "fields too many": (HEAD + b"1,2,3,4\n1,2,3,4,5\n", "line 3: 5 fields .* expected 4; is ','"),
    "one sep. in many": (HEAD + b"1;2;3;4\n" * 9, "line 2: 1 fields .*, as 8 more of 9 lines"),
    "open mark": (HEAD + b'1,"2,3,4\n1,2,3,4\n', "line 2: .*quotation mark"),
    "zero byte": (HEAD + b"1,2,3\0,4\n", "line 2, column rating: a zero byte"),
    "spreadsheet": (b"PK\3\4...", "it is a spreadsheet or an archive; save the table as CSV"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_with_its_fault(name, tmp_path):
    data, message = BAD_FILES[name]
    path = tmp_path / "ratings.csv"
    path.write_bytes(data)
    with pytest.raises(datasets.DataFileError, match=message) as caught:
        cleaning.read_table(path, RATING_COLUMNS)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_what_is_there(tmp_path):
    (tmp_path / "rating.csv").write_text("x")
    with pytest.raises(datasets.DataFileError, match=r"its folder has rating\.csv"):
        cleaning.read_table(tmp_path / "ratings.csv", RATING_COLUMNS)
    with pytest.raises(datasets.DataFileError, match="nor any CSV file"):
        cleaning.read_table(tmp_path / "nowhere" / "ratings.csv", RATING_COLUMNS)


def test_compressed_files_and_foreign_names_are_read(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress("\ufeffwho, what,when\nann,tea,2020-01-01\n".encode()))
    columns = {"user_id": "who", "item_id": "what", "rating": None, "timestamp": "when"}
    frame = cleaning.read_table(path, columns)
    assert frame.to_dict("list") == {"user_id": ["ann"], "item_id": ["tea"],
                                     "timestamp": ["2020-01-01"]}  # fmt: skip


def test_nothing_left_says_why():
    with pytest.raises(ValueError, match=r"no row is left: rating .*: 1 rows.*first 'x' on row 0"):
        cleaning.clean(raw(["a", "x", "x", "2020-01-01"]))
    with pytest.raises(ValueError, match="row 0, column timestamp: 'never' is no time from 1990"):
        cleaning.clean(raw(["a", "x", "1", "never"]))
    with pytest.raises(ValueError, match="no timestamp; an honest split needs"):
        cleaning.clean(raw(["a", "x", "1"], columns=["user_id", "item_id", "rating"]))


def test_too_few_users_are_refused_with_the_mend():
    rng = np.random.default_rng(0)
    n = 2000
    users, films = rng.integers(40, size=n), rng.integers(60, size=n)
    ratings = pd.DataFrame({"user_id": users, "item_id": films, "rating": 5.0})
    ratings["timestamp"] = np.arange(n)
    ratings = ratings.drop_duplicates(["user_id", "item_id"])
    items = pd.DataFrame({"item_id": np.arange(60)})
    split = splits.new_user_split(ratings, items)
    with pytest.raises(ValueError, match="lower min_rating"):
        cleaning.check_enough(split)
    cleaning.check_enough(split, fewest=1)
