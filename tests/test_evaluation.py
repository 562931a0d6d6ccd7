"""Ranking, evaluation in blocks, bootstrap intervals, paired comparison and slices."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse, stats

from recsys_tutorial import evaluation, metrics
from recsys_tutorial._ties import tie_key
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import (
    METRICS,
    Evaluation,
    bootstrap_means,
    claim,
    compare,
    evaluate,
    group_interval,
    rank,
    slices,
)
from recsys_tutorial.splits import Holdout, new_user_split
from scripts.machine_speed import limit


def csr(dense):
    return sparse.csr_matrix(np.asarray(dense, dtype=float))


def holdout(n_users=50, n_items=40, seed=0):
    """Users with 7 to 12 seen items (about half of them liked) and 1 to 5 targets elsewhere."""
    rng = np.random.default_rng(seed)
    seen, history, targets = np.zeros((3, n_users, n_items))
    for user in range(n_users):
        order = rng.permutation(n_items)
        n_seen, n_targets = rng.integers(7, 13), rng.integers(1, 6)
        seen[user, order[:n_seen]] = 1
        history[user, order[: (n_seen + 1) // 2]] = 1
        targets[user, order[n_seen : n_seen + n_targets]] = 1
    user_ids = 100 + np.arange(n_users)
    return Holdout(user_ids, csr(history), csr(seen * 3.5), csr(seen), csr(targets))


def brute_force(scores, seen, k):
    """A sort of every row, then the seen and the -inf items struck out one by one."""
    key = tie_key(np.arange(scores.shape[1])).tolist()
    ranked = np.full((len(scores), k), -1)
    for user, row in enumerate(scores):
        order = sorted(range(len(row)), key=lambda i: (-row[i], key[i]))
        kept = [i for i in order if not (seen is not None and seen[user, i]) and row[i] > -np.inf]
        ranked[user, : len(kept[:k])] = kept[:k]
    return ranked


@st.composite
def score_cases(draw):
    """Few different values, so that most are tied; -inf and inf among them; k up to 2 n_items."""
    shape = (draw(st.integers(0, 4)), draw(st.integers(1, 12)))
    few = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0, np.inf])
    scores = draw(hnp.arrays(draw(st.sampled_from([np.float64, np.float32])), shape, elements=few))
    seen = draw(st.none() | hnp.arrays(np.bool_, shape))
    return scores, seen, draw(st.integers(1, 2 * shape[1]))


@settings(deadline=None, max_examples=300)
@given(score_cases())
def test_rank_equals_a_brute_force_sort(case):
    scores, seen, k = case
    before = scores.copy()
    ranked = rank(scores, None if seen is None else csr(seen), k)
    assert ranked.dtype == np.int64 and ranked.shape == (len(scores), k)
    np.testing.assert_array_equal(ranked, brute_force(scores, seen, k))
    np.testing.assert_array_equal(scores, before)  # masking does not write into the caller's array


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8])
@pytest.mark.parametrize("k", [1, 10, 299, 300, 500])
def test_rank_many_ties(dtype, k):
    rng = np.random.default_rng(k)
    scores = rng.integers(0, 6, size=(40, 300)).astype(dtype)
    seen = rng.random((40, 300)) < 0.1
    by_key = tie_key(np.arange(300)).argsort()
    sortable = np.where(seen, np.inf, -scores.astype(float))[:, by_key]
    expected = by_key[np.argsort(sortable, axis=1, kind="stable")]
    n_left = 300 - seen.sum(axis=1)
    expected = np.pad(expected, ((0, 0), (0, 200)))[:, :k]
    expected[np.arange(k) >= n_left[:, None]] = -1
    np.testing.assert_array_equal(rank(scores, csr(seen), k), expected)


def test_rank_orders_equal_scores_by_a_fixed_key_of_the_column():
    assert rank(np.ones((2, 5), dtype=bool), None, 3).tolist() == [[3, 4, 1]] * 2
    assert rank(np.zeros((1, 5)), csr([[0, 1, 0, 0, 0]]), 3).tolist() == [[3, 4, 2]]
    # The key is the column's own: more items do not turn the order of the old ones.
    few, more = rank(np.zeros((1, 80)), None, 80)[0], rank(np.zeros((1, 200)), None, 200)[0]
    assert more[more < 80].tolist() == few.tolist()


def test_a_model_that_scores_everything_alike_is_no_better_than_chance():
    """Ordered by column, constant scores would rank the oldest, best known films first."""
    split = new_user_split(*load_movielens())
    shape = split.test.targets.shape
    constant = evaluate(np.zeros(shape), split.test)
    rng = np.random.default_rng(0)
    draws = [evaluate(rng.random(shape), split.test)["ndcg@10"] for _ in range(20)]
    by_column = evaluate(np.broadcast_to(-np.arange(shape[1], dtype=float), shape), split.test)
    assert constant["ndcg@10"] < np.mean(draws) + 4 * np.std(draws) < by_column["ndcg@10"] / 2


def test_rank_takes_any_sparse_form_of_seen_and_read_only_scores():
    scores = np.broadcast_to(np.arange(6.0), (3, 6))  # what Popularity returns
    seen = csr([[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]])
    expected = [[4, 3], [5, 3], [5, 4]]
    for form in (seen, sparse.csc_matrix(seen), seen.tocoo(), sparse.csr_array(seen)):
        assert rank(scores, form, 2).tolist() == expected
    unsorted = sparse.csr_matrix(([1.0, 1.0, 1.0], [5, 0, 5], [0, 3, 3, 3]), shape=(3, 6))
    assert rank(scores, unsorted, 2).tolist() == [[4, 3], [5, 4], [5, 4]]


def test_rank_of_huge_scores_and_infinities_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        large = np.full((2, 4), 3e38, dtype=np.float32)  # their sum is beyond float32
        assert rank(large, None, 2).tolist() == [[3, 1]] * 2
        assert rank(np.array([[-np.inf, np.inf, 0]]), None, 3).tolist() == [[1, 2, -1]]


@pytest.mark.parametrize(
    "scores, seen, k, message",
    [
        (np.zeros(3), None, 1, r"scores must be \(n_users, n_items\), got shape \(3,\)"),
        (np.zeros((2, 3)), None, 0, "k must be at least 1, got 0"),
        (np.zeros((2, 3)), csr(np.zeros((2, 4))), 1, r"shape \(2, 3\), but seen has \(2, 4\)"),
        (
            np.array([[0, 1], [np.inf, -np.inf], [0, np.nan]]),
            None,
            1,
            "the score of user row 2, item column 1 is nan",
        ),
    ],
)
def test_rank_bad_input(scores, seen, k, message):
    with pytest.raises(ValueError, match=message):
        rank(scores, seen, k)


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
    result = evaluate(scores, judged, ks=(3, 7))
    ranked = brute_force(scores, judged.seen.toarray() > 0, 7)
    np.testing.assert_array_equal(result.ranked, ranked)
    assert list(result.per_user) == [f"{name}@{k}" for name in METRICS for k in (3, 7)]
    assert result.per_user.index.tolist() == judged.user_ids.tolist()
    for k in (3, 7):
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
    monkeypatch.setattr(evaluation, "_BLOCK_BYTES", 7 * 8 * 40)  # seven users of 40 scores
    for parts in (evaluate(model, judged), evaluate(scores, judged)):
        np.testing.assert_array_equal(parts.ranked, whole.ranked)
        pd.testing.assert_frame_equal(parts.per_user, whole.per_user, check_exact=True)
    assert sizes == [50, *[7] * 7, 1]
    monkeypatch.setattr(evaluation, "_BLOCK_BYTES", 1)  # less than one user: one at a time
    pd.testing.assert_frame_equal(evaluate(model, judged).per_user, whole.per_user)
    scores[41, 3] = np.nan
    with pytest.raises(ValueError, match="the score of user row 41, item column 3 is nan"):
        evaluate(scores, judged)


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


def per_user_frame(**columns):
    n_users = len(next(iter(columns.values())))
    return Evaluation(pd.DataFrame(columns, index=np.arange(n_users)), np.zeros((n_users, 1), int))


def test_bootstrap_means_have_the_spread_of_a_mean():
    values = np.random.default_rng(0).exponential(size=(400, 2))
    means = bootstrap_means(values, n_resamples=20_000)
    assert means.shape == (20_000, 2)
    # 20,000 resamples know a mean to 0.7 % and a spread to 0.5 % of the spread
    expected = values.std(axis=0) / np.sqrt(400)
    np.testing.assert_allclose(means.std(axis=0), expected, rtol=0.03)
    np.testing.assert_allclose(means.mean(axis=0), values.mean(axis=0), atol=0.05 * expected.max())
    np.testing.assert_array_equal(means[:2000], bootstrap_means(values))  # repeats
    assert (bootstrap_means(values, seed=1) != bootstrap_means(values)).any()


def test_bootstrap_draws_whole_users_so_that_equal_columns_stay_equal():
    values = np.random.default_rng(1).random((300, 1))
    means = bootstrap_means(np.hstack([values, 2 * values, np.ones((300, 1))]))
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0], rtol=1e-12)
    np.testing.assert_allclose(means[:, 2], 1, rtol=1e-12)


def test_bootstrap_of_many_users_goes_in_chunks():
    means = bootstrap_means(np.ones((10_000, 1)))  # 20 million draws, four million at a time
    assert means.shape == (2000, 1)
    np.testing.assert_allclose(means, 1, rtol=1e-12)


def test_group_interval_redraws_whole_groups():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 500)
    values = rng.normal(size=40)[groups] + rng.normal(size=500)
    names = np.array([f"artist {g}" for g in groups])
    draws = np.random.default_rng(0).integers(40, size=(2000, 40))
    rows = [np.concatenate([values[groups == g] for g in draw]).mean() for draw in draws]
    for by in (groups, names):  # names sort otherwise: another draw of the same size
        found = group_interval(values, by)
        # 2,000 draws move an end by some hundredths of the width, 1.0; lone values give 0.25.
        np.testing.assert_allclose(found, np.percentile(rows, [2.5, 97.5]), atol=0.06)
    assert group_interval(values, groups) == pytest.approx(np.percentile(rows, [2.5, 97.5]))
    alone = group_interval(values, np.arange(500))
    low, high = group_interval(values, groups)
    assert alone[1] - alone[0] < 0.5 * (high - low)
    wider = group_interval(values, groups, confidence=0.99)
    assert wider[0] < low < high < wider[1]
    assert group_interval(values > 0, groups, seed=1) != group_interval(values > 0, groups)


@pytest.mark.parametrize(
    "values, groups", [([1.0, 2.0], [1]), ([], []), ([[1.0]], [[1]]), ([1.0], [[1]])]
)
def test_group_interval_needs_a_group_for_each_value(values, groups):
    with pytest.raises(ValueError, match="give each value its group"):
        group_interval(np.array(values), np.array(groups))


def test_a_claim_binds_where_it_applies():
    claim(True)
    claim(np.bool_(True), applies=False)
    claim(False, applies=False)
    with pytest.raises(AssertionError, match="the prose claims"):
        claim(np.bool_(False))


def test_summary_equals_scipys_bootstrap():
    values = np.random.default_rng(2).beta(0.5, 2, size=150)
    summary = per_user_frame(**{"ndcg@10": values}).summary.loc["ndcg@10"]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert summary["mean"] == pytest.approx(values.mean(), rel=1e-12)
    # A limit from 2,000 resamples wanders by 2 % of the interval's width; a 90 % interval would be
    # off by 8 % of it at either end.
    width = theirs.high - theirs.low
    assert summary["low"] == pytest.approx(theirs.low, abs=0.05 * width)
    assert summary["high"] == pytest.approx(theirs.high, abs=0.05 * width)


def test_the_interval_covers_the_true_mean_in_about_95_of_100_cases():
    # 1,500 worlds of 100 users each, skewed like a metric of which most users have little.
    worlds = np.random.default_rng(3).beta(0.5, 2, size=(100, 1500))
    truth = 0.5 / 2.5
    low, high = np.percentile(bootstrap_means(worlds), [2.5, 97.5], axis=0)
    covered = np.mean((low < truth) & (truth < high))
    # Standard error 0.6 %; the percentile interval of 100 skewed values is known to be 1 to 2 %
    # short. A 90 % interval would fail.
    assert 0.925 < covered < 0.965


def test_users_without_a_relevant_item_count_nowhere():
    values = np.array([0.2, np.nan, 0.6])
    result = per_user_frame(**{"ndcg@10": values})
    assert result["ndcg@10"] == pytest.approx(0.4)
    assert result.summary.loc["ndcg@10", "mean"] == pytest.approx(0.4)
    assert compare(result, result).n_users == 2


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
