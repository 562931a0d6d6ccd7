"""The accountant against cases that are closed, against samples, and against other accountants."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import norm

from recsys_tutorial.trust import (
    gaussian_delta,
    gaussian_epsilon,
    noise_for,
    sampled_gaussian_epsilon,
)
from recsys_tutorial.trust.accountant import _ORDERS, _integrated, _renyi


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 4.0), st.floats(0.4, 5.0))
def test_delta_is_the_definitions_integral(epsilon, noise):
    """The largest P(with in S) - e^epsilon P(without in S): where the first density is larger."""

    def excess(x):
        return max(0.0, norm.pdf(x, 1, noise) - np.exp(epsilon) * norm.pdf(x, 0, noise))

    border = 0.5 + epsilon * noise**2
    want = integrate.quad(excess, border, border + 12 * noise, limit=200)[0]
    assert gaussian_delta(epsilon, noise) == pytest.approx(want, rel=1e-5, abs=1e-12)


def test_epsilon_is_deltas_inverse_and_steps_are_one_with_less_noise():
    for noise, steps in ((0.8, 1), (3.0, 7), (20.0, 400)):
        epsilon = gaussian_epsilon(noise, steps, 1e-5)
        assert gaussian_delta(epsilon, noise, steps) == pytest.approx(1e-5, rel=1e-6)
        assert epsilon == pytest.approx(gaussian_epsilon(noise / steps**0.5, 1, 1e-5), rel=1e-6)
    assert gaussian_epsilon(1e6, 1, 0.5) == 0


def test_the_bound_of_whole_batches_is_renyis_closed_form():
    noise, steps, delta = 8.0, 20, 1e-5
    orders = _ORDERS
    renyi = steps * orders / (2 * noise**2)
    want = renyi + np.log1p(-1 / orders) - (np.log(delta) + np.log(orders)) / (orders - 1)
    assert sampled_gaussian_epsilon(1.0, noise, steps, delta) == pytest.approx(want.min())


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 30.0), st.integers(1, 300))
def test_the_bound_lies_above_what_is_exact_and_not_far(noise, steps):
    assume(steps <= 100 * noise**2)  # beyond, epsilon is above 90: that promises nothing
    exact = gaussian_epsilon(noise, steps, 1e-5)
    bound = sampled_gaussian_epsilon(1.0, noise, steps, 1e-5)
    assert exact < bound < 1.35 * exact + 0.15


def test_a_chance_next_to_one_is_next_to_whole_batches():
    near = sampled_gaussian_epsilon(1 - 1e-9, 3.0, 10)
    assert near == pytest.approx(sampled_gaussian_epsilon(1.0, 3.0, 10), rel=1e-6)


def test_the_divergence_of_a_drawn_step_is_its_integral():
    """Renyi's divergence of (1 - q) N(0) + q N(1) from N(0), order 3, by quadrature."""
    q, noise = 0.3, 1.5

    def density(x):
        base = norm.pdf(x, 0, noise)
        return base * ((1 - q) + q * norm.pdf(x, 1, noise) / base) ** 3

    want = np.log(integrate.quad(density, -20, 20)[0]) / 2
    assert _renyi(3, q, noise) == pytest.approx(want, rel=1e-8)


@pytest.mark.parametrize("noise", [0.2, 0.4677, 1.337, 12.0])
@pytest.mark.parametrize("rate", [0.01, 0.25, 0.9])
def test_the_integral_is_the_sum_at_whole_orders(rate, noise):
    for order in (2, 3, 8, 15):
        assert _integrated(order, rate, noise) == pytest.approx(
            _renyi(order, rate, noise), rel=1e-8, abs=1e-13
        )


