"""The files of a folder of `data/`, compared with the checksums in its manifest."""

import hashlib
import json
import os
from pathlib import Path

from recsys_tutorial._files import data_dir
from recsys_tutorial.datasets._delimited import DataFileError


def read_snapshot(
    name: str, files: list[str], folder: str | os.PathLike | None = None
) -> list[bytes]:
    """Read files with the checksums that the folder's ``manifest.json`` gives them.

    Parameters
    ----------
    name : str, the folder below ``data/``, whose ``make.py`` writes the files
    files : list of str, their names
    folder : str or path-like, optional: another folder that it wrote

    Returns
    -------
    list of bytes, the files' contents

    Raises
    ------
    DataFileError
        For a file that is missing or differs from its checksum, and a damaged manifest.
    """
    folder = data_dir() / name if folder is None else Path(folder).expanduser()
    manifest = _checked_bytes(folder / "manifest.json", name)
    try:
        known = json.loads(manifest)["files"]
        checksums = [known[file] for file in files]
    except (ValueError, KeyError):
        raise DataFileError("the file is damaged", folder / "manifest.json") from None
    return [
        _checked_bytes(folder / file, name, digest)
        for file, digest in zip(files, checksums, strict=True)
    ]


def _checked_bytes(path: Path, name: str, sha256: str | None = None) -> bytes:
    """Return a file's bytes, compared with their checksum."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataFileError(f"the file is missing; data/{name}/make.py writes it", path) from None
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise DataFileError("the file is damaged: it differs from its checksum", path)
    return data
