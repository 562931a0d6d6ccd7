"""Membership inference: was this user among those that a model learned from?

An attacker sees one number per user, such as a loss, and says "member" above a border. What counts
is how many members are found before 1 % of the others are accused: an AUC of 0.6 may come from a
few users who are certain to be found, or from a slight shift of everybody (Carlini et al. 2022,
arXiv:2112.03570). All functions take numbers, whatever model they come from: mean losses of a
recommender, or a language model's log-likelihoods of users' texts. Half of the lines are
docstrings: what an attacker knows decides what a number means.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import beta

from recsys_tutorial._checks import check_at_least, check_shape, finite_vectors
from recsys_tutorial._likes import as_likes
from recsys_tutorial.ranking import standardize

__all__ = [
    "clopper_pearson",
    "hidden_score",
    "likelihood_ratio",
    "pooled_rates",
    "roc",
    "shadow_attack",
    "true_positive_rate",
]


def hidden_score(
    scores: np.ndarray, shown: sparse.csr_matrix, hidden: sparse.csr_matrix
) -> np.ndarray:
    """How well a model that was shown a part of each user's likes knows the others.

    The mean, over the hidden likes, of the score in standard deviations of the user's scores of all
    that was not shown: a number without the model's own unit. Minus a loss, as it were. What the
    model says of the shown likes counts nowhere, neither in the mean nor in the spread.

    Parameters
    ----------
    scores : ndarray (n_users, n_items), finite, the model's for the shown likes
    shown, hidden : csr_matrix (n_users, n_items), > 0 where liked; nothing is in both

    Returns
    -------
    ndarray (n_users,), nan for who has nothing hidden; 0 where all that was not shown scores alike

    Raises
    ------
    ValueError
        For other shapes, scores that are not finite, and a like that is in both.
    """
    shown, hidden = as_likes(shown, "shown").sign(), as_likes(hidden, "hidden").sign()
    for name, part in (("shown", shown), ("hidden", hidden)):
        check_shape(name, part, np.shape(scores))
    if shown.multiply(hidden).nnz:
        raise ValueError("a like is both shown and hidden")
    known = np.full(len(scores), np.nan)
    for user, row in enumerate(finite_vectors("scores", scores)):
        unseen = np.ones(len(row), dtype=bool)
        unseen[_of(shown, user)] = False
        columns = _of(hidden, user)
        if len(columns):
            asked = np.zeros(len(row), dtype=bool)
            asked[columns] = True
            known[user] = standardize(row[None, unseen])[0, asked[unseen]].mean()
    return known


def _of(likes: sparse.csr_matrix, user: int) -> np.ndarray:
    """The columns of a user's likes."""
    return likes.indices[likes.indptr[user] : likes.indptr[user + 1]]


def likelihood_ratio(
    observed: np.ndarray, without: np.ndarray, with_: np.ndarray | None = None
) -> np.ndarray:
    """How much more a user's number looks like that of a member: LiRA.

    Shadow models are trained like the one attacked, on other draws of users; from those that did
    not see a user, and those that did, the attacker knows the two Gaussians that the user's number
    comes from (Carlini et al. 2022):

        offline   (observed - mean of without) / std of without
        online    log N(observed; of with_) - log N(observed; of without)

    The standard deviation is one for all users, about the means of their own: from few shadow
    models a user's own would be noise.

    Parameters
    ----------
    observed : ndarray (n_users,), what the attacked model says, such as minus a loss
    without : ndarray (n_shadow_models, n_users), from models that did not learn from the user; nan
        where a model did
    with_ : the same from models that did learn from the user; None for the offline attack, which
        needs no model with the user in it

    Returns
    -------
    ndarray (n_users,), higher for members; nan for users with fewer than two numbers on a side, of
    whom nothing is known: draws of users leave some, and ``np.isnan(...).sum()`` says how many

    Raises
    ------
    ValueError
        For other shapes, and a side on which no user has two numbers, or nothing varies.
    """
    observed = np.asarray(observed, dtype=np.float64)
    mean, std = _gaussian("without", without, len(observed))
    if with_ is None:
        return (observed - mean) / std
    mean_with, std_with = _gaussian("with_", with_, len(observed))
    distance = ((observed - mean) / std) ** 2 - ((observed - mean_with) / std_with) ** 2
    return 0.5 * distance + np.log(std / std_with)


