"""Ages of likes, and a popularity that forgets, against a plain loop on real ratings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.recency import YEAR, fading_popularity, like_ages
from recsys_tutorial.splits import new_user_split


@pytest.fixture(scope="module")
def films():
    movielens = load_movielens()
    return movielens.ratings, new_user_split(movielens.ratings, movielens.items)


def test_a_loop_over_the_likes_says_the_same(films):
    ratings, split = films
    keys = zip(ratings["user_id"], ratings["item_id"], strict=True)
    time = dict(zip(keys, ratings["timestamp"], strict=True))
    likes = [
        (column, time[user, split.item_ids[column]])
        for row, user in enumerate(split.train_user_ids)
        for column in split.train[row].indices
    ]
    latest, expected = max(t for _, t in likes), np.zeros(len(split.item_ids))
    for column, t in likes:
        expected[column] += np.exp(-(latest - t) / YEAR / 2.0)
    found = fading_popularity(split, ratings, years=2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    counts = np.bincount(split.train.indices, minlength=len(split.item_ids))
    np.testing.assert_allclose(fading_popularity(split, ratings, years=1e9), counts, rtol=1e-6)
    assert np.abs(found - counts).max() > 10  # so the test above tells fading from counting


def test_ages_stand_in_the_order_of_the_matrix(films):
    ratings, split = films
    ages = like_ages(split, ratings.sample(frac=1.0, random_state=0))
    assert ages.shape == split.train.indices.shape and ages.min() == 0
    user = split.train_user_ids[3]
    start, stop = split.train.indptr[3:5]
    own = ratings[ratings["user_id"] == user].set_index("item_id")["timestamp"]
    times = own.loc[split.item_ids[split.train.indices[start:stop]]].to_numpy()
    np.testing.assert_allclose(np.diff(ages[start:stop]), -np.diff(times) / YEAR, atol=1e-9)


def test_an_item_that_nobody_liked_yet_has_a_place_too(films):
    ratings, split = films
    train = split.train.tolil()
    train[:, -3:] = 0
    cut = replace(split, train=train.tocsr())
    found = fading_popularity(cut, ratings)
    assert found.shape == split.item_ids.shape and (found[-3:] == 0).all()


def test_bad_input_is_refused(films):
    ratings, split = films
    with pytest.raises(ValueError, match="one row for each"):
        like_ages(split, ratings.iloc[: len(ratings) // 2])
    with pytest.raises(ValueError, match="one row for each"):
        like_ages(split, pd.concat([ratings, ratings.iloc[-500:], ratings.iloc[:500]]))
    with pytest.raises(ValueError, match="years must be positive, got 0"):
        fading_popularity(split, ratings, years=0)
