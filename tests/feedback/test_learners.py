"""What policies learn with, against batch fits and sums by hand."""

import numpy as np
import pytest

from recsys_tutorial.feedback import (
    ItemRates,
    LinearTastes,
)
from tests.feedback.visits import E, history


def batch_fit(features, days, u, *, reg, memory, crowd):
    """Weighted ridge regression on all that u ever saw, by least squares on stacked rows."""
    rows, targets = [np.sqrt(reg) * np.eye(features.shape[1])], [np.sqrt(reg) * crowd]
    for age, (shown, clicks) in enumerate(reversed(days)):
        weight = np.sqrt(memory**age)
        rows.append(weight * E[:, None] * features[shown[u]])
        targets.append(weight * clicks[u])
    return np.linalg.lstsq(np.vstack(rows), np.concatenate(targets), rcond=None)[0]


@pytest.mark.parametrize("memory", [1.0, 0.8])
def test_online_updates_equal_the_batch_fit(memory):
    features, days = history()
    learner = LinearTastes(features, 4, E, reg=3.0, memory=memory)
    for n, (shown, clicks) in enumerate(days, start=1):
        learner.update(shown, clicks)
        for u in range(4):
            batch = batch_fit(features, days[:n], u, reg=3.0, memory=memory, crowd=learner.crowd)
            np.testing.assert_allclose(learner.weights()[u], batch, rtol=1e-9)
    # The crowd is one ridge regression on everybody's rows.
    x = np.vstack([E[:, None] * features[s[u]] for s, _ in days for u in range(4)])
    y = np.concatenate([c[u] for _, c in days for u in range(4)]).astype(float)
    d = np.repeat([memory**age for age in reversed(range(len(days)))], 4 * len(E))
    crowd = np.linalg.solve((x * d[:, None]).T @ x + 3 * np.eye(5), (x * d[:, None]).T @ y)
    np.testing.assert_allclose(learner.crowd, crowd, rtol=1e-9)


def test_without_evidence_nobody_has_a_taste_and_evidence_adds_to_the_precision():
    features, days = history()
    learner = LinearTastes(features, 4, E, reg=3.0)
    assert (learner.weights() == 0).all()
    np.testing.assert_allclose(learner.precision(), np.broadcast_to(3 * np.eye(5), (4, 5, 5)))
    shown, clicks = days[0]
    learner.update(shown, clicks)
    for u in range(4):
        f = E[:, None] * features[shown[u]]
        np.testing.assert_allclose(learner.precision()[u], f.T @ f + 3 * np.eye(5))


F, SHOWN = np.eye(3), np.tile(np.arange(3), (2, 1))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: LinearTastes(F, 2, E, reg=0.0), "reg must be positive and finite, got 0"),
        (lambda: LinearTastes(F, 2, E, memory=0.0), "memory must be positive and finite, got 0"),
        (lambda: LinearTastes(F, 2, E, memory=1.1), "memory must be 0 to 1, got 1.1"),
        (lambda: LinearTastes(F, 2, E).update(SHOWN, SHOWN[:1]), r"clicks \(1, 3\) must be \(n_s"),
        (lambda: LinearTastes(F, 2, E[:2]).update(SHOWN, SHOWN), r"must be \(n_shoppers, 2\)"),
        (lambda: ItemRates(F, E, prior=0.0), "prior must be positive and finite, got 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_position_is_corrected_for():
    """Shown always at the last slot, a picture's attraction is found again; ignored, it is not."""
    rng = np.random.default_rng(1)
    shown = np.tile([0, 1, 2], (20_000, 1))
    clicks = rng.random(shown.shape) < E * np.array([0.3, 0.5, 0.8])
    estimates = []
    for examination in (E, np.ones(3)):
        learner = LinearTastes(np.eye(3), 20_000, examination, reg=1e6)  # the crowd alone
        learner.update(shown, clicks)
        gram, moment = learner.gram.sum(0), learner.moment.sum(0)
        estimates.append(np.linalg.solve(gram, moment))
    # Four standard errors of the last, sqrt(0.32 * 0.68 / 20000) / 0.4 each.
    np.testing.assert_allclose(estimates[0], [0.3, 0.5, 0.8], atol=0.033)
    assert estimates[1][2] < 0.4


def rates(n_items, examination=E, prior=5.0):
    return ItemRates(np.ones((n_items, 1)), examination, prior=prior)


def test_item_rates_by_hand():
    x = np.column_stack([np.ones(4), [0.0, 1, 2, 3]])
    model = ItemRates(x, E, prior=2.0)
    assert (model.rates == 0).all()  # before the first clicks
    model.update(np.array([[0, 1, 2], [1, 0, 2]]), np.array([[1, 0, 1], [0, 1, 0]], dtype=bool))
    looks = np.array([1 + 0.36, 0.36 + 1, 0.32, 0])
    hits = np.array([1 + 0.6, 0, 0.4, 0])
    np.testing.assert_allclose(model.looks, looks)
    w = np.linalg.solve((x.T * looks) @ x + np.eye(2), x.T @ hits)
    content = np.clip(x @ w, 0, 1)
    np.testing.assert_allclose(model.rates, (hits + 2 * content) / (looks + 2))
    assert model.rates[3] == pytest.approx(content[3])  # never shown: what its content promises
    np.testing.assert_allclose(model.doubt, (looks + 2) ** -0.5)


def test_what_content_promises_is_a_rate():
    model = ItemRates(np.array([[1.0], [5.0], [-5.0]]), np.ones(1), prior=2.0)
    model.update(np.zeros((20, 1), int), np.ones((20, 1), bool))
    # the line through the clicks on item 0 promises 5 * 20 / 21 for the second, and -100 / 21
    np.testing.assert_allclose(model.rates[1:], [1.0, 0.0], atol=1e-12)
