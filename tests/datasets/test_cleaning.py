"""Every fault of an exported table is mended and counted, or named with what to do about it."""

import bz2
import csv
import doctest
import gzip
import lzma
import re
import warnings
from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial import datasets, splits
from recsys_tutorial.datasets import cleaning
from recsys_tutorial.datasets._times import RULES, UNITS, read_times
from recsys_tutorial.datasets.cleaning import ITEM_COLUMNS, RATING_COLUMNS


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
        raw(
            ["b1", "One"],
            ["b1", "One again"],
            ["b4", ""],
            ["", "No id"],
            columns=["item_id", "title"],
        ),
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
    done = cleaned.report["done"]
    assert done["rated again by the same user"].startswith("the latest stays; first on row 0")
    assert done["time in milliseconds since 1970"] == "the only unit that fits"
    assert done["time in dates, year first"] == "UTC where no zone is named"
    assert cleaned.items["year"].isna().all() and cleaned.items["year"].dtype == "Int64"
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
    "a mark alone": (b"\xef\xbb\xbf\n", "line 1: the file is empty"),
    "a mark of UTF-16 alone": (b"\xff\xfe", "line 1: the file is empty"),
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


@pytest.mark.parametrize(("suffix", "module"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_a_compressed_file_is_read_whole_or_named(suffix, module, tmp_path):
    path, content = tmp_path / f"log.csv.{suffix}", module.compress(HEAD + b"1,2,3,4\n")
    path.write_bytes(content)
    assert cleaning.read_table(path, RATING_COLUMNS).to_numpy().tolist() == [list("1234")]
    for bad in (content[:-9], b"no " + content):
        path.write_bytes(bad)
        with pytest.raises(datasets.DataFileError, match=rf"{suffix}: .* is damaged or cut off"):
            cleaning.read_table(path, RATING_COLUMNS)


def test_a_file_name_is_no_table(tmp_path):
    with pytest.raises(TypeError, match=r"not a \w+Path: read_table makes one"):
        cleaning.clean(tmp_path / "ratings.csv")


def test_nothing_left_says_why():
    with pytest.raises(ValueError, match=r"no row is left: rating .*: 1 rows.*first 'x' on row 0"):
        cleaning.clean(raw(["a", "x", "x", "2020-01-01"]))
    with pytest.raises(ValueError, match="write a number for each word, or leave the ratings out"):
        cleaning.clean(raw(["a", "x", "like", "2020-01-01"], ["b", "x", "dislike", "2020-01-01"]))
    with pytest.raises(ValueError, match="row 0, column timestamp: 'never' is no time from 1990"):
        cleaning.clean(raw(["a", "x", "1", "never"]))
    with pytest.raises(ValueError, match="no timestamp; an honest split needs"):
        cleaning.clean(raw(["a", "x", "1"], columns=["user_id", "item_id", "rating"]))


def test_of_ratings_of_one_time_the_last_in_the_file_stays():
    rows = [["u", "x", str(n % 9 + 1), "2020-01-01"] for n in range(60)]  # more than a few
    cleaned = cleaning.clean(raw(*rows, ["u", "y", "1", "2020-01-01"]))
    assert cleaned.ratings["rating"].tolist() == [float(59 % 9 + 1), 1.0]


def test_half_of_the_times_may_be_unreadable_and_no_more():
    rows = [["u", str(n), "4", time] for n, time in enumerate(["881250949", "x"] * 2)]
    report = cleaning.clean(raw(*rows)).report
    assert report.loc["time cannot be read"].tolist() == [2, 4, "left out; first 'x' on row 1"]
    with pytest.raises(ValueError, match=r"row 1, column timestamp: 'x' is no time .* 3 of 5 are"):
        cleaning.clean(raw(*rows, ["u", "9", "4", "x"]))
    numbers = raw(["u", "1", "4", "881250949000"])
    done = cleaning.clean(numbers, time_unit="ms").report["done"]
    assert done["time in milliseconds since 1970"] == "as time_unit= says"


def test_at_most_five_ratings_are_listed_that_may_mean_none():
    rows = [["u", str(n), str(-n), "2020-01-01"] for n in range(7)]
    with pytest.raises(ValueError, match=r"\(-6, -5, -4, -3, -2\).*unrated=\[-6, -5, -4, -3, -2\]"):
        cleaning.clean(raw(*rows))


def split_of(n_train=30, n_test=30, n_validation=30, n_likes=300):
    """As much of a split as `check_enough` looks at."""
    likes = np.zeros(n_train * 20)
    likes[:n_likes] = 1
    validation = None if n_validation is None else range(n_validation)
    train = sparse.csr_matrix(likes.reshape(n_train, 20))
    return SimpleNamespace(train=train, test=range(n_test), validation=validation)


def test_thirty_users_of_each_part_and_ten_times_as_many_likes_are_enough():
    cleaning.check_enough(split_of())
    cleaning.check_enough(split_of(n_validation=None))
    for name in ("training", "test", "validation"):
        few = {f"n_{'train' if name == 'training' else name}": 29}
        with pytest.raises(ValueError, match=f"only 29 {name} users .* printing from 30 on"):
            cleaning.check_enough(split_of(**few))
    with pytest.raises(ValueError, match="only 299 likes are left to train on"):
        cleaning.check_enough(split_of(n_likes=299))


def test_too_few_users_are_refused_with_the_mend(monkeypatch):
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
    monkeypatch.setattr(cleaning, "FEWEST", 1)
    cleaning.check_enough(split)


# ----------------------------------------------------------------- files as people have them

WHO = {"user_id": "User-ID", "item_id": "ISBN", "rating": "Book-Rating", "timestamp": None}


def written(tmp_path, text, name="ratings.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_book_crossing_is_latin1_with_semicolons_and_half_of_its_ratings_are_none(tmp_path):
    ratings = '"User-ID";"ISBN";"Book-Rating"\n' + "".join(
        f'"{276725 + n}";"034545104X";"{rating}"\n' for n, rating in enumerate([0, 5, 0, 8, 0, 10])
    )
    books = (
        '"ISBN";"Book-Title";"Book-Author"\n'
        '"034545104X";"Flesh Tones: A Novel &amp; more";"M. J. Rose"\n'
        '"3404921178";"Wie Barney es sieht; für Männer";"Mordecai Richler"\n'
        '"0964147726";"Way Cool \\"Grandfather\\" C:\\\\x";"Verne Steen"\n'
    )
    raw_items = cleaning.read_table(
        written(tmp_path, books, "items.csv", "latin-1"),
        {"item_id": "ISBN", "title": "Book-Title", "genres": "Book-Author"},
    )
    assert raw_items["title"].tolist() == [
        "Flesh Tones: A Novel &amp; more",
        "Wie Barney es sieht; für Männer",
        'Way Cool "Grandfather" C:\\x',
    ]
    path = written(tmp_path, ratings, encoding="latin-1")
    raw_ratings = cleaning.read_table(path, WHO)
    raw_ratings["timestamp"] = "2004-09-01"  # the crawl's month: Book-Crossing has no times
    message = (
        r"line 2, column Book-Rating: 3 of 6 ratings are zero or negative \(0\), and the "
        r"highest is 10; say which mean 'not rated' by unrated=\[0\], or unrated=\[\]"
    )
    with pytest.raises(datasets.DataFileError, match=message):
        cleaning.clean(raw_ratings, raw_items)
    report = cleaning.clean(raw_ratings, raw_items, unrated=[0]).report
    assert report.loc["not rated"].tolist() == [3, 6, "left out; first '0' on line 2"]
    assert cleaning.clean(raw_ratings, raw_items, unrated=0).report.equals(report)
    assert report.loc["scale of the ratings", "done"].startswith("5 to 10, 3 different values; 0 z")
    assert "semicolons" in report.loc["file ratings.csv", "done"]
    escaped = report.loc[["quotation marks with backslashes"]].to_numpy().tolist()
    assert escaped == [[3, 3, "a backslash before a mark is left out"]]  # of the items alone
    assert report.loc["file items.csv", "done"].startswith("Windows-1252, separated by semicolons")
    assert report.loc["left out in all"].tolist() == [3, 6, "3 ratings stay"]
    kept = cleaning.clean(raw_ratings, raw_items, unrated=[])
    assert kept.report.loc["scale of the ratings", "done"].endswith("3 zeros, 0 negative")
    assert len(kept.ratings) == 6


def test_goodreads_exports_have_isbns_in_formulas_and_zero_for_read_but_not_rated(tmp_path):
    text = (
        "Book Id,Title,Author,ISBN,My Rating,Bookshelves,Date Read,Date Added\n"
        '2767052,"The Hunger Games (The Hunger Games, #1)",Suzanne Collins,"=""0439023483""",'
        "5,favorites,2017/03/12,2016/11/30\n"
        '41865,"Twilight, ""the"" first",Stephenie Meyer,"=""0316015849""",0,,,2016/12/01\n'
        '2657,To Kill a Mockingbird,Harper Lee,"=""0061120081""",4,,,2016/12/24\n'
    )
    columns = {"user_id": None, "item_id": "Book Id", "rating": "My Rating", "title": "Title"}
    path = written(tmp_path, text)
    table = cleaning.read_table(path, columns | {"timestamp": "Date Added"})
    raw_ratings = table.assign(user_id="me")
    cleaned = cleaning.clean(raw_ratings, table[["item_id", "title"]], unrated={0})
    assert cleaned.report.loc["not rated", "done"] == "left out; first '0' on line 3"
    assert cleaned.report.loc["time in dates, year first", "rows"] == 2
    assert cleaned.ratings["timestamp"].tolist() == [1480464000, 1482537600]
    assert 'Twilight, "the" first' in cleaned.items["title"].tolist()
    with pytest.raises(datasets.DataFileError, match="line 3, column My Rating: 1 of 3 ratings"):
        cleaning.clean(raw_ratings)
    minus = raw_ratings.assign(rating=["5", "-1", "4"])
    with pytest.raises(ValueError, match=r"negative \(-1\).* by unrated=\[-1\]"):
        cleaning.clean(minus)


MOVIELENS = [("196", "242", "3", "881250949"), ("186", "302", "3", "891717742")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("headed", [True, False])
def test_every_separator_and_encoding_with_and_without_header(
    separator, encoding, headed, tmp_path
):
    rows = [("é" + user, *others) for user, *others in MOVIELENS]
    lines = [tuple(RATING_COLUMNS.values())] * headed + rows
    text = "".join(separator.join(row) + "\r\n" for row in lines)
    path = written(tmp_path, text, encoding=encoding)
    positions = {name: n for n, name in enumerate(RATING_COLUMNS)}
    for columns in [positions] + [RATING_COLUMNS] * headed:
        frame = cleaning.read_table(path, columns)
        assert list(frame.itertuples(index=False, name=None)) == rows
        assert frame.index.tolist() == [1 + headed, 2 + headed]
    report = cleaning.clean(frame).report
    wanted = "names on line 1" if headed else "no line of names"
    assert report.loc["file ratings.csv", "done"].endswith(wanted)
    if not headed:
        with pytest.raises(datasets.DataFileError, match="its position from 0, if line 1 is no"):
            cleaning.read_table(path, RATING_COLUMNS)


def test_a_first_line_with_an_empty_field_is_no_header(tmp_path):
    path = written(tmp_path, "7,9,,881250949\n8,9,4,881250950\n")
    frame = cleaning.read_table(path, {name: n for n, name in enumerate(RATING_COLUMNS)})
    assert frame["user_id"].tolist() == ["7", "8"]
    report = cleaning.clean(frame).report
    assert report.loc["rating is not a number"].tolist() == [1, 2, "left out; first '' on line 1"]


@pytest.mark.parametrize(
    "text, n_rows",
    [
        ("who,what\nann,1\n", 1),  # no digit in the first line, and digits below it
        ("who,what\nann,1\nbob,2\n", 2),
        ("ann,tea\n", 1),
        ("ann,tea\nbob,milk\n", 2),
        ("ann,tea\nbob,tea2\ncat,tea\n", 3),  # digits in some lines alone
    ],
)
def test_by_positions_a_first_line_unlike_the_others_is_a_header(tmp_path, text, n_rows):
    frame = cleaning.read_table(written(tmp_path, text), {"user_id": 0, "item_id": 1})
    assert len(frame) == n_rows and frame["user_id"].tolist()[-1] == text.split("\n")[-2][:3]


def test_a_stray_line_does_not_hide_the_separator(tmp_path):
    rows = [f"{n}\t{n}\t4\t881250949\n" for n in range(200)]
    rows[77] = "77\t7\n"
    positions = {name: n for n, name in enumerate(RATING_COLUMNS)}
    assert len(cleaning.read_table(written(tmp_path, "".join(rows)), positions)) == 199


def test_movielens_1m_is_read_as_it_lies(tmp_path):
    movies = "1::Toy Story (1995)::Animation|Children's\n73::Misérables, Les (1995)::Drama|War\n"
    columns = {"item_id": 0, "title": 1, "genres": 2}
    frame = cleaning.read_table(written(tmp_path, movies, "movies.dat", "latin-1"), columns)
    assert frame["title"].tolist() == ["Toy Story (1995)", "Misérables, Les (1995)"]
    assert frame["genres"].tolist() == ["Animation|Children's", "Drama|War"]


def test_a_spreadsheet_writes_decimal_commas_day_numbers_and_ids_as_floats(tmp_path):
    text = (
        "userId;movieId;rating;timestamp\n"
        "1.0;10.0;4,5;36737,75\n1;20;3,0;36738\n2.0;10;5;20000730\n;;;\n2;20;1,5;30/07/2000\n"
    )
    cleaned = cleaning.clean(
        cleaning.read_table(written(tmp_path, text), RATING_COLUMNS),
        raw(["10.0", "Ten"], ["20", "Twenty"], columns=["item_id", "title"]),
    )
    assert cleaned.user_names.tolist() == ["1", "2"]
    assert cleaned.item_names.tolist() == ["10", "20"]
    assert cleaned.items["title"].tolist() == ["Ten", "Twenty"]
    when = pd.to_datetime(cleaned.ratings["timestamp"], unit="s").astype(str).tolist()
    assert when == ["2000-07-30 00:00:00"] * 2 + ["2000-07-30 18:00:00", "2000-07-31 00:00:00"]
    assert sorted(cleaned.ratings["rating"]) == [1.5, 3, 4.5, 5]
    rows = cleaned.report["rows"].to_dict()
    assert rows["rating with a decimal comma"] == 3
    assert rows["user_id written with .0"] == 2 and rows["item_id written with .0"] == 1
    assert rows["time in days of a spreadsheet"] == 2 and rows["time in days as YYYYMMDD"] == 1
    assert rows["time in dates, day first"] == 1
    assert cleaned.report.loc["no user_id"].tolist() == [1, 5, "left out; first on line 5"]


def test_ids_that_are_no_whole_numbers_stay_as_they_are():
    cleaned = cleaning.clean(
        raw(["a", "1.0", "5", "2020-01-01"], ["a", "1", "5", "2020-01-01"],
            ["a", "1.5", "5", "2020-01-01"])
    )  # fmt: skip
    assert cleaned.item_names.tolist() == ["1", "1.0", "1.5"]  # versions, for example


def test_a_few_stray_lines_are_left_out_and_counted(tmp_path):
    rows = [f"{n},{n},4,881250949\n" for n in range(200)]
    rows[77] = "77,7;7,5,4,881250949\n"
    frame = cleaning.read_table(written(tmp_path, HEAD.decode() + "".join(rows)), RATING_COLUMNS)
    report = cleaning.clean(frame).report
    done = "left out; first on line 79"
    assert report.loc["line with another number of fields"].tolist() == [1, 200, done]
    assert report.loc["left out in all"].tolist() == [1, 200, "199 ratings stay"]


def test_more_than_a_hundredth_of_stray_lines_is_a_fault(tmp_path):
    rows = [f"{n},{n},4,881250949\n" for n in range(200)]
    for line in (77, 120):
        rows[line] = f"{line},7;7,5,4,881250949\n"
    path = written(tmp_path, HEAD.decode() + "".join(rows))
    assert len(cleaning.read_table(path, RATING_COLUMNS)) == 198
    rows[150] = "150,7;7,5,4,881250949\n"
    path = written(tmp_path, HEAD.decode() + "".join(rows))
    with pytest.raises(datasets.DataFileError, match=r"line 79.*as 2 more of 200 lines"):
        cleaning.read_table(path, RATING_COLUMNS)


def test_a_scale_on_which_min_rating_tells_nothing_apart_is_warned_of():
    ratings = [["u", str(n), str(n % 8 + 3), "2020-01-01"] for n in range(80)]
    with pytest.warns(UserWarning, match=r"100% of the ratings reach min_rating=3.* 3 to 10"):
        cleaning.clean(raw(*ratings), min_rating=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = cleaning.clean(raw(*ratings), min_rating=8.0).report
    assert report.loc["liked"].tolist() == [30, 80, "at least 8"]


# ---------------------------------------------------------------------------------- times


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


def test_where_decimals_have_points_a_comma_is_none():
    rows = [["a", "x", "4,5", "2020-01-01"], ["a", "y", "3.5", "2020-01-01"]]
    report = cleaning.clean(raw(*rows)).report
    assert report.loc["rating is not a number"].tolist() == [1, 2, "left out; first '4,5' on row 0"]
    assert "rating with a decimal comma" not in report.index


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


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8)] * 3),
        min_size=2,
    ),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_text_written_by_csv_is_read_back(rows, separator, encoding, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "table.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(
            [("a", "b", "c"), *rows]
        )
    frame = cleaning.read_table(path, dict(zip("xyz", "abc", strict=True)))
    assert list(frame.itertuples(index=False, name=None)) == rows


def test_positions_that_are_not_there_are_named(tmp_path):
    path = written(tmp_path, "7,9,4,881250949\n")
    with pytest.raises(datasets.DataFileError, match="it has no column 4, only '0', '1', '2', '3'"):
        cleaning.read_table(path, {"user_id": 4})


def test_a_forced_encoding_and_separator_are_kept(tmp_path):
    path = written(tmp_path, "имя,вещь\nаня,чай\n", encoding="cp1251")
    columns = {"user_id": "имя", "item_id": "вещь"}
    frame = cleaning.read_table(path, columns, encoding="cp1251", separator=",")
    assert frame.to_numpy().tolist() == [["аня", "чай"]]
    with pytest.raises(datasets.DataFileError, match="only 'èìÿ', 'âåùü'"):  # shows the fault
        cleaning.read_table(path, columns)
    with pytest.raises(datasets.DataFileError, match=r"byte 0x.. is not ascii"):
        cleaning.read_table(path, columns, encoding="ascii")


def test_frames_of_numbers_and_dates_serve_as_well_as_text():
    frame = pd.DataFrame(
        {
            "user_id": [1.0, 2.0, np.nan],
            "item_id": [7, 8, 9],
            "rating": [4.5, 3, 2],
            "timestamp": pd.to_datetime(["2024-03-04 05:06:07"] * 3),
        }
    )
    cleaned = cleaning.clean(frame)
    assert cleaned.user_names.tolist() == ["1", "2"]
    assert cleaned.ratings["timestamp"].tolist() == [1709528767] * 2
    assert cleaned.report.loc["no user_id"].tolist() == [1, 3, "left out; first on row 2"]


# --- Without times --------------------------------------------------------------------------------


def untimed(n_users=60, n_items=12):
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    order = np.random.default_rng(1).permutation(len(users))
    columns = {"user_id": users[order], "item_id": items[order], "rating": 5}
    return pd.DataFrame(columns)


def test_without_times_random_users_are_held_out_and_the_report_says_so():
    cleaned = cleaning.clean(untimed(), without_times=True)
    assert cleaned.report.loc["no times", "rows"] == 720
    ratings = cleaned.ratings
    assert ratings["timestamp"].tolist() == list(range(720))
    # Each user's rows stand together, users and rows not in the order of their names.
    first = ratings.groupby("user_id")["timestamp"].agg(["min", "max"])
    assert (first["max"] - first["min"] == 11).all()
    assert abs(np.corrcoef(first.index, first["min"])[0, 1]) < 0.5
    own = ratings[ratings["user_id"] == 3]["item_id"].to_numpy()
    assert sorted(own) == list(range(12)) and (np.diff(own) < 0).sum() > 2
    again = cleaning.clean(untimed().sample(frac=1, random_state=5), without_times=True)
    assert set(again.ratings["user_id"]) == set(ratings["user_id"])
    # Training is all that the training users did: nothing is cut off at a time that was made up.
    split = splits.new_user_split(ratings, cleaned.items)
    assert split.train.shape[0] == 36 and split.train.nnz == 36 * 12
    assert len(split.test) == 18 and split.test.n_left_out == 0


def test_without_times_the_last_of_two_ratings_of_a_pair_stays():
    frame = pd.DataFrame({"user_id": ["a", "b", "a"], "item_id": "x", "rating": [1, 2, 3]})
    cleaned = cleaning.clean(frame, without_times=True)
    assert cleaned.report.loc["rated again by the same user", "done"].startswith("the last in")
    named = dict(zip(cleaned.user_names[cleaned.ratings["user_id"]], cleaned.ratings["rating"],
                     strict=True))  # fmt: skip
    assert named == {"a": 3, "b": 2}


def test_times_are_neither_thrown_away_nor_made_up_unasked():
    with pytest.raises(ValueError, match="If nobody knows, say without_times=True"):
        cleaning.clean(untimed())
    with pytest.raises(ValueError, match="would throw it away"):
        cleaning.clean(untimed().assign(timestamp=10**9), without_times=True)
    with pytest.raises(ValueError, match="no row is left"):
        cleaning.clean(untimed().assign(user_id=""), without_times=True)


@pytest.mark.parametrize(
    "values, min_rating, warned",
    [
        ([1, 5, 8, 10] * 5, 4, "below the middle of the scale, 1 to 10"),
        ([1, 5, 8, 10] * 5, 6, None),
        ([1, 5, 8, 10] * 5, 5.5, None),  # the middle itself
        ([0.5, 2, 3, 5] * 5, 3, None),
        ([4] * 9 + [1], 3, "90% of the ratings reach min_rating=3"),
        ([4] * 8 + [1] * 2, 3, None),
        ([5] * 20, 4, None),  # one rating is no scale
        ([*range(1, 22), 1, 1, 1], 4, "below the middle of the scale, 1 to 21"),
        ([*range(1, 23), 1, 1, 1], 4, None),  # of 22 values there is no scale
        (list(range(1, 400)) + [1, 2, 3] * 400, 4, None),  # plays have no middle
    ],
)
def test_a_threshold_below_the_middle_of_a_scale_is_asked_about(values, min_rating, warned):
    frame = pd.DataFrame({"user_id": np.arange(len(values)), "item_id": 1, "rating": values})
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        cleaning.clean(frame, without_times=True, min_rating=min_rating)
    said = [str(w.message) for w in found]
    assert len(said) == (warned is not None) and all(warned in text for text in said)


@pytest.mark.parametrize(
    "content, call",
    [('{"user": 1, "item": 2}\n', "lines=True"), ('[{"user": 1}]', "'r.json').to_csv")],
)
def test_json_is_no_table_and_the_message_makes_one(tmp_path, content, call):
    path = tmp_path / "r.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(datasets.DataFileError, match="it is JSON, not a table") as failure:
        cleaning.read_table(path, {"user_id": "user", "item_id": "item"})
    assert call in str(failure.value)
