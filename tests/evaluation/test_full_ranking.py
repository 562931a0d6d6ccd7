"""Evaluation in blocks: planted answers, the metrics of the lists, candidates, memory."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recsys_tutorial import metrics
from recsys_tutorial.evaluation import (
    METRICS,
    compare,
    evaluate,
    full_ranking,
)
from recsys_tutorial.splits import Holdout
from scripts.machine_speed import limit
from tests.evaluation.worlds import csr, holdout, per_user_frame
from tests.test_ranking import brute_force


class Oracle:
    """Knows the answers: 1 for the targets, which it finds by the user's history."""

    def __init__(self, judged, shuffle=False):
        self.answers = {
            tuple(judged.history[u].indices): judged.targets[u].toarray().ravel()
            for u in range(len(judged))
        }
        assert len(self.answers) == len(judged)  # no two users with the same history
        self.rng = np.random.default_rng(0) if shuffle else None

    def score(self, history):
        rows = [self.answers[tuple(history[u].indices)] for u in range(history.shape[0])]
        scores = np.array(rows).reshape(history.shape)
        return scores if self.rng is None else self.rng.permuted(scores, axis=1)


def finds_everything(result):
    perfect = ["ndcg@10", "recall@10", "map@10", "mrr@10", "hit_rate@10"]
    return all(result[metric] == pytest.approx(1, abs=1e-12) for metric in perfect)


def test_planted_answers_are_found_and_a_shuffled_model_fails_the_same_check():
    judged = holdout()
    assert finds_everything(evaluate(Oracle(judged), judged))
    broken = evaluate(Oracle(judged, shuffle=True), judged)
    assert not finds_everything(broken)
    # 10 of about 31 unseen items at random: recall 0.3 with a standard error of 0.04
    assert 0.15 < broken["recall@10"] < 0.45


def test_evaluate_is_rank_and_the_metrics():
    judged = holdout(seed=1)
    scores = np.random.default_rng(1).normal(size=judged.targets.shape)
    result = evaluate(scores, judged, ks=(1, 3, 7))
    ranked = brute_force(scores, judged.seen.toarray() > 0, 7)
    np.testing.assert_array_equal(result.ranked, ranked)
    assert list(result.per_user) == [f"{name}@{k}" for name in METRICS for k in (1, 3, 7)]
    assert result.per_user.index.tolist() == judged.user_ids.tolist()
    assert result.per_user.index.name == "user_id" and result.ranked.dtype == np.int64
    for k in (1, 3, 7):
        for name, function in METRICS.items():
            expected = function(ranked, judged.targets, k)
            np.testing.assert_array_equal(result.per_user[f"{name}@{k}"], expected)
    assert result["ndcg@7"] == metrics.ndcg_at_k(ranked, judged.targets, 7).mean()
    assert (result.ranked >= 0).all()
    rows = np.repeat(np.arange(50), 7)
    assert judged.seen[rows, result.ranked.ravel()].sum() == 0


def test_blocks_give_the_same_as_one_block(monkeypatch):
    judged = holdout(seed=2)
    scores = np.random.default_rng(2).integers(0, 5, size=judged.targets.shape).astype(float)
    table = {tuple(judged.history[u].indices): scores[u] for u in range(len(judged))}
    assert len(table) == 50
    sizes = []

    def model(history):
        sizes.append(history.shape[0])
        return np.array([table[tuple(history[u].indices)] for u in range(history.shape[0])])

    whole = evaluate(model, judged)
    assert sizes == [50]
    monkeypatch.setattr(full_ranking, "_BLOCK_BYTES", 7 * 8 * 40)  # seven users of 40 scores
    for parts in (evaluate(model, judged), evaluate(scores, judged)):
        np.testing.assert_array_equal(parts.ranked, whole.ranked)
        pd.testing.assert_frame_equal(parts.per_user, whole.per_user, check_exact=True)
    assert sizes == [50, *[7] * 7, 1]
    monkeypatch.setattr(full_ranking, "_BLOCK_BYTES", 1)  # less than one user: one at a time
    pd.testing.assert_frame_equal(evaluate(model, judged).per_user, whole.per_user)
    assert sizes[9:] == [1] * 50
    scores[41, 3] = np.nan
    with pytest.raises(ValueError, match="the score of user row 41, item column 3 is nan"):
        evaluate(scores, judged)


