"""Numbers of collapse, on vectors whose answer is known."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from recsys_tutorial.geometry import alignment, effective_rank, spectrum, uniformity


def rows(n, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(n, dim, generator=generator, dtype=torch.float64), dim=1)


def test_alignment_is_two_minus_two_cosines():
    u, v = rows(7, 5), rows(7, 5, seed=1)
    assert alignment(u, v).item() == pytest.approx(2 - 2 * (u * v).sum(1).mean().item())
    assert alignment(u, u).item() == 0


def test_uniformity_equals_a_loop_and_orders_what_it_should():
    v = rows(6, 4)
    x = v.numpy()
    pairs = [np.exp(-2 * ((x[a] - x[b]) ** 2).sum()) for a in range(6) for b in range(6) if a != b]
    assert uniformity(v).item() == pytest.approx(np.log(np.mean(pairs)))
    assert uniformity(v[:1].repeat(5, 1)).item() == pytest.approx(0)
    crowded = normalize(rows(200, 4) + 2 * torch.eye(4, dtype=torch.float64)[0], dim=1)
    assert uniformity(rows(200, 4)) < uniformity(crowded) < 0


def test_uniformity_has_gradients_that_spread():
    v = normalize(rows(20, 3) + 3, dim=1).requires_grad_()
    before = uniformity(v)
    before.backward()
    after = uniformity(normalize(v.detach() - 0.1 * v.grad, dim=1))
    assert after < before


@pytest.mark.parametrize("k", [1, 3, 8])
def test_effective_rank_counts_equal_directions(k):
    cross = np.concatenate([np.eye(k, 10), -np.eye(k, 10)])
    assert effective_rank(5 + 2 * cross) == pytest.approx(k)


def test_effective_rank_lies_between_one_and_the_rank():
    x = np.random.default_rng(0).normal(size=(50, 6)) * [9, 3, 1, 0.5, 0.1, 0]
    assert 1 < effective_rank(x) < 3  # most of the variance has one direction
    assert effective_rank(np.ones((4, 3))) == 0
    for scale in (1e-4, 1e4):
        assert effective_rank(scale * x) == pytest.approx(effective_rank(x))


def test_spectrum_is_the_deviation_along_the_axes():
    x = np.random.default_rng(0).normal(size=(40, 3))
    x = np.linalg.qr(x - x.mean(0))[0] * np.sqrt(40) * [3, 2, 1]
    np.testing.assert_allclose(spectrum(x + 7), [3, 2, 1])
    assert (spectrum(x) ** 2).sum() == pytest.approx(x.var(0).sum())
    assert spectrum(x[:1]).tolist() == [0]  # one vector lies nowhere but where it is


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: alignment(rows(3, 2), rows(4, 2)), r"\(n, dim\), got \(3, 2\) and \(4, 2\)"),
        (lambda: uniformity(rows(1, 2)), "n >= 2"),
        (lambda: uniformity(rows(3, 2)[0]), r"got \(2,\)"),
        (lambda: spectrum(np.array([[np.nan, 1.0]])), "row 0 of vectors holds nan"),
        (lambda: spectrum(np.zeros((0, 2))), "n >= 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
