"""Histories whose order is taken away, wholly or in part: does a model need it?"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_one_of, check_positive

__all__ = ["shuffled_times"]

_WITHIN = ("history", "session", "second")


def shuffled_times(
    times: sparse.csr_matrix, within: str = "history", *, gap: float = 1800.0, seed: int = 0
) -> sparse.csr_matrix:
    """Deal each user's times anew among their items.

    What is dealt stays within a group: a user's whole history, a session (no two neighbours in time
    are further apart than `gap`), or one time. Equal times are put in a random order by fractions
    of the unit, so that no rule for ties orders them.

    Parameters
    ----------
    times : csr_matrix (n_users, n_items), when each item was liked, in whole units such as seconds
    within : "history", "session" or "second"
    gap : float > 0, in the unit of `times`
    seed : int, of the deal

    Returns
    -------
    csr_matrix with the entries of `times`; rounded down, each user has the same times as before

    Raises
    ------
    ValueError
        For another `within`, a gap that is not positive, or times that are not whole.

    Examples
    --------
    >>> times = sparse.csr_matrix([[10.0, 20.0, 9000.0]])
    >>> shuffled_times(times, "session").toarray().astype(int)[0, 2]
    np.int64(9000)
    """
    check_one_of(_WITHIN, within=within)
    check_positive(gap=gap)
    times = sparse.csr_matrix(times, dtype=np.float64, copy=True)
    if not np.array_equal(times.data, np.floor(times.data)):
        raise ValueError("times must be whole numbers: fractions are for the order of equal ones")
    users = np.repeat(np.arange(times.shape[0]), np.diff(times.indptr))
    order = np.lexsort([times.data, users])
    ordered = times.data[order]
    later = np.diff(ordered, prepend=ordered[:1])
    begins = np.diff(users, prepend=-1) > 0
    if within != "history":
        begins = begins | (later > (gap if within == "session" else 0))
    group = np.cumsum(begins)
    rng = np.random.default_rng(seed)
    dealt = np.lexsort([rng.random(len(ordered)), group])  # the i-th place's times go to dealt[i]
    times.data[order[dealt]] = ordered + 0.5 * rng.random(len(ordered))
    return times
