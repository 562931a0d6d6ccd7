"""The pictures' tables, written and read again, find what the vectors and words do."""

import numpy as np
import pytest

from recsys_tutorial.models import unit_rows
from recsys_tutorial.serving.export import (
    PagePictures,
    distilled,
    pictures_files,
    read_bundle,
    write_bundle,
)

N, DIM = 40, 6
rng = np.random.default_rng(0)
NAMES = [f"w{i}" for i in range(10)]
MEANING = rng.normal(size=(10, DIM))  # of each word
SHOWN = rng.integers(0, 10, (N, 2))  # the two things in each picture
VECTORS = unit_rows(MEANING[SHOWN[:, 0]] + MEANING[SHOWN[:, 1]])
TITLES = [f"Bild {i}, größer" for i in range(N)]
CREATORS = [f"Creator {i % 7}" for i in range(N)]
THUMBNAILS = [bytes(rng.integers(0, 256, 5 + i % 3, np.uint8)) for i in range(N)]


def words(targets=MEANING):
    return distilled(NAMES, targets, NAMES, reg=1e-6)


def files(**changed):
    given = {"titles": TITLES, "creators": CREATORS, "vectors": VECTORS, "words": words()}
    return pictures_files(**given | {"thumbnails": THUMBNAILS} | changed)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_bundle(folder, files(), {})
    return PagePictures(read_bundle(folder)[0])


def test_names_and_thumbnails_come_back_as_they_were(exported):
    assert (exported.titles, exported.creators, exported.thumbnails) == (
        TITLES,
        CREATORS,
        THUMBNAILS,
    )


def test_words_find_the_pictures_that_show_both(exported):
    """Of a planted world the right picture is first; with shuffled vectors it is not."""
    mixed = PagePictures(files(vectors=np.roll(VECTORS, 1, axis=0)))
    right = {"page": [], "mixed": []}
    for a, b in SHOWN:
        pair = {frozenset((a, b))}
        for name, model in (("page", exported), ("mixed", mixed)):
            first = model.search(f"W{a} w{b}", 1)[0]
            right[name].append({frozenset(SHOWN[first])} == pair)
    assert np.mean(right["page"]) == 1 and np.mean(right["mixed"]) < 0.3


def test_scores_are_products_of_words_and_pictures(exported):
    expected = unit_rows(MEANING[[3]]) @ VECTORS.T
    # int8: each vector is off by up to 1 / 254 of its largest number in each of six places.
    np.testing.assert_allclose(exported.score(["w3"]), expected, atol=0.02)
    assert exported.search("w3", 3) == np.argsort(-exported.score(["w3"])[0])[:3].tolist()


def test_what_no_piece_is_known_of_finds_nothing(exported):
    assert exported.search("unknown") == exported.search("") == exported.search("鱼") == []
    assert (exported.score(["unknown"]) == 0).all()
    assert len(exported.search("w3")) == 10 and len(exported.search("w3", 99)) == N


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"creators": CREATORS[1:]}, "40 titles need as many creators, got 39"),
        ({"vectors": VECTORS[:7]}, "40 titles need as many vectors, got 7"),
        ({"thumbnails": []}, "40 titles need as many thumbnails, got 0"),
        ({"words": words(MEANING[:, :4])}, "words have 4 numbers, the pictures' vectors 6"),
        ({"titles": [*TITLES[:-1], "a\nb"]}, "title and creator of picture 39 must be one line"),
        ({"thumbnails": [*THUMBNAILS[:-1], b""]}, "thumbnail 39 has 0 bytes, not 1 to 65535"),
        ({"thumbnails": [bytes(2**16), *THUMBNAILS[1:]]}, "thumbnail 0 has 65536 bytes"),
        ({"vectors": np.full((N, DIM), np.nan)}, "row 0 of vectors holds nan"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        files(**changed)
