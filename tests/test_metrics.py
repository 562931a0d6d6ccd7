"""Ranking metrics against trec_eval, ranx, scikit-learn and a version written out in loops."""

import math

import numpy as np
import pytest
import pytrec_eval
import ranx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn import metrics as sklearn_metrics

from recsys_tutorial import metrics

# Our function, trec_eval's measure (recip_rank knows no cut: its run is cut instead), ranx's.
PEERS = {
    "ndcg": (metrics.ndcg_at_k, "ndcg_cut", "ndcg"),
    "recall": (metrics.recall_at_k, "recall", "recall"),
    "precision": (metrics.precision_at_k, "P", "precision"),
    "hit_rate": (metrics.hit_rate_at_k, "success", "hit_rate"),
    "map": (metrics.average_precision_at_k, "map_cut", "map"),
    "mrr": (metrics.reciprocal_rank_at_k, "recip_rank", "mrr"),
}
ALL = [ours for ours, _, _ in PEERS.values()]
# Sums of at most 50 terms of size 1, in another order: 1e-14 at most. Every mistake in a discount,
# a divisor or a place changes the value by more than 1e-4.
EXACT = {"rtol": 0, "atol": 1e-12}


def nasty(seed, n_users=60, n_items=30, width=30):
    """Lists of every length, from none to all items; users with every number of relevant ones."""
    rng = np.random.default_rng(seed)
    ranked = np.full((n_users, width), -1)
    for row in ranked:
        length = rng.integers(min(width, n_items) + 1)
        row[:length] = rng.permutation(n_items)[:length]
    relevant = rng.random((n_users, n_items)) < rng.choice([0, 0.02, 0.1, 0.5, 1], (n_users, 1))
    return ranked, sparse.csr_matrix(relevant.astype(float))


def as_dicts(ranked, relevant, k):
    """The same as trec_eval's and ranx's dicts; scores fall by 1 a place, so that none are tied."""
    n_items = relevant.shape[1]
    qrel = {
        f"u{u:05d}": {f"i{i}": int(value) for i, value in enumerate(row)}
        for u, row in enumerate(relevant.toarray())
    }
    run = {
        f"u{u:05d}": {f"i{i}": float(n_items - place) for place, i in enumerate(row[:k]) if i >= 0}
        for u, row in enumerate(ranked)
    }
    return qrel, run


@pytest.mark.parametrize("k", [1, 3, 10, 30])
@pytest.mark.parametrize("name", PEERS)
def test_equals_trec_eval(name, k):
    ours, measure, _ = PEERS[name]
    ranked, relevant = nasty(seed=k)
    qrel, run = as_dicts(ranked, relevant, k)
    asked, key = ({measure}, measure) if name == "mrr" else ({f"{measure}.{k}"}, f"{measure}_{k}")
    theirs = pytrec_eval.RelevanceEvaluator(qrel, asked).evaluate(run)
    # An empty list is left out by trec_eval: nothing found.
    expected = np.array([theirs.get(user, {}).get(key, 0.0) for user in qrel])
    judged = np.diff(relevant.indptr) > 0
    values = ours(ranked, relevant, k)
    assert 0 < judged.sum() < len(judged)  # both kinds of users are there
    np.testing.assert_allclose(values[judged], expected[judged], **EXACT)
    assert np.isnan(values[~judged]).all()


@pytest.mark.parametrize("k", [1, 3, 10, 30])
@pytest.mark.parametrize("name", PEERS)
def test_equals_ranx(name, k):
    ours, _, measure = PEERS[name]
    ranked, relevant = nasty(seed=100 + k)
    # ranx takes neither a user without a relevant item nor an empty list.
    kept = (np.diff(relevant.indptr) > 0) & (ranked[:, 0] >= 0)
    ranked, relevant = ranked[kept], relevant[kept]
    qrel, run = as_dicts(ranked, relevant, k)
    qrel = {user: {i: r for i, r in items.items() if r} for user, items in qrel.items()}
    expected = ranx.evaluate(
        ranx.Qrels(qrel), ranx.Run(run), f"{measure}@{k}", return_mean=False, make_comparable=False
    )
    np.testing.assert_allclose(ours(ranked, relevant, k), expected, **EXACT)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_ndcg_equals_scikit_learn(k):
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(50, 20))
    relevant = rng.random((50, 20)) < 0.2
    relevant[:, 0] |= ~relevant.any(axis=1)  # scikit-learn says 0 where there is nothing to find
    ranked = np.argsort(-scores, axis=1)
    expected = [
        sklearn_metrics.ndcg_score(relevant[[u]], scores[[u]], k=k, ignore_ties=True)
        for u in range(50)
    ]
    values = metrics.ndcg_at_k(ranked, sparse.csr_matrix(relevant.astype(float)), k)
    np.testing.assert_allclose(values, expected, **EXACT)


