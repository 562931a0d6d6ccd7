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


@pytest.mark.parametrize("k", [3, 20])
def test_group_quality_is_scikit_learns_in_each_group(k):
    scores = SCORES.round(0)  # with many ties, over which scikit-learn takes the mean
    found = group_quality(LABELS, scores, GROUPS, k=k)
    mixed = np.random.default_rng(1).permutation(300)  # the order of the rows says nothing
    again = group_quality(LABELS[mixed], scores[mixed], GROUPS[mixed], k=k)
    np.testing.assert_allclose(found, again)
    assert found["n"].sum() == 300 and found.index.tolist() == sorted(set(GROUPS.tolist()))
    for name, row in found.iterrows():
        own = name == GROUPS
        assert row["auc"] == pytest.approx(roc_auc_score(LABELS[own], scores[own]))
        expected = ndcg_score(LABELS[own][None], scores[own][None], k=k)
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
    scores, groups = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], list("aabbcc")
    found = group_quality([1, 1, 0, 1, 0, 0], scores, groups)
    assert found.index.tolist() == ["b"] and found["auc"].tolist() == [1.0]


def test_whole_numbers_without_a_sign_are_scores_too():
    whole = (SCORES * 10 + 100).astype(np.uint8)
    expected = group_quality(LABELS, whole.astype(float), GROUPS)
    np.testing.assert_allclose(group_quality(LABELS, whole, GROUPS), expected)


def test_bins_of_one_row_of_all_rows_and_of_equal_predictions():
    labels, p = np.repeat([0, 1], 20), np.full(40, 0.5)
    assert reliability(labels, p, 2)["observed"].tolist() == [0, 1]  # rows stay in their order
    assert reliability(labels, p, 1)["observed"].tolist() == [0.5]
    assert len(reliability(labels, p, 40)) == 40
    # bins of two rows and of one: errors 0.2 and 0.1
    assert calibration_error([0, 0, 1], [0.2, 0.2, 0.9], 2) == pytest.approx((2 * 0.2 + 0.1) / 3)


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


def test_platt_scaling(monkeypatch):
    steps, solve = [], np.linalg.solve
    monkeypatch.setattr(np.linalg, "solve", lambda *of: (steps.append(of), solve(*of))[1])
    logits = RNG.normal(size=50_000)
    labels = RNG.random(50_000) < expit(0.5 * logits - 1)
    a, b = platt_scaling(labels, logits)
    assert (a, b) == pytest.approx((0.5, -1), abs=0.05)  # standard errors are about 0.01
    assert 3 <= len(steps) <= 8  # each of Newton's steps doubles the digits that are right
    theirs = LogisticRegression(C=np.inf, tol=1e-8).fit(logits[:, None], labels)
    assert (a, b) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=1e-4)
    better = calibration_error(labels, expit(a * logits + b))
    assert better < 0.01 < 0.1 < calibration_error(labels, expit(logits))


def test_platt_scaling_arrives_where_whole_steps_lead_away():
    """One label of eleven, far out: Newton's method alone ends at 2e13."""
    logits = np.array([4, 2, -3, 0, 0, -2, -27, 1, -1, 4, -30.0])
    labels = logits == -27
    a, b = platt_scaling(labels, logits)
    missed = labels - expit(a * logits + b)  # at the minimum its sums are 0
    assert missed.sum() == pytest.approx(0, abs=1e-9)
    assert missed @ logits == pytest.approx(0, abs=1e-9)
    assert platt_scaling(~labels, logits) == pytest.approx((-a, -b), rel=1e-9)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: auc([0, 2], [0.0, 1.0]), "0 or 1"),
        (lambda: auc([[0, 1]], [[0.0, 1.0]]), r"shapes \(1, 2\), \(1, 2\)"),
        (lambda: auc([0, 1], [0.0]), r"shapes \(2,\), \(1,\)"),
        (lambda: auc([0, 1], [0.0, np.nan]), "finite"),
        (lambda: reliability([0, 1], [0.0, 1.1]), "from 0 to 1"),
        (lambda: reliability([0, 1], [-0.1, 1.0]), "from 0 to 1"),
        (lambda: reliability([0, 1], [0.0, 1.0], 3), "n_bins must be from 1 to 2"),
        (lambda: reliability([0, 1], [0.0, 1.0], 0), "n_bins must be from 1 to 2"),
        (lambda: platt_scaling([1, 1], [0.0, 1.0]), "all alike"),
        (lambda: platt_scaling([0, 0], [0.0, 1.0]), "all alike"),
        (lambda: platt_scaling([0, 1], [1.0, 1.0]), "all alike"),
        (lambda: platt_scaling([0, 0, 1, 1], [0.0, 1.0, 1.0, 2.0]), "without a mistake"),
        (lambda: platt_scaling([1, 1, 0, 0], [0.0, 1.0, 1.0, 2.0]), "without a mistake"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