@pytest.mark.parametrize("per_block, seconds", [(50, 3.0), (25, 6.0)])
def test_the_time_of_scoring_is_that_of_all_blocks_per_user(monkeypatch, per_block, seconds):
    judged, clock = holdout(), [100.0]

    def model(history):
        clock[0] += 3.0
        return np.zeros(history.shape)

    monkeypatch.setattr(full_ranking, "_BLOCK_BYTES", per_block * 8 * 40)
    monkeypatch.setattr(full_ranking.time, "perf_counter", lambda: clock[0])
    assert evaluate(model, judged).ms_per_user == pytest.approx(1000 * seconds / 50)


def test_a_model_that_reads_times_gets_them():
    judged = replace(holdout(), history_times=holdout().history * 1e9)
    times = []
    model = SimpleNamespace(reads_times=True)
    model.score = lambda history, when: (times.append(when), np.zeros(history.shape))[1]
    evaluate(model, judged)
    assert (times[0] != judged.history_times).nnz == 0
    model.reads_times, model.score = False, lambda history: np.zeros(history.shape)
    evaluate(model, judged)


def test_order_of_users_does_not_matter():
    judged = holdout(seed=3)
    scores = np.random.default_rng(3).normal(size=judged.targets.shape)
    order = np.random.default_rng(4).permutation(50)
    turned = Holdout(
        judged.user_ids[order],
        *(m[order] for m in (judged.history, judged.history_ratings, judged.seen, judged.targets)),
    )
    a, b = evaluate(scores, judged), evaluate(scores[order], turned)
    pd.testing.assert_frame_equal(b.per_user.loc[a.per_user.index], a.per_user, check_exact=True)


def test_candidate_items():
    judged = holdout(seed=5)
    scores = np.random.default_rng(5).normal(size=judged.targets.shape)
    allowed = np.arange(40) % 3 == 0
    result = evaluate(scores, judged, ks=(5,), candidate_items=allowed)
    assert allowed[result.ranked[result.ranked >= 0]].all()
    seen = (judged.seen.toarray() > 0) | ~allowed
    np.testing.assert_array_equal(result.ranked, brute_force(scores, seen, 5))
    inside = judged.targets.toarray() * allowed
    np.testing.assert_array_equal(
        result.per_user["recall@5"], metrics.recall_at_k(result.ranked, csr(inside), 5)
    )
    without = inside.sum(axis=1) == 0
    assert 0 < without.sum() < 50
    np.testing.assert_array_equal(result.per_user["recall@5"].isna(), without)
    everything = evaluate(scores, judged, ks=(5,), candidate_items=np.ones(40, dtype=bool))
    pd.testing.assert_frame_equal(everything.per_user, evaluate(scores, judged, ks=(5,)).per_user)


def test_a_short_list_when_k_is_larger_than_the_catalogue():
    judged = holdout(seed=6)
    result = evaluate(np.zeros(judged.targets.shape), judged, ks=(100,))
    assert result.ranked.shape == (50, 100)
    np.testing.assert_array_equal(
        (result.ranked >= 0).sum(axis=1), 40 - np.diff(judged.seen.indptr)
    )
    assert (result.per_user["recall@100"] == 1).all()  # the rest of the catalogue holds them all


def test_a_reranker_is_judged_on_its_candidates_only():
    judged = holdout(seed=7)
    scores = np.where(judged.targets.toarray() > 0, -np.inf, 0.0)
    assert evaluate(scores, judged, ks=(40,))["recall@40"] == 0


def test_no_users_and_one_user():
    empty = sparse.csr_matrix((0, 9))
    nobody = Holdout(np.array([], dtype=int), empty, empty, empty, empty)
    result = evaluate(np.zeros((0, 9)), nobody)
    assert result.per_user.shape == (0, 12) and result.ranked.shape == (0, 20)
    assert result.ms_per_user == 0
    with pytest.raises(ValueError, match="no user has a relevant item here"):
        _ = result.summary
    with pytest.raises(ValueError, match=r"no user has a value of ndcg@10 on both sides"):
        compare(result, result)
    one = holdout(n_users=1)
    result = evaluate(np.zeros(one.targets.shape), one)
    row = result.summary.loc["ndcg@10"]
    assert row["low"] == row["mean"] == row["high"] == result["ndcg@10"]


