"""Residual k-means: planted groups come back, and faiss is no better at the same size."""

import faiss
import numpy as np
import pytest

from recsys_tutorial.semantic_ids import nearest_codewords, prefix_purity, residual_kmeans
from tests.semantic_ids.planted_codes import planted_vectors

pytestmark = pytest.mark.usefixtures("one_thread")


def test_planted_groups_are_the_words():
    vectors, coarse, fine = planted_vectors()
    codes, codebooks = residual_kmeans(vectors, (4, 3))
    assert prefix_purity(codes, coarse)[0] == 1 and prefix_purity(codes, coarse)[1] < 0.3
    # The second word means the same within each first word: the small groups lie alike in all.
    assert prefix_purity(codes[:, 1:], fine)[0] == 1
    assert [book.shape for book in codebooks] == [(4, 12), (3, 12)]
    rebuilt = codebooks[0][codes[:, 0]] + codebooks[1][codes[:, 1]]
    assert np.abs(vectors - rebuilt).max() < 0.1


def test_a_level_takes_up_what_those_before_it_left():
    vectors = np.random.default_rng(0).normal(size=(300, 6))
    codes, codebooks = residual_kmeans(vectors, (8, 4, 2))
    left = vectors
    for words, centres in zip(codes.T, codebooks, strict=True):
        distances = ((left[:, None] - centres) ** 2).sum(2)
        np.testing.assert_allclose(distances[np.arange(300), words], distances.min(1), rtol=1e-6)
        before, left = (left**2).sum(), left - centres[words]
        assert (left**2).sum() < before


def test_about_as_near_as_faiss():
    """Its beam of one is this algorithm with another start of k-means: within 5 %."""
    vectors = np.random.default_rng(1).normal(size=(2000, 8)).astype(np.float32)
    codes, codebooks = residual_kmeans(vectors, (16, 16))
    rebuilt = sum(book[word] for book, word in zip(codebooks, codes.T, strict=True))
    peer = faiss.ResidualQuantizer(8, 2, 4)
    peer.max_beam_size = 1
    peer.train(vectors)
    theirs = ((vectors - peer.decode(peer.compute_codes(vectors))) ** 2).sum()
    assert ((vectors - rebuilt) ** 2).sum() < 1.05 * theirs


def test_every_vector_may_have_a_centre_of_its_own():
    vectors = np.random.default_rng(0).normal(size=(5, 2))
    codes, codebooks = residual_kmeans(vectors, (5,))
    assert sorted(codes[:, 0]) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(codebooks[0][codes[:, 0]], vectors)


def test_seeds():
    vectors = np.random.default_rng(0).normal(size=(100, 4))
    a, b, c = (residual_kmeans(vectors, (8, 8), seed=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_nearest_is_the_nearest_and_of_equally_near_ones_the_first():
    rng = np.random.default_rng(0)
    vectors, centres = rng.normal(size=(5000, 3)), rng.normal(size=(7, 3))
    wanted = ((vectors[:, None] - centres) ** 2).sum(2).argmin(1)
    assert np.array_equal(nearest_codewords(vectors, centres), wanted)
    assert nearest_codewords(np.zeros((1, 1)), np.array([[5.0], [1.0], [-1.0]])).tolist() == [1]
    # In between but for a rounding error: whichever side of it the last bit is on.
    for bit in (-1e-16, 1e-16):
        assert nearest_codewords(np.array([[bit]]), np.array([[1.0], [-1.0]])).tolist() == [0]


@pytest.mark.parametrize(
    "vectors, sizes, message",
    [
        (np.zeros(3), (2,), "vectors must be"),
        (np.full((3, 2), np.nan), (2,), "row 0 of vectors"),
        (np.zeros((3, 2)), (), "at least one level"),
        (np.zeros((3, 2)), (0,), "size must be"),
        (np.zeros((3, 2)), (2, 4), "3 vectors cannot have 4 centres"),
    ],
)
def test_says_what_is_wrong(vectors, sizes, message):
    with pytest.raises(ValueError, match=message):
        residual_kmeans(vectors, sizes)