def written_out(row, wanted, k):
    """All six for one user, by the definitions, one place at a time."""
    hits = [int(i in wanted) for i in list(row[:k])]
    found = [place for place, hit in enumerate(hits, start=1) if hit]
    if not wanted:
        return dict.fromkeys(PEERS, math.nan)
    best = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(wanted)) + 1))
    return {
        "ndcg": sum(1 / math.log2(place + 1) for place in found) / best,
        "recall": len(found) / len(wanted),
        "precision": len(found) / k,
        "hit_rate": float(bool(found)),
        "map": sum(sum(hits[:place]) / place for place in found) / len(wanted),
        "mrr": 1 / found[0] if found else 0.0,
    }


@st.composite
def cases(draw):
    n_users = draw(st.integers(1, 5))
    n_items = draw(st.integers(1, 9))
    k = draw(st.integers(1, 14))  # also larger than the catalogue
    width = max(min(k, n_items), draw(st.integers(1, 12)))
    ranked = np.full((n_users, width), -1)
    for row in ranked:
        order = draw(st.permutations(range(n_items)))
        length = draw(st.integers(0, min(width, n_items)))
        row[:length] = order[:length]
    bits = st.lists(st.booleans(), min_size=n_items, max_size=n_items)
    relevant = np.array([draw(bits) for _ in range(n_users)], dtype=float)
    return ranked, sparse.csr_matrix(relevant), k


@settings(deadline=None, max_examples=200)
@given(cases())
def test_equals_the_definitions(case):
    ranked, relevant, k = case
    for name, (ours, _, _) in PEERS.items():
        expected = [
            written_out(row, set(relevant[u].indices), k)[name] for u, row in enumerate(ranked)
        ]
        np.testing.assert_allclose(ours(ranked, relevant, k), expected, **EXACT)


@settings(deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_properties(case, random):
    ranked, relevant, k = case
    n_users, n_items = relevant.shape
    users = random.sample(range(n_users), n_users)
    relabel = np.array([*random.sample(range(n_items), n_items), -1])  # the last serves the pads
    for ours in ALL:
        values = ours(ranked, relevant, k)
        assert values.shape == (n_users,) and values.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(values), np.diff(relevant.indptr) == 0)
        # 1e-15: the best list's NDCG is a quotient of two sums of the same terms
        assert np.nanmax(np.append(values, 0)) <= 1 + 1e-15
        assert np.nanmin(np.append(values, 0)) >= 0
        # The order of additions may change with the width of the arrays: equal up to rounding.
        np.testing.assert_allclose(ours(ranked[users], relevant[users], k), values[users], **EXACT)
        relabelled = relevant[:, np.argsort(relabel[:-1])]
        np.testing.assert_allclose(ours(relabel[ranked], relabelled, k), values, **EXACT)
        padded = np.hstack([ranked, np.full((n_users, 3), -1)])
        np.testing.assert_allclose(ours(padded, relevant, k), values, **EXACT)


@settings(deadline=None)
@given(cases())
def test_the_best_list_reaches_1_and_a_hit_moved_up_never_loses(case):
    _, relevant, k = case
    n_users, n_items = relevant.shape
    best = np.argsort(-relevant.toarray(), axis=1, kind="stable")
    judged = np.diff(relevant.indptr) > 0
    for ours in (metrics.ndcg_at_k, metrics.hit_rate_at_k, metrics.reciprocal_rank_at_k):
        np.testing.assert_allclose(ours(best, relevant, k)[judged], 1.0, **EXACT)
    for ours in ALL:
        worst = best[:, ::-1]
        for _ in range(n_items):  # one round of bubble sort towards the best list at a time
            order = np.take_along_axis(relevant.toarray(), worst, axis=1)
            better = worst.copy()
            for u in range(n_users):
                swaps = np.flatnonzero(order[u, 1:] > order[u, :-1])
                if len(swaps):
                    place = swaps[0]
                    better[u, [place, place + 1]] = worst[u, [place + 1, place]]
            gain = ours(better, relevant, k)[judged] - ours(worst, relevant, k)[judged]
            assert (gain >= -1e-12).all()
            worst = better


def test_stored_zeros_repeats_and_unsorted_columns_mean_what_the_matrix_means():
    # Row 0: columns 3 and 1 unsorted, 1 stored twice, 0 stored as zero. Row 1: only a stored zero.
    messy = sparse.csr_matrix(
        (np.array([1.0, 1.0, 1.0, 0.0, 0.0]), np.array([3, 1, 1, 0, 2]), np.array([0, 4, 5])),
        shape=(2, 4),
    )
    clean = sparse.csr_matrix(np.array([[0, 1.0, 0, 1], [0, 0, 0, 0]]))
    before = [array.copy() for array in (messy.data, messy.indices, messy.indptr)]
    ranked = np.array([[0, 1, 2, 3], [2, 1, 0, 3]])
    for ours in ALL:
        np.testing.assert_array_equal(ours(ranked, messy, 3), ours(ranked, clean, 3))
    for array, old in zip((messy.data, messy.indices, messy.indptr), before, strict=True):
        np.testing.assert_array_equal(array, old)  # and the caller's matrix is left alone


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.uint64])
def test_any_integer_type(dtype):
    ranked = np.array([[2, 0, 1], [1, 2, 0]])
    relevant = sparse.csr_matrix(np.array([[1.0, 0, 0], [0, 0, 1]], dtype=np.float32))
    for ours in ALL:
        expected = ours(ranked, relevant, 2)
        np.testing.assert_array_equal(ours(ranked.astype(dtype), relevant, 2), expected)
        boolean = relevant.astype(bool)
        np.testing.assert_array_equal(ours(ranked, boolean, 2), expected)


