"""Candidates in another order: against orders by hand, and the limits of what can be gained."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.reranking import Candidates
from recsys_tutorial.splits import Holdout

RETRIEVER = np.array([[9.0, 8, 7, 6, 5], [1, 2, 3, 4, 5]])
SEEN = sparse.csr_matrix(np.array([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]))
TARGETS = sparse.csr_matrix(np.array([[0, 0, 0, 1.0, 1], [1, 0, 1, 0, 0]]))


@pytest.fixture
def candidates():
    none = sparse.csr_matrix(SEEN.shape)
    return Candidates(RETRIEVER, Holdout(np.array([7, 8]), none, none, SEEN, TARGETS), 3)


def test_candidates_are_the_retrievers_best_unseen(candidates):
    assert candidates.ranked.tolist() == [[1, 2, 3], [4, 3, 2]]
    assert candidates.scores.tolist() == [[8, 7, 6], [5, 4, 3]]
    assert candidates.liked.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert candidates.take(-RETRIEVER).tolist() == [[-8, -7, -6], [-5, -4, -3]]
    assert candidates.take(RETRIEVER.astype(int)).dtype == np.float64


def test_the_first_column_may_be_a_candidate_and_equal_scores_keep_the_retrievers_order():
    n = 40  # more than an unstable sort leaves in order
    none = sparse.csr_matrix((1, n))
    retriever = np.random.default_rng(0).random((1, n))
    holdout = Holdout(np.array([0]), none, none, none, sparse.csr_matrix(np.eye(1, n)))
    candidates = Candidates(retriever, holdout, n)
    assert sorted(candidates.ranked[0]) == list(range(n))
    alike = candidates.judge(candidates.ranked % 2 == 1)  # odd columns first
    own = candidates.ranked[0].tolist()
    odd_first = [c for c in own if c % 2] + [c for c in own if c % 2 == 0]
    k = alike.ranked.shape[1]
    assert alike.ranked[0].tolist() == odd_first[:k]


def test_orders_by_hand(candidates):
    def lists(evaluation):
        return evaluation.ranked[:, :4].tolist()

    reverse = -candidates.scores
    assert lists(candidates.judge(candidates.scores)) == [[1, 2, 3, -1], [4, 3, 2, -1]]
    assert lists(candidates.judge(reverse)) == [[3, 2, 1, -1], [2, 3, 4, -1]]
    assert lists(candidates.judge(reverse, 1)) == lists(candidates.judge(candidates.scores))
    assert lists(candidates.judge(reverse, 2)) == [[2, 1, 3, -1], [3, 4, 2, -1]]
    assert lists(candidates.mix(reverse, 1.0, 2)) == [[2, 1, 3, -1], [3, 4, 2, -1]]
    assert lists(candidates.judge(np.zeros((2, 3)))) == [[1, 2, 3, -1], [4, 3, 2, -1]]  # ties
    for weight, expected in ((0.4, candidates.scores), (0.6, reverse)):
        assert lists(candidates.mix(10 * reverse, weight)) == lists(candidates.judge(expected))


def test_an_oracle_is_above_every_order_and_the_retriever_is_itself(candidates):
    own = evaluate(RETRIEVER, candidates.holdout, (3,))["ndcg@3"]
    best = candidates.judge(candidates.liked)["ndcg@10"]
    assert candidates.judge(candidates.scores)["ndcg@10"] == pytest.approx(own)
    rng = np.random.default_rng(0)
    assert all(candidates.judge(rng.random((2, 3)))["ndcg@10"] <= best for _ in range(20))
    assert own < best < 1  # a target that was not retrieved cannot be reranked


@pytest.mark.parametrize(
    ("scores", "depth", "message"),
    [
        (np.zeros((2, 3)), 4, "depth must be 1 to 3"),
        (np.zeros((2, 2)), None, r"\(n_users, 3\), got \(2, 2\)"),
        (np.array([[0, 1, 2], [0, np.nan, 2]]), None, "finite"),
    ],
)
def test_bad_inputs_are_named(candidates, scores, depth, message):
    with pytest.raises(ValueError, match=message):
        candidates.judge(scores, depth)


def test_too_few_items_are_an_error(candidates):
    with pytest.raises(ValueError, match="user row 0 has fewer than 5 candidates"):
        Candidates(RETRIEVER, candidates.holdout, 5)
