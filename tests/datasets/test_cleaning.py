"""Every fault of a table is mended and counted, or named with what to do about it."""

import doctest
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recsys_tutorial import datasets, splits
from recsys_tutorial.datasets import cleaning
from recsys_tutorial.datasets.cleaning import ITEM_COLUMNS, RATING_COLUMNS
from tests.datasets.raw_tables import raw


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


def test_ids_that_are_no_whole_numbers_stay_as_they_are():
    cleaned = cleaning.clean(
        raw(["a", "1.0", "5", "2020-01-01"], ["a", "1", "5", "2020-01-01"],
            ["a", "1.5", "5", "2020-01-01"])
    )  # fmt: skip
    assert cleaned.item_names.tolist() == ["1", "1.0", "1.5"]  # versions, for example


def test_a_scale_on_which_min_rating_tells_nothing_apart_is_warned_of():
    ratings = [["u", str(n), str(n % 8 + 3), "2020-01-01"] for n in range(80)]
    with pytest.warns(UserWarning, match=r"100% of the ratings reach min_rating=3.* 3 to 10"):
        cleaning.clean(raw(*ratings), min_rating=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = cleaning.clean(raw(*ratings), min_rating=8.0).report
    assert report.loc["liked"].tolist() == [30, 80, "at least 8"]


def test_where_decimals_have_points_a_comma_is_none():
    rows = [["a", "x", "4,5", "2020-01-01"], ["a", "y", "3.5", "2020-01-01"]]
    report = cleaning.clean(raw(*rows)).report
    assert report.loc["rating is not a number"].tolist() == [1, 2, "left out; first '4,5' on row 0"]
    assert "rating with a decimal comma" not in report.index


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
