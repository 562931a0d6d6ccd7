"""What is written is read again, byte by byte checked; nothing else is read."""

import gzip
import json
import re

import numpy as np
import pytest

from recsys_tutorial.serving.export import BundleError, read_bundle, write_bundle

FILES = {
    "ease": {
        "counts": np.array([1, 0, 2], np.uint16),
        "weights": np.array([-127, 0, 5], np.int8),
        "scales": np.array([0.5, 0, 2.25], np.float32),
    },
    "films": {"titles": "Amélie\n七人の侍", "table": np.arange(6, dtype=np.float32).reshape(2, 3)},
}


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "bundle", FILES, {"n_items": 3})
    return tmp_path / "bundle"


def test_what_was_written_is_read(folder):
    files, info = read_bundle(folder)
    assert info == {"n_items": 3} and set(files) == {"ease", "films"}
    for name, array in FILES["ease"].items():
        assert files["ease"][name].dtype == array.dtype
        np.testing.assert_array_equal(files["ease"][name], array)
    assert files["films"]["titles"].tobytes().decode() == "Amélie\n七人の侍"
    assert files["films"]["table"].shape == (2, 3)


def test_the_manifest_says_where_each_array_begins(folder):
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    entry = manifest["files"]["ease.bin.gz"]
    assert entry["bytes"] == (folder / "ease.bin.gz").stat().st_size
    raw = gzip.decompress((folder / "ease.bin.gz").read_bytes())
    for place in entry["arrays"]:
        width = np.dtype(place["dtype"]).itemsize
        assert place["offset"] % width == 0  # a typed array of JavaScript begins nowhere else
        found = np.frombuffer(raw, place["dtype"], 3, place["offset"])
        np.testing.assert_array_equal(found, FILES["ease"][place["name"]])


def test_the_same_tables_make_the_same_bytes(folder, tmp_path):
    assert write_bundle(tmp_path / "again", FILES, {"n_items": 3}) == json.loads(
        (folder / "manifest.json").read_text("utf-8")
    )


def cut(folder):
    path = folder / "ease.bin.gz"
    path.write_bytes(path.read_bytes()[:-3])


def change(folder):
    path = folder / "ease.bin.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def other_format(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"format": 1', '"format": 2'))


@pytest.mark.parametrize(
    "damage, message",
    [
        (cut, "ease.bin.gz is damaged: it differs from its checksum"),
        (change, "ease.bin.gz is damaged: it differs from its checksum"),
        (lambda folder: (folder / "films.bin.gz").unlink(), "films.bin.gz is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "holds no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (other_format, "is of format 2, this reads 1"),
    ],
)
def test_a_damaged_bundle_is_refused(folder, damage, message):
    read_bundle(folder)
    damage(folder)
    with pytest.raises(BundleError, match=re.escape(message)):
        read_bundle(folder)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros(2), "ease: x is float64, not one of float32, uint16, int8, uint8"),
        (np.array([np.nan], np.float32), "ease: x holds nan or infinity"),
    ],
)
def test_an_array_that_does_not_fit_leaves_nothing(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        write_bundle(tmp_path, {"films": FILES["films"], "ease": {"x": array}}, {})
    assert list(tmp_path.iterdir()) == []
