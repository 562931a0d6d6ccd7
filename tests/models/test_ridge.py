import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models import ridge
from recsys_tutorial.models.ridge import BatchedRidge


def problem(seed, n_rows, n_columns, k, density, per_row_penalty, weighted):
    rng = np.random.default_rng(seed)
    matrix = sparse.random_array(
        (n_rows, n_columns), density=density, rng=rng, format="csr", dtype=np.float64
    )
    matrix = sparse.csr_matrix(matrix)
    features = rng.normal(size=(n_columns, k))
    targets = rng.normal(size=matrix.nnz)
    penalty = rng.uniform(0.1, 3.0, size=(n_rows, k) if per_row_penalty else k)
    weights = rng.uniform(0.1, 5.0, size=matrix.nnz) if weighted else None
    return matrix, features, targets, penalty, weights


def dense(matrix, features, targets, penalty, weights):
    """The normal equations of each row, written out and solved one by one."""
    penalty = np.broadcast_to(penalty, (matrix.shape[0], features.shape[1]))
    weights = np.ones(matrix.nnz) if weights is None else weights
    x = np.zeros((matrix.shape[0], features.shape[1]))
    minimum = np.zeros(matrix.shape[0])
    for row in range(matrix.shape[0]):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        f, w, y = features[matrix.indices[part]], weights[part], targets[part]
        x[row] = np.linalg.solve(f.T @ np.diag(w) @ f + np.diag(penalty[row]), f.T @ (w * y))
        minimum[row] = w @ (y - f @ x[row]) ** 2 + penalty[row] @ x[row] ** 2
    return x, minimum


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(1, 12),
    n_columns=st.integers(1, 40),
    k=st.integers(1, 9),
    density=st.floats(0.0, 1.0),
    per_row_penalty=st.booleans(),
    weighted=st.booleans(),
    block_elements=st.sampled_from([1, 40, 10_000]),
)
def test_equals_a_dense_solve_of_every_row(
    seed, n_rows, n_columns, k, density, per_row_penalty, weighted, block_elements
):
    given_ = problem(seed, n_rows, n_columns, k, density, per_row_penalty, weighted)
    matrix, _, targets, _, weights = given_
    x, explained = BatchedRidge(matrix, k, block_elements=block_elements).solve(*given_[1:])
    expected, minimum = dense(*given_)
    # Both are direct solves of systems with condition numbers below 1e5.
    np.testing.assert_allclose(x, expected, rtol=1e-8, atol=1e-8)
    w = np.ones(matrix.nnz) if weights is None else weights
    squares = sparse.csr_matrix((w * targets**2, matrix.indices, matrix.indptr), matrix.shape)
    np.testing.assert_allclose(
        np.asarray(squares.sum(axis=1)).ravel() - explained, minimum, rtol=1e-7, atol=1e-8
    )


