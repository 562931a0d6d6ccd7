"""How little of a history singles a person out, names taken off or not.

The attacker holds the released likes and knows a few of somebody's, with rough dates and some of
them wrong: from a talk, a public review (Narayanan & Shmatikov 2008, doi:10.1109/SP.2008.33).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_within
from recsys_tutorial._likes import as_likes

__all__ = ["known_likes", "match_scores", "singled_out"]


def known_likes(
    days: sparse.csr_matrix,
    user: int,
    n_known: int,
    rng: np.random.Generator,
    *,
    n_wrong: int = 0,
    date_error: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """What an attacker has learned of a user: some likes, some mistakes, and about when.

    Parameters
    ----------
    days : csr_matrix (n_users, n_items), when each item was liked, in days, > 0
    user : int, row
    n_known : int >= 1, items in all
    rng : numpy Generator
    n_wrong : int, 0 to n_known: how many of them the user does not like. They are drawn in
        proportion to how many others do, with dates of the user's own
    date_error : float >= 0, days by which a date is off at most, evenly in both directions

    Returns
    -------
    items, when : int and float ndarray (n_known,)

    Raises
    ------
    ValueError for numbers out of range, and a user with fewer likes than are to be known, or with
        fewer items that only others like than are to be wrong.
    """
    days = as_likes(days, "days")
    check_at_least(1, n_known=n_known)
    check_at_least(0, n_wrong=n_wrong, date_error=date_error)
    check_within(0, days.shape[0] - 1, user=user)
    own = slice(*days.indptr[user : user + 2])
    liked, when = days.indices[own], days.data[own]
    n_right = n_known - n_wrong
    if not 0 <= n_right <= len(liked):
        raise ValueError(f"user row {user} has {len(liked)} likes, not {n_right} to be known")
    right = rng.choice(len(liked), n_right, replace=False)
    chance = np.bincount(days.indices, minlength=days.shape[1]).astype(float)
    chance[liked] = 0
    others = np.count_nonzero(chance)
    if n_wrong > others:
        raise ValueError(f"{others} items are liked by others only, not {n_wrong} to be wrong")
    if n_wrong and not len(liked):
        raise ValueError(f"user row {user} has no likes, whose dates the wrong ones could have")
    chance /= max(chance.sum(), 1.0)  # nothing is drawn where there is nothing
    wrong = rng.choice(len(chance), n_wrong, replace=False, p=chance) if n_wrong else liked[:0]
    dates = np.concatenate([when[right], rng.choice(when, n_wrong)])
    return (
        np.concatenate([liked[right], wrong]),
        dates + rng.uniform(-date_error, date_error, n_known),
    )


def match_scores(
    items: np.ndarray, when: np.ndarray | None, days: sparse.csr_matrix, scale: float = 30.0
) -> np.ndarray:
    """How well each released history fits what is known.

        score(u) = sum over known i that u likes of  exp(-|t_ui - t_i| / scale) / log(1 + n_i)

    A rare item says more than one that many like. Of their score for the Netflix data (section 5),
    which sums weight (exp(-|difference of ratings| / 1.5) + exp(-|difference of days| / 30)), this
    is the term of the dates alone; of likes the other one would be 1 wherever an item is liked. The
    weight has 1 + n_i so that an item of one user has a finite one. Their 30 days are the same
    whatever is known of the dates; here `scale` may follow how far they may be off.

    Parameters
    ----------
    items : int ndarray (n_known,), columns, none twice
    when : float ndarray (n_known,), in days; None where no dates are known: only likes count
    days : csr_matrix (n_users, n_items), the released likes with their days, > 0
    scale : float > 0, in days, at which a date that is off says 1 / e

    Returns
    -------
    ndarray (n_users,), >= 0

    Raises
    ------
    ValueError for a scale that is not positive, and dates of another number than items.
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    if when is not None and np.shape(when) != np.shape(items):
        raise ValueError(f"{np.shape(items)} items need as many dates, got {np.shape(when)}")
    part = days[:, items].tocsr()  # (n_users, n_known)
    weights = 1 / np.log1p(np.maximum(np.bincount(part.indices, minlength=len(items)), 1))
    fit = weights[part.indices]
    if when is not None:
        fit *= np.exp(-np.abs(part.data - np.asarray(when)[part.indices]) / scale)
    rows = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
    return np.bincount(rows, fit, minlength=part.shape[0])


def singled_out(scores: np.ndarray, eccentricity: float = 1.5) -> int:
    """The row that stands out, or -1 where the attacker had better say nothing.

    The best score has to be above the second best by `eccentricity` standard deviations of all
    scores (their section 4, "Scoreboard-RH"; section 5 has 1.5 for the Netflix data).

    Parameters
    ----------
    scores : ndarray (n_users,), n_users >= 2
    eccentricity : float >= 0

    Returns
    -------
    int

    Raises
    ------
    ValueError for a negative eccentricity, or fewer than two users.

    Examples
    --------
    >>> singled_out(np.array([0.0, 0.1, 3.0, 0.2])), singled_out(np.array([0.0, 3.0, 3.0, 0.1]))
    (2, -1)
    """
    check_at_least(0, eccentricity=eccentricity)
    if np.ndim(scores) != 1 or len(scores) < 2:
        raise ValueError(f"scores must be (n_users,), n_users >= 2, got {np.shape(scores)}")
    second, best = np.sort(scores)[-2:]
    far = best - second > eccentricity * np.std(scores)
    return int(np.argmax(scores)) if far else -1
