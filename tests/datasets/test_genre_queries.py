"""Queries about genres: answers by hand, and no pair of genres in two parts."""

import numpy as np
import pytest

from recsys_tutorial.datasets.genre_queries import genre_queries, learned_films

FILMS = ["Comedy|Romance", "Comedy", "Romance|War", "", "Comedy|Romance|War", "War"]


def test_answers_by_hand():
    queries = genre_queries(FILMS, least=2)
    answers = dict(zip(queries.texts, queries.relevant.astype(int).tolist(), strict=True))
    assert answers["comedy and romance"] == [1, 0, 0, 0, 1, 0]
    assert answers["comedy without romance"] == [0, 1, 0, 0, 0, 0]
    assert answers["romance without comedy"] == [0, 0, 1, 0, 0, 0]
    assert answers["either comedy or romance, not both"] == [0, 1, 1, 0, 0, 0]
    assert "comedy and war" not in answers  # one film only
    assert len(answers) == len(queries.texts) == 2 * 4  # two pairs, four queries each
    assert genre_queries([*FILMS, "Comedy|", "|Comedy", "||"], least=2).texts == queries.texts


def test_pairs_are_shared_out_as_evenly_as_they_can_be():
    """45 pairs of ten genres, each of them in one film: 0.6, 0.1 and 0.3 of them."""
    films = [f"G{a}|G{b}" for a in range(10) for b in range(a)]
    queries = genre_queries(films, least=1)
    both = queries.part[queries.kind == "both"].tolist()
    for part, share in (("train", 0.6), ("validation", 0.1), ("test", 0.3)):
        assert abs(both.count(part) - 45 * share) <= 0.5


def test_a_pair_of_genres_is_in_one_part_only():
    rng = np.random.default_rng(0)
    names = [f"G{n}" for n in range(8)]
    films = ["|".join(rng.choice(names, 4, replace=False)) for _ in range(200)]
    queries = genre_queries(films, least=5)
    pairs = [frozenset(w for w in t.replace(",", "").split() if w[0] == "g") for t in queries.texts]
    of = {part: {pairs[row] for row in queries.rows(part)} for part in set(queries.part)}
    assert set(of) == {"train", "validation", "test"}
    assert sum(map(len, of.values())) == len(set(pairs)) == 28
    assert len(of["train"]) > len(of["test"]) > len(of["validation"]) > 0
    again = genre_queries(films, least=5)
    assert (again.part == queries.part).all() and again.texts == queries.texts
    assert (genre_queries(films, least=5, seed=1).part != queries.part).any()


def test_half_of_the_films_is_learned_and_another_half_with_another_seed():
    learned = learned_films(4000)
    # 4 standard errors of a coin thrown 4,000 times, sqrt(0.25 / 4000) each
    # Stored results were made with this draw.
    assert np.flatnonzero(learned_films(12)).tolist() == [4, 5, 7, 10, 11]
    assert learned.dtype == bool and abs(learned.mean() - 0.5) < 0.032
    assert (learned == learned_films(4000)).all()
    assert abs((learned == learned_films(4000, seed=1)).mean() - 0.5) < 0.032
    same_stream = np.random.default_rng(0).random(4000) < 0.5  # that of the pairs' parts
    assert abs((learned == same_stream).mean() - 0.5) < 0.032


def test_bad_inputs_are_named():
    with pytest.raises(ValueError, match="no two genres are together on 3 films"):
        genre_queries(FILMS, least=3)
    with pytest.raises(ValueError, match="part must be"):
        genre_queries(FILMS, least=2).rows("holdout")
