"""One reading of likes in every model: a stored zero is none, and bad matrices are named."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial import metrics
from recsys_tutorial._likes import as_likes, as_ratings, check_history, check_train, only_entries
from recsys_tutorial.hard_negatives import HardNegatives
from recsys_tutorial.models import (
    BPR,
    EASE,
    BiasedMF,
    Blend,
    ContentKernel,
    ImplicitALS,
    ItemKNN,
    Popularity,
    TwoTower,
)
from recsys_tutorial.models.content import attention_scores, standardize
from recsys_tutorial.models.interaction import GMF, TargetAttention
from recsys_tutorial.models.interaction_ranker import InteractionRanker
from recsys_tutorial.models.pair_layout import liked_together, user_texts
from recsys_tutorial.models.two_tower import FeatureTower, HistoryTower, TextHistoryTower
from recsys_tutorial.sampling import PopularityNegatives, UniformNegatives

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
N_ITEMS = 12
X = RNG.normal(size=(N_ITEMS, 4))
TRAIN = sparse.csr_matrix((RNG.random((20, N_ITEMS)) < 0.4).astype(float))
EMPTY = 2  # a user who likes nothing
HISTORY = (RNG.random((6, N_ITEMS)) < 0.4) * (np.arange(6) != EMPTY)[:, None]
HISTORY = sparse.csr_matrix(HISTORY.astype(float))


def with_zeros(matrix, parts=False):
    """The same matrix; in each row zeros are stored, too, and columns stand in no order.

    With `parts` one like of each row is stored in two halves.
    """
    data, indices, indptr = [], [], [0]
    for row in matrix.toarray():
        liked, others = np.flatnonzero(row), np.flatnonzero(row == 0)[:3]
        columns = [*others, *liked[::-1], *(liked[:1] if parts else [])]
        values = [*np.zeros(len(others)), *row[liked[::-1]]]
        if parts and len(liked):
            values[-1] /= 2
            values.append(values[-1])
        data += values
        indices += columns
        indptr.append(len(indices))
    result = sparse.csr_matrix((data, indices, indptr), shape=matrix.shape)
    assert result.nnz > matrix.nnz and (result != matrix).nnz == 0
    return sparse.csr_matrix((data, indices, indptr), shape=matrix.shape)


# -- the function


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "array", "float32", "bool", "int8"])
def test_every_form_becomes_the_one(kind, parts):
    matrix = with_zeros(TRAIN, parts and kind not in ("bool", "int8"))
    if kind == "array":
        matrix = sparse.csr_array(matrix)
    else:
        matrix = matrix.asformat(kind) if kind in ("csr", "csc", "coo", "lil") else matrix
        matrix = matrix.astype(kind) if kind in ("float32", "bool", "int8") else matrix
    before = matrix.copy()
    likes = as_likes(matrix, "train", N_ITEMS)
    assert isinstance(likes, sparse.csr_matrix) and likes.dtype == np.float64
    np.testing.assert_array_equal(likes.indptr, TRAIN.indptr)
    np.testing.assert_array_equal(likes.indices, TRAIN.indices)
    np.testing.assert_array_equal(likes.data, TRAIN.data)
    assert matrix.nnz == before.nnz and matrix.dtype == before.dtype  # as it was
    if kind == "csr":
        np.testing.assert_array_equal(matrix.indices, before.indices)
        np.testing.assert_array_equal(matrix.data, before.data)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), max_size=20))
def test_likes_mean_what_the_matrix_means(entries):
    rows, columns, values = np.array(entries, dtype=int).reshape(-1, 3).T
    matrix = sparse.coo_matrix((values, (rows, columns)), shape=(4, 5))
    likes = as_likes(matrix, "train")
    np.testing.assert_array_equal(likes.toarray(), matrix.toarray())
    assert likes.nnz == np.count_nonzero(matrix.toarray()) and likes.has_canonical_format


def test_clean_likes_are_not_copied():
    assert np.shares_memory(as_likes(TRAIN, "train").data, TRAIN.data)


def with_value(value, dtype=float):
    """Likes of 3 users with this value in row 1, column 2."""
    matrix = np.eye(3, N_ITEMS).astype(dtype)
    matrix[1, 2] = value
    return sparse.csr_matrix(matrix)


TEXT = sparse.coo_matrix((np.array([1]), ([0], [0])), shape=(3, N_ITEMS))
TEXT.data = np.array(["1"])
BAD = {
    "dense": (np.ones((3, N_ITEMS)), "must be a sparse matrix, got ndarray"),
    "list": ([[1] * N_ITEMS], "must be a sparse matrix, got list"),
    "complex": (with_value(1j, complex), "must hold real numbers, got dtype complex128"),
    "text": (TEXT, "must hold real numbers, got dtype <U1"),
    "nan": (with_value(np.nan), "holds a nan or infinite value in row 1, column 2: nan"),
    "inf": (with_value(-np.inf), "holds a nan or infinite value in row 1, column 2: -inf"),
    "negative": (with_value(-2.0), r"holds the negative value -2.0 in row 1, column 2: .* >= 0"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_matrix_is_named_with_the_place(bad):
    matrix, message = BAD[bad]
    with pytest.raises(ValueError, match=f"^likes {message}"):
        as_likes(matrix, "likes")


@pytest.mark.parametrize("value", [-0.5, np.nan])
def test_the_place_is_that_of_the_value_wherever_it_stands(value):
    for row, column in np.ndindex(3, 4):
        matrix = np.full((3, 4), 0.5)
        matrix[row, column] = value
        with pytest.raises(ValueError, match=f"in row {row}, column {column}:"):
            as_likes(sparse.csr_matrix(matrix), "likes")


def test_a_like_in_two_parts_is_one_also_where_no_zero_is_stored():
    twice = sparse.csr_matrix(([1.0, 2.0, 3.0], [1, 0, 1], [0, 3]), shape=(1, 2))
    assert as_likes(twice, "likes").data.tolist() == [2, 4]
    assert twice.nnz == 3  # the caller's is as it was


def test_some_entries_are_a_matrix_of_their_own():
    matrix = sparse.csr_matrix([[0, 2.0, 3], [4, 0, 0]])
    part = only_entries(matrix, np.array([True, False, True]))
    assert part.toarray().tolist() == [[0, 2, 0], [4, 0, 0]] and part.nnz == 2
    assert matrix.toarray().tolist() == [[0, 2, 3], [4, 0, 0]]
    assert not np.shares_memory(part.indices, matrix.indices)


def test_a_wrong_width_one_axis_and_nobody():
    with pytest.raises(ValueError, match=r"^history has 12 items, the model was fitted on 11"):
        check_history(HISTORY, 11)
    with pytest.raises(ValueError, match=r"^train \(20, 12\) holds no interaction"):
        check_train(TRAIN * 0)
    with pytest.raises(ValueError, match=r"must be \(n_users, n_items\), got shape \(3,\)"):
        as_likes(sparse.coo_array(np.ones(3)), "train")
    assert check_history(HISTORY * 0, N_ITEMS).nnz == 0


def test_ratings_may_be_negative_but_not_two_for_a_pair():
    np.testing.assert_array_equal(as_ratings(with_value(-2.0), "r").data, [1, 1, -2, 1])
    for form in ("csr", "csc", "lil", "dok"):
        assert as_ratings(with_zeros(TRAIN).asformat(form), "r").nnz == TRAIN.nnz
    n = np.count_nonzero(np.diff(TRAIN.indptr))  # of each user who likes anything, one is in parts
    for parts in (with_zeros(TRAIN, parts=True), with_zeros(TRAIN, parts=True).tocoo()):
        with pytest.raises(ValueError, match=f"^r holds {n} ratings of a pair that has one"):
            as_ratings(parts, "r")


# -- every model


class Attention:
    """`attention_scores` as a model."""

    def fit(self, train):
        return self

    def score(self, history):
        return attention_scores(history, X, np.stack([X, X[::-1]], axis=1), beta=1.0)


def two_tower(pooling, prior, negatives="all"):
    torch.manual_seed(0)
    items = FeatureTower(X, 3)
    model = TwoTower(HistoryTower(items, pooling), items, popularity_prior=prior)
    return Trained(model, negatives=negatives, epochs=2)


class Trained:
    """A model with options of `fit`."""

    def __init__(self, model, **options):
        self.model, self.options = model, options

    def fit(self, train):
        self.model.fit(train, **self.options)
        return self

    def score(self, history):
        return self.model.score(history)


def nothing(model, empty):
    return 0.0


def prior(model, empty):
    inner = model.model
    return (inner.popularity_weight * inner.log_popularity).detach().numpy()


# How to build each, and what it documents for a user who likes nothing.
MODELS = {
    "popularity": (Popularity, lambda model, empty: model.item_counts_),
    "knn": (lambda: ItemKNN(k=5), nothing),
    "knn bm25": (lambda: ItemKNN(k=5, weighting="bm25"), nothing),
    "ease by users": (lambda: EASE(1.0), nothing),
    "ease by items": (lambda: EASE(1.0), nothing),
    "content": (lambda: ContentKernel(X), nothing),
    "attention": (Attention, nothing),
    "blend": (
        lambda: Blend([Popularity(), EASE(1.0)], [1.0, 2.0]),
        lambda model, empty: standardize(model.models[0].item_counts_[None])[0],
    ),
    "als": (
        lambda: ImplicitALS(3, iterations=2),
        lambda model, empty: model.user_factors_.mean(axis=0) @ model.item_factors_.T,
    ),
    "bpr": (lambda: BPR(3, iterations=2), lambda model, empty: model.item_bias_),
    "biased mf": (
        lambda: BiasedMF(3, iterations=2),
        lambda model, empty: model.global_mean_ + model.item_bias_,
    ),
    "biased mf sgd": (
        lambda: BiasedMF(3, iterations=2, solver="sgd"),
        lambda model, empty: model.global_mean_ + model.item_bias_,
    ),
    "two towers, mean": (lambda: two_tower("mean", False), nothing),
    "two towers, sqrt": (lambda: two_tower("sqrt", True), prior),
    "two towers, attentive": (lambda: two_tower("attentive", True), prior),
    "two towers, in batch": (lambda: two_tower("sqrt", True, "in_batch"), prior),
}
FEW = {"ease by users"}  # fitted on fewer users than items
RATINGS = {"biased mf", "biased mf sgd"}


def build(name):
    return MODELS[name][0]()


def train_of(name):
    train = TRAIN[:8] if name in FEW else TRAIN
    return train.multiply(1 + np.arange(N_ITEMS) % 4).tocsr() if name in RATINGS else train


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_zero_is_no_like(name):
    train = train_of(name)
    model = build(name).fit(train)
    scores = model.score(HISTORY)
    assert np.ptp(scores[np.isfinite(scores)]) > 0.01  # it says something
    again = build(name).fit(with_zeros(train, parts=name not in RATINGS))
    for each, history in (
        (model, with_zeros(HISTORY, parts=name not in RATINGS)),
        (again, HISTORY),
        (again, with_zeros(HISTORY)),
    ):
        np.testing.assert_array_equal(each.score(history), scores)


@pytest.mark.parametrize("name", MODELS)
def test_who_likes_nothing_gets_the_documented_scores(name):
    model = build(name).fit(train_of(name))
    if name.startswith("ease"):
        assert model.method_ in name
    expected = np.broadcast_to(MODELS[name][1](model, HISTORY[EMPTY]), (N_ITEMS,))
    for history in (HISTORY, with_zeros(HISTORY)):
        assert not history[EMPTY].toarray().any()
        np.testing.assert_allclose(model.score(history)[EMPTY], expected, atol=1e-12)
    alone = with_zeros(HISTORY)[EMPTY]
    np.testing.assert_allclose(model.score(alone), expected[None], atol=1e-12)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_names_what_is_wrong(name, bad):
    matrix, message = BAD[bad]
    model = build(name)
    if name in RATINGS and bad == "list":
        return  # a frame is expected where there is no matrix, see test_biased_mf
    trained = build(name).fit(train_of(name))
    calls = [model.fit, trained.score]
    if name == "attention" or (name in RATINGS and bad == "dense"):
        calls = calls[1:]
    if name.startswith("two towers") and bad in ("dense", "list"):
        calls = calls[:1]  # users may be texts and features, too
    if name in RATINGS and bad == "negative":
        assert np.isfinite(trained.score(matrix)).all()  # the lowest of a scale may be below 0
        return
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(matrix)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_names_a_wrong_width(name):
    model = build(name).fit(train_of(name))
    with pytest.raises(ValueError, match="has 11 items"):
        model.score(HISTORY[:, :11])


# -- what else reads likes


def test_towers_and_rankers_asked_directly_know_no_zeros():
    history = with_zeros(HISTORY, parts=True)
    tower = HistoryTower(FeatureTower(X, 3), "attentive")
    torch.testing.assert_close(tower(history), tower(HISTORY), rtol=0, atol=0)
    titles = [f"film {column}" for column in range(N_ITEMS)]
    texts = TextHistoryTower(SimpleNamespace(dim=4), titles, 3, max_titles=3).texts
    assert texts(history) == texts(HISTORY)
    assert user_texts(history, titles, 3) == user_texts(HISTORY, titles, 3)
    assert texts(HISTORY)[EMPTY] == "" and user_texts(HISTORY, titles)[EMPTY] == "Liked: "
    columns = np.tile(np.arange(N_ITEMS), (HISTORY.shape[0], 1))
    for interaction in (GMF(3), TargetAttention(3, 2)):
        model = InteractionRanker(X, interaction, 3)
        found, expected = model(history, columns), model(HISTORY, columns)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        torch.testing.assert_close(model.users(history), model.users(HISTORY), rtol=0, atol=0)


def test_neighbours_know_no_zeros():
    clean, dirty = liked_together(TRAIN), liked_together(with_zeros(TRAIN, parts=True))
    assert len(clean) == N_ITEMS and all(len(neighbours) for neighbours in clean)
    for a, b in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sampler", [UniformNegatives, PopularityNegatives])
def test_an_item_that_is_stored_as_zero_may_be_a_negative(sampler):
    users = np.arange(20).repeat(50)
    clean = sampler(TRAIN).draw(users, np.random.default_rng(0))
    dirty = with_zeros(TRAIN, parts=True)
    np.testing.assert_array_equal(sampler(dirty).draw(users, np.random.default_rng(0)), clean)
    assert not TRAIN[users, clean].any()
    with pytest.raises(ValueError, match="train holds the negative value"):
        sampler(with_value(-1.0))


def test_hard_negatives_know_no_zeros():
    vectors = RNG.normal(size=(20, 4)), X
    clean, dirty = (
        HardNegatives(m, depth=3).refresh(*vectors) for m in (TRAIN, with_zeros(TRAIN, parts=True))
    )
    np.testing.assert_array_equal(dirty.items_, clean.items_)
    assert not np.take_along_axis(TRAIN.toarray(), clean.items_, 1).any()


def test_metrics_know_no_zeros_and_refuse_negatives():
    ranked = np.tile(np.arange(N_ITEMS), (HISTORY.shape[0], 1))
    clean = metrics.ndcg_at_k(ranked, HISTORY, 5)
    assert np.nanmax(clean) > 0 and np.isnan(clean[EMPTY])
    np.testing.assert_array_equal(metrics.ndcg_at_k(ranked, with_zeros(HISTORY), 5), clean)
    with pytest.raises(ValueError, match=r"relevant holds the negative value -1.0 in row 1"):
        metrics.recall_at_k(ranked[:3], with_value(-1.0), 5)