@pytest.mark.parametrize(
    "model, ks, candidates, message",
    [
        (np.zeros((50, 40)), (), None, r"ks must hold list lengths of at least 1, got \[\]"),
        (np.zeros((50, 40)), (10, 0), None, r"at least 1, got \[10, 0\]"),
        (np.zeros((50, 39)), (10,), None, r"scores has shape \(50, 39\), the holdout \(50, 40\)"),
        (lambda history: np.zeros((50, 39)), (10,), None, r"returned scores of shape \(50, 39\)"),
        (lambda history: csr(np.zeros((50, 40))), (10,), None, r"returned scores of shape \(\)"),
        (
            np.zeros((50, 40)),
            (10,),
            np.ones(39, dtype=bool),
            "candidate_items must be a bool array",
        ),
        (np.zeros((50, 40)), (10,), np.arange(40), "candidate_items must be a bool array"),
    ],
)
def test_evaluate_bad_input(model, ks, candidates, message):
    with pytest.raises(ValueError, match=message):
        evaluate(model, holdout(), ks=ks, candidate_items=candidates)


def test_ks_may_be_an_array():
    judged = holdout()
    scores = np.zeros(judged.targets.shape)
    a, b = evaluate(scores, judged, np.array([10, 20])), evaluate(scores, judged)
    pd.testing.assert_frame_equal(a.per_user, b.per_user)


LARGE = """
import json
import numpy as np
from scipy import sparse
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.splits import Holdout, new_user_split

n_users, n_items, n_factors = 100_000, 20_000, 16
rng = np.random.default_rng(0)

def stripes(per_user, first):  # per_user different columns in every row, none shared by two calls
    width = n_items // per_user // 2
    columns = 2 * rng.integers(width, size=(n_users, per_user)) + first
    columns += np.arange(per_user) * 2 * width
    indptr = np.arange(0, columns.size + 1, per_user)
    return sparse.csr_matrix((np.ones(columns.size), columns.ravel(), indptr), (n_users, n_items))

seen, targets = stripes(20, 0), stripes(10, 1)
factors = rng.normal(size=(n_items, n_factors))
judged = Holdout(np.arange(n_users), seen, seen, seen, targets)
ranked = evaluate(lambda history: (history @ factors) @ factors.T, judged).ranked
with open("/proc/self/status") as status:
    peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
scores = (seen[-1] @ factors) @ factors.T  # the last user again, alone and by a plain sort
scores[0, seen[-1].indices] = -np.inf
agrees = bool((np.argsort(-scores[0])[:20] == ranked[-1]).all())
print(json.dumps({"peak_mb": peak_kb / 1024, "shape": ranked.shape, "agrees": agrees}))
"""


def test_100_000_users_by_20_000_items_fit_in_2_gb():
    # Not resource.getrusage: there a child starts from the peak of the process that started it.
    if not Path("/proc/self/status").exists():
        pytest.skip("a process's own peak memory is read from /proc, which Linux has")
    done = subprocess.run(
        [sys.executable, "-c", LARGE],
        capture_output=True,
        text=True,
        timeout=limit(500),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["shape"] == [100_000, 20]
    assert measured["agrees"]
    # The score matrix alone would take 16,000 MB.
    assert measured["peak_mb"] < 2000, measured


def test_users_without_a_relevant_item_count_nowhere():
    values = np.array([0.2, np.nan, 0.6])
    result = per_user_frame(**{"ndcg@10": values})
    assert result["ndcg@10"] == pytest.approx(0.4)
    assert result.summary.loc["ndcg@10", "mean"] == pytest.approx(0.4)
    assert compare(result, result).n_users == 2


def test_what_is_held_at_a_time_is_neither_little_nor_much():
    assert 2**20 <= full_ranking._BLOCK_BYTES <= 2**26  # 1 to 64 MB
