"""Votes of neighbours: a slow loop as oracle, planted families, bad inputs."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.models import NeighbourVotes, neighbours

rng = np.random.default_rng(0)
VECTORS = rng.normal(size=(30, 6))
LIKES = sparse.csr_matrix((rng.random((30, 9)) < 0.4).astype(float))
NEW = rng.normal(size=(5, 6))


def slow(vectors, likes, new, k, power):
    scores = np.zeros((len(new), likes.shape[1]))
    for u, f in enumerate(new):
        cosine = np.array([f @ g / np.linalg.norm(f) / np.linalg.norm(g) for g in vectors])
        for v in np.argsort(-cosine)[:k]:
            scores[u] += max(0.0, cosine[v]) ** power * likes[v].toarray()[0]
    return scores


@pytest.mark.parametrize(("k", "power"), [(1, 1.0), (5, 2.0), (12, 4.0), (30, 1.0), (99, 1.0)])
def test_scores_are_those_of_a_loop(k, power):
    found = NeighbourVotes(VECTORS, k, power).fit(LIKES).score(NEW)
    # cosines are rounded to six digits; another neighbour would move a score by 0.01 and more
    np.testing.assert_allclose(found, slow(VECTORS, LIKES, NEW, k, power), atol=1e-4)


def test_sparse_vectors_give_the_same():
    found = NeighbourVotes(sparse.csr_matrix(VECTORS), 5).fit(LIKES).score(sparse.csr_matrix(NEW))
    np.testing.assert_allclose(found, NeighbourVotes(VECTORS, 5).fit(LIKES).score(NEW))


def test_users_are_scored_in_blocks(monkeypatch):
    model = NeighbourVotes(VECTORS, 5).fit(LIKES)
    whole = model.score(NEW)
    monkeypatch.setattr(neighbours, "_BLOCK", 2)
    np.testing.assert_array_equal(model.score(NEW), whole)


def test_cosines_are_compared_to_six_digits():
    cosines = np.array([0.8000001, 0.8000004])
    vectors = np.column_stack([cosines, np.sqrt(1 - cosines**2)])
    model = NeighbourVotes(vectors, 1, power=1.0).fit(sparse.csr_matrix(np.eye(2)))
    assert model.score(np.array([[1.0, 0.0]])).tolist() == [[0.8, 0.8]]


def test_the_family_is_found_and_shuffled_vectors_do_not_find_it():
    family = np.repeat(np.arange(6), 20)
    centres = rng.normal(size=(6, 8))
    vectors = centres[family] + 0.1 * rng.normal(size=(120, 8))
    likes = sparse.csr_matrix(np.eye(6)[family])
    best = NeighbourVotes(vectors, 10).fit(likes).score(centres).argmax(axis=1)
    assert best.tolist() == list(range(6))
    mixed = NeighbourVotes(rng.permutation(vectors), 10).fit(likes).score(centres)
    assert (mixed.argmax(axis=1) == np.arange(6)).mean() < 0.7  # chance is one in six


def test_ties_at_the_border_all_vote():
    same = np.ones((4, 2))
    scores = NeighbourVotes(same, 1).fit(sparse.csr_matrix(np.eye(4))).score(np.ones((1, 2)))
    np.testing.assert_allclose(scores, 1.0)  # no order of rows decides


def test_an_empty_text_gets_no_votes():
    assert not NeighbourVotes(VECTORS).fit(LIKES).score(np.zeros((1, 6))).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeighbourVotes(VECTORS, 0), "k must be finite and at least 1"),
        (lambda: NeighbourVotes(VECTORS, power=0.0), "power must be"),
        (lambda: NeighbourVotes(VECTORS[:3]).fit(LIKES), "30 users, there are 3 vectors"),
        (lambda: NeighbourVotes(VECTORS).fit(LIKES).score(NEW[:, :2]), "have 2, not 6"),
        (lambda: NeighbourVotes(np.full((30, 6), np.nan)), "finite|nan"),
    ],
)
def test_bad_inputs_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
