"""top_k against ranking the whole score matrix; approximate indexes; saving."""

import tracemalloc

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial import retrieval
from recsys_tutorial.evaluation import rank
from recsys_tutorial.retrieval import FaissIndex, top_k


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def clustered(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = normal(20, 16, seed=99)
    return centres[rng.integers(20, size=n)] + 0.4 * rng.normal(size=(n, 16))


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    return float((found[:, :, None] == exact[:, None, :]).any(axis=1).mean())


def assert_exact(users, items, k, seen=None, index=None):
    scores = users.astype(float) @ items.T.astype(float)
    expected = rank(scores, seen, k)
    columns, values = top_k(users, items if index is None else index, k, seen=seen)
    np.testing.assert_array_equal(columns, expected)
    missing = expected < 0
    assert np.isneginf(values[missing]).all()
    own = np.take_along_axis(scores, np.maximum(expected, 0), axis=1)
    np.testing.assert_allclose(values[~missing], own[~missing], rtol=1e-12, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(
    n_users=st.integers(0, 9),
    n_items=st.integers(1, 40),
    dim=st.integers(1, 4),
    k=st.integers(1, 45),
    low=st.integers(-2, 0),
    share_seen=st.floats(0, 1),
    power=st.integers(-60, 60),
    seed=st.integers(0, 10_000),
)
def test_equals_the_ranked_score_matrix_also_among_ties(
    n_users, n_items, dim, k, low, share_seen, power, seed
):
    """Small whole numbers: dot products are exact, and tie all the time; any scale."""
    rng = np.random.default_rng(seed)
    users = rng.integers(low, 2, size=(n_users, dim)) * 2.0**power
    items = rng.integers(low, 2, size=(n_items, dim)) * 2.0**-power
    seen = sparse.csr_matrix((rng.random((n_users, n_items)) < share_seen).astype(float))
    assert_exact(users, items, k)
    assert_exact(users, items, k, seen)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_on_many(dtype):
    users, items = normal(300, 24).astype(dtype), normal(5000, 24, seed=1).astype(dtype)
    seen = sparse.random(300, 5000, 0.02, format="csr", random_state=0)
    assert_exact(users, items, 10)
    assert_exact(users, items, 10, seen)
    assert_exact(users, items, 10, seen, FaissIndex(items, "flat"))


def test_many_small_blocks(monkeypatch):
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", 2**12)
    users, items = normal(60, 8), normal(500, 8, seed=1)
    n_seen = np.random.default_rng(0).integers(0, 480, size=60)  # some have seen nearly all
    seen = sparse.csr_matrix((np.arange(500) < n_seen[:, None]).astype(float))
    assert_exact(users, items, 20, seen)


def test_what_float32_cannot_tell_apart_float64_does():
    """Items that differ by less than float32's precision, at and above the border."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=8)
    items = np.tile(base, (400, 1)) * (1 + 1e-11 * rng.permutation(400))[:, None]
    assert_exact(np.stack([base, -base]), items, 10)
    assert len(np.unique(items.astype(np.float32), axis=0)) == 1  # float32 sees one vector


def test_a_user_without_taste_gets_the_items_that_equal_scores_get():
    expected = rank(np.zeros((1, 100)), None, 5)
    columns, scores = top_k(np.zeros((3, 4)), normal(100, 4), 5)
    assert (columns == expected).all() and (scores == 0).all()
    columns, _ = top_k(normal(2, 4), np.zeros((100, 4)), 5)
    assert (columns == expected).all()


def test_the_score_matrix_never_exists():
    users, items = normal(1500, 8), normal(20_000, 8, seed=1)  # 240 MB of scores
    seen = sparse.random(1500, 20_000, 0.005, format="csr", random_state=0)
    top_k(users[:5], items, 10)
    tracemalloc.start()
    top_k(users, items, 10, seen=seen)
    exact = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    top_k(np.zeros((1500, 8)), items, 10)  # all tie: every user's scores are computed
    tied = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # blocks of at most 32 MB, and a few arrays of that size while one is ranked
    assert exact < 120e6 and tied < 120e6, (exact, tied)


# -- indexes


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_approximate_equals_exact_where_it_looks_everywhere(kind):
    users, items = clustered(50, seed=1), clustered(600)
    exact, scores = top_k(users, items, 10)
    index = FaissIndex(items, kind, effort=600)
    columns, found = top_k(users, index, 10)
    np.testing.assert_array_equal(columns, exact)
    np.testing.assert_array_equal(found, scores)
    seen = sparse.csr_matrix((np.random.default_rng(0).random((50, 600)) < 0.2).astype(float))
    np.testing.assert_array_equal(
        top_k(users, index, 10, seen=seen)[0], top_k(users, items, 10, seen=seen)[0]
    )


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_more_effort_finds_more(kind):
    """Lengths that differ by a factor of 100: largest dot products, not nearest neighbours."""
    items = clustered(4000) * np.random.default_rng(3).uniform(0.1, 10, (4000, 1))
    users = clustered(200, seed=1)
    exact = top_k(users, items, 10)[0]
    index = FaissIndex(items, kind)
    found = []
    for effort in (1, 8, 4000):
        index.effort = effort
        found.append(recall(top_k(users, index, 10)[0], exact))
    assert found[0] < found[-1] and found == sorted(found) and found[-1] > 0.99, found


def test_an_index_may_find_too_few():
    index = FaissIndex(normal(1000, 4), "ivf", effort=1)
    columns, scores = top_k(normal(20, 4, seed=1), index, 200)
    missing = columns < 0
    assert missing.any() and not missing.all() and (np.isneginf(scores) == missing).all()
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()  # only at the end
    for row in columns:
        assert len(np.unique(row[row >= 0])) == (row >= 0).sum()


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_the_same_items_give_the_same_index(kind):
    items, users = clustered(1500), clustered(40, seed=1)
    first, second = FaissIndex(items, kind), FaissIndex(items, kind)
    for mine, theirs in zip(top_k(users, first, 7), top_k(users, second, 7), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_ten_columns_are_whole_numbers_unless_asked_otherwise():
    columns, scores = top_k(normal(3, 4), normal(30, 4))
    assert columns.shape == scores.shape == (3, 10)
    assert (columns.dtype, scores.dtype) == (np.int64, np.float64)


def test_few_items_make_a_small_index():
    for kind in ("flat", "hnsw", "ivf"):
        assert_exact(normal(3, 5), normal(1, 5), 2, index=FaissIndex(normal(1, 5), kind))


def test_indexes_are_built_as_their_papers_and_faiss_advise():
    for kind, effort in (("hnsw", 64), ("ivf", 8)):
        assert FaissIndex(normal(100, 4), kind).effort == effort
        assert FaissIndex(normal(100, 4), kind, effort=3).effort == 3
    assert FaissIndex(normal(100, 4), "hnsw")._index.hnsw.nb_neighbors(1) == 32
    for n, n_clusters in ((30, 1), (1600, 41), (25_000, 632)):  # n // 39, and 4 sqrt(n)
        assert FaissIndex(normal(n, 2), "ivf")._index.nlist == n_clusters


def test_threads_are_as_many_as_before():
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        FaissIndex(normal(100, 4), "hnsw")
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


USERS, ITEMS = normal(3, 4), normal(9, 4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: top_k(USERS, ITEMS, 0), "k must be finite and at least 1, got 0"),
        (lambda: top_k(USERS[0], ITEMS), r"users must be \(n, dim\), got shape \(4,\)"),
        (lambda: top_k(USERS, ITEMS[0]), r"items must be \(n, dim\), got shape \(4,\)"),
        (lambda: top_k(USERS[:, :3], ITEMS), "users have 3 dimensions, items 4"),
        (lambda: top_k(USERS * np.nan, ITEMS), "row 0 of users holds nan"),
        (lambda: top_k(USERS, np.vstack([ITEMS, [np.inf] * 4])), "row 9 of items holds nan or inf"),
        (lambda: top_k(USERS, ITEMS, seen=sparse.eye_array(3).tocsr()), r"seen must be \(3, 9\)"),
        (lambda: top_k(USERS, ITEMS[:0]), "there are no items"),
        (lambda: FaissIndex(ITEMS, "tree"), "kind must be .* got 'tree'"),
        (
            lambda: FaissIndex(ITEMS, "hnsw", effort=0),
            "effort must be .* at least 1, got 0",
        ),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_held_at_a_time_is_neither_little_nor_much():
    assert 2**20 <= retrieval._BLOCK_BYTES <= 2**26  # 1 to 64 MB
