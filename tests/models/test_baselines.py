"""Popularity, item neighbours and EASE against dense textbook versions and planted answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import compare, evaluate
from recsys_tutorial.models import EASE, ItemKNN, Popularity, baselines
from recsys_tutorial.ranking import column_key
from recsys_tutorial.splits import Holdout, new_user_split
from tests.models.planted import histories, sparse_likes

MODELS = [
    Popularity(),
    ItemKNN(k=5),
    ItemKNN(k=5, weighting="bm25"),
    EASE(reg=10.0),
]
IDS = ["popularity", "cosine", "bm25", "ease"]


def csr(dense):
    return sparse.csr_matrix(np.asarray(dense, dtype=float))


# --- Popularity


def test_popularity_counts_likes():
    train = sparse_likes(30, 12)
    scores = Popularity().fit(train).score(histories(12))
    np.testing.assert_array_equal(scores, np.tile(train.toarray().sum(axis=0), (12, 1)))


# --- ItemKNN


def dense_neighbours(similarity, k):
    """Per item i (a column) keep its k most similar others j, equals in `rank`'s order."""
    kept = np.zeros_like(similarity)
    liked = similarity.diagonal() > 0  # the others have no neighbours, and no place in the order
    key = np.zeros(len(similarity))
    key[liked] = column_key(int(liked.sum())).argsort().argsort()
    for i in range(len(similarity)):
        others = [j for j in range(len(similarity)) if j != i and similarity[j, i] > 0]
        for j in sorted(others, key=lambda j: (-similarity[j, i], key[j]))[:k]:
            kept[j, i] = similarity[j, i]
    return kept


def dense_cosine(train, shrink):
    x = train.toarray()
    users = [set(np.flatnonzero(x[:, i])) for i in range(x.shape[1])]
    return np.array(
        [
            [len(a & b) / (np.sqrt(len(a) * len(b)) + shrink) if a & b else 0.0 for b in users]
            for a in users
        ]
    )


def dense_bm25(train, k1, b):
    x = train.toarray()
    n_users, lengths, likers = len(x), x.sum(axis=1), (x > 0).sum(axis=0)
    idf = np.log(1 + (n_users - likers + 0.5) / (likers + 0.5))
    weights = np.zeros_like(x)
    for u, i in zip(*np.nonzero(x), strict=True):
        saturation = k1 * (1 - b + b * lengths[u] / lengths.mean())
        weights[u, i] = idf[i] * x[u, i] * (k1 + 1) / (x[u, i] + saturation)
    return weights.T @ weights


@pytest.mark.parametrize("k", [1, 3, 1000])
@pytest.mark.parametrize("shrink", [0.0, 2.5])
def test_cosine_equals_sets_of_users(k, shrink):
    train, history = sparse_likes(25, 18), histories(18)
    model = ItemKNN(k=k, shrink=shrink).fit(train)
    expected = dense_neighbours(dense_cosine(train, shrink), k)
    # Products of square roots in another order: 1e-15. A wrong neighbour or shrink shows at 0.01.
    np.testing.assert_allclose(model.similarity_.toarray(), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(
        model.score(history), history.toarray() @ expected, rtol=0, atol=1e-13
    )


def with_counts(train):
    """Each like was given one to three times."""
    train.data = np.random.default_rng(3).integers(1, 4, train.nnz).astype(float)
    return train


def test_the_cosine_of_likes_that_count_for_less():
    train = with_counts(sparse_likes(25, 18))
    x = train.toarray()
    norm = np.linalg.norm(x, axis=0)
    similarity = np.where(x.T @ x > 0, x.T @ x / (np.outer(norm, norm) + 2.5), 0)
    found = ItemKNN(k=1000, shrink=2.5).fit(train).similarity_.toarray()
    np.testing.assert_allclose(found, similarity - np.diag(np.diag(similarity)), atol=1e-14)


def test_of_many_equal_neighbours_the_first_in_the_order_of_ties_are_kept():
    train = csr(np.ones((2, 60)))
    found = ItemKNN(k=5).fit(train).similarity_.toarray()
    np.testing.assert_allclose(found, dense_neighbours(np.ones((60, 60)), 5), atol=1e-12)


@pytest.mark.parametrize("k1, b", [(1.2, 0.75), (0.0, 0.5), (100.0, 0.0), (2.0, 1.0)])
@pytest.mark.parametrize("k", [3, 1000])
def test_bm25_equals_its_formula(k, k1, b):
    train, history = sparse_likes(25, 18), histories(18)
    if k == 1000:  # all neighbours are kept: no ties to break
        train = with_counts(train)
    model = ItemKNN(k=k, weighting="bm25", k1=k1, b=b).fit(train)
    expected = dense_neighbours(np.round(dense_bm25(train, k1, b), 12), k)
    np.testing.assert_allclose(model.similarity_.toarray(), expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        model.score(history), history.toarray() @ expected, rtol=0, atol=1e-10
    )


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 7))), st.integers(1, 9))
def test_cosine_of_tiny_matrices_with_many_equal_similarities(dense, k):
    if not dense.any():
        return
    expected = dense_neighbours(np.round(dense_cosine(csr(dense), 0.0), 12), k)
    model = ItemKNN(k=k).fit(csr(dense))
    np.testing.assert_allclose(model.similarity_.toarray(), expected, rtol=0, atol=1e-11)


