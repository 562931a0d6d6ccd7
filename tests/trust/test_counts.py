"""Counts with noise of the law they promise, of a part of each user's likes."""

import numpy as np
import pytest
from scipy import sparse, stats

from recsys_tutorial.trust import laplace_counts


def test_counts_have_laplaces_noise():
    x = sparse.csr_matrix(np.ones((30, 20_000)))
    counts = laplace_counts(x, 0.5, 20_000, np.random.default_rng(0)) - 30
    scale = 20_000 / 0.5
    assert stats.kstest(counts, stats.laplace(scale=scale).cdf).pvalue > 1e-3
    assert stats.kstest(counts, stats.laplace(scale=scale * 1.1).cdf).pvalue < 1e-3


def test_of_each_user_only_so_many_likes_count():
    x = sparse.csr_matrix(np.ones((50, 12)))
    counts = [laplace_counts(x, 1e9, 3, np.random.default_rng(s)) for s in range(40)]
    assert np.sum(counts[0]) == pytest.approx(150, abs=1e-4)  # 3 each
    assert np.mean(counts, axis=0) == pytest.approx(12.5, abs=2.0)  # no item is preferred
    few = sparse.csr_matrix(np.eye(12))
    np.testing.assert_allclose(laplace_counts(few, 1e9, 3, np.random.default_rng(0)), 1, atol=1e-6)


def test_without_a_user_counts_have_nearly_the_same_law():
    """The definition itself, of one count: no event is more than e^epsilon times as likely."""
    epsilon, rng = 1.0, np.random.default_rng(0)
    one, none = sparse.csr_matrix(np.ones((1, 1))), sparse.csr_matrix((1, 1))
    with_, without = (
        np.array([laplace_counts(x, epsilon, 1, rng)[0] for _ in range(20_000)])
        for x in (one, none)
    )
    for border in (-1.0, 0.0, 0.5, 1.0, 2.0):
        ratio = (with_ > border).mean() / (without > border).mean()
        assert ratio < np.exp(epsilon) * 1.08
    assert (with_ > 1).mean() / (without > 1).mean() > 2.4  # e, and not a smaller one


def test_bad_settings_are_named():
    likes = sparse.csr_matrix(np.eye(3))
    with pytest.raises(ValueError, match="most must be"):
        laplace_counts(likes, 1.0, 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="epsilon must be"):
        laplace_counts(likes, 0.0, 1, np.random.default_rng(0))
