"""Shuffled histories keep what they should keep, and lose the order."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.splits import shuffled_times

TIMES = sparse.csr_matrix(
    [[5.0, 5.0, 5.0, 90.0, 4000.0, 4100.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]]
)


@pytest.mark.parametrize("within", ["history", "session", "second"])
def test_each_user_keeps_the_times(within):
    found = shuffled_times(TIMES, within, seed=3)
    assert np.array_equal(found.indptr, TIMES.indptr)
    assert np.array_equal(found.indices, TIMES.indices)
    for row, before in zip(found.toarray(), TIMES.toarray(), strict=True):
        assert np.array_equal(np.sort(np.floor(row)), np.sort(before))


def test_within_a_session_nothing_crosses_a_gap():
    for seed in range(5):
        row = shuffled_times(TIMES, "session", seed=seed).toarray()[0]
        assert (row[:4] < 100).all() and (row[4:] >= 4000).all()
    # A gap of a minute ends a session after the three ratings of one second.
    row = shuffled_times(TIMES, "session", gap=60, seed=1).toarray()[0]
    assert (row[:3] < 6).all() and int(row[3]) == 90


def test_within_a_second_only_ties_move():
    orders = set()
    for seed in range(20):
        found = shuffled_times(TIMES, "second", seed=seed).toarray()
        assert np.array_equal(np.floor(found), TIMES.toarray())
        orders.add(tuple(found[0, :3].argsort()))
    assert len(orders) == 6  # all orders of three


def test_a_history_is_dealt_evenly():
    """Every item is first about as often: a deal that shifts or keeps places fails."""
    times = sparse.csr_matrix(np.tile(np.arange(1.0, 5.0), (2000, 1)))
    first = shuffled_times(times, seed=0).toarray().argmin(1)
    share = np.bincount(first, minlength=4) / 2000
    assert abs(share - 0.25).max() < 0.04  # four standard errors
    assert not np.array_equal(first, shuffled_times(times, seed=1).toarray().argmin(1))


def test_the_times_given_stay():
    before = TIMES.copy()
    shuffled_times(TIMES)
    assert (before != TIMES).nnz == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"within": "minute"}, "within must be 'history', 'session' or 'second', got 'minute'"),
        ({"gap": 0}, "gap must be positive"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        shuffled_times(TIMES, **options)


def test_fractions_are_refused():
    with pytest.raises(ValueError, match="whole numbers"):
        shuffled_times(TIMES * 0.3)
