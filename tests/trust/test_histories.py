"""Whoever is known well enough is found, and strangers and copies are not."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.trust import known_likes, match_scores, singled_out


def released(n_users=80, n_items=200, seed=0):
    """Likes with their days, popular items first; user 1 is a copy of user 0."""
    rng = np.random.default_rng(seed)
    x = rng.random((n_users, n_items)) < 0.6 / (1 + np.arange(n_items)) ** 0.4
    days = x * rng.uniform(1, 1000, x.shape)
    days[1] = days[0]
    return sparse.csr_matrix(days)


def found(n_known, users=range(2, 80), released_=None, **options):
    """How many of these users are taken for themselves, and how many for somebody else."""
    days, rng = released(), np.random.default_rng(1)
    given = days if released_ is None else released_
    right = wrong = 0
    dates = options.pop("dates", True)
    for user in users:
        items, when = known_likes(days, user, n_known, rng, **options)
        said = singled_out(match_scores(items, when if dates else None, given, 10.0))
        right += said == user
        wrong += said not in (-1, user)
    return right / len(users), wrong / len(users)


def test_eight_likes_with_their_dates_are_enough_and_one_without_is_not():
    assert found(8)[0] > 0.98
    assert found(1, dates=False)[0] < 0.3
    assert found(4)[0] >= found(2)[0]


def test_wrong_likes_and_dates_make_it_harder_but_not_hard():
    clean, noisy = found(6), found(6, n_wrong=2, date_error=14)
    assert clean[0] >= noisy[0] > 0.6


def test_copies_are_not_singled_out():
    assert found(8, users=[0] * 10) == (0.0, 0.0)


def test_a_stricter_border_spares_who_was_not_released():
    """Somebody always fits best: only a border keeps the attacker from naming a stranger."""
    days, rng = released(), np.random.default_rng(3)
    named = {1.5: [0, 0], 6.0: [0, 0]}
    for user in range(40, 80):
        items, when = known_likes(days, user, 8, rng)
        for border, counts in named.items():
            counts[0] += singled_out(match_scores(items, when, days[2:40], 10.0), border) >= 0
            counts[1] += singled_out(match_scores(items, when, days, 10.0), border) == user
    assert named[6.0][0] < 0.3 * named[1.5][0]
    assert named[6.0][1] > 36  # of forty who were released


def test_scores_are_those_of_the_formula():
    days = sparse.csr_matrix([[10.0, 0, 5], [12, 7, 0], [0, 7, 9]])
    items, when = np.array([0, 2]), np.array([11.0, 5.0])
    w = 1 / np.log(3)  # two users like each
    want = [w * np.exp(-1 / 4) + w, w * np.exp(-1 / 4), w * np.exp(-1)]
    np.testing.assert_allclose(match_scores(items, when, days, 4.0), want)
    np.testing.assert_allclose(match_scores(items, None, days), [2 * w, w, w])
    rare = sparse.csr_matrix([[1.0, 1], [0, 1], [0, 1]])
    alone, common = match_scores(np.array([0]), None, rare), match_scores(np.array([1]), None, rare)
    assert alone[0] > common[0] > 0


def test_what_is_known_is_as_right_and_as_wrong_as_it_should_be():
    days = released()
    items, when = known_likes(days, 5, 9, np.random.default_rng(0), n_wrong=3, date_error=2.0)
    assert len(set(items)) == 9
    true = days[[5]].toarray()[0][items]
    assert np.count_nonzero(true) == 6
    assert np.abs(when - true)[:6].max() <= 2.0 and np.abs(when - true)[:6].max() > 0.2
    exact = known_likes(days, 5, 9, np.random.default_rng(0))
    np.testing.assert_array_equal(days[[5]].toarray()[0][exact[0]], exact[1])


def test_who_likes_everything_can_be_known_but_not_wrongly():
    items, when = known_likes(sparse.csr_matrix(np.ones((2, 5))), 1, 4, np.random.default_rng(0))
    assert len(set(items)) == 4 and (when == 1).all()


BAD = {
    "too many": (lambda d, r: known_likes(d, 0, 190, r), "user row 0 has"),
    "more wrong than known": (lambda d, r: known_likes(d, 0, 2, r, n_wrong=3), "user row 0 has"),
    "no such user": (lambda d, r: known_likes(d, 80, 2, r), "user must be"),
    "a user from behind": (lambda d, r: known_likes(d, -1, 2, r), "user must be"),
    "nothing to be wrong": (
        lambda d, r: known_likes(sparse.csr_matrix(np.ones((2, 5))), 0, 3, r, n_wrong=1),
        "0 items are liked by others only, not 1",
    ),
    "no dates to lend": (
        lambda d, r: known_likes(sparse.csr_matrix([[0.0, 0], [1, 1]]), 0, 1, r, n_wrong=1),
        "user row 0 has no likes",
    ),
    "none": (lambda d, r: known_likes(d, 0, 0, r), "n_known must"),
    "date": (lambda d, r: known_likes(d, 0, 2, r, date_error=-1), "date_error must"),
    "scale": (lambda d, r: match_scores(np.array([0]), None, d, 0.0), "scale must"),
    "dates": (lambda d, r: match_scores(np.array([0]), np.ones(2), d), "need as many dates"),
    "eccentricity": (lambda d, r: singled_out(np.ones(3), -1), "eccentricity must"),
    "alone": (lambda d, r: singled_out(np.ones(1)), "n_users >= 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(case):
    run, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        run(released(), np.random.default_rng(0))
