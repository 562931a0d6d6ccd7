"""The committed tables of "Words in, pictures out": small, the course's, and not chance."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from recsys_tutorial.datasets import data_dir, load_clipart
from recsys_tutorial.serving.export import PagePictures, read_bundle

FOLDER = data_dir() / "try_it" / "pictures"


@pytest.fixture(scope="module")
def stored():
    return PagePictures(read_bundle(FOLDER)[0])


@pytest.fixture(scope="module")
def catalogue():
    """One picture of each series, of those that a test may ask for."""
    clipart = load_clipart()
    items = clipart.items
    able = items["candidate"] & (items["keywords"] != "") & (items["item_id"] == items["series"])
    return clipart, items[able].reset_index(drop=True)


def test_the_tables_are_small_and_nothing_else_lies_there():
    manifest = json.loads((FOLDER / "manifest.json").read_text("utf-8"))
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    there = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert there.pop("manifest.json") < 10_000
    assert sizes == there
    assert sum(sizes.values()) < 1.7e6


def test_names_are_those_of_the_catalogue(stored, catalogue):
    _, items = catalogue
    assert stored.titles == list(items["title"])
    assert stored.creators == list(items["creator"])
    assert read_bundle(FOLDER)[1]["n_pictures"] == len(items) > 1500


def test_thumbnails_are_the_catalogues_pictures_made_small(stored, catalogue):
    """Nearer to the own picture than to the next one, by far."""
    clipart, items = catalogue
    rows = np.arange(0, len(items), 40)
    side = read_bundle(FOLDER)[1]["side"]
    off = {"own": [], "next": []}
    for row in rows:
        small = Image.open(io.BytesIO(stored.thumbnails[row])).convert("RGB")
        assert small.size == (side, side)
        for name, of in (("own", row), ("next", (row + 1) % len(items))):
            whole = clipart.image(items["item_id"][of]).resize((side, side))
            off[name].append(np.abs(np.asarray(small, float) - np.asarray(whole, float)).mean())
    # In 256 shades: compression and another filter are some shades, another drawing is dozens.
    assert np.max(off["own"]) < 15
    assert np.mean(off["own"]) < 0.2 * np.mean(off["next"])


def test_words_find_pictures_that_have_them(stored, catalogue):
    """Far more often than other lists do: the towers, their student and int8 still fit together."""
    _, items = catalogue
    said = [set(words.split("|")) for words in items["keywords"]]
    words = ["flower", "bird", "food", "computer", "music", "fish", "car", "tree", "fruit"]
    lists = [stored.search(word) for word in words]
    shares = [
        np.mean([word in said[row] for row in rows])
        for word, rows in zip(words, lists, strict=True)
    ]
    others = [
        np.mean([word in said[row] for row in rows])
        for word, rows in zip(words, lists[1:] + lists[:1], strict=True)
    ]
    assert np.mean(shares) > 0.5 and np.mean(others) < 0.2
