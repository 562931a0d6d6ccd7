"""Keep computed vectors on disk, so that no text or picture is encoded twice on a machine.

One folder holds the vectors of one encoder with one setting. It is a set of small archives
("shards"); each is written under a temporary name and then renamed, and never changed afterwards.
So any number of processes may read and write at once without a lock, also on network drives where
a database's locks fail: at worst both compute the same vectors.
"""

import hashlib
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np

__all__ = ["EmbeddingCache", "content_key"]

KEY_BYTES = 16
_MANY_SHARDS = 16


def content_key(content: bytes, *more: bytes) -> bytes:
    """Return the 16-byte key of an item's content."""
    digest = hashlib.blake2b(content, digest_size=KEY_BYTES)
    for part in more:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


class EmbeddingCache:
    """Vectors of one encoder and one setting, by the content that they were made of.

    Parameters
    ----------
    folder : Path
        Created when the first vectors are stored.
    dim : int
        Numbers in a vector.
    """

    def __init__(self, folder: Path, dim: int):
        self.folder = Path(folder)
        self.dim = dim

    def lookup(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors that are known.

        Parameters
        ----------
        keys : ndarray (n,), "S16"

        Returns
        -------
        vectors : ndarray (n, dim), float32
            Rows that are not known hold zeros.
        known : ndarray (n,), bool
        """
        vectors = np.zeros((len(keys), self.dim), np.float32)
        known = np.zeros(len(keys), bool)
        for path in self._shards():
            if known.all():
                break
            shard = self._read(path)
            if shard is None or not len(shard[0]):
                continue
            place = np.searchsorted(shard[0], keys).clip(max=len(shard[0]) - 1)
            hits = np.flatnonzero(~known & (shard[0][place] == keys))
            vectors[hits] = shard[1][place[hits]]
            known[hits] = True
        return vectors, known

    def store(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Add vectors; a cache that cannot be written is a warning, not an error.

        Parameters
        ----------
        keys : ndarray (n,), "S16"
        vectors : ndarray (n, dim), float32
        """
        if not len(keys):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shards = self._shards()
            self._write(keys, vectors)
            if len(shards) >= _MANY_SHARDS:
                self._merge()
        except OSError as error:
            warnings.warn(f"vectors are not kept in {self.folder}: {error}", stacklevel=3)

    def _merge(self) -> None:
        """Write one shard that holds all, then remove those it was made of.

        A shard that another process adds meanwhile is not in the list and stays. A reader that
        finds a listed shard gone computes those vectors again.
        """
        paths = self._shards()
        parts = [part for part in map(self._read, paths) if part is not None]
        whole = self._write(
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
        )
        for path in paths:
            if path != whole:
                path.unlink(missing_ok=True)

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*.npz"))

    def _write(self, keys: np.ndarray, vectors: np.ndarray) -> Path:
        keys, first = np.unique(keys, return_index=True)  # sorted, as `lookup` needs them
        target = self.folder / f"{content_key(keys.tobytes()).hex()}.npz"
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
            try:
                np.savez(file, keys=keys, vectors=vectors[first])
                file.close()
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
        return target

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
        """Return keys and vectors of a shard; None when it is gone, or damaged (then removed)."""
        try:
            with np.load(path, allow_pickle=False) as shard:  # zip members carry a checksum
                keys, vectors = shard["keys"], shard["vectors"]
            if keys.dtype == f"S{KEY_BYTES}" and vectors.shape == (len(keys), self.dim):
                return keys, vectors
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            pass
        path.unlink(missing_ok=True)
        return None
