"""Windows in time: nothing later than their start is learned; one window is the frozen split."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.splits import SteadyRows, new_user_split, rolling_split
from tests.splits.test_splits import ITEMS, frame, pairs, ratings_frames

DAY = 86400
YEAR = 365.25 * DAY


@given(ratings_frames(min_users=6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_windows_hold_what_was_known_and_nothing_else(ratings, n_tuning, n_test, seed):
    rolling = rolling_split(
        ratings, ITEMS, 0.5, 0.4, n_tuning=min(n_tuning, 2), n_test=min(n_test, 2), seed=seed
    )
    time = {(u, i): t for u, i, t in ratings[["user_id", "item_id", "timestamp"]].to_numpy()}
    rating = {(u, i): r for u, i, r in ratings[["user_id", "item_id", "rating"]].to_numpy()}
    first = ratings.groupby("user_id")["timestamp"].min()
    judged, starts = [], []
    for split in (*rolling.tuning, *rolling.test):
        known = pairs(split.train_ratings, split.train_user_ids, split.item_ids)
        # all that was rated before the start, by whomever, and nothing else
        assert known == {pair: rating[pair] for pair, t in time.items() if t < split.start}
        assert (first[split.test.user_ids] >= split.start).all()
        assert not set(split.test.user_ids) & set(split.train_user_ids)
        likes = pairs(split.train, split.train_user_ids, split.item_ids)
        assert set(likes) == {pair for pair in known if rating[pair] >= 4}
        judged.append(set(split.test.user_ids))
        starts.append(split.start)
    assert starts == sorted(starts)
    assert sum(map(len, judged)) == len(set().union(*judged))  # nobody twice


@given(ratings_frames(min_users=6), st.integers(0, 3), st.sampled_from([(0.5, 4.0), (0.3, 3.5)]))
@settings(max_examples=60, deadline=None)
def test_one_window_is_the_frozen_split(ratings, seed, shown_and_liked):
    common = dict(zip(("history_fraction", "min_rating"), shown_and_liked, strict=True))
    common["seed"] = seed
    frozen = new_user_split(ratings, ITEMS, 0.3, 0.4, **common)
    rolling = rolling_split(ratings, ITEMS, 0.3, 0.4, n_tuning=1, n_test=1, **common)
    for window, part, judged in (
        (rolling.tuning[0], frozen, frozen.validation),
        (rolling.test[0], frozen.refit(), frozen.test),
    ):
        assert window.start == part.start and window.validation is None
        np.testing.assert_array_equal(window.train_user_ids, part.train_user_ids)
        np.testing.assert_array_equal(window.like_times, part.like_times)
        assert (window.train != part.train).nnz == 0
        assert (window.train_ratings != part.train_ratings).nnz == 0
        for field in dataclasses.fields(judged):
            one, other = (getattr(h, field.name) for h in (window.test, judged))
            if hasattr(one, "toarray"):
                one, other = one.toarray(), other.toarray()
            np.testing.assert_array_equal(one, other)


@given(ratings_frames(min_users=6))
@settings(max_examples=40, deadline=None)
def test_ages_and_times_are_those_of_the_ratings(ratings):
    split = rolling_split(ratings, ITEMS, 0.3, 0.4, n_tuning=1, n_test=2).test[-1]
    time = {(u, i): t for u, i, t in ratings[["user_id", "item_id", "timestamp"]].to_numpy()}
    likes = split.train.tocoo()
    keys = list(zip(split.train_user_ids[likes.row], split.item_ids[likes.col], strict=True))
    assert split.like_times.tolist() == [time[key] for key in keys]
    np.testing.assert_allclose(split.ages(), [(split.start - time[key]) / YEAR for key in keys])
    assert (split.ages() > 0).all()
    for row, user in enumerate(split.train_user_ids):
        own = [split.start - time[key] for key in keys if key[0] == user]
        assert split.user_ages()[row] == pytest.approx(min(own, default=np.inf) / YEAR)
    shown = pairs(split.test.history_times, split.test.user_ids, split.item_ids)
    assert shown == {key: time[key] for key in shown}
    assert set(shown) == set(pairs(split.test.history, split.test.user_ids, split.item_ids))


def test_a_later_window_knows_the_users_of_the_earlier_ones():
    rows = [(u, 1 + 10 * i, 5.0, 100 * u + i) for u in range(8) for i in range(4)]
    rolling = rolling_split(frame(rows), ITEMS, 0.25, 0.5, n_tuning=2, n_test=4)
    assert [split.test.user_ids.tolist() for split in rolling.tuning] == [[2], [3]]
    assert [split.test.user_ids.tolist() for split in rolling.test] == [[4], [5], [6], [7]]
    assert [split.train_user_ids.tolist() for split in rolling.test] == [
        list(range(n)) for n in (4, 5, 6, 7)
    ]
    assert [split.start for split in rolling.test] == [400, 500, 600, 700]


def test_a_split_that_is_not_in_time_has_no_ages():
    from recsys_tutorial.splits import random_split, to_split

    rows = frame([(u, 1 + 10 * i, 5.0, u + i) for u in range(6) for i in range(5)])
    split = to_split(*random_split(rows), ITEMS)
    with pytest.raises(ValueError, match="not one in time"):
        split.ages()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_test": 0}, "test users cannot be dealt into 0 windows"),
        ({"n_tuning": 3}, "2 tuning users cannot be dealt into 3 windows"),
        ({"n_test": 5}, "4 test users cannot be dealt into 5 windows"),
        ({"tuning_fraction": 0.5}, "must leave some training users"),
        ({"history_fraction": 1.0}, "history_fraction must be between 0 and 1, got 1.0"),
    ],
)
def test_bad_settings(options, message):
    rows = [(u, 1 + 10 * i, 5.0, 100 * u + i) for u in range(8) for i in range(4)]
    settings = {"tuning_fraction": 0.25, "test_fraction": 0.5, "n_tuning": 2, "n_test": 4}
    with pytest.raises(ValueError, match=message):
        rolling_split(frame(rows), ITEMS, **{**settings, **options})


def test_bad_ratings_are_named():
    rows = frame([(u, 1 + 10 * i, 5.0, 100 * u + i) for u in range(8) for i in range(4)])
    with pytest.raises(ValueError, match="ratings: rating nan in row 3 is not a finite number"):
        rolling_split(rows.assign(rating=rows["rating"].where(rows.index != 3)), ITEMS)
    with pytest.raises(ValueError, match=r"ratings lacks the columns \['rating'\]"):
        rolling_split(rows.drop(columns="rating"), ITEMS)


def test_the_windows_of_the_course():
    rolling = rolling_split(*load_movielens())
    assert [len(part) for part in (rolling.tuning, rolling.test)] == [6, 12]
    n_judged = [sum(len(split.test) for split in part) for part in (rolling.tuning, rolling.test)]
    assert n_judged == [168, 359]


def test_steady_rows_follow_each_user():
    rows, known, windows = SteadyRows(), {}, rolling_split(*load_movielens()).tuning
    for split in windows:
        order = rows(split)
        assert len(order) == len(split.train_user_ids) == len(set(order.tolist()))
        assert rows.user_ids_.dtype == np.int64
        for row, user in enumerate(split.train_user_ids[order].tolist()):
            assert known.setdefault(user, row) == row
    with pytest.raises(ValueError, match="was in an earlier window"):
        rows(windows[0])
