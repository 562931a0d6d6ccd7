"""Slices by hand, and that they leave no target out."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.evaluation import evaluate, evaluate_rolling, rolling_slices, slices
from recsys_tutorial.splits import Holdout, Split
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
    assert table.index.names == ["by", "slice"]
    assert list(table) == ["mean", "low", "high", "n_users", "n_targets"]
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


def window(train, judged):
    """A split in which these users are judged."""
    train = csr(train)
    ids = np.arange(train.shape[1])
    items = pd.DataFrame({"item_id": ids})
    return Split(ids, items, train, train, np.arange(train.shape[0]), None, judged)


def test_slices_of_one_window_are_slices():
    judged, rng = holdout(seed=3), np.random.default_rng(1)
    train = rng.random((60, 40)) < np.linspace(0.4, 0, 40) ** 2
    scores = rng.random(judged.targets.shape)
    result = evaluate(scores, judged)
    expected = slices(result, judged, csr(train))
    assert ("items", "cold") in expected.index
    pd.testing.assert_frame_equal(rolling_slices(result, [window(train, judged)]), expected)
    for n_bins in (1, 4):
        expected = slices(result, judged, csr(train), "ndcg@10", n_bins)
        found = rolling_slices(result, [window(train, judged)], "ndcg@10", n_bins)
        pd.testing.assert_frame_equal(found, expected)


def test_an_item_is_cold_in_the_windows_before_somebody_likes_it():
    # Items 0 and 1; the user of each window shows item 2 and goes on to like item 1, which is
    # liked by nobody before the first window and by one user before the second.
    seen, targets = csr([[0, 0, 1]]), csr([[0, 1, 0]])
    judged = [Holdout(np.array([user]), seen, seen, seen, targets) for user in (7, 8)]
    trains = [[[1, 0, 1]], [[1, 0, 1], [0, 1, 1]]]
    windows = [window(*pair) for pair in zip(trains, judged, strict=True)]
    scores = {1: [[2.0, 1, 0]], 2: [[1.0, 2, 0]]}  # by how many trained: item 1 is first at last
    result = evaluate_rolling(lambda s: np.array(scores[s.train.shape[0]]), windows, ks=(1,))
    table = rolling_slices(result, windows, metric="recall@1")
    assert table["n_targets"].to_dict() == {
        ("items", "warm"): 1, ("items", "cold"): 1, ("popularity", "1"): 1, ("activity", "1"): 2,
    }  # fmt: skip
    assert table["mean"].to_dict() == {
        ("items", "warm"): 1, ("items", "cold"): 0, ("popularity", "1"): 1, ("activity", "1"): 0.5,
    }  # fmt: skip


def test_slices_of_other_windows_than_were_judged():
    judged = holdout()
    result = evaluate(np.zeros(judged.targets.shape), judged)
    windows = [window(np.ones((3, 40)), judged)] * 2
    with pytest.raises(ValueError, match="the windows hold 100 users, not 50"):
        rolling_slices(result, windows)
