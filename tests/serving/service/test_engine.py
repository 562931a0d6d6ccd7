"""A list is what the Python model says, alone or among others."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.ranking import rank
from recsys_tutorial.serving.service import Engine, Query
from tests.serving.service.small import N_ITEMS, versions


def history_of(likes):
    row = np.zeros((1, N_ITEMS))
    row[0, likes] = 1.0
    return sparse.csr_matrix(row)


@pytest.mark.parametrize("name", ["ease", "ease-users", "als", "popularity"])
def test_fold_in_is_the_models_own_score(name):
    artefact = versions()[name]
    engine = Engine(artefact)
    for likes, hidden in (([0], []), ([3, 7, 11], [15, 19]), (list(range(0, 40, 2)), [1])):
        ((columns, scores),) = engine.recommend([Query(likes, hidden, 6)])
        all_scores = artefact.model.score(history_of(likes))
        expected = rank(all_scores, history_of([*likes, *hidden]), 6)[0]
        assert columns.tolist() == expected[expected >= 0].tolist()
        # rounding of float64; the next item's score is further away by orders of magnitude
        np.testing.assert_allclose(scores, all_scores[0, columns], rtol=1e-9)


@pytest.mark.parametrize("name", ["ease-users", "als"])
def test_many_at_once_get_what_each_gets_alone(name):
    engine = Engine(versions()[name])
    rng = np.random.default_rng(0)
    queries = [Query(rng.choice(N_ITEMS, n, replace=False).tolist(), [], 1 + n) for n in range(9)]
    together = engine.recommend(queries)
    for query, (columns, scores) in zip(queries, together, strict=True):
        ((alone, own),) = engine.recommend([query])
        assert columns.tolist() == alone.tolist() and len(columns) == query.k
        np.testing.assert_allclose(scores, own, rtol=1e-9)
    assert engine.recommend([]) == []


def test_who_likes_nothing_is_shown_what_is_popular():
    artefact = versions()["ease"]
    ((columns, scores),) = Engine(artefact).recommend([Query([], [5], 4)])
    order = rank(artefact.popularity[None], history_of([5]), 4)[0]
    assert columns.tolist() == order.tolist() and 5 not in columns
    np.testing.assert_array_equal(scores, artefact.popularity[columns])


def test_a_list_ends_where_nothing_is_left():
    engine = Engine(versions()["als"])
    likes = list(range(N_ITEMS - 3))
    ((columns, _),) = engine.recommend([Query(likes, [N_ITEMS - 1], 10)])
    assert sorted(columns) == [N_ITEMS - 3, N_ITEMS - 2]


def test_taste_decides_what_is_similar():
    """The planted tastes are the columns' remainders by 4; popularity knows none of them."""
    for name in ("ease", "als"):
        engine = Engine(versions()[name])
        found = np.concatenate([engine.similar(column, 5)[0] % 4 for column in (0, 1, 2, 3)])
        assert np.mean(found == np.repeat(np.arange(4), 5)) >= 0.75
    broken = Engine(versions()["popularity"])
    found = np.concatenate([broken.similar(column, 5)[0] % 4 for column in (0, 1, 2, 3)])
    assert np.mean(found == np.repeat(np.arange(4), 5)) < 0.5


@pytest.mark.parametrize("index", ["hnsw", "int8", "pq"])
def test_an_index_finds_nearly_what_the_exact_one_finds(index):
    artefact = versions()["als"]
    queries = [Query([column, (column + 4) % N_ITEMS], [], 5) for column in range(N_ITEMS)]
    exact = Engine(artefact).recommend(queries)
    found = Engine(artefact, index).recommend(queries)
    shared = [len(set(a[0]) & set(b[0])) / 5 for a, b in zip(exact, found, strict=True)]
    # codes of a few bits for 40 items: coarse, and still far above the 0.13 of chance
    assert np.mean(shared) > (0.95 if index != "pq" else 0.4)
    for query, (columns, scores) in zip(queries, found, strict=True):
        assert not set(columns) & set(query.likes)
        assert (np.diff(scores) <= 0).all()


def test_an_unknown_index_is_refused():
    with pytest.raises(ValueError, match=r"kind must be .* got 'tree'"):
        Engine(versions()["als"], "tree")