def _gaussian(name: str, values: np.ndarray, n_users: int) -> tuple[np.ndarray, float]:
    """Each user's mean (n_users,), nan without two numbers, and the one standard deviation."""
    values = np.asarray(values, dtype=np.float64)
    check_shape(name, values, (len(values), n_users))
    n = np.count_nonzero(~np.isnan(values), axis=0)
    if not (n >= 2).any():
        raise ValueError(f"no user has two numbers in {name}")
    mean = np.where(n >= 2, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)
    variance = np.nansum((values - mean) ** 2) / (n - 1)[n >= 2].sum()
    if not variance > 0:
        raise ValueError(f"{name} does not vary: shadow models need other draws of users")
    return mean, float(np.sqrt(variance))


def shadow_attack(known: np.ndarray, inside: np.ndarray, online: bool = False) -> np.ndarray:
    """`likelihood_ratio` of each model in turn, with all the others as its shadow models.

    Parameters
    ----------
    known : ndarray (n_models, n_users), what each model says of each user; no nan
    inside : bool ndarray (n_models, n_users), whether it learned from them
    online : bool, also with the shadow models that learned from the user

    Returns
    -------
    ndarray (n_models, n_users), higher for members; nan where fewer than two of the others learned
    from the user, or fewer than two did not, whichever attack is asked for: so both judge the same

    Raises
    ------
    ValueError for other shapes, fewer than five models, and what `likelihood_ratio` refuses.
    """
    known, inside = np.asarray(known, dtype=np.float64), np.asarray(inside, dtype=bool)
    check_shape("inside", inside, known.shape)
    if known.ndim != 2:
        raise ValueError(f"known must be (n_models, n_users), got {known.shape}")
    if len(known) < 5:
        raise ValueError(f"five models at least, one to attack and two a side, got {len(known)}")
    ratios = np.full(known.shape, np.nan)
    for attacked, ratio in enumerate(ratios):
        others = np.arange(len(known)) != attacked
        without = np.where(inside[others], np.nan, known[others])
        with_ = np.where(inside[others], known[others], np.nan)
        n_with = inside[others].sum(axis=0)
        enough = (n_with >= 2) & (others.sum() - n_with >= 2)
        sides = without[:, enough], with_[:, enough] if online else None
        ratio[enough] = likelihood_ratio(known[attacked, enough], *sides)
    return ratios