def test_more_cells_than_32_bits_count():
    n_users, n_items = 70_000, 100_000  # 7e9 cells
    columns = np.arange(n_users, dtype=np.int32) % n_items
    relevant = sparse.csr_matrix(
        (np.ones(n_users), (np.arange(n_users), columns)), (n_users, n_items)
    )
    assert relevant.indices.dtype == np.int32
    ranked = np.stack([columns, (columns + 1) % n_items], axis=1)
    assert (metrics.ndcg_at_k(ranked, relevant, 2) == 1).all()
    assert (metrics.reciprocal_rank_at_k(ranked[:, ::-1], relevant, 2) == 0.5).all()
    assert (metrics.recall_at_k((ranked + 5) % n_items, relevant, 2) == 0).all()


def test_no_users():
    for ours in ALL:
        assert ours(np.empty((0, 10), dtype=int), sparse.csr_matrix((0, 20)), 10).shape == (0,)


ONE = sparse.csr_matrix([[1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    "ranked, k, message",
    [
        ([[0, 1]], 0, "k must be finite and at least 1, got 0"),
        ([[0, 1]], 3, "ranked is 2 wide, too short for k=3; pad with -1"),
        ([[0, 1], [1, 2]], 1, r"ranked has shape \(2, 2\), but relevant has 1 users"),
        ([0, 1], 1, r"ranked has shape \(2,\), but relevant has 1 users"),
        ([[0, 3]], 2, r"ranked holds 3, outside the columns -1\.\.2"),
        ([[0, -2]], 2, r"ranked holds -2, outside the columns -1\.\.2"),
        ([[1, 1]], 2, "row 0 of ranked holds item column 1 twice"),
        ([[0.0, 1.0]], 2, "ranked must hold whole item columns, got dtype float64"),
    ],
)
def test_bad_lists(ranked, k, message):
    for ours in ALL:
        with pytest.raises(ValueError, match=message):
            ours(np.array(ranked), ONE, k)


def test_a_fault_below_place_k_is_nobodys_business():
    assert metrics.recall_at_k(np.array([[0, 1, 1]]), ONE, 2) == 1


def test_rmse_equals_scikit_learn():
    y_true, y_pred = np.random.default_rng(0).normal(size=(2, 1000))
    theirs = sklearn_metrics.root_mean_squared_error(y_true, y_pred)
    assert metrics.rmse(y_true, y_pred) == pytest.approx(theirs, rel=1e-12)


def test_rmse_of_integers_does_not_wrap_around():
    small, large = np.array([1, 1], dtype=np.uint8), np.array([5, 3], dtype=np.uint8)
    assert metrics.rmse(small, large) == pytest.approx(np.sqrt(10))


def test_bad_ratings():
    with pytest.raises(ValueError, match=r"y_true has shape \(2,\), y_pred \(2, 1\)"):
        metrics.rmse(np.ones(2), np.ones((2, 1)))  # would broadcast to 2 x 2
    with pytest.raises(ValueError, match="no ratings to compare"):
        metrics.rmse(np.ones(0), np.ones(0))


def test_coverage():
    ranked = np.array([[0, 1, -1], [1, 4, -1]])
    assert metrics.coverage(ranked, n_items=5) == 3 / 5
    assert metrics.coverage(np.full((2, 3), -1), n_items=5) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_absolute_difference(exposures):
    ranked = np.repeat(np.arange(len(exposures)), exposures)[:, None]
    x = np.array(exposures, dtype=float)
    expected = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    assert metrics.gini(ranked, len(exposures)) == pytest.approx(expected, abs=1e-12)


def test_gini_of_equal_and_of_one():
    assert metrics.gini(np.arange(10)[:, None], 10) == 0
    assert metrics.gini(np.zeros((7, 1), dtype=int), 10) == pytest.approx(1 - 1 / 10)


def test_novelty():
    # liked by 8, 4 and none (half a user) of 8 users: 0, 1 and 4 bits
    ranked = np.array([[0, 1, 2], [1, -1, -1], [-1, -1, -1]])
    values = metrics.novelty(ranked, np.array([8, 4, 0]), n_users=8)
    np.testing.assert_allclose(values, [5 / 3, 1, np.nan], atol=1e-15)


@pytest.mark.parametrize(
    "call",
    [
        lambda ranked: metrics.coverage(ranked, 5),
        lambda ranked: metrics.gini(ranked, 5),
        lambda ranked: metrics.novelty(ranked, np.ones(5), 5),
    ],
)
def test_a_column_beyond_the_catalogue_is_refused(call):
    with pytest.raises(ValueError, match=r"ranked holds 5, outside the columns -1\.\.4"):
        call(np.array([[0, 5]]))


def test_exposure_of_nothing():
    with pytest.raises(ValueError, match="the lists hold no item"):
        metrics.gini(np.full((2, 3), -1), 5)
