"""Likes in time: the order, its ties, the last events, the pieces that are learned from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models._events import in_order, last_events, likes_in_time, pieces

HISTORY = sparse.csr_matrix(np.array([[1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0.0]]))
TIMES = sparse.csr_matrix(np.array([[40, 10, 0, 30, 20], [0, 0, 0, 0, 0], [0, 7, 0, 0, 0.0]]))


def test_events_stand_in_their_order():
    users, items, times = in_order(HISTORY, TIMES)
    assert users.tolist() == [0, 0, 0, 0, 2]
    assert items.tolist() == [1, 4, 3, 0, 1]
    assert times.tolist() == [10, 20, 30, 40, 7]
    flat = in_order(HISTORY, TIMES.data.astype(int))
    assert flat[2].dtype == np.float64
    assert all(np.array_equal(a, b) for a, b in zip((users, items, times), flat, strict=True))


def test_times_may_be_stored_in_any_order():
    turned = TIMES.copy()  # each row's columns from right to left
    for start, end in zip(TIMES.indptr, TIMES.indptr[1:], strict=False):
        for part in (turned.indices, turned.data):
            part[start:end] = part[start:end][::-1].copy()
    turned.has_sorted_indices = False
    for found, expected in zip(in_order(HISTORY, turned), in_order(HISTORY, TIMES), strict=True):
        assert found.tolist() == expected.tolist()


def test_ties_are_drawn_and_neither_columns_nor_other_users_decide():
    n = 40
    likes = sparse.csr_matrix(np.ones((1, n)))
    orders = [in_order(likes, np.full(n, 5.0), seed=seed)[1] for seed in range(3)]
    assert not (orders[0] == np.arange(n)).all()
    assert (orders[0] != orders[1]).any() and (orders[1] != orders[2]).any()
    two = sparse.vstack([sparse.csr_matrix(np.eye(1, n)), likes]).tocsr()
    assert np.array_equal(in_order(two, np.full(n + 1, 5.0))[1][1:], orders[0])
    for seed in (0, 1):
        last = last_events(likes, np.full(n, 5.0), 7, seed=seed)
        assert last.items[0].tolist() == orders[seed][-7:].tolist()
        cut, _ = pieces(likes, np.full(n, 5.0), n, seed=seed)
        assert cut.items[0].tolist() == orders[seed].tolist()


def test_the_last_events_are_kept_from_the_left():
    events = last_events(HISTORY, TIMES, 3)
    assert events.lengths.tolist() == [3, 0, 1]
    assert events.items.tolist() == [[4, 3, 0], [0, 0, 0], [1, 0, 0]]
    assert events.times.tolist() == [[20, 30, 40], [0, 0, 0], [7, 7, 7]]
    assert events.there.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert events.rows(np.array([2])).items.tolist() == [[1]]
    # Who has no event still has a column, and so has a table without users.
    assert events.rows(np.array([1])).items.tolist() == [[0]]
    assert events.rows(np.array([], int)).items.shape == (0, 1)
    nobody = sparse.csr_matrix((2, 5))
    none = last_events(nobody, nobody, 3)
    assert none.items.tolist() == none.times.tolist() == [[0], [0]] and len(none) == 2
    assert none.lengths.tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 17), min_size=1, max_size=6), st.integers(1, 7), st.integers(0, 99))
def test_every_event_but_the_first_is_found_once(counts, length, seed):
    """Pieces are runs of the user's sequence, end with it, and none is longer than asked."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((len(counts), 20))
    for row, n in enumerate(counts):
        dense[row, rng.choice(20, n, replace=False)] = 1
    train = sparse.csr_matrix(dense)
    times = rng.integers(5, size=train.nnz).astype(float)
    users, items, when = in_order(train, times)
    events, whose = pieces(train, times, length)
    found = {row: [] for row in range(len(counts))}
    for piece, user in enumerate(whose):
        n = events.lengths[piece]
        assert 2 <= n <= length + 1
        run = events.items[piece, :n].tolist()
        sequence = items[users == user].tolist()
        start = sequence.index(run[0])
        assert sequence[start : start + n] == run
        assert events.times[piece, :n].tolist() == when[users == user][start : start + n].tolist()
        found[user] += run[1:]
    for user in found:
        assert found[user] == items[users == user][1:].tolist()
        n = events.lengths[whose == user]
        assert (n[1:] == length + 1).all()  # only the first is shorter


PARTS = TIMES.data, TIMES.indices, TIMES.indptr


@pytest.mark.parametrize(
    "times, message",
    [
        (TIMES[:, :4], "one time for each like"),
        (sparse.csr_matrix(PARTS, shape=(3, 6)), "one time for each like"),
        (TIMES[[1, 0, 2]], "one time for each like"),
        (TIMES[:, [2, 1, 0, 3, 4]], "one time for each like"),
        (sparse.csr_matrix(np.ones((3, 5))), "one time for each like"),
        (np.zeros(4), "times must be 5 finite numbers"),
        (np.array([1, 2, 3, np.nan, 5]), "times must be 5 finite numbers"),
    ],
)
def test_times_that_do_not_fit_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        in_order(HISTORY, times)


def test_a_stored_zero_is_no_event():
    stored = HISTORY.copy()
    stored.data[1] = 0
    likes, times = likes_in_time(stored, "train", TIMES.data)
    assert in_order(likes, times)[1].tolist() == [4, 3, 0, 1]
    kept = TIMES.copy()
    kept.data[1] = 0
    kept.eliminate_zeros()  # a matrix has times of likes alone
    assert in_order(*likes_in_time(stored, "train", kept))[1].tolist() == [4, 3, 0, 1]
    with pytest.raises(ValueError, match="train has 5 items, the model was fitted on 4"):
        likes_in_time(HISTORY, "train", TIMES, 4)
    with pytest.raises(ValueError, match="when each like of train was given: pass times="):
        likes_in_time(HISTORY, "train", None)
