"""Vectors of a catalogue, encoded by several workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recsys_tutorial._checks import check_at_least
from recsys_tutorial._files import whole
from recsys_tutorial.scale.workers import each_block

__all__ = ["encode"]


def encode(
    texts: Sequence[str], make: Callable, folder: str | os.PathLike, *, block: int = 4096
) -> np.ndarray:
    """Vectors of all texts, in a file.

    Parameters
    ----------
    texts : sequence of n str
    make : function -> encoder with ``encode(list of str) -> ndarray (n, dim)``, such as a class of
        `encoders`; called once in each worker
    folder : for ``vectors.npy``, and for the blocks until it is there
    block : int >= 1, texts in a block

    Returns
    -------
    memmap (n, dim), float32, read-only

    Raises
    ------
    ValueError for no text, or a folder that holds the vectors of others.
    """
    import pyarrow

    check_at_least(1, block=block)
    if not len(texts):
        raise ValueError("there are no texts to encode")
    folder = Path(folder).resolve()
    begun = {"texts": _digest(texts), "block": block, "n": len(texts)}
    _same_run(folder / "run.json", begun)
    path = folder / "vectors.npy"
    if not path.exists():
        given = (pyarrow.array(texts), str(folder), block)  # of Arrow, workers share one copy
        starts = range(0, len(texts), block)
        left = [s for s in starts if not _block_path(folder, s).exists()]
        for _ in each_block(left, make, _encode_block, given, what="encode"):
            pass
        _join([_block_path(folder, s) for s in starts], len(texts), path)
    return np.load(path, mmap_mode="r")


def _encode_block(encoder, start: int, texts, folder: str, block: int) -> dict:
    vectors = np.asarray(encoder.encode(texts[start : start + block].to_pylist()), dtype=np.float32)
    with whole(_block_path(Path(folder), start)) as temporary, open(temporary, "wb") as file:
        np.save(file, vectors)
    return {"start": np.array([start])}


def _block_path(folder: Path, start: int) -> Path:
    return folder / "blocks" / f"{start:012d}.npy"


def _join(blocks: list[Path], n: int, path: Path) -> None:
    """Write the blocks into one file, one at a time, and remove them."""
    dim = np.load(blocks[0], mmap_mode="r").shape[1]
    with whole(path) as temporary:
        joined = np.lib.format.open_memmap(temporary, "w+", np.float32, (n, dim))
        at = 0
        for block in blocks:
            part = np.load(block)
            joined[at : at + len(part)] = part
            at += len(part)
        joined.flush()
        del joined
    shutil.rmtree(blocks[0].parent)


def _digest(texts: Sequence[str]) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(f"{len(text)} {text}".encode())
    return found.hexdigest()


def _same_run(path: Path, begun: dict) -> None:
    """Write down what a folder is for; ValueError when it is for something else."""
    if not path.exists():
        with whole(path) as temporary:
            temporary.write_text(json.dumps(begun), "utf-8")
    elif (found := json.loads(path.read_text("utf-8"))) != begun:
        different = [name for name in begun if found.get(name) != begun[name]]
        raise ValueError(f"{path.parent} was begun with other {', '.join(different)}: name another")
