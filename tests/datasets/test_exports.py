"""Every file that people have is read, or named with its fault and what to do about it."""

import bz2
import csv
import gzip
import lzma

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial import datasets
from recsys_tutorial.datasets import cleaning
from recsys_tutorial.datasets.cleaning import RATING_COLUMNS
from tests.datasets.raw_tables import HEAD, raw, written

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


WHO = {"user_id": "User-ID", "item_id": "ISBN", "rating": "Book-Rating", "timestamp": None}


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


def test_a_line_is_cut_at_the_separator_that_is_named(tmp_path):
    path = written(tmp_path, "ann,1;tea\nbob,2;milk\n")
    for separator, rows in (
        (",", [["ann", "1;tea"], ["bob", "2;milk"]]),
        (";", [["ann,1", "tea"], ["bob,2", "milk"]]),
    ):
        frame = cleaning.read_table(path, {"user_id": 0, "item_id": 1}, separator=separator)
        assert frame.to_numpy().tolist() == rows


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
