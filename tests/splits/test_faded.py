"""Weights of age: what is older counts less, and nothing that was liked is forgotten."""

from dataclasses import replace

import numpy as np
import pytest

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.models import Popularity
from recsys_tutorial.splits import rolling_split


@pytest.fixture(scope="module")
def window():
    return rolling_split(*load_movielens(), n_test=2).test[-1]


def test_a_loop_over_the_likes_says_the_same(window):
    faded, likes, ages = window.faded(2.0), window.train.tocoo(), window.ages()
    expected = np.zeros(len(window.item_ids))
    for column, age in zip(likes.col, ages, strict=True):
        expected[column] += np.exp(-age / 2.0)
    found = Popularity().fit(faded).item_counts_
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    counts = Popularity().fit(window.train).item_counts_
    assert np.abs(found - counts).max() > 10  # so the test above tells fading from counting
    np.testing.assert_allclose(window.faded(1e9).data, 1.0, rtol=1e-6)


def test_every_like_keeps_its_place_and_a_weight(window):
    for years in (1e-4, 1.0):  # the first fades to exp(-100,000)
        faded = window.faded(years)
        assert (faded.data > 0).all() and (faded.data <= 1).all()
        np.testing.assert_array_equal(faded.indices, window.train.indices)
    np.testing.assert_array_equal(window.train.data, 1.0)  # the split is left as it was
    for change in (window.faded(1.0), window.recent(100.0)):  # whatever is done to the result
        change.data[::2] = 0.0
        change.eliminate_zeros()
    assert window.train.nnz == len(window.like_times) and (window.train.data == 1.0).all()


def test_recent_likes_are_those_of_the_last_years(window):
    recent, likes, ages = window.recent(2.0), window.train.tocoo(), window.ages()
    kept = {(r, c) for r, c, a in zip(likes.row, likes.col, ages, strict=True) if a < 2.0}
    assert set(zip(*recent.nonzero(), strict=True)) == kept
    assert 0 < recent.nnz < window.train.nnz and recent.shape == window.train.shape
    assert (window.recent(100.0) != window.train).nnz == 0


@pytest.mark.parametrize("years", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["faded", "recent"])
def test_scale_must_be_positive(window, name, years):
    with pytest.raises(ValueError, match="scale must be positive"):
        getattr(window, name)(years)


def test_a_split_without_time_has_no_ages(window):
    split = replace(window, start=None)
    with pytest.raises(ValueError, match="not one in time"):
        split.faded(1.0)


def test_ages_in_likes_count_what_came_later(window):
    ages, times = window.ages("likes"), window.like_times
    for place in range(0, len(times), 997):
        assert ages[place] == np.count_nonzero(times > times[place])
    assert ages.min() == 0 and np.array_equal(
        np.argsort(-times, kind="stable"), np.argsort(ages, kind="stable")
    )
    last = window.user_ages("likes")
    for row in range(0, len(last), 31):
        own = ages[window.train.indptr[row] : window.train.indptr[row + 1]]
        assert last[row] == (own.min() if len(own) else np.inf)
    assert window.recent(100, "likes").nnz == np.count_nonzero(ages < 100)
    np.testing.assert_allclose(window.faded(500, "likes").data, np.exp(-ages / 500))
    with pytest.raises(ValueError, match="unit must be"):
        window.ages("days")
