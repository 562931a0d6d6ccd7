"""What the course's models read of a film, against the same by hand on a few films."""

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_tutorial.course import _features as features
from recsys_tutorial.datasets import film_texts
from recsys_tutorial.models import unit_rows

NONE = "(no genres listed)"
ITEMS = pd.DataFrame(
    {
        "item_id": np.arange(6),
        "title": ["Duel Duel Duel in May", "Duel in June", "May and June", "Solaris", "Alien", ""],
        "year": [1930, 1935, 1946, 2015, 2016, np.nan],
        "genres": ["Drama", "Comedy|Drama", "Comedy|Sci-Fi", "Sci-Fi", "Drama", NONE],
    }
)
# Comedy, Drama, Sci-Fi: log(6 films / films of that genre)
WEIGHT = np.log(6 / np.array([2, 3, 2]))
ONES = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]])
RARE = ONES * WEIGHT / np.maximum(np.linalg.norm(ONES * WEIGHT, axis=1), 1e-9)[:, None]


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1), 1e-9)[:, None]


class Encoder:
    """In BERT's place: a vector for each text, from its letters."""

    def __init__(self, name):
        self.name = name

    def encode(self, texts):
        letters = "adeijlnosu"
        return np.array([[len(self.name)] + [t.count(c) for c in letters] for t in texts], float)


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch):
    monkeypatch.setattr(features, "TextEncoder", Encoder)


def test_a_rare_genre_counts_for_more():
    np.testing.assert_allclose(features.rare_genres(ITEMS).toarray(), RARE)
    assert RARE[1, 0] > RARE[1, 1] > 0  # of this film's two genres comedy is the rarer one
    centred = features.centred_genres(ITEMS)
    np.testing.assert_allclose(centred, unit(RARE - RARE.mean(axis=0)))
    # films that all have genres have a column less to drop
    listed = features.rare_genres(ITEMS[:5]).toarray()
    assert listed.shape == (5, 3) and (listed[0] == [0, 1, 0]).all()


def test_counted_titles_say_as_much_as_genres():
    words = TfidfVectorizer(sublinear_tf=True).fit_transform(ITEMS["title"]).toarray()
    found = features.counted_titles(ITEMS).toarray()
    both = [0, 1, 2, 3, 4]  # the last film has neither words nor genres
    cosines = (words @ words.T + RARE @ RARE.T) / 2
    np.testing.assert_allclose((found @ found.T)[both][:, both], cosines[both][:, both])
    assert (found[5] == 0).all()


def test_read_titles_and_genres_have_the_same_say():
    titles = unit_rows(Encoder("all-MiniLM-L6-v2").encode(ITEMS["title"]), center=True)
    as_they_are = features.bert_titles(ITEMS, to_scale=False)
    np.testing.assert_allclose(as_they_are, unit(np.hstack([titles, RARE])))
    # to scale: divided by the root of the spread of cosines of all pairs, which a draw estimates
    spread = [np.std(x @ x.T) for x in (titles, RARE)]
    expected = unit(
        np.hstack([x / np.sqrt(s) for x, s in zip((titles, RARE), spread, strict=True)])
    )
    np.testing.assert_allclose(features.bert_titles(ITEMS), expected, atol=0.01)
    assert np.abs(as_they_are - expected).max() > 0.05
    alike = features.bert_titles(ITEMS.assign(genres="Drama"))  # nothing is said by genres
    np.testing.assert_allclose(alike, np.hstack([unit(titles), np.zeros((6, 1))]))


def test_texts_are_of_title_and_genres():
    texts = film_texts(ITEMS)
    np.testing.assert_array_equal(
        features.bert_texts(ITEMS), Encoder("all-MiniLM-L6-v2").encode(texts)
    )
    many = pd.concat([ITEMS] * 3, ignore_index=True)
    counts = TfidfVectorizer(min_df=2).fit_transform(film_texts(many))
    found = features.counted_texts(many)
    assert found.shape == (18, counts.shape[1] - 1)


def test_counted_texts_drop_rare_words_and_keep_384_numbers():
    few = ITEMS.assign(genres=NONE, title=["a1 b1 c1", "a1 b1 d1", "b1 c1 e1", "f1 c1", "a1", "b1"])
    words = {"a1", "b1", "c1"} | {"1930", "1935", "1946", "2015", "2016"}
    counts = TfidfVectorizer(min_df=2).fit(film_texts(few))
    assert set(counts.get_feature_names_out()) & words == {"a1", "b1", "c1"}  # in two films or more
    assert features.counted_texts(few).shape[1] == len(counts.get_feature_names_out()) - 1

    names = [f"w{i} w{i + 1}" for i in range(420)]
    many = pd.DataFrame({"title": names, "genres": NONE, "year": 2000.0})
    found = features.counted_texts(many)
    assert found.shape == (420, 384)
    np.testing.assert_allclose(features.counted_texts(many), found, atol=1e-6)  # the same draw


def test_genres_and_decades_are_ones():
    found = features.genres_and_decade(ITEMS)
    assert found.shape == (6, 3 + 9)
    assert (found[:, :3] == ONES).all()
    decades = {0: [1930], 1: [1930, 1940], 2: [1950], 3: [2010], 4: [], 5: [1950]}
    for film, expected in decades.items():  # the middles of decades at most five years away
        assert [1930 + 10 * j for j in np.flatnonzero(found[film, 3:])] == expected
