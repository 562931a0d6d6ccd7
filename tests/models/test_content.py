"""Content kernels against written-out sums, planted tastes, and the blend's arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from recsys_tutorial.models.content import (
    Blend,
    ContentKernel,
    attention_scores,
    standardize,
    unit_rows,
)

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((30, 6)) + 0.5
LIKES = RNG.random((8, 30)) < 0.2
LIKES[3] = False  # somebody who liked nothing
HISTORY = sparse.csr_matrix(LIKES.astype(float))


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("power", [1, 2, 3.5, 8])
@pytest.mark.parametrize("center", [True, False])
def test_kernel_is_the_sum_that_the_docstring_says(power, center):
    scores = ContentKernel(VECTORS, power, center).fit(HISTORY).score(HISTORY)
    vectors = VECTORS - VECTORS.mean(axis=0) * center
    for u in range(8):
        liked = HISTORY[u].indices
        for i in range(30):
            expected = sum(max(0.0, cosine(vectors[i], vectors[j])) ** power for j in liked)
            assert scores[u, i] == pytest.approx(expected, abs=1e-12)
    assert not scores[3].any()


def test_power_one_is_the_mean_profile_where_no_cosine_is_negative():
    positive = np.abs(VECTORS)
    unit = unit_rows(positive)
    profile = HISTORY @ unit
    np.testing.assert_allclose(
        ContentKernel(positive, 1, center=False).score(HISTORY), profile @ unit.T
    )


def test_sparse_vectors_are_as_good_as_dense_ones():
    sparse_vectors = sparse.random(30, 50, 0.1, random_state=1, format="csr")
    ours = ContentKernel(sparse_vectors, 3, center=False).score(HISTORY)
    dense = ContentKernel(sparse_vectors.toarray(), 3, center=False).score(HISTORY)
    np.testing.assert_allclose(ours, dense, atol=1e-12)
    assert not ContentKernel(sparse_vectors, 3, center=False).score(HISTORY[[3]]).any()
    single = unit_rows(sparse_vectors.astype(np.float32))
    assert single.dtype == unit_rows(VECTORS.astype(np.float32)).dtype == np.float64
    with pytest.raises(ValueError, match="would fill the zeros"):
        ContentKernel(sparse_vectors)


def two_tastes(n_each=10, dim=12):
    """Items of three kinds; the third lies between the first two."""
    rng = np.random.default_rng(5)
    a, b = np.eye(dim)[:2]
    kinds = np.repeat([a, b, (a + b) / np.sqrt(2)], n_each, axis=0)
    return kinds + 0.1 * rng.standard_normal((3 * n_each, dim))


def test_a_sharp_kernel_serves_two_tastes_where_the_mean_serves_a_third():
    """The planted answer of the chapter: and the blunt model fails the same test."""
    liked = [0, 1, 10, 11]  # two of the first kind, two of the second
    history = sparse.csr_matrix((np.ones(4), ([0] * 4, liked)), shape=(1, 30))
    vectors = two_tastes()

    def share_between(power):
        scores = ContentKernel(vectors, power, center=False).score(history)[0]
        scores[liked] = -np.inf
        return (np.argsort(-scores)[:10] >= 20).mean()

    assert share_between(1) == 1.0  # all of the ten best are of the kind in between
    assert share_between(20) == 0.0


def test_an_item_that_nobody_liked_is_scored():
    vectors = two_tastes()
    history = sparse.csr_matrix(([1.0], ([0], [0])), shape=(1, 30))
    scores = ContentKernel(vectors, 4).fit(history).score(history)[0]
    assert scores[1:10].min() > scores[10:20].max()


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 50), st.permutations(range(30)))
def test_lengths_and_the_order_of_items_do_not_matter(scale, order):
    scaled = VECTORS * np.linspace(1, scale, 30)[:, None]
    base = ContentKernel(VECTORS, 4, center=False).score(HISTORY)
    np.testing.assert_allclose(ContentKernel(scaled, 4, center=False).score(HISTORY), base)
    permuted = ContentKernel(VECTORS[order], 4).score(HISTORY[:, order])
    np.testing.assert_allclose(permuted, ContentKernel(VECTORS, 4).score(HISTORY)[:, order])


def test_centring_takes_away_what_all_items_share():
    shared = VECTORS + 100.0
    assert ContentKernel(shared, 1, center=False).score(HISTORY).std(axis=1).max() < 0.01
    np.testing.assert_allclose(
        ContentKernel(shared, 4).score(HISTORY), ContentKernel(VECTORS, 4).score(HISTORY)
    )


def test_a_vector_of_zeros_is_like_nothing():
    vectors = VECTORS.copy()
    vectors[4] = 0
    scores = ContentKernel(vectors, 2, center=False).score(HISTORY)
    assert not scores[:, 4].any() and np.isfinite(scores).all()


@pytest.mark.parametrize("beta", [0.0, 1.0, 30.0, 1e4])
def test_attention_is_the_double_sum(beta):
    parts = RNG.standard_normal((30, 3, 6))
    scores = attention_scores(HISTORY, VECTORS, parts, beta)
    for u in (0, 5):
        liked = HISTORY[u].indices
        for i in (0, 7, 29):
            dots = VECTORS[liked] @ parts[i].T  # (n_liked, n_parts)
            if beta <= 30:
                weights = np.exp(beta * (dots - dots.max()))
                expected = (weights * dots).sum() / weights.sum()
                assert scores[u, i] == pytest.approx(expected, abs=1e-9)
    assert not scores[3].any() and np.isfinite(scores).all()
    nobody = attention_scores(HISTORY[[3]], VECTORS, parts, beta)
    assert nobody.shape == (1, 30) and not nobody.any()


def test_attention_between_mean_and_maximum():
    parts = VECTORS[:, None]
    dots = VECTORS @ VECTORS.T
    counts = np.asarray(HISTORY.sum(axis=1))
    mean = np.divide(HISTORY @ dots, counts, where=counts > 0, out=np.zeros((8, 30)))
    np.testing.assert_allclose(attention_scores(HISTORY, VECTORS, parts, 0.0), mean, atol=1e-12)
    unit = unit_rows(VECTORS)
    sharp = attention_scores(HISTORY, unit, unit[:, None], 500.0)
    for u in (0, 1, 2):
        np.testing.assert_allclose(sharp[u], (unit[HISTORY[u].indices] @ unit.T).max(0), atol=0.01)


class Fixed:
    def __init__(self, scores):
        self.scores = scores

    def fit(self, train):
        self.fitted_ = True
        return self

    def score(self, history):
        return self.scores


def test_blend_is_the_weighted_sum_of_standardised_scores():
    a, b = RNG.standard_normal((2, 8, 30)) * [[[1.0]], [[1000.0]]]
    models = [Fixed(a), Fixed(b)]
    blend = Blend(models, [0.7, 0.3]).fit(HISTORY)
    assert all(model.fitted_ for model in models)
    z = [(x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in (a, b)]
    np.testing.assert_allclose(blend.score(HISTORY), 0.7 * z[0] + 0.3 * z[1])
    np.testing.assert_allclose(Blend(models, [1, 0]).score(HISTORY), z[0])


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(float, (3, 7), elements=st.integers(-1000, 1000).map(float)),
    st.floats(0.01, 100),
    st.floats(-5, 5),
)
def test_standardised_rows_forget_unit_and_origin(scores, unit, origin):
    z = standardize(scores)
    varied = np.ptp(scores, axis=1) > 0
    np.testing.assert_allclose(z[varied].mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(z[varied].std(1), 1, atol=1e-9)
    assert not z[~varied].any()
    np.testing.assert_allclose(standardize(scores * unit + origin)[varied], z[varied], atol=1e-6)


def test_a_constant_row_is_zero_not_rounding():
    """Popularity and EASE score all cold items alike; 0.1 has no exact binary form."""
    assert not standardize(np.full((2, 1000), 0.1)).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContentKernel(VECTORS, 0), "power must be positive and finite, got 0"),
        (lambda: ContentKernel(VECTORS, float("nan")), "power must be positive and finite"),
        (lambda: ContentKernel(VECTORS[0]), r"vectors must be \(n, dim\)"),
        (
            lambda: ContentKernel(np.vstack([VECTORS, np.full((1, 6), np.nan)])),
            "row 30 of vectors holds nan",
        ),
        (lambda: ContentKernel(VECTORS[:9]).fit(HISTORY), "train has 30 items, vectors 9"),
        (lambda: ContentKernel(VECTORS[:9]).score(HISTORY), "history has 30 items"),
        (lambda: ContentKernel(VECTORS).score(HISTORY.toarray()), "must be a sparse matrix"),
        (lambda: Blend([], []), "0 models need as many weights"),
        (lambda: Blend([Fixed(0)], [1, 2]), "1 models need as many weights, got 2"),
        (lambda: Blend([Fixed(0)], [np.inf]), "weights must be finite"),
        (lambda: standardize(np.array([[0, 1.0], [0, -np.inf]])), "user row 1 are not all finite"),
        (
            lambda: attention_scores(HISTORY, VECTORS, VECTORS[:, None], -1),
            "beta must be finite and at least 0, got -1",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
