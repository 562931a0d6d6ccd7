"""The files of a version: what its manifest says of them, and whether they are that."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

FORMAT = 1
MANIFEST = "manifest.json"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # of a version


class ArtefactError(ValueError):
    """A folder that holds no sound version of a model: the message names the file and the mend."""


def read_manifest(folder: Path, kinds: Iterable[str]) -> dict:
    """A version's manifest; ArtefactError unless it is one of these kinds."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtefactError(f"{folder} holds no version of a model: {path} is missing") from None
    except ValueError as error:
        raise ArtefactError(f"{path} is damaged: {error}; train this version anew") from error
    keys = {"format", "name", "kind", "settings", "encoder", "about", "files"}
    if not isinstance(manifest, dict) or not keys <= set(manifest):
        raise ArtefactError(f"{path} is no manifest: it must hold {', '.join(sorted(keys))}")
    if manifest["format"] != FORMAT:
        raise ArtefactError(f"{path} has format {manifest['format']}, this package reads {FORMAT}")
    if manifest["kind"] not in kinds:
        raise ArtefactError(f"{path} is of a {manifest['kind']!r}, which is none of {[*kinds]}")
    if manifest["name"] != folder.name:
        raise ArtefactError(f"{path} is of {manifest['name']!r}, not {folder.name!r}: rename back")
    return manifest


def file_sum(data: bytes) -> dict:
    """What a manifest says of a file."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def checked(path: Path, known: dict | None) -> bytes:
    """A file's bytes; ArtefactError unless they are those that the manifest names."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing; train this version anew") from None
    found = file_sum(data)
    if found != known:
        size = (known or {}).get("bytes")
        what = "was changed" if found["bytes"] == size else f"has {len(data)} bytes, not {size}"
        raise ArtefactError(f"{path} {what}: it is not what its manifest names; train it anew")
    return data
