"""Check a folder of weights: every file against its sha256, or at least complete and safe."""

import hashlib
import json
import os
from pathlib import Path

import pooch
from safetensors import SafetensorError, safe_open

MANIFEST = "manifest.json"  # name, source, licence, and "files": {relative path: sha256}


def verify(folder: str | os.PathLike) -> list[str]:
    """Return what is wrong with a folder of weights.

    Parameters
    ----------
    folder : str or path-like
        Every file that its manifest names is compared with its sha256. A folder without a manifest
        (copied from elsewhere) is asked for a config and for safetensors that are complete.

    Returns
    -------
    list of str
        One line for each problem; empty when the folder is sound.
    """
    folder = Path(folder)
    try:
        expected = dict(_read_manifest(folder)["files"])
    except (FileNotFoundError, NotADirectoryError):
        expected = {}
    except (ValueError, LookupError, TypeError):
        return [f"{MANIFEST} is damaged"]
    problems = missing_parts(folder)
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif (found := pooch.file_hash(str(path))) != digest:
            size = path.stat().st_size
            problems.append(f"{name} is damaged ({size:,} bytes, sha256 {found[:12]}...)")
    return problems


def fingerprint(folder: str | os.PathLike) -> str:
    """Return a sha256 of what decides the vectors: parameters, configuration, tokenizer.

    Embeddings kept under it stay valid exactly as long as the weights do.

    Parameters
    ----------
    folder : str or path-like
        Its manifest is believed, see `verify`; without one, its files are read.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    folder = Path(folder)
    try:
        found = _read_manifest(folder)["files"]
    except FileNotFoundError:
        found = _digests(folder)
    files = sorted((name, digest) for name, digest in found.items() if name != "README.md")
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _read_manifest(folder: Path) -> dict:
    """Return the folder's manifest; FileNotFoundError when it has none."""
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def write_manifest(folder: Path, **about: str) -> None:
    """Write down what is known `about` the folder, and the sha256 of every file in it."""
    text = json.dumps({**about, "files": _digests(folder)}, indent=2) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of the folder by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): pooch.file_hash(str(path)) for path in files}


def missing_parts(folder: Path) -> list[str]:
    """Return what a folder lacks to be loaded: a config, and safetensors that are complete."""
    if not folder.is_dir():
        return ["there is no such folder"]
    problems = [] if (folder / "config.json").is_file() else ["config.json is missing"]
    tensors = sorted(folder.glob("*.safetensors"))
    if not tensors:
        problems.append("no safetensors file (pickles such as pytorch_model.bin are not loaded)")
    for path in tensors:
        try:
            with safe_open(path, "np"):  # compares the header with the file's length
                pass
        except (SafetensorError, OSError) as error:
            problems.append(f"{path.name} is damaged ({error})")
    return problems
