"""Drift, the alarm and the intervals of a trial, against definitions written out and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from recsys_tutorial.serving import Alarm, list_overlap, population_stability, sequential_radius

rng = np.random.default_rng


def test_stability_is_the_sum_of_both_divergences():
    a, b = rng(0).normal(size=900), rng(1).normal(0.5, 1.3, size=400)
    edges = np.quantile(a, np.arange(1, 10) / 10)
    counts = [np.bincount(np.digitize(x, edges), minlength=10) + 0.5 for x in (a, b)]
    r, s = (c / c.sum() for c in counts)
    assert np.isclose(population_stability(a, b), entropy(r, s) + entropy(s, r), rtol=1e-12)


def test_stability_of_nothing_new_is_small_and_about_what_chance_makes():
    values = [
        population_stability(rng(i).normal(size=2000), rng(1000 + i).normal(size=500))
        for i in range(300)
    ]
    expected = 9 * (1 / 2000 + 1 / 500)
    assert abs(np.mean(values) / expected - 1) < 0.1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_stability_is_not_negative_and_zero_for_itself(values, n_bins):
    x = np.array(values)
    assert population_stability(x, x, n_bins) == pytest.approx(0, abs=1e-12)
    assert population_stability(x, x[::-1] + 1, n_bins) >= 0


@pytest.mark.parametrize("to", [-1.0, 1.0])
def test_a_column_that_was_constant_and_is_not_any_more_is_seen(to):
    constant = np.zeros(1000)
    assert population_stability(constant, constant[:100]) < 0.05
    assert population_stability(constant, np.full(100, to)) > 5
    mostly = np.where(np.arange(1000) < 900, 0.0, 1.0)
    assert population_stability(mostly, np.zeros(200)) > 0.1


@pytest.mark.parametrize(
    "reference, sample, n_bins, message",
    [
        ([], [1.0], 10, "0 and 1 values"),
        ([1.0], [], 10, "1 and 0 values"),
        ([1.0], [np.nan], 10, "not finite"),
        ([np.inf], [1.0], 10, "not finite"),
        ([1.0], [1.0], 1, "at least 2, got 1"),
    ],
)
def test_bad_samples(reference, sample, n_bins, message):
    with pytest.raises(ValueError, match=message):
        population_stability(np.array(reference), np.array(sample), n_bins)


def test_overlap_is_that_of_sets():
    a, b = (np.argsort(rng(i).random((20, 15)), axis=1)[:, :6] for i in (0, 1))
    expected = [len(set(x) & set(y)) / 6 for x, y in zip(a, b, strict=True)]
    assert np.allclose(list_overlap(a, b), expected) and 0 < np.mean(expected) < 1
    assert (list_overlap(a, a[:, ::-1]) == 1).all()
    with pytest.raises(ValueError, match="b must be"):
        list_overlap(a, b[:, :5])


def test_an_alarm_is_false_as_often_as_it_was_told():
    rates = []
    for seed in range(200):
        weeks = rng(seed).standard_t(4, size=(300, 3))
        rates.append(Alarm(0.1).fit(weeks[:100]).fires(weeks[100:]).mean())
    assert abs(np.mean(rates) - 0.1) < 0.015


def test_an_alarm_fires_on_what_is_far_on_either_side_and_on_no_number():
    quiet = rng(0).normal([5.0, -1.0], [1.0, 0.01], size=(200, 2))
    alarm = Alarm(0.01).fit(quiet)
    assert alarm.limit_ == pytest.approx(np.sort(alarm.distances(quiet).max(1))[198])
    weeks = np.array([[5, -1], [5, -0.9], [5, -1.1], [-1, -1], [np.nan, -1], [5, np.inf]])
    assert alarm.fires(weeks).tolist() == [False, True, True, True, True, True]


def test_a_statistic_that_never_moved_does_not_divide_by_zero():
    quiet = np.column_stack([np.ones(50), rng(0).normal(size=50)])
    alarm = Alarm(0.1).fit(quiet)
    assert np.isfinite(alarm.distances(quiet)).all()
    assert alarm.fires(np.array([[30.0, 0.0]])).all()


@pytest.mark.parametrize(
    "rate, quiet, message",
    [
        (0.05, np.zeros((18, 1)), "needs 19 quiet weeks, got 18"),
        (0.5, np.array([[np.nan], [1.0], [2.0]]), "not finite"),
    ],
)
def test_bad_weeks(rate, quiet, message):
    with pytest.raises(ValueError, match=message):
        Alarm(rate).fit(quiet)
    assert Alarm(0.05).fit(np.arange(19.0)[:, None]).limit_ > 0


@pytest.mark.parametrize("rate", [0.0, 1.0, -1, np.nan])
def test_bad_rates(rate):
    with pytest.raises(ValueError, match="rate must be in"):
        Alarm(rate)


def test_the_sequence_holds_at_all_times_at_once_and_an_interval_for_one_time_does_not():
    n = np.arange(1, 2001)
    means = rng(0).normal(0, 2.0, size=(1500, 2000)).cumsum(axis=1) / n
    radius = sequential_radius(n, 4.0, 0.05, best_at=300)
    left = (np.abs(means) > radius).any(axis=1).mean()
    assert 0.01 < left < 0.05  # in all time it is 0.05
    assert (np.abs(means) > 1.96 * 2 / np.sqrt(n)).any(axis=1).mean() > 0.4


def test_the_radius_is_narrow_where_it_was_told_and_not_much_wider_than_for_one_look():
    for best in (100, 10_000):
        ratios = {
            at: sequential_radius(best, 3.0, best_at=at) / np.sqrt(3 / best)
            for at in (best / 10, best / 2, best, 2 * best, best * 10)
        }
        least = min(ratios, key=ratios.get)
        assert least == best and 1.96 < ratios[best] < 1.6 * 1.96
    assert sequential_radius(50, 1.0, 0.01) > sequential_radius(50, 1.0, 0.1)
    assert np.isclose(sequential_radius(50, 9.0), 3 * sequential_radius(50, 1.0))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"variance": 0.0}, "variance must be positive"),
        ({"best_at": -1}, "best_at must be positive"),
        ({"alpha": 1.0}, "alpha must be in"),
        ({"n": [1, 0]}, "before the first value"),
    ],
)
def test_bad_trials(settings, message):
    with pytest.raises(ValueError, match=message):
        sequential_radius(**{"n": [5], "variance": 1.0, **settings})
