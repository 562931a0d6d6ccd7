"""Likes in the order in which they were given: what models of sequences read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial._likes import as_likes
from recsys_tutorial.ranking import tie_key


@dataclass(frozen=True)
class Events:
    """Sequences, each from its left end; what lies beyond a sequence's end counts for nothing.

    Attributes
    ----------
    items : int64 ndarray (n, length), columns of the catalogue, 0 beyond the end
    times : float64 ndarray (n, length), seconds, never falling; the last one goes on beyond the end
    lengths : int64 ndarray (n,), how many events each sequence has
    """

    items: np.ndarray
    times: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def there(self) -> np.ndarray:
        """Bool ndarray (n, length): True for an event."""
        return np.arange(self.items.shape[1]) < self.lengths[:, None]

    def rows(self, rows: np.ndarray) -> Events:
        """Some of the sequences, cut to the longest of them.

        Parameters
        ----------
        rows : int ndarray
        """
        lengths = self.lengths[rows]
        width = max(1, int(lengths.max(initial=0)))
        return Events(self.items[rows, :width], self.times[rows, :width], lengths)


def in_order(
    likes: sparse.csr_matrix, times: sparse.csr_matrix | np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each user's likes by time; those of one second in the order of a hash, not of their columns.

    Parameters
    ----------
    likes : csr_matrix (n_users, n_items), as `as_likes` gives it
    times : csr_matrix with an entry for each like, or ndarray (likes.nnz,) in the order of
        ``likes.indices``; seconds
    seed : int, another seed is another order of equal times

    Returns
    -------
    users, items : int64 ndarray (likes.nnz,), rows ascending
    times : float64 ndarray (likes.nnz,), never falling within a row

    Raises
    ------
    ValueError
        For times of another number, or of other items than are liked.
    """
    users = np.repeat(np.arange(likes.shape[0]), np.diff(likes.indptr))
    if sparse.issparse(times):
        times = sparse.csr_matrix(times)
        same = times.shape == likes.shape
        if same and not times.has_sorted_indices:
            times = times.sorted_indices()
        same = same and np.array_equal(times.indptr, likes.indptr)
        if not (same and np.array_equal(times.indices, likes.indices)):
            raise ValueError("times must hold one time for each like of the history, and no more")
        times = times.data
    times = np.asarray(times, dtype=np.float64)
    if times.shape != (likes.nnz,) or not np.isfinite(times).all():
        raise ValueError(f"times must be {likes.nnz} finite numbers, one for each like")
    items = likes.indices.astype(np.int64)
    order = np.lexsort([tie_key(items, times.astype(np.int64), seed=seed), times, users])
    return users[order], items[order], times[order]


def last_events(
    history: sparse.csr_matrix, times: sparse.csr_matrix | np.ndarray, length: int, *, seed: int = 0
) -> Events:
    """The last events of each user.

    Parameters
    ----------
    history : csr_matrix (n_users, n_items), as `as_likes` gives it
    times, seed : see `in_order`
    length : int, how many at most

    Returns
    -------
    Events (n_users,)
    """
    users, items, times = in_order(history, times, seed=seed)
    counts = np.diff(history.indptr)
    place = np.arange(len(users)) - (history.indptr[users + 1] - length).clip(
        min=history.indptr[users]
    )
    kept = place >= 0
    return _filled(len(counts), users[kept], place[kept], items[kept], times[kept])


def pieces(
    train: sparse.csr_matrix, times: np.ndarray, length: int, *, seed: int = 0
) -> tuple[Events, np.ndarray]:
    """All that can be learned from: each user's sequence in pieces of `length` steps.

    A step is from an event to the next one, so a piece has one event more, and the last event of a
    piece is the first of the next: every event but a user's first is to be found exactly once. The
    pieces end where the user's sequence ends; the first one takes what is left.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items), as `as_likes` gives it
    times, seed : see `in_order`
    length : int >= 1

    Returns
    -------
    Events (n_pieces,), of 2 to length + 1 events each
    users : int64 ndarray (n_pieces,), whose they are, rows of `train`
    """
    users, items, times = in_order(train, times, seed=seed)
    counts = np.diff(train.indptr)
    before = np.arange(len(users)) - train.indptr[users]  # events before each one
    steps = counts[users] - 1
    first = np.where(steps % length == 0, length, steps % length)  # steps of the first piece
    n_pieces = -(-np.maximum(counts - 1, 0) // length)
    offset = np.concatenate([[0], np.cumsum(n_pieces)])[:-1]
    found = []
    # As a target an event belongs to one piece; as a source it may open the next one, too.
    number = np.where(before <= first, 0, (before - first - 1) // length + 1)
    starts = np.where(number == 0, 0, first + (number - 1) * length)
    target = steps > 0
    found.append((offset[users] + number, before - starts, target))
    opens = (before >= first) & ((before - first) % length == 0) & (before < steps)
    found.append((offset[users] + number + 1, np.zeros_like(before), opens))
    piece = np.concatenate([p[kept] for p, _, kept in found])
    place = np.concatenate([q[kept] for _, q, kept in found])
    which = np.concatenate([np.flatnonzero(kept) for *_, kept in found])
    events = _filled(int(n_pieces.sum()), piece, place, items[which], times[which])
    return events, np.repeat(np.arange(len(counts)), n_pieces)


def _filled(n: int, rows, place, items, times) -> Events:
    lengths = np.bincount(rows, minlength=n)
    width = max(1, int(lengths.max(initial=0)))
    table, clock = np.zeros((n, width), np.int64), np.full((n, width), -np.inf)
    table[rows, place], clock[rows, place] = items, times
    clock = np.maximum.accumulate(clock, axis=1)
    clock[~np.isfinite(clock)] = 0.0  # who has no event
    return Events(table, clock, lengths)


def likes_in_time(matrix, name: str, times, n_items: int | None = None):
    """`as_likes` of a matrix, with its times in the same order.

    A stored zero is no like; its time goes with it.

    Parameters
    ----------
    matrix, name, n_items : see `as_likes`
    times : csr_matrix, or ndarray (matrix.nnz,), or None

    Returns
    -------
    likes : csr_matrix
    times : csr_matrix or ndarray (likes.nnz,)

    Raises
    ------
    ValueError
        As `as_likes`, and where there are no times.
    """
    if times is None:
        raise ValueError(
            f"a model of sequences needs to know when each like of {name} was given: pass times="
        )
    likes = as_likes(matrix, name, n_items)
    if not sparse.issparse(times) and sparse.issparse(matrix) and matrix.nnz != likes.nnz:
        times = np.asarray(times)[np.asarray(matrix.data) != 0]
    return likes, times
