"""Films in words."""

import pandas as pd
import pytest

from recsys_tutorial.datasets import film_texts

CASES = [
    ("Toy Story (1995)", "Animation|Comedy", "Toy Story (1995). Animation, Comedy"),
    ("Matrix, The (1999)", "Action", "The Matrix (1999). Action"),
    ("Bug's Life, A (1998)", "Animation", "A Bug's Life (1998). Animation"),
    ("Ideal Husband, An (1999)", "Comedy", "An Ideal Husband (1999). Comedy"),
    ("Good, the Bad and the Ugly, The (1966)", "Western",
     "The Good, the Bad and the Ugly (1966). Western"),
    ("Haine, La (1995)", "Drama", "Haine, La (1995). Drama"),
    ("Fly, The", "Horror", "Fly, The. Horror"),  # without a year it may be a title's own end
    ("Big Bang Theory, The (2007-)", "(no genres listed)", "Big Bang Theory, The (2007-). "),
]  # fmt: skip


def test_articles_stand_in_front_and_genres_behind():
    titles, genres, texts = zip(*CASES, strict=True)
    frame = pd.DataFrame({"title": titles, "genres": genres}, index=range(9, 9 + len(CASES)))
    assert film_texts(frame) == list(texts)
    assert film_texts(frame[::-1]) == list(texts[::-1])
    assert film_texts(frame[:0]) == []


@pytest.mark.parametrize("column", ["title", "genres"])
def test_a_column_that_lacks_is_named(column):
    frame = pd.DataFrame({"title": ["A (1999)"], "genres": ["Drama"]}).drop(columns=column)
    with pytest.raises(KeyError, match=column):
        film_texts(frame)
