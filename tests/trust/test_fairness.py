"""A planted gap is seen, no gap is not, and what cannot be known is said to be unknown."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.trust import capped_lists, detectable_gap, exposure_gini, group_gaps


def users(gap, n=200, seed=0, few=5):
    """Values of two large groups and a small one."""
    rng = np.random.default_rng(seed)
    group = pd.Series(["a"] * n + ["b"] * n + ["c"] * few)
    values = rng.normal(0.2, 0.2, len(group)) + gap * (group == "a").to_numpy()
    return pd.Series(values), group


def test_a_planted_gap_is_seen_with_its_sign():
    table = group_gaps(*users(0.1))
    assert table.loc["a", "gap_low"] > 0 > table.loc["b", "gap_high"]
    assert table.loc["a", "gap_low"] < 0.1 < table.loc["a", "gap_high"]


def test_without_a_gap_it_is_seen_in_one_of_twenty():
    seen = [not _holds(group_gaps(*users(0.0, seed=seed)).loc["a"]) for seed in range(60)]
    assert np.mean(seen) < 0.15


def _holds(row):
    return row["gap_low"] <= 0 <= row["gap_high"]


def test_a_gap_of_the_detectable_size_is_seen_four_times_in_five():
    """The formula against what it promises, on samples."""
    rng = np.random.default_rng(1)
    size = detectable_gap(rng.normal(0, 0.2, 10**5), rng.normal(0, 0.3, 10**5))
    size *= np.sqrt(10**5 / 80)  # of groups of eighty
    seen = 0
    for _ in range(2000):
        a, b = rng.normal(size, 0.2, 80), rng.normal(0, 0.3, 80)
        error = np.sqrt(a.var(ddof=1) / 80 + b.var(ddof=1) / 80)
        seen += (a.mean() - b.mean()) / error > 1.96
    assert seen / 2000 == pytest.approx(0.8, abs=0.03)


def test_four_times_the_users_show_half_the_gap():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=70)
    many = detectable_gap(np.tile(a, 400), np.tile(b, 400))
    assert many == pytest.approx(detectable_gap(np.tile(a, 100), np.tile(b, 100)) / 2, rel=1e-3)
    assert detectable_gap(a, b, power=0.9) > detectable_gap(a, b)


def test_of_too_few_nothing_is_said():
    table = group_gaps(*users(0.1))
    assert table.loc["c", "n_users"] == 5 and table.loc["c"].drop("n_users").isna().all()
    assert group_gaps(*users(0.1), least=5).loc["c"].notna().all()
    alone = group_gaps(pd.Series(np.ones(30)), pd.Series(["a"] * 30))
    assert alone.loc["a"].drop("n_users").isna().all()  # nobody to compare with


def test_who_has_no_value_or_no_group_is_left_out():
    values, groups = users(0.1)
    values[0], groups[1] = np.nan, None
    assert group_gaps(values, groups).loc["a", "n_users"] == 198


def test_bad_input_is_named():
    values, groups = users(0.1)
    with pytest.raises(ValueError, match="same users"):
        group_gaps(values, groups[::-1])
    with pytest.raises(ValueError, match="least"):
        group_gaps(values, groups, least=1)
    with pytest.raises(ValueError, match="power"):
        detectable_gap(values, values, power=1.0)
    with pytest.raises(ValueError, match="two users a side"):
        detectable_gap(values[:1], values)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_no_item_stands_in_more_lists_than_it_may(seed, most):
    rng = np.random.default_rng(seed)
    ranked = np.array([rng.permutation(20) for _ in range(6)])
    lists = capped_lists(ranked, 3, most, seed)
    shown = np.concatenate([row[places] for row, places in zip(ranked, lists, strict=True)])
    assert len(shown) == 18 and all(len(set(p)) == 3 for p in lists)
    assert np.bincount(shown).max() <= most


def test_without_a_limit_that_binds_lists_are_as_they_were():
    ranked = np.array([[5, 4, 3, 2]] * 3)
    for places in capped_lists(ranked, 3, 3):
        np.testing.assert_array_equal(places, [0, 1, 2])
    # Three users, one copy of each of four items: after them the best is taken all the same.
    lists = capped_lists(ranked, 3, 1)
    assert sorted(places[0] for places in lists) == [0, 1, 2]
    assert all(len(set(places)) == 3 for places in lists)
    shown = np.concatenate([row[places] for row, places in zip(ranked, lists, strict=True)])
    assert np.bincount(shown).max() > 1  # the limit gives way before a list has a gap


def test_padding_is_shown_last():
    ranked = np.array([[0, 1, -1], [0, 1, -1]])
    lists = capped_lists(ranked, 2, 1)
    assert {tuple(sorted(places)) for places in lists} <= {(0, 1)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 9))
def test_no_owner_takes_more_places_than_allowed(seed, most):
    rng = np.random.default_rng(seed)
    ranked = np.array([rng.permutation(20) for _ in range(6)])
    owner = np.arange(20) % 4  # six lists of three, four owners: 18 places
    limits = np.array([most, most, 20, 20])
    lists = capped_lists(ranked, 3, limits, seed, owner=owner)
    shown = np.concatenate([row[places] for row, places in zip(ranked, lists, strict=True)])
    assert (np.bincount(owner[shown], minlength=4) <= limits).all()
    as_before = capped_lists(ranked, 3, most, seed)
    each_alone = capped_lists(ranked, 3, most, seed, owner=np.arange(20))
    np.testing.assert_array_equal(as_before, each_alone)


def test_an_owner_without_a_place_is_shown_only_where_nobody_else_is_left():
    ranked = np.array([[0, 1, 2], [0, 1, -1]])
    lists = capped_lists(ranked, 2, np.array([0, 2, 2]), owner=np.array([0, 1, 2]))
    assert [places.tolist() for places in lists] == [[1, 2], [1, 0]]


def test_the_gini_coefficient_is_the_mean_difference_of_any_two_units():
    """Against its other definition, over pairs: half the relative mean absolute difference."""
    rng = np.random.default_rng(0)
    exposure, size = rng.poisson(4, 12), rng.integers(1, 9, 12)
    rate = np.repeat(exposure / size, size)  # of each unit
    pairs = np.abs(rate[:, None] - rate[None]).mean() / (2 * rate.mean())
    assert exposure_gini(exposure, size) == pytest.approx(pairs)


def test_the_gini_coefficient_does_not_see_how_owners_are_divided():
    whole = exposure_gini([8, 2, 5], [4, 4, 2])
    assert exposure_gini([6, 2, 2, 5], [3, 1, 4, 2]) == pytest.approx(whole) and whole > 0
    assert exposure_gini([3, 6, 1.5], [2, 4, 1]) == 0


@pytest.mark.parametrize("exposure, size", [([0, 0], [1, 1]), ([1, -1], [1, 1]), ([1, 2], [0, 1])])
def test_a_gini_coefficient_of_nothing_is_refused(exposure, size):
    with pytest.raises(ValueError, match="must be positive, exposures not negative and not all 0"):
        exposure_gini(exposure, size)


def test_bad_limits_are_named():
    with pytest.raises(ValueError, match="2 items have an owner, and column 2"):
        capped_lists(np.array([[0, 2]]), 1, 1, owner=np.array([0, 1]))
    with pytest.raises(ValueError, match="most must be"):
        capped_lists(np.array([[0, 1]]), 1, 0)
    with pytest.raises(ValueError, match="k must be"):
        capped_lists(np.array([[0, 1]]), 3, 1)
