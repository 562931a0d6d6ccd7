"""The log of impressions: rows as promised, and a context that knows the past alone."""

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.datasets import impression_log

RNG = np.random.default_rng(0)
N_USERS, N_ITEMS = 20, 30
ITEMS = pd.DataFrame(
    {
        "item_id": np.arange(N_ITEMS) + 100,
        "year": np.where(np.arange(N_ITEMS) % 7 == 0, np.nan, 1990),
        "genres": np.where(np.arange(N_ITEMS) % 2 == 0, "Drama", "Comedy|Drama"),
    }
)
PAIRS = RNG.permutation(N_USERS * N_ITEMS)[:300]
RATINGS = pd.DataFrame(
    {
        "user_id": PAIRS // N_ITEMS,
        "item_id": PAIRS % N_ITEMS + 100,
        "rating": RNG.integers(1, 11, 300) / 2,
        "timestamp": RNG.integers(10**9, 10**9 + 10**7, 300),
    }
)
LOG = impression_log(RATINGS, ITEMS, n_skipped=100, seed=1)


def test_rows():
    assert LOG["timestamp"].is_monotonic_increasing
    rated = LOG[LOG["rated"] == 1].merge(RATINGS, on=["user_id", "item_id", "timestamp"])
    assert len(rated) == LOG["rated"].sum()
    assert (rated["liked"] == (rated["rating"] >= 4)).all()
    other = LOG[LOG["rated"] == 0]
    assert other["liked"].isna().all() and 0.5 < len(other) / len(rated) < 3
    assert not other.merge(RATINGS, on=["user_id", "item_id"]).size  # never rated by them
    assert set(map(tuple, other[["user_id", "timestamp"]].values)) <= set(
        map(tuple, rated[["user_id", "timestamp"]].values)
    )
    assert not LOG.duplicated(["user_id", "item_id", "timestamp"]).any()
    # A rated film, then those beside it.
    before = LOG[["user_id", "timestamp"]].shift()[LOG["rated"] == 0]
    assert (before == other[["user_id", "timestamp"]]).all(axis=None)
    assert LOG.index.tolist() == list(range(len(LOG)))
    assert other["item_id"].nunique() > 25  # of 30: any earlier rating may be drawn
    early = np.sort(RATINGS["timestamp"])[99]
    assert LOG["timestamp"].min() >= early


def test_context_counts_earlier_ratings_only():
    genres = ITEMS.set_index("item_id")["genres"]
    for row in LOG.sample(60, random_state=0).itertuples():
        past = RATINGS[RATINGS["timestamp"] < row.timestamp]
        mine, film = past[past["user_id"] == row.user_id], past[past["item_id"] == row.item_id]
        assert len(film) > 0  # nothing is shown, rated or not, that nobody has rated
        assert row.log_activity == pytest.approx(np.log1p(len(mine)))
        assert row.log_popularity == pytest.approx(np.log1p(len(film)))
        likes = mine[mine["rating"] >= 4]
        assert row.user_share == pytest.approx((len(likes) + 1) / (len(mine) + 2))
        n_film = (film["rating"] >= 4).sum()
        assert row.film_share == pytest.approx((n_film + 1) / (len(film) + 2))
        kinds = genres[row.item_id].split("|")
        shares = [
            genres[likes["item_id"]].str.contains(k).sum() / max(len(likes), 1) for k in kinds
        ]
        assert row.affinity == pytest.approx(np.mean(shares))
        assert row.hour == pd.Timestamp(row.timestamp, unit="s").hour
        assert row.age == pytest.approx(1970 + row.timestamp / (365.25 * 86400) - 1990)


def test_what_is_liked_and_how_many_stand_beside_are_settings():
    found = impression_log(RATINGS, ITEMS, n_skipped=100, seed=1, n_unrated=1, min_rating=2.0)
    rated = found[found["rated"] == 1].merge(RATINGS, on=["user_id", "item_id", "timestamp"])
    assert (rated["liked"] == (rated["rating"] >= 2)).all()
    beside = found.groupby(["user_id", "timestamp"])["rated"].agg(lambda r: (r == 0).sum())
    assert beside.max() == 1 and (LOG["rated"] == 0).sum() > 2 * beside.sum()
    with pytest.raises(ValueError, match=r"n_skipped must be .* at least 1, got 0"):
        impression_log(RATINGS, ITEMS, n_skipped=0)
    assert len(impression_log(RATINGS, ITEMS, n_skipped=1)) > len(LOG)


def test_no_film_is_younger_than_its_first_day():
    later = impression_log(RATINGS, ITEMS.assign(year=2030), n_skipped=100, seed=1)
    assert (later["age"] == 0).all()


def test_the_future_changes_nothing():
    now = LOG["timestamp"].quantile(0.5)
    later = RATINGS["timestamp"] > now
    other = RATINGS.assign(rating=RATINGS["rating"].where(~later, 0.5))
    found = impression_log(other, ITEMS, n_skipped=100, seed=1)
    pd.testing.assert_frame_equal(found[found["timestamp"] <= now], LOG[LOG["timestamp"] <= now])


def test_it_repeats_with_the_seed():
    pd.testing.assert_frame_equal(impression_log(RATINGS, ITEMS, n_skipped=100, seed=1), LOG)
    assert not impression_log(RATINGS, ITEMS, n_skipped=100, seed=2).equals(LOG)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"n_unrated": 0}, "n_unrated must be .* at least 1"),
        ({"n_skipped": 300}, "300 ratings are none beside 300"),
        ({"items": ITEMS[1:]}, "item_id 100 is not among"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        impression_log(RATINGS, **({"items": ITEMS, "n_skipped": 100} | settings))