def pooled_rates(
    values: np.ndarray,
    inside: np.ndarray,
    false_positive_rate: float = 0.01,
    n_draws: int = 500,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """How well an attack does on several models, with intervals over their users.

    The models' judgements are pooled under one border. A user stands in all of them, and whoever is
    easily found in one is so in the next: whole users are drawn again, and the interval of
    `true_positive_rate`, for which each judgement is a new one, would be too narrow.

    Parameters
    ----------
    values : ndarray (n_models, n_users), higher for who is taken for a member; nan: not judged
    inside : bool ndarray (n_models, n_users), who is a member
    false_positive_rate : float in (0, 1)
    n_draws : int >= 1, of users with replacement
    seed : int, of the draws

    Returns
    -------
    dict, "auc" and "found", the share of members above the border: value, low, high (95 %). The
        border is found anew in each draw; a draw with members alone, or without, is left out

    Raises
    ------
    ValueError for other shapes, a number out of range, and a side on which nobody is.
    """
    values, inside = np.asarray(values, dtype=np.float64), np.asarray(inside, dtype=bool)
    check_shape("inside", inside, values.shape)
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must be in (0, 1), got {false_positive_rate}")
    check_at_least(1, n_draws=n_draws)
    if values.ndim != 2:
        raise ValueError(f"values must be (n_models, n_users), got {values.shape}")
    _, users = np.unique(np.nonzero(~np.isnan(values))[1], return_inverse=True)  # who is judged
    inside, values = inside[~np.isnan(values)], values[~np.isnan(values)]
    if not inside.any() or inside.all():
        raise ValueError("members and others are needed on both sides")
    n_users = users.max() + 1
    drawn = np.random.default_rng(seed).multinomial(n_users, np.full(n_users, 1 / n_users), n_draws)
    weights = np.vstack([np.ones(n_users, dtype=drawn.dtype), drawn])  # the first: as it is
    order = np.argsort(-values, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
    weights = weights[:, users[order]]  # (1 + n_draws, n_judged)
    members, others = (
        np.pad((weights * side[order]).cumsum(axis=1)[:, last_of_ties], ((0, 0), (1, 0)))
        for side in (inside, ~inside)
    )
    area = (np.diff(others) * (members[:, 1:] + members[:, :-1]) / 2).sum(axis=1)
    allowed = np.floor(false_positive_rate * others[:, -1:] + 1e-9)
    found = np.where(others <= allowed, members, 0).max(axis=1)
    with np.errstate(invalid="ignore"):  # a draw may have no member, or nobody else
        rates = {"auc": area / (members[:, -1] * others[:, -1]), "found": found / members[:, -1]}
    return {
        name: (float(r[0]), *map(float, np.nanpercentile(r[1:], [2.5, 97.5])))
        for name, r in rates.items()
    }


def roc(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The receiver operating characteristic: every border between "member" and "not".

    Parameters
    ----------
    members, others : ndarray (n_members,), (n_others,), higher for who is taken for a member

    Returns
    -------
    false_positive_rate, true_positive_rate : ndarray (n_borders,), from (0, 0) to (1, 1)

    Raises
    ------
    ValueError for an empty side, or a nan.
    """
    members, others = _sides(members, others)
    borders = np.unique(np.concatenate([members, others]))[::-1]
    rates = [
        np.append(0.0, 1.0 - np.searchsorted(np.sort(side), borders, side="left") / len(side))
        for side in (others, members)
    ]
    return rates[0], rates[1]


def true_positive_rate(
    members: np.ndarray, others: np.ndarray, false_positive_rate: float = 0.01
) -> tuple[float, float, float]:
    """Share of the members who are found before more than so many of the others are accused.

    Parameters
    ----------
    members, others : as for `roc`
    false_positive_rate : float in (0, 1). With fewer than 1 / rate others nobody may be accused

    Returns
    -------
    rate, low, high : float, with the 95 % interval of `clopper_pearson`. It is for this border:
        that the border would be elsewhere with other users is not in it

    Raises
    ------
    ValueError
        For an empty side, a nan, or a rate out of range.
    """
    members, others = _sides(members, others)
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must be in (0, 1), got {false_positive_rate}")
    allowed = int(np.floor(false_positive_rate * len(others) + 1e-9))
    border = np.sort(others)[::-1][allowed]  # who is above it: at most `allowed` of the others
    found = int((members > border).sum())
    return found / len(members), *clopper_pearson(found, len(members))


def clopper_pearson(n_found: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404).

    Parameters
    ----------
    n_found, n : int, n >= 1
    confidence : float in (0, 1)

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError unless 0 <= n_found <= n and n >= 1, and for a confidence out of range.

    Examples
    --------
    >>> [round(end, 3) for end in clopper_pearson(0, 100)]
    [0.0, 0.036]
    """
    if not 0 <= n_found <= n or n < 1:
        raise ValueError(f"{n_found} of {n} is no share")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, n_found, n - n_found + 1) if n_found else 0.0
    high = beta.ppf(1 - tail, n_found + 1, n - n_found) if n_found < n else 1.0
    return float(low), float(high)


def _sides(members, others) -> tuple[np.ndarray, np.ndarray]:
    sides = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    for name, side in zip(("members", "others"), sides, strict=True):
        if side.ndim != 1 or not len(side) or np.isnan(side).any():
            raise ValueError(f"{name} must be numbers (n,), n >= 1, without nan")
    return sides
