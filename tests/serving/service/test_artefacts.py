"""A version comes back as it was written, and a damaged one is refused by the name of its file."""

import json

import numpy as np
import pytest

from recsys_tutorial.models import ItemKNN
from recsys_tutorial.serving.service import Artefact, ArtefactError, load_artefact, save_artefact
from tests.serving.service.small import N_ITEMS, films, likes, versions

FILES = ("manifest.json", "items.json", "model.safetensors", "text.safetensors")


def with_texts():
    vectors = np.eye(N_ITEMS, 8, dtype=np.float32)
    first = versions()["als"]
    return Artefact(
        "als", first.model, films(), first.popularity, first.settings, vectors, "some-encoder"
    )


@pytest.mark.parametrize("name", ["ease", "ease-users", "als", "popularity"])
def test_a_version_scores_as_before_it_was_written(name, tmp_path):
    before = versions()[name]
    if name.startswith("ease"):
        assert before.model.method_ == ("users" if name == "ease-users" else "items")
    after = load_artefact(save_artefact(tmp_path, before))
    history = likes(5, seed=1)
    # the same arrays in the same order of operations: nothing but another memory alignment
    np.testing.assert_allclose(
        after.model.score(history), before.model.score(history), rtol=1e-12, atol=1e-14
    )
    assert after.name == name and after.kind == before.kind and after.about == {"n": 200}
    np.testing.assert_array_equal(after.popularity, before.popularity)
    assert after.items.equals(films())
    assert after.text_vectors is None


def test_texts_and_their_encoder_come_back(tmp_path):
    after = load_artefact(save_artefact(tmp_path, with_texts()))
    np.testing.assert_array_equal(after.text_vectors, np.eye(N_ITEMS, 8))
    assert after.encoder == "some-encoder"


@pytest.mark.parametrize("file", FILES[1:])
@pytest.mark.parametrize("place", [0, -1, "middle"])
def test_a_flipped_bit_is_refused_by_name(file, place, tmp_path):
    folder = save_artefact(tmp_path, with_texts())
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2 if place == "middle" else place] ^= 1
    (folder / file).write_bytes(data)
    with pytest.raises(ArtefactError, match=rf"als/{file} was changed: .* train it anew"):
        load_artefact(folder)


@pytest.mark.parametrize("file", FILES)
def test_a_cut_or_missing_file_is_refused_by_name(file, tmp_path):
    folder = save_artefact(tmp_path, with_texts())
    size = (folder / file).stat().st_size
    with open(folder / file, "r+b") as opened:
        opened.truncate(size // 2)
    with pytest.raises(
        ArtefactError, match=f"als/{file} .*(damaged|{size // 2} bytes, not {size})"
    ):
        load_artefact(folder)
    (folder / file).unlink()
    with pytest.raises(ArtefactError, match=f"als/{file} is missing"):
        load_artefact(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "has format 2, this package reads 1"),
        ({"kind": "pickle"}, r"is of a 'pickle', which is none of \['ease', 'als', 'popularity'\]"),
        ({"name": "other"}, "is of 'other', not 'als': rename back"),
        ({"settings": {"factors": -1}}, "ValueError: factors must be .* got -1.* train it anew"),
        ({"settings": {"colour": 1}}, "make no version of a model .*colour"),
        ({"kind": "ease", "settings": {"reg": 1.0}}, "make no version of a model .*KeyError"),
        ({"files": None}, "is no manifest: it must hold about, encoder, files"),
    ],
)
def test_a_manifest_of_something_else_is_refused(change, message, tmp_path):
    folder = save_artefact(tmp_path, versions()["als"])
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None
                                or key == "encoder"}))  # fmt: skip
    with pytest.raises(ArtefactError, match=message):
        load_artefact(folder)


def test_parts_of_different_sizes_are_refused(tmp_path):
    whole = versions()["als"]
    short = Artefact("als", whole.model, films()[:-1], whole.popularity, whole.settings)
    with pytest.raises(ArtefactError, match=r"40 items in its popularity, 39 in items\.json"):
        load_artefact(save_artefact(tmp_path, short))
    whole.model.item_factors_[3, 2] = np.nan
    with pytest.raises(ArtefactError, match="item_factors holds a value that is not finite"):
        load_artefact(save_artefact(tmp_path, whole))


def test_what_cannot_be_served_is_not_written(tmp_path):
    other = Artefact("knn", ItemKNN(5).fit(likes()), films(), np.ones(N_ITEMS))
    with pytest.raises(ValueError, match="ItemKNN cannot be served: only EASE, ImplicitALS"):
        save_artefact(tmp_path, other)
    out = versions()["popularity"]
    out = Artefact("../out", out.model, films(), out.popularity)
    with pytest.raises(ValueError, match=r"name must match .* got '\.\./out'"):
        save_artefact(tmp_path / "in", out)
    assert not any(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_version_that_was_there(tmp_path):
    folder = save_artefact(tmp_path, versions()["als"])
    broken = versions()["als"]
    broken.about["not json"] = object()
    with pytest.raises(TypeError):
        save_artefact(tmp_path, broken)
    assert load_artefact(folder).about == {"n": 200}
    assert [path.name for path in tmp_path.iterdir()] == ["als"]
