"""Slices by hand, and that they leave no target out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.evaluation import evaluate, slices
from recsys_tutorial.splits import Holdout
from tests.evaluation.worlds import csr, holdout


def test_slices_by_hand():
    # Items 0, 1, 2 liked by 4, 2, 1 training users; 3 and 4 by nobody.
    train = csr([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    seen = csr([[0, 0, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0]])
    targets = csr([[1, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]])
    judged = Holdout(np.arange(4), seen, seen, seen, targets)
    scores = np.tile([5.0, 4, 3, 2, 1], (4, 1))
    result = evaluate(scores, judged, ks=(1,))  # everybody gets item 0
    table = slices(result, judged, train, metric="recall@1", n_bins=2)
    assert table[["mean", "n_users", "n_targets"]].to_dict("index") == {
        ("items", "warm"): {"mean": 0.5, "n_users": 4, "n_targets": 4},
        ("items", "cold"): {"mean": 0.0, "n_users": 2, "n_targets": 2},
        ("popularity", "1-2"): {"mean": 0.0, "n_users": 2, "n_targets": 2},
        ("popularity", "3-4"): {"mean": 1.0, "n_users": 2, "n_targets": 2},
        ("activity", "1"): {"mean": 0.25, "n_users": 2, "n_targets": 3},
        ("activity", "2"): {"mean": 0.5, "n_users": 2, "n_targets": 3},
    }


def test_slices_show_a_planted_weakness():
    rng = np.random.default_rng(0)
    judged = holdout(n_users=300, seed=8)
    train = csr(rng.random((200, 40)) < np.linspace(0.5, 0, 40) ** 2)
    counts = np.asarray(train.sum(axis=0)).ravel()
    cold = counts == 0
    assert 3 < cold.sum() < 37
    # A model that knows the answers among the warm items and is blind for the cold ones.
    scores = np.where(cold, -1.0, judged.targets.toarray())
    result = evaluate(scores, judged)
    table = slices(result, judged, train, metric="recall@10")
    assert table.loc[("items", "warm"), "mean"] == 1
    assert table.loc[("items", "cold"), "mean"] < 0.1
    assert table.loc["popularity", "mean"].eq(1).all()
    for by, n_parts in [("popularity", 3), ("activity", 3)]:
        part = table.loc[by]
        assert len(part) == n_parts
        assert (part["low"] <= part["mean"]).all() and (part["mean"] <= part["high"]).all()
    n_targets = table["n_targets"]
    assert n_targets["popularity"].sum() == n_targets["items", "warm"]
    assert n_targets["activity"].sum() == n_targets["items"].sum() == judged.targets.nnz
    # about a third of the targets each; whole numbers of likes cannot be cut finer than an item
    assert n_targets["popularity"].min() > n_targets["popularity"].sum() / 5
    # and the weakness moves with the model
    swapped = evaluate(np.where(cold, judged.targets.toarray(), -1.0), judged)
    table = slices(swapped, judged, train, metric="recall@10")
    assert table.loc[("items", "cold"), "mean"] == 1
    assert table.loc[("items", "warm"), "mean"] < 0.5


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(1, 5))
def test_slices_leave_no_target_out(activities, n_bins):
    n_users, n_items = len(activities), 8
    seen = csr([[1] * n + [0] * (n_items - n) for n in activities])
    targets = csr(np.eye(n_items)[[n_items - 1 - n % 2 for n in activities]])
    judged = Holdout(np.arange(n_users), seen, seen, seen, targets)
    train = csr([[1] * n_items, [0] * (n_items - 1) + [1]])
    table = slices(evaluate(np.zeros((n_users, n_items)), judged), judged, train, n_bins=n_bins)
    assert 1 <= len(table.loc["activity"]) <= min(n_bins, len(set(activities)))
    assert table.loc["activity", "n_users"].sum() == n_users
    assert table.loc["popularity", "n_targets"].sum() == targets.nnz


@pytest.mark.parametrize("metric", ["recall", "recall@", "hits@10", "recall@x"])
def test_slices_of_an_unknown_metric(metric):
    judged = holdout()
    result = evaluate(np.zeros(judged.targets.shape), judged)
    with pytest.raises(ValueError, match=f"unknown metric '{metric}': use one of"):
        slices(result, judged, judged.history, metric)


def test_slices_of_longer_lists_than_were_ranked():
    judged = holdout()
    result = evaluate(np.zeros(judged.targets.shape), judged)
    with pytest.raises(ValueError, match="ranked is 20 wide, too short for k=30"):
        slices(result, judged, judged.history, "recall@30")
