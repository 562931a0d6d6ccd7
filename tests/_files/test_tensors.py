"""Tensor files: what comes back, and what is refused."""

import pytest
import safetensors.torch
import torch

from recsys_tutorial._files.tensors import load_tensors, refuse_other_settings, save_tensors

TENSORS = {"half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "n": torch.tensor(3)}


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "folder" / "file"
    save_tensors(path, TENSORS, {"kind": "a test", "note": ["x", 1]})
    tensors, info = load_tensors(path, "a test")
    assert info == {"kind": "a test", "note": ["x", 1]} and set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert all(tensors[name].dtype == value.dtype for name, value in TENSORS.items())
    with pytest.raises(ValueError, match="holds a test, not another"):
        load_tensors(path, "another")


def test_files_of_others_are_refused_by_what_they_lack(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "bare")
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "noted", {"format": "pt"})
    for name in ("bare", "noted"):
        with pytest.raises(ValueError, match="holds something else, not a test"):
            load_tensors(tmp_path / name, "a test")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_tensors(tmp_path / "missing", "a test")


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": torch.tensor([1.0, 2.5])},
        {"b": torch.tensor([1.0, 2.0])},
        {"a": torch.tensor([1.0, 2.0], dtype=torch.float64)},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32)},  # the same bytes
        {"a": torch.tensor([[1.0, 2.0]])},
        {},
    ],
    ids=["value", "name", "precision", "type", "shape", "none"],
)
def test_tensors_that_are_not_those_of_the_checksum_are_refused(tmp_path, tensors):
    path = tmp_path / "file"
    save_tensors(path, {"a": torch.tensor([1.0, 2.0])}, {"kind": "a test"})
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata()
    safetensors.torch.save_file(tensors, path, header)
    with pytest.raises(ValueError, match="file is damaged: its tensors do not match"):
        load_tensors(path, "a test")


@pytest.mark.parametrize(
    "saved, message",
    [
        ({"dim": 3, "how": "mean"}, "file does not fit: its dim is 3, not 2. Build it anew"),
        ({"dim": 2}, "its how is None, not mean"),
        ({"dim": 2, "how": "mean", "seed": 1}, "its seed is 1, not None"),
    ],
)
def test_other_settings(saved, message):
    own = {"dim": 2, "how": "mean"}
    refuse_other_settings("file", dict(own), own, "")
    with pytest.raises(ValueError, match=message):
        refuse_other_settings("file", saved, own, "Build it anew")
