"""Ranked lists against a brute-force sort; equal scores, infinities and bad scores."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate, rank
from recsys_tutorial.ranking import standardize, tie_key
from recsys_tutorial.splits import new_user_split
from tests.evaluation.worlds import csr


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


def test_who_ranks_block_after_block_is_told_the_row_of_the_whole():
    scores = np.array([[0, 1], [0, np.nan]])
    with pytest.raises(ValueError, match="user row 501, item column 1"):
        rank(scores, None, 1, first_row=500)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
def test_standardized_rows_have_mean_0_and_deviation_1(dtype):
    scores = np.random.default_rng(0).integers(5, size=(6, 40)).astype(dtype)
    before = scores.copy()
    done = standardize(scores)
    assert done.dtype == np.float64
    np.testing.assert_allclose(done.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(done.std(axis=1), 1, rtol=1e-12)
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(done, scores, strict=True)]
    np.testing.assert_allclose(each, 1)  # the order and the distances are as they were
    np.testing.assert_array_equal(scores, before)


def test_a_constant_row_says_nothing_and_what_is_not_finite_is_named():
    # The mean of 0.1 seven times is not 0.1: its deviation is rounding, 1e-17.
    done = standardize(np.array([[0.1] * 7, [0, 0, 0, 0, 0, 0, 7e-9]]))
    assert done[0].tolist() == [0] * 7 and done[1].std() == pytest.approx(1)
    for value in (np.nan, -np.inf):
        scores = np.zeros((4, 3))
        scores[2, 0] = value
        with pytest.raises(ValueError, match="user row 2 are not all finite"):
            standardize(scores)