def test_neighbours_do_not_depend_on_the_block(monkeypatch):
    train = sparse_likes(40, 33)
    whole = ItemKNN(k=4).fit(train).similarity_
    monkeypatch.setattr(baselines, "_BLOCK_BYTES", 5 * 8 * 31)
    for size in (5 * 8 * 31, 1):
        monkeypatch.setattr(baselines, "_BLOCK_BYTES", size)
        assert (ItemKNN(k=4).fit(train).similarity_ != whole).nnz == 0


@pytest.mark.parametrize("times", [0.5, 32, 2**11], ids=["float64", "float32", "too large"])
@pytest.mark.parametrize("most_bytes", [0, 2**20], ids=["sparse", "dense"])
def test_neighbours_do_not_depend_on_the_type_of_the_counts(monkeypatch, times, most_bytes):
    train = sparse_likes(40, 60)  # short integers; times a power of two a cosine stays what it is
    expected = ItemKNN(k=3).fit(train).similarity_
    monkeypatch.setattr(baselines, "_DENSE_BYTES", most_bytes)
    assert (ItemKNN(k=3).fit(train * times).similarity_ != expected).nnz == 0
    assert (ItemKNN(k=3).fit(train).similarity_ != expected).nnz == 0


def test_an_item_has_at_most_k_neighbours_and_is_none_of_them():
    similarity = ItemKNN(k=3).fit(sparse_likes(40, 20, density=0.5)).similarity_
    assert np.diff(similarity.tocsc().indptr).tolist() == [3] * 18 + [0, 0]
    assert (similarity.diagonal() == 0).all()


# --- all of them


def checkerboard(n_users=60, n_items=20, seed=0):
    """Half of the users like the even items, half the odd ones, most of them each.

    Every history lacks one item of its colour, the least popular one, which must come first.
    """
    rng = np.random.default_rng(seed)
    colour = np.arange(n_users) % 2
    board = (np.arange(n_items) % 2 == colour[:, None]).astype(float)
    train = board * (rng.random(board.shape) < 0.8)
    train[:, [2, 3]] *= rng.random((n_users, 2)) < 0.3  # the withheld ones are not popular
    history = board[:2].copy()
    history[[0, 1], [2, 3]] = 0.0
    targets = board[:2] - history
    judged = Holdout(np.arange(2), *(csr(m) for m in (history, history, history, targets)))
    return csr(train), judged


def finds_the_withheld(model, judged):
    return evaluate(model, judged, ks=(1,))["hit_rate@1"] == 1.0


PERSONAL = [ItemKNN(), ItemKNN(weighting="bm25"), ItemKNN(shrink=10), EASE(1.0), EASE(100.0)]


