"""What is noticed of a folder of weights, and what names it."""

import json
import os

import pytest

from recsys_tutorial.pretrained import fingerprint, image_encoder, text_encoder, verify
from recsys_tutorial.pretrained._files import write_manifest
from tests.fake_servers import tiny_model


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: flip(f / "model.safetensors"), "model.safetensors is damaged"),
        (lambda f: os.truncate(f / "model.safetensors", 5000), "model.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is damaged"),
        (lambda f: (f / "vocab.txt").unlink(), "vocab.txt is missing"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda f: (f / "manifest.json").write_text('{"files": 1}'), "manifest.json is damaged"),
    ],
)
def test_a_damaged_cache_is_noticed_and_fetched_again(at_hand, damage, message):
    folder = text_encoder("tiny-bert")
    damage(folder)
    assert message in "; ".join(verify(folder))
    assert text_encoder("tiny-bert") == folder
    assert verify(folder) == []
    assert (folder / "model.safetensors").read_bytes() == tiny_model()["model.safetensors"]


def test_fingerprint_follows_the_weights(at_hand):
    folder = text_encoder("tiny-bert")
    before = fingerprint(folder)
    assert before == fingerprint(text_encoder("tiny-bert"))
    (folder / "manifest.json").unlink()
    assert fingerprint(folder) == before  # computed from the files themselves
    flip(folder / "model.safetensors")
    assert fingerprint(folder) != before


def test_the_fingerprint_is_that_of_the_sorted_files(tmp_path):
    """Vectors are kept under it: another way to compute it would make every cache worthless."""
    (tmp_path / "sub").mkdir()
    for name in ("config.json", "README.md", "sub/a.json"):
        (tmp_path / name).write_text("{}")
    assert fingerprint(tmp_path) == (
        "31a43c861a34ffb9a777c5834d558ebb7da0178a9c3b4867121a94751c565145"
    )


def test_a_manifest_names_every_file_but_itself_on_a_line_of_its_own(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    for _ in range(2):  # the second time there is one
        write_manifest(tmp_path, name="x")
    lines = (tmp_path / "manifest.json").read_text().splitlines()
    assert [line.split('"')[1] for line in lines if '"' in line] == ["name", "files", "a.json"]


def test_manifest_names_source_and_licence():
    for find, name in ((text_encoder, "all-MiniLM-L6-v2"), (image_encoder, None)):
        folder = find(name) if name else find()
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["licence"] == "Apache-2.0" and manifest["source"].startswith("the ")