@pytest.mark.parametrize("order", [1.05, 1.5, 2.25, 7.75])
def test_orders_in_between_are_integrals_too(order):
    """By adaptive quadrature, and no further from the orders beside them than R grows."""
    rate, noise = 0.25, 0.6726

    def density(x):
        ratio = 1 - rate + rate * np.exp((2 * x - 1) / (2 * noise**2))
        return norm.pdf(x, 0, noise) * ratio**order

    points = np.arange(-8.0, order + 9)
    total = sum(
        integrate.quad(density, *ends, epsabs=0, epsrel=1e-11)[0]
        for ends in itertools.pairwise(points)
    )
    assert _renyi(order, rate, noise) == pytest.approx(np.log(total) / (order - 1), rel=1e-8)
    values = [_renyi(a, rate, noise) for a in (order - 0.01, order, order + 0.01)]
    assert values == sorted(values)


def test_orders_below_two_count_where_noise_is_small():
    """Whole orders alone are several times too much; with much noise they lose nothing."""
    whole = np.arange(2, 257)

    def from_whole(noise, steps):
        spent = steps * np.array([_renyi(a, 0.25, noise) for a in whole])
        return (spent + np.log1p(-1 / whole) - (np.log(1e-5) + np.log(whole)) / (whole - 1)).min()

    assert sampled_gaussian_epsilon(0.25, 0.4677, 1200) < 0.25 * from_whole(0.4677, 1200)
    assert from_whole(12.0, 100) == pytest.approx(
        sampled_gaussian_epsilon(0.25, 12.0, 100), rel=0.01
    )


def test_more_noise_and_fewer_draws_give_less_away():
    base = sampled_gaussian_epsilon(0.2, 2.0, 100)
    assert sampled_gaussian_epsilon(0.1, 2.0, 100) < base
    assert sampled_gaussian_epsilon(0.2, 3.0, 100) < base
    assert sampled_gaussian_epsilon(0.2, 2.0, 200) > base
    assert sampled_gaussian_epsilon(0.2, 2.0, 100, 1e-8) > base


@pytest.mark.parametrize("epsilon", [0.3, 2.0, 50.0])
def test_the_noise_for_an_epsilon_is_enough_and_not_too_much(epsilon):
    noise = noise_for(epsilon, 0.25, 200)
    assert sampled_gaussian_epsilon(0.25, noise, 200) <= epsilon
    assert sampled_gaussian_epsilon(0.25, noise * 0.995, 200) > epsilon


def test_opacus_says_the_same():
    """Where the extra `trust` is installed: at the same orders, whose series it sums."""
    rdp = pytest.importorskip("opacus.accountants.analysis").rdp
    orders = _ORDERS.tolist()
    mild = ((0.25, 2.0, 200), (0.05, 1.0, 1000), (1.0, 10.0, 50))
    little = ((0.25, 1.337, 1200), (0.25, 0.6726, 100), (0.25, 0.4677, 1200))
    for rate, noise, steps in mild + little:
        spent = rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=orders)
        theirs = rdp.get_privacy_spent(orders=orders, rdp=spent, delta=1e-5)[0]
        ours = sampled_gaussian_epsilon(rate, noise, steps, 1e-5)
        assert ours == pytest.approx(theirs, rel=1e-6)


BAD = {
    "epsilon": (lambda: gaussian_delta(-1.0, 1.0), "epsilon must be"),
    "noise": (lambda: gaussian_delta(1.0, 0.0), "noise must be"),
    "steps": (lambda: gaussian_delta(1.0, 1.0, 0), "steps must be"),
    "delta": (lambda: gaussian_epsilon(1.0, 1, 0.0), "delta must be"),
    "rate": (lambda: sampled_gaussian_epsilon(0.0, 1.0, 1), "rate must be"),
    "rate above": (lambda: sampled_gaussian_epsilon(1.5, 1.0, 1), "rate must be"),
    "drawn steps": (lambda: sampled_gaussian_epsilon(0.5, 1.0, 0), "steps must be"),
    "drawn delta": (lambda: sampled_gaussian_epsilon(0.5, 1.0, 1, 1.0), "delta must be"),
    "unreachable": (lambda: noise_for(1e-7, 1.0, 10**6), "no noise up to 10000"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(case):
    run, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        run()
