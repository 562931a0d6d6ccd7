"""Rules over the catalogue: answers by hand, and enough films for each text, not too many."""

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.datasets import load_movielens, load_wishes, relevant_films
from recsys_tutorial.datasets.wish_rules import Catalogue


def catalogue(*films):
    rows = [(number, year, genres) for number, (year, genres) in enumerate(films, 1)]
    items = pd.DataFrame(rows, columns=["item_id", "year", "genres"])
    return items.astype({"year": "Int64"})


FILMS = catalogue(
    (1990, "Comedy|Crime"),  # 1
    (1991, "Crime"),  # 2
    (2005, "Comedy"),  # 3
    (1965, "Comedy|Crime|Romance"),  # 4
    (None, "Western"),  # 5
    (2012, "(no genres listed)"),  # 6
    (1999, "Western|Romance"),  # 7
)
NOBODY = pd.DataFrame({"user_id": [], "item_id": [], "rating": []})


def likes(*pairs, rating=4.0):
    table = pd.DataFrame(pairs, columns=["user_id", "item_id"])
    return table.assign(rating=rating)


def satisfied(liked="", disliked="", join="all", about=(), ratings=NOBODY, items=FILMS):
    text = {"liked": [tuple(liked.split())], "disliked": [tuple(disliked.split())]}
    texts = pd.DataFrame({**text, "join": [join], "about": [about]})
    (row,) = relevant_films(texts, items, ratings)
    return items["item_id"][row].tolist()


@pytest.mark.parametrize(
    ("arguments", "films"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"liked": "Comedy"}, [1, 3, 4]),
        ({"liked": "Comedy Crime"}, [1, 4]),
        ({"liked": "Comedy Western", "join": "any"}, [1, 3, 4, 5, 7]),
        ({"liked": "Comedy", "disliked": "Crime"}, [3]),
        ({"disliked": "Comedy Western"}, [2, 6]),
        ({"liked": "1990s"}, [1, 2, 7]),
        ({"liked": "old new"}, [3, 4, 6]),
        ({"disliked": "1990s"}, [3, 4, 5, 6]),  # a film without a year is of no time
        ({"liked": "Western new"}, []),
        ({"liked": "Comedy", "about": (1, 4)}, [3]),
    ],
)
def test_genres_times_and_reviews_by_hand(arguments, films):
    assert satisfied(**arguments) == films


def test_films_are_alike_by_the_weight_of_what_they_share():
    films = Catalogue(FILMS, NOBODY)
    weight = dict(zip(("Comedy", "Crime", "Romance"), np.log([7 / 3, 7 / 3, 7 / 2]), strict=True))
    # 1 and 4 share comedy and crime of comedy, crime and romance.
    share = 2 * weight["Comedy"] / (2 * weight["Comedy"] + weight["Romance"])
    assert share > 0.5
    assert np.flatnonzero(films.similar(1)).tolist() == [1, 2, 3]  # 2 and 3 share exactly half
    assert np.flatnonzero(films.similar(4)).tolist() == [0]  # 2 of 4's three would be too little
    assert np.flatnonzero(films.similar(6)).tolist() == []  # nothing in common is no likeness


def test_genres_that_the_text_names_do_not_count():
    assert satisfied("film:2 Comedy") == [1]  # of crime and romance, 4 shares the lighter
    assert satisfied("film:4", "Romance") == [1, 2, 3]
    assert satisfied("film:2", "Crime") == []  # nothing is left to be alike in


def test_several_films_one_is_enough_and_none_is_recommended_itself():
    assert satisfied("film:2") == [1]
    assert satisfied("film:5") == [7]
    assert satisfied("film:2 film:5") == [1, 7]
    assert satisfied("", "film:2 Western") == [3, 4, 6]


def test_films_that_the_same_users_like_are_alike():
    five = likes(*[(user, item) for user in range(5) for item in (6, 3)])
    assert satisfied("film:6", ratings=five) == [3]
    four = five[five["user_id"] < 4]
    assert satisfied("film:6", ratings=four) == []
    assert satisfied("film:6", ratings=five.assign(rating=3.5)) == []
    elsewhere = pd.concat([five, likes((9, 999))])  # a film that the catalogue does not have
    assert satisfied("film:6", ratings=elsewhere) == [3]


def test_only_the_nearest_fifty_count():
    items = catalogue(*[(2000, "(no genres listed)")] * 60)
    pairs = [(user, item) for user in range(5) for item in range(1, 61)]
    pairs += [(5 + more, item) for item in range(40, 61) for more in range(item)]  # liked by others
    found = satisfied("film:1", ratings=likes(*pairs), items=items)
    assert found == list(range(2, 52))


def test_a_film_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="item_id 77, which a text names, is not in the catalogue"):
        satisfied("film:77")
    with pytest.raises(ValueError, match="item_id 78, which a text is about, is not in the cata"):
        satisfied("Comedy", about=(78,))


def test_every_text_has_films_and_not_too_many():
    ratings, items = load_movielens()
    texts = load_wishes().texts
    relevant = relevant_films(texts, items, ratings)
    assert relevant.shape == (len(texts), len(items)) and relevant.dtype == bool
    counts = relevant.sum(axis=1)
    assert counts.min() >= 5 and counts.max() <= 0.2 * len(items)
    assert len(np.unique(relevant, axis=0)) == len(texts)  # no two texts ask for the same films
    shuffled = items.sample(frac=1, random_state=0)
    again = relevant_films(texts, shuffled, ratings.sample(frac=1, random_state=0))
    places = pd.Index(shuffled["item_id"]).get_indexer(items["item_id"])
    only_words = ~texts["liked"].map(lambda cell: any("film" in word for word in cell))
    assert (again[only_words][:, places] == relevant[only_words]).all()


def test_no_text_at_all():
    assert relevant_films(load_wishes().texts.iloc[:0], FILMS, NOBODY).shape == (0, len(FILMS))