@pytest.mark.parametrize("model", PERSONAL)
def test_the_withheld_square_of_a_checkerboard_comes_first(model):
    train, judged = checkerboard()
    assert finds_the_withheld(model.fit(train), judged)
    # The same model fails the same check where there is nothing to learn: every user's likes
    # shuffled over the items, so that only how much each user likes is left.
    rng = np.random.default_rng(1)
    shuffled = csr(rng.permuted(train.toarray(), axis=1))
    assert not finds_the_withheld(model.fit(shuffled), judged)


def test_popularity_fails_the_checkerboard():
    train, judged = checkerboard()
    assert not finds_the_withheld(Popularity().fit(train), judged)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_new_users_need_no_retraining(model):
    """A user's score depends on their own history alone, whoever is asked about beside them."""
    train, history = sparse_likes(30, 20), histories(20)
    model.fit(train)
    together = model.score(history)
    assert together.shape == (12, 20) and together.dtype == np.float64
    alone = np.vstack([model.score(history[u]) for u in range(12)])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-13 * np.abs(together).max())
    np.testing.assert_array_equal(model.score(history), together)
    assert model.score(history[:0]).shape == (0, 20)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_order_and_number_of_empty_training_users_do_not_matter_to_the_ranking(model):
    train, history = sparse_likes(30, 20), histories(20)
    scores = model.fit(train).score(history)
    order = np.random.default_rng(2).permutation(30)
    np.testing.assert_allclose(
        model.fit(train[order]).score(history), scores, rtol=1e-9, atol=1e-12
    )
    if getattr(model, "weighting", None) != "bm25":  # BM25's mean length and idf count all users
        more = sparse.vstack([train, sparse.csr_matrix((100, 20))]).tocsr()
        np.testing.assert_allclose(model.fit(more).score(history), scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_a_history_is_scored_linearly(model):
    """Values other than 1 weigh what was liked: twice the history, twice the score."""
    train, history = sparse_likes(30, 20), histories(20)
    model.fit(train)
    if isinstance(model, Popularity):
        np.testing.assert_array_equal(model.score(2 * history), model.score(history))
        return
    scale = np.abs(model.score(history)).max()
    twice = model.score(2 * history)
    np.testing.assert_allclose(twice, 2 * model.score(history), rtol=0, atol=1e-13 * scale)
    halves = model.score(0.5 * history[:1] + 0.5 * history[1:2])
    expected = model.score(history[:2]).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(halves, expected, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_any_form_of_the_same_matrix(model):
    """float32, bool, int, csc, unsorted, repeated and stored-zero entries: the same model."""
    train, history = sparse_likes(30, 20), histories(20)
    expected = model.fit(train).score(history)
    forms = [
        (train.astype(np.float32), history.astype(np.float32)),
        (train.astype(bool), history.astype(bool)),
        (train.astype(np.int8), history.astype(np.int64)),
        (train.tocsc(), history.tocoo()),
        (sparse.csr_array(train), sparse.csr_array(history)),
        (messy(train), messy(history)),
    ]
    for a, b in forms:
        before = [m.copy() for m in (a, b)]
        np.testing.assert_array_equal(model.fit(a).score(b), expected)
        for now, old in zip((a, b), before, strict=True):
            assert now.nnz == old.nnz and (now.astype(float) != old.astype(float)).nnz == 0


def messy(matrix):
    """The same matrix, columns turned round, a zero stored in every row, one entry in halves."""
    data, indices, indptr = [], [], [0]
    for u in range(matrix.shape[0]):
        columns = matrix[u].indices[::-1].tolist()
        indices += [matrix.shape[1] - 1, *columns, *columns[:1]]
        data += [0.0, *([0.5] + [1.0] * (len(columns) - 1) + [0.5] if columns else [])]
        indptr.append(len(indices))
    result = sparse.csr_matrix((data, indices, indptr), shape=matrix.shape)
    assert not result.has_canonical_format and (result != matrix).nnz == 0
    return sparse.csr_matrix((data, indices, indptr), shape=matrix.shape)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_one_user_and_one_item(model, shape):
    scores = model.fit(csr(np.ones(shape))).score(csr(np.ones((2, shape[1]))))
    assert scores.shape == (2, shape[1]) and np.isfinite(scores).all()


ONES = csr(np.ones((3, 4)))
NAN = csr([[1, 1, 1, 1], [1, np.nan, 1, 1]])


@pytest.mark.parametrize("model", MODELS, ids=IDS)
@pytest.mark.parametrize(
    "train, message",
    [
        (np.ones((3, 4)), "train must be a sparse matrix, got ndarray"),
        (sparse.csr_matrix((3, 4)), r"train \(3, 4\) holds no interaction"),
        (
            sparse.csr_matrix(([0.0], ([0], [1])), shape=(3, 4)),
            r"train \(3, 4\) holds no interaction",
        ),
        (NAN, "train holds a nan or infinite value in row 1"),
        (csr([[1, np.inf]]), "train holds a nan or infinite value in row 0"),
    ],
)
def test_bad_train(model, train, message):
    with pytest.raises(ValueError, match=message):
        model.fit(train)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
@pytest.mark.parametrize(
    "history, message",
    [
        (np.ones((3, 4)), "history must be a sparse matrix, got ndarray"),
        (csr(np.ones((3, 5))), "history has 5 items, the model was fitted on 4"),
        (NAN, "history holds a nan or infinite value in row 1"),
    ],
)
def test_bad_history(model, history, message):
    model.fit(ONES)
    with pytest.raises(ValueError, match=message):
        model.score(history)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: EASE(0), "reg must be positive and finite, got 0"),
        (lambda: EASE(-1.0), "reg must be positive and finite, got -1.0"),
        (lambda: EASE(float("nan")), "reg must be positive and finite, got nan"),
        (lambda: EASE(float("inf")), "reg must be positive and finite, got inf"),
        (lambda: ItemKNN(k=0), "k must be finite and at least 1, got 0"),
        (lambda: ItemKNN(weighting="tfidf"), "weighting must be 'cosine' or 'bm25', got 'tfidf'"),
        (lambda: ItemKNN(shrink=-1), "shrink must be finite and at least 0, got -1"),
        (lambda: ItemKNN(shrink=float("nan")), "shrink must be finite and at least 0, got nan"),
        (lambda: ItemKNN(k1=-0.1), "k1 must be finite and at least 0, got -0.1"),
        (lambda: ItemKNN(b=1.5), "b must be from 0 to 1, got 1.5"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- on the real ratings


@pytest.fixture(scope="module")
def movielens():
    return new_user_split(*load_movielens()).refit()


@pytest.fixture(scope="module")
def evaluations(movielens):
    models = {
        "popularity": Popularity(),
        "cosine": ItemKNN(),
        "bm25": ItemKNN(weighting="bm25"),
        "ease": EASE(),
    }
    return {
        name: evaluate(model.fit(movielens.train), movielens.test) for name, model in models.items()
    }


def test_the_baselines_reach_their_known_quality_on_movielens(evaluations):
    # 0.115 and 0.144 were measured independently of this package on about the same users; a third
    # of a standard error (0.012) apart is agreement, a broken model falls far below.
    assert evaluations["popularity"]["ndcg@10"] == pytest.approx(0.115, abs=0.004)
    assert evaluations["ease"]["ndcg@10"] == pytest.approx(0.144, abs=0.004)
    for name in ("cosine", "bm25"):
        assert 0.125 < evaluations[name]["ndcg@10"] < 0.15
    assert compare(evaluations["ease"], evaluations["popularity"]).low > 0


def test_a_shuffled_model_falls_far_below_popularity(movielens, evaluations):
    rng = np.random.default_rng(0)
    ease = EASE().fit(movielens.train)
    broken = evaluate(lambda history: rng.permuted(ease.score(history), axis=1), movielens.test)
    assert broken["ndcg@10"] < 0.02
    assert compare(evaluations["popularity"], broken).low > 0


def test_what_is_held_at_a_time_is_neither_little_nor_much():
    assert 2**20 <= baselines._BLOCK_BYTES <= 2**26  # 1 to 64 MB
