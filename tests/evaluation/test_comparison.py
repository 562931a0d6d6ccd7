"""Paired comparison finds what is there and no more; claims bind where they apply."""

import numpy as np
import pytest

from recsys_tutorial.evaluation import claim, compare
from tests.evaluation.worlds import per_user_frame


def test_a_claim_binds_where_it_applies():
    claim(True)
    claim(np.bool_(True), applies=False)
    claim(False, applies=False)
    with pytest.raises(AssertionError, match="the prose claims"):
        claim(np.bool_(False))


def two_models(seed, gain, n_users=200):
    """Users differ much (some are easy for any model); the models differ little."""
    rng = np.random.default_rng(seed)
    ease = rng.beta(1, 3, size=n_users)
    a, b = (ease + 0.03 * rng.normal(size=n_users) for _ in range(2))
    return per_user_frame(**{"ndcg@10": a + gain}), per_user_frame(**{"ndcg@10": b})


def test_compare_detects_a_planted_difference_that_separate_intervals_hide():
    a, b = two_models(seed=0, gain=0.02)
    result = compare(a, b)
    assert result.metric == "ndcg@10" and result.n_users == 200
    assert result.difference == pytest.approx(a["ndcg@10"] - b["ndcg@10"], rel=1e-12)
    assert 0 < result.low < result.difference < result.high
    first, second = a.summary.loc["ndcg@10"], b.summary.loc["ndcg@10"]
    assert first["low"] < second["high"]  # the models' own intervals overlap
    unpaired = np.hypot(first["high"] - first["low"], second["high"] - second["low"])
    assert result.high - result.low < 0.3 * unpaired  # 0.04 / 0.27 of noise left by pairing
    turned = compare(b, a)
    assert (turned.low, turned.high) == pytest.approx((-result.high, -result.low), rel=1e-9)
    text = f"{result.difference:+.4f} [{result.low:+.4f}, {result.high:+.4f}], 200 users"
    assert str(result) == f"ndcg@10: {text}"


def test_compare_finds_nothing_where_nothing_is():
    pairs = [two_models(seed, gain=0.0, n_users=100) for seed in range(200)]
    results = [compare(a, b) for a, b in pairs]
    wrong = np.mean([r.low > 0 or r.high < 0 for r in results])
    # 5 % expected with a standard error of 1.5 %
    assert 0.005 <= wrong <= 0.1
    wide = np.mean([r.high - r.low for r in (compare(a, b, confidence=0.95) for a, b in pairs[:9])])
    narrow = np.mean(
        [r.high - r.low for r in (compare(a, b, confidence=0.5) for a, b in pairs[:9])]
    )
    # widths of a normal's 95 % and 50 % intervals: 1.96 / 0.674
    assert wide / narrow == pytest.approx(1.96 / 0.674, rel=0.05)


def test_a_model_compared_with_itself_does_not_differ():
    a, _ = two_models(seed=1, gain=0)
    result = compare(a, a)
    assert (result.difference, result.low, result.high) == (0, 0, 0)


def test_compare_bad_input():
    a, b = two_models(seed=0, gain=0)
    other = per_user_frame(**{"ndcg@10": np.zeros(199)})
    with pytest.raises(ValueError, match="a and b were evaluated on different users"):
        compare(a, other)
    with pytest.raises(ValueError, match=r"'ndcg@11' was not evaluated: there is \['ndcg@10'\]"):
        compare(a, b, metric="ndcg@11")
    with pytest.raises(ValueError, match="'mrr' was not evaluated"):
        _ = a["mrr"]
