"""Metrics of rows against scikit-learn's, and calibration with planted answers."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys_tutorial.evaluation import (
    auc,
    calibration_error,
    group_quality,
    platt_scaling,
    reliability,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 300)
SCORES = (RNG.normal(size=300) + LABELS).round(1)  # with ties
GROUPS = RNG.integers(0, 20, 300)


def test_auc_is_scikit_learns():
    assert auc(LABELS, SCORES) == pytest.approx(roc_auc_score(LABELS, SCORES))
    assert auc([0, 1, 1, 0], [1.0, 2.0, 3.0, 0.0]) == 1.0 and auc([0, 1], [1.0, 1.0]) == 0.5
    assert np.isnan(auc([1, 1], [0.0, 1.0]))


def test_group_quality_is_scikit_learns_in_each_group():
    scores = SCORES.round(0)  # with many ties, over which scikit-learn takes the mean
    found = group_quality(LABELS, scores, GROUPS, k=3)
    mixed = np.random.default_rng(1).permutation(300)  # the order of the rows says nothing
    again = group_quality(LABELS[mixed], scores[mixed], GROUPS[mixed], k=3)
    np.testing.assert_allclose(found, again)
    assert found["n"].sum() == 300 and found.index.tolist() == sorted(set(GROUPS.tolist()))
    for name, row in found.iterrows():
        own = name == GROUPS
        assert row["auc"] == pytest.approx(roc_auc_score(LABELS[own], scores[own]))
        expected = ndcg_score(LABELS[own][None], scores[own][None], k=3)
        assert row["ndcg"] == pytest.approx(expected)


def test_a_number_of_the_user_moves_auc_and_not_the_lists():
    """What is the same for all rows of a user orders users, not what one of them sees."""
    base = expit(RNG.normal(size=20) * 2)[GROUPS]
    labels = (RNG.random(300) < base).astype(int)
    found = group_quality(labels, base, GROUPS)
    assert auc(labels, base) > 0.75 and (found["auc"] == 0.5).all()
    plus = group_quality(LABELS, SCORES + 10 * GROUPS, GROUPS)
    assert plus["auc"].to_numpy() == pytest.approx(group_quality(LABELS, SCORES, GROUPS)["auc"])


def test_groups_in_which_all_is_alike_are_left_out():
    found = group_quality([1, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "b"])
    assert found.index.tolist() == ["b"] and found["auc"].tolist() == [1.0]


def test_reliability_and_its_error():
    labels = np.array([0, 0, 1, 1, 1, 0])
    p = np.array([0.1, 0.3, 0.5, 0.9, 0.8, 0.2])
    bins = reliability(labels, p, 3)
    assert bins["predicted"].tolist() == pytest.approx([0.15, 0.4, 0.85])
    assert bins["observed"].tolist() == [0.0, 0.5, 1.0] and bins["n"].tolist() == [2, 2, 2]
    assert calibration_error(labels, p, 3) == pytest.approx((0.15 + 0.1 + 0.15) / 3)
    truth = RNG.random(200_000)
    happened = RNG.random(200_000) < truth
    assert calibration_error(happened, truth) < 0.005  # a bin's mean has an error of 0.0035
    assert calibration_error(happened, truth**2) > 0.1


def test_platt_scaling():
    logits = RNG.normal(size=50_000)
    labels = RNG.random(50_000) < expit(0.5 * logits - 1)
    a, b = platt_scaling(labels, logits)
    assert (a, b) == pytest.approx((0.5, -1), abs=0.05)  # standard errors are about 0.01
    theirs = LogisticRegression(C=np.inf, tol=1e-8).fit(logits[:, None], labels)
    assert (a, b) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=1e-4)
    better = calibration_error(labels, expit(a * logits + b))
    assert better < 0.01 < 0.1 < calibration_error(labels, expit(logits))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: auc([0, 2], [0.0, 1.0]), "0 or 1"),
        (lambda: auc([0, 1], [0.0]), r"shapes \(2,\), \(1,\)"),
        (lambda: auc([0, 1], [0.0, np.nan]), "finite"),
        (lambda: reliability([0, 1], [0.0, 1.1]), "from 0 to 1"),
        (lambda: reliability([0, 1], [0.0, 1.0], 3), "n_bins must be from 1 to 2"),
        (lambda: platt_scaling([1, 1], [0.0, 1.0]), "all alike"),
        (lambda: platt_scaling([0, 1], [1.0, 1.0]), "all alike"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