def test_the_same_to_the_last_bit_for_any_number_of_threads():
    given_ = problem(0, 300, 80, 8, 0.2, False, True)
    one = BatchedRidge(given_[0], 8, block_elements=2000, n_threads=1).solve(*given_[1:])[0]
    four = BatchedRidge(given_[0], 8, block_elements=2000, n_threads=4).solve(*given_[1:])[0]
    np.testing.assert_array_equal(one, four)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_as_many_threads_are_used_as_are_asked_for(monkeypatch, n_threads):
    class Pool(ridge.ThreadPoolExecutor):
        def __init__(self, n):
            asked.append(n)
            super().__init__(n)

    asked = []
    monkeypatch.setattr(ridge, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(ridge, "usable_cores", lambda: 2)
    given_ = problem(0, 30, 20, 4, 0.3, False, False)
    for n, elements in ((n_threads, 100), (None, 100), (n_threads, None)):
        BatchedRidge(given_[0], 4, block_elements=elements, n_threads=n).solve(*given_[1:])
    # One thread needs no pool, nor does what fits into one block: a pool costs more than the work.
    assert asked == [n for n in (n_threads, 2) if n > 1]


def test_a_bias_may_go_unpenalised():
    matrix, features, targets, penalty, _ = problem(1, 6, 30, 4, 0.4, False, False)
    penalty[-1] = 0.0  # then D^-1 does not exist, and every row is solved the wide way
    x, _ = BatchedRidge(matrix, 4).solve(features, targets, penalty)
    expected, _ = dense(matrix, features, targets, penalty, None)
    np.testing.assert_allclose(x, expected, rtol=1e-8, atol=1e-8)


def test_a_singular_system_is_an_error():
    matrix = sparse.csr_matrix(np.ones((2, 3)))
    features = np.zeros((3, 5))
    with pytest.raises(np.linalg.LinAlgError, match="raise the regularisation"):
        BatchedRidge(matrix, 5).solve(features, np.ones(6), np.zeros(5))


def test_rows_are_padded_little_and_blocks_are_few():
    rng = np.random.default_rng(0)
    counts = np.minimum(rng.zipf(1.6, size=5000), 900)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    columns = np.concatenate([rng.choice(1000, size=n, replace=False) for n in counts])
    matrix = sparse.csr_matrix((np.ones(len(columns)), columns, indptr), shape=(5000, 1000))
    ridge = BatchedRidge(matrix, 16)
    padded = sum(block.columns.size for block in ridge._blocks)
    assert padded <= 1.25 * matrix.nnz
    assert len(ridge._blocks) < 100  # far fewer Python steps than rows


def test_memory_is_bounded_by_the_block_not_by_the_data():
    # One user has rated all 200,000 items: their features alone would be 200,000 x 32 x 8 = 51 MB.
    n = 200_000
    matrix = sparse.csr_matrix(np.ones((1, n)))
    features, targets = np.random.default_rng(0).normal(size=(n, 32)), np.ones(n)
    ridge = BatchedRidge(matrix, 32, block_elements=2**15)
    tracemalloc.start()
    ridge.solve(features, targets, np.ones(32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    own_copy_of_features = (n + 1) * 32 * 8
    vectors_of_length_n = 12 * n * 8  # targets and the like
    assert peak < own_copy_of_features + vectors_of_length_n + 20 * 2**15 * 8


def test_a_start_is_followed_by_two_steps_of_conjugate_gradients():
    """As in textbooks, with the penalty for a preconditioner, one row at a time."""
    given_ = problem(3, 6, 60, 10, 0.6, True, True)
    matrix, features, targets, penalty, weights = given_
    begin = np.random.default_rng(1).normal(size=(6, 10))
    found, _ = BatchedRidge(matrix, 10).solve(*given_[1:], start=begin)
    for row in range(6):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        f, w, y = features[matrix.indices[part]], weights[part], targets[part]
        system = f.T @ np.diag(w) @ f + np.diag(penalty[row])
        x = begin[row]
        residual = f.T @ (w * y) - system @ x
        p = z = residual / penalty[row]
        for _ in range(2):
            rate = residual @ z / (p @ system @ p)
            x, after = x + rate * p, residual - rate * system @ p
            z_after = after / penalty[row]
            p = z_after + (after @ z_after) / (residual @ z) * p
            residual, z = after, z_after
        np.testing.assert_allclose(found[row], x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width, is_exact", [(6, True), (7, False)])
def test_a_row_of_up_to_six_has_its_solution_also_from_a_start(width, is_exact):
    rng = np.random.default_rng(4)
    columns = np.concatenate([rng.choice(30, width, replace=False) for _ in range(5)])
    indptr = width * np.arange(6)
    matrix = sparse.csr_matrix((np.ones(5 * width), columns, indptr), shape=(5, 30))
    features, targets = rng.normal(size=(30, 10)), rng.normal(size=5 * width)
    weights, penalty = rng.uniform(0.1, 5.0, 5 * width), rng.uniform(0.1, 3.0, 10)
    begin = rng.normal(size=(5, 10))
    x, _ = BatchedRidge(matrix, 10).solve(features, targets, penalty, weights, start=begin)
    expected, _ = dense(matrix, features, targets, penalty, weights)
    away = np.abs(x - expected).max(axis=1)
    # A direct solve is right to rounding; two steps leave something of a random start.
    assert (away < 1e-9).all() if is_exact else (away > 1e-3).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_steps_of_conjugate_gradients_come_closer_to_the_solution_and_stay_there(weighted):
    given_ = problem(3, 40, 60, 10, 0.6, True, weighted)
    matrix, _, targets, _, weights = given_
    expected, minimum = dense(*given_)
    w = np.ones(matrix.nnz) if weights is None else weights
    squares = sparse.csr_matrix((w * targets**2, matrix.indices, matrix.indptr), matrix.shape)
    squares = np.asarray(squares.sum(axis=1)).ravel()
    ridge = BatchedRidge(matrix, 10)
    x, distance = np.zeros((40, 10)), np.inf
    for _ in range(100):
        x, explained = ridge.solve(*given_[1:], start=x)
        # The objective at x is above the minimum by the distance in the norm of the system.
        above = (squares - explained - minimum).max()
        assert -1e-8 < above < max(distance, 1e-8)
        distance = above
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-5)
    stays, _ = ridge.solve(*given_[1:], start=expected)
    np.testing.assert_allclose(stays, expected, rtol=0, atol=1e-8)


def test_what_is_held_at_a_time_is_neither_little_nor_much():
    assert 2**18 <= ridge._BLOCK_BYTES <= 2**24  # 256 kB to 16 MB
