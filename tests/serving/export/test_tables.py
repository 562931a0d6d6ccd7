"""Tables are as exact as they promise, keep the strongest, and refuse what has no weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models import EASE, ItemKNN, Popularity
from recsys_tutorial.serving.export import item_weights, short_vectors, strongest

rng = np.random.default_rng(0)
TRAIN = sparse.csr_matrix((rng.random((60, 20)) < 0.25) * (np.arange(20) != 7))  # nobody likes 7
LIKED = np.flatnonzero(np.arange(20) != 7)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9), st.integers(1, 5), st.floats(1e-6, 1e6), st.integers(0, 99))
def test_no_number_moves_by_more_than_half_a_step(n, dim, size, seed):
    vectors = size * np.random.default_rng(seed).normal(size=(n, dim))
    short = short_vectors(vectors)
    assert short.numbers.dtype == np.int8 and short.scales.dtype == np.float32
    step = np.abs(vectors).max(axis=1, keepdims=True) / 127
    # 0.5 and what float32 rounds of a scale: at 127 steps 127 * 2^-24
    assert (np.abs(short.vectors - vectors) <= 0.50002 * step).all()


def test_a_vector_and_its_negative_and_a_row_of_zeros():
    short = short_vectors(np.array([[1.0, -0.3], [-1.0, 0.3], [0, 0]]))
    assert (short.vectors[0] == -short.vectors[1]).all()
    assert (short.vectors[2] == 0).all() and short.scales[2] == 0


@pytest.mark.parametrize(
    "model", [EASE(5.0), ItemKNN(5, shrink=1.0)], ids=["EASE", "item neighbours"]
)
def test_weights_are_what_adds_up_to_the_score(model):
    model.fit(TRAIN)
    weights = item_weights(model, LIKED, 20)
    history = TRAIN[:9]
    np.testing.assert_allclose(
        history[:, LIKED] @ weights, model.score(history)[:, LIKED], rtol=1e-9, atol=1e-12
    )
    all_of_them = strongest(weights, LIKED, 20, 19).matrix
    scores, wanted = history @ all_of_them, model.score(history)
    largest = np.abs(weights).max()
    # each of at most 19 likes is rounded by half of 1 / 127 of an item's largest weight
    assert np.abs(scores - wanted).max() <= 19 * largest / 254 * 1.001
    assert np.abs(scores - wanted).max() > 0  # or nothing was rounded


def test_the_strongest_are_kept_whatever_their_sign():
    weights = np.array([[0, 2.0, 1], [-5, 0, 3], [4, 1, 0]])
    kept = strongest(weights, np.array([2, 5, 8]), 10, 1).matrix.toarray()
    assert {(int(j), int(i)) for j, i in np.argwhere(kept)} == {(5, 2), (2, 5), (5, 8)}
    np.testing.assert_allclose(kept[[5, 2, 5], [2, 5, 8]], [-5, 2, 3], rtol=1e-6)
    both = strongest(weights, np.array([2, 5, 8]), 10, 2).matrix
    np.testing.assert_allclose(both[[2, 5, 8]][:, [2, 5, 8]].toarray(), weights, atol=5 / 254)


def test_a_model_that_does_not_add_up_likes_is_refused():
    with pytest.raises(ValueError, match="does not add up likes"):
        item_weights(Popularity().fit(TRAIN), LIKED, 20)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"k": 0}, "k must be finite and at least 1, got 0"),
        ({"weights": np.zeros((2, 3))}, r"weights must be \(2, 2\), got \(2, 3\)"),
        ({"n_items": 70_000}, "at most 65,536, got 70000"),
        ({"items": np.array([4, 1])}, "items must ascend from 0 to 9"),
        ({"items": np.array([4, 10])}, "items must ascend from 0 to 9"),
        ({"weights": np.array([[0, np.nan], [1, 0]])}, "row 1, item column 0 is nan"),
    ],
)
def test_bad_weights_are_refused(change, message):
    given = {"weights": np.zeros((2, 2)), "items": np.array([1, 4]), "n_items": 10, "k": 1}
    with pytest.raises(ValueError, match=message):
        strongest(**given | change)
