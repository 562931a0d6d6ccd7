"""Ranking and metrics against ranx and pytrec_eval; a large evaluation's seconds and memory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
from scipy import sparse

from benchmarks.harness import Row, compare_speed
from recsys_tutorial.evaluation import evaluate, rank
from recsys_tutorial.leaderboard import cost
from recsys_tutorial.metrics import ndcg_at_k, recall_at_k
from recsys_tutorial.splits import Holdout


def run() -> list[Row]:
    import pytrec_eval
    import ranx

    n_users, n_items = 1000, 1000
    rng = np.random.default_rng(0)
    # No two scores of a user are tied, also in float32, which trec_eval computes in.
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=float), (n_users, 1)), axis=1)
    relevant = rng.random((n_users, n_items)) < 0.02
    relevant[:, 0] |= ~relevant.any(axis=1)
    relevant = sparse.csr_matrix(relevant.astype(float))

    # What a user of the peers would build once: their objects, from dicts.
    users, items = [f"u{u:04d}" for u in range(n_users)], [f"i{i:04d}" for i in range(n_items)]
    qrel = {
        users[u]: dict.fromkeys([items[i] for i in relevant[u].indices], 1) for u in range(n_users)
    }
    run_of_all = {
        users[u]: dict(zip(items, scores[u].tolist(), strict=True)) for u in range(n_users)
    }
    ranx_qrels, ranx_run = ranx.Qrels(qrel), ranx.Run(run_of_all)
    trec = pytrec_eval.RelevanceEvaluator(qrel, {"ndcg_cut.10", "recall.20"})

    def ours():
        ranked = rank(scores, None, 20)
        return ndcg_at_k(ranked, relevant, 10), recall_at_k(ranked, relevant, 20)

    def with_ranx():
        metrics = ["ndcg@10", "recall@20"]
        return ranx.evaluate(ranx_qrels, ranx_run, metrics, return_mean=False)

    def with_trec_eval():
        return trec.evaluate(run_of_all)

    theirs, per_user = with_ranx(), with_trec_eval()
    for values, name, key in zip(
        ours(), ("ndcg@10", "recall@20"), ("ndcg_cut_10", "recall_20"), strict=True
    ):
        np.testing.assert_allclose(values, theirs[name], rtol=0, atol=1e-12)
        expected = [per_user[user][key] for user in users]
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)

    print(_large_in_a_process_of_its_own(), flush=True)
    return compare_speed(
        "NDCG@10 + Recall@20, 1,000 x 1,000 scores, none seen",
        {"recsys_tutorial": ours, "ranx": with_ranx, "pytrec_eval": with_trec_eval},
        target=15.0,
    )


def large(n_users: int = 100_000, n_items: int = 20_000, n_factors: int = 32) -> dict:
    """Evaluate a random factor model; the score matrix would be 16 GB."""
    rng = np.random.default_rng(0)

    def stripes(per_user: int, first: int) -> sparse.csr_matrix:
        """`per_user` different columns in every row, even or odd ones only."""
        width = n_items // per_user // 2
        columns = 2 * rng.integers(width, size=(n_users, per_user)) + first
        columns += np.arange(per_user) * 2 * width
        indptr = np.arange(0, columns.size + 1, per_user)
        ones = np.ones(columns.size)
        return sparse.csr_matrix((ones, columns.ravel(), indptr), (n_users, n_items))

    seen, targets = stripes(20, 0), stripes(10, 1)
    factors = rng.normal(size=(n_items, n_factors))
    judged = Holdout(np.arange(n_users), seen, seen, seen, targets)
    with cost() as evaluating:
        result = evaluate(lambda history: (history @ factors) @ factors.T, judged)
    return {
        "seconds": evaluating.seconds,
        "scoring": result.ms_per_user * n_users / 1000,
        "peak_mb": evaluating.peak_mb,
    }


def _large_in_a_process_of_its_own() -> str:
    code = "import json; from benchmarks.bench_evaluation import large; print(json.dumps(large()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    return (
        f"evaluate, 100,000 users x 20,000 items, 6 metrics at 10 and 20: "
        f"{measured['seconds']:.1f} s, of which the model's scores {measured['scoring']:.1f} s; "
        f"memory grew by {measured['peak_mb']:.0f} MB (the score matrix: 16,000 MB)"
    )
