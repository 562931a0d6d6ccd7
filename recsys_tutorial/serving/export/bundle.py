"""Tables in files with a manifest: small, checked, and read by NumPy and by a browser alike.

A file is gzip'd bytes: its arrays one behind the other, little-endian, those of wide numbers first,
so that each begins at a multiple of its width. What stands where is in the manifest. Browsers
unpack gzip themselves, whatever a web server does with a file that it does not know.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys_tutorial._files import whole

__all__ = ["BundleError", "lines", "read_bundle", "write_bundle"]

FORMAT = 1
DTYPES = ("float32", "uint16", "int8", "uint8")  # what JavaScript's typed arrays have, too


class BundleError(ValueError):
    """A bundle that is missing, damaged or of another format; the message names the file."""


def write_bundle(
    folder: str | os.PathLike, files: Mapping[str, Mapping[str, np.ndarray]], info: Mapping
) -> dict:
    """Write the files and, when all are there, their manifest.

    Parameters
    ----------
    folder : path; created
    files : {name of a file without ".bin.gz": {name: array}}; a str is stored as UTF-8 in uint8
    info : dict that JSON can hold: settings and whatever else a reader needs to know

    Returns
    -------
    dict, the manifest: ``format``, ``info``, and ``files``, with each file's ``sha256``, ``bytes``
    and ``arrays`` (name, dtype, shape, offset in the unpacked bytes)

    Raises
    ------
    ValueError
        For an array of another dtype than float32, uint16, int8 or uint8, or with nan or infinity.
    """
    folder = Path(folder)
    manifest = {"format": FORMAT, "info": dict(info), "files": {}}
    packed = {f"{name}.bin.gz": _packed(name, arrays) for name, arrays in files.items()}
    for name, (data, arrays) in packed.items():
        with whole(folder / name) as temporary:
            temporary.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        manifest["files"][name] = {"sha256": digest, "bytes": len(data), "arrays": arrays}
    with whole(folder / "manifest.json") as temporary:
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return manifest


def _packed(file: str, arrays: Mapping[str, np.ndarray | str]) -> tuple[bytes, list[dict]]:
    """The bytes of a file, and what stands where in them."""
    made = {}
    for name, array in arrays.items():
        if isinstance(array, str):
            array = np.frombuffer(array.encode(), np.uint8)
        array = np.ascontiguousarray(array)
        if array.dtype.name not in DTYPES:
            raise ValueError(f"{file}: {name} is {array.dtype}, not one of {', '.join(DTYPES)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{file}: {name} holds nan or infinity")
        made[name] = array
    places, parts, offset = [], [], 0
    for name, array in sorted(made.items(), key=lambda pair: -pair[1].dtype.itemsize):
        place = {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        places.append(place | {"offset": offset})
        parts.append(array.astype(array.dtype.newbyteorder("<")).tobytes())
        offset += array.nbytes
    return gzip.compress(b"".join(parts), 9, mtime=0), places


def read_bundle(folder: str | os.PathLike) -> tuple[dict[str, dict[str, np.ndarray]], dict]:
    """Read what `write_bundle` wrote, each file compared with its checksum.

    Parameters
    ----------
    folder : path

    Returns
    -------
    files : {name without ".bin.gz": {name: ndarray}}
    info : dict, as it was given

    Raises
    ------
    BundleError
        A ValueError, for a file that is missing, damaged or of another format.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        version, entries, info = manifest["format"], manifest["files"], manifest["info"]
    except FileNotFoundError:
        raise BundleError(f"{folder} holds no manifest.json: write_bundle makes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / 'manifest.json'} is damaged: {error}") from error
    if version != FORMAT:
        raise BundleError(f"{folder} is of format {version}, this reads {FORMAT}: export it anew")
    return {
        name.removesuffix(".bin.gz"): _unpacked(folder / name, entry)
        for name, entry in entries.items()
    }, info


def _unpacked(path: Path, entry: dict) -> dict[str, np.ndarray]:
    """The arrays of a file; BundleError when it differs from its entry in the manifest."""
    if not path.is_file():
        raise BundleError(f"{path} is missing: export the bundle anew")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise BundleError(f"{path} is damaged: it differs from its checksum; export it anew")
    data, arrays = gzip.decompress(data), {}
    for place in entry["arrays"]:
        dtype, count = np.dtype(place["dtype"]).newbyteorder("<"), int(np.prod(place["shape"]))
        array = np.frombuffer(data, dtype, count, place["offset"]).reshape(place["shape"])
        arrays[place["name"]] = array.astype(place["dtype"], copy=False)
    return arrays


def lines(text: str | np.ndarray) -> list[str]:
    """The lines of a text, or of its bytes as a bundle has them.

    Parameters
    ----------
    text : str, or uint8 ndarray of its UTF-8 bytes

    Returns
    -------
    list of str
    """
    return (text if isinstance(text, str) else text.tobytes().decode()).split("\n")
