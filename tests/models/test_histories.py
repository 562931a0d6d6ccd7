"""Likes are divided without overlap, chosen from evenly, and counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models._histories import (
    HISTORY_SHARE,
    checked_popularity,
    choose_likes,
    divide_likes,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_what_is_shown_and_what_is_to_be_found_never_overlap(seed, low, width):
    rng = np.random.default_rng(seed)
    likes = sparse.csr_matrix((rng.random((6, 9)) < 0.5).astype(float))
    share = (low, low + width * (1 - low))
    shown, others = divide_likes(likes, share, rng)
    assert (shown + others != likes).nnz == 0 and shown.multiply(others).nnz == 0
    hidden = rng.integers(9, size=6)
    shown, others = divide_likes(likes, share, rng, hidden)
    assert (shown.toarray()[np.arange(6), hidden] == 0).all()
    assert (shown + others != likes).nnz == 0


def test_the_share_that_is_shown():
    likes = sparse.csr_matrix(np.ones((400, 50)))
    n = np.diff(divide_likes(likes, (0.2, 0.6), np.random.default_rng(0))[0].indptr) / 50
    # the mean of 400 shares from 0.2 to 0.6, and of 50 coins each: standard error 0.007
    assert n.mean() == pytest.approx(0.4, abs=0.03) and 0.10 < n.std() < 0.17
    assert divide_likes(likes, (0, 0), np.random.default_rng(0))[0].nnz == 0
    assert divide_likes(likes, (1, 1), np.random.default_rng(0))[1].nnz == 0


def test_in_training_nothing_to_nine_tenths_of_a_history_is_shown():
    likes = sparse.csr_matrix(np.ones((400, 200)))
    shown, hidden = divide_likes(likes, HISTORY_SHARE, np.random.default_rng(0))
    n = np.diff(shown.indptr) / 200
    assert n.min() < 0.02 and 0.85 < n.max() < 0.97  # a new user, and always something to be found
    assert np.diff(hidden.indptr).min() > 0


def test_choice_from_a_history():
    likes = sparse.csr_matrix(np.array([[1.0] * 7, [0, 1, 0, 0, 0, 1, 0], [0] * 7]))
    columns, there = choose_likes(likes, 3, None)
    assert columns.tolist() == [[0, 3, 5], [1, 5, 0], [0, 0, 0]]
    assert there.sum(1).tolist() == [3, 2, 0]
    columns, there = choose_likes(likes, 3, np.random.default_rng(0))
    assert len(set(columns[0])) == 3 and set(columns[1, :2]) == {1, 5}
    assert there.sum(1).tolist() == [3, 2, 0]
    # Spaced evenly, a table is as wide as the longest row, and at least one column wide.
    for rows, width in (([1, 2], 2), ([2], 1), ([], 1)):
        columns, there = choose_likes(likes[rows], 3, None)
        assert columns.shape == there.shape == (len(rows), width)
    with_one = choose_likes(likes, 1, None)[0]
    assert with_one.tolist() == [[0], [1], [0]]


def test_popularity_is_the_likes_unless_given():
    likes = sparse.csr_matrix(np.array([[1.0, 0, 1, 0], [1, 0, 0, 0]]))
    n, log_popularity = checked_popularity(None, likes)
    assert n.tolist() == [2, 0, 1, 0] and n.dtype == np.float64
    np.testing.assert_allclose(log_popularity, np.log1p([2, 0, 1, 0]))
    assert checked_popularity([0.5, 1, 2, 0], likes)[0].tolist() == [0.5, 1, 2, 0]
    for bad in ([1.0, 2.0, 3.0], [1, 2, 3, np.inf], [1, 2, 3, -1]):
        with pytest.raises(ValueError, match="popularity must be 4 finite numbers, none below 0"):
            checked_popularity(bad, likes)
