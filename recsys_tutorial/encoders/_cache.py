"""Keep computed vectors on disk, so that no text or picture is encoded twice on a machine.

One folder holds the vectors of one encoder with one setting. It is a set of small archives
("shards"); each is written under a temporary name and then renamed to one that was never used, and
never changed afterwards. So any number of processes may read and write at once. Only merging small
shards into a large one removes any, and that is done under a file lock, which the system takes back
from a process that dies. On a drive where locks fail nothing is merged, and nothing can be damaged:
what makes the difference to a database, whose safety hangs on its locks.
"""

import contextlib
import hashlib
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from recsys_tutorial._files import whole

KEY_BYTES = 16
_MANY_SHARDS = 16
_PATIENCE = 5.0  # seconds that a reader who misses something waits for a merge to end
_ABANDONED = 86400.0  # seconds after which a temporary file is that of a killed process


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
        self.folder, self.dim = Path(folder), dim

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
            True for all that was stored before, except in a file that was damaged since.
        """
        vectors = np.zeros((len(keys), self.dim), np.float32)
        known = np.zeros(len(keys), bool)
        read: set[Path] = set()
        self._search(keys, vectors, known, read)
        if not known.all() and self.folder.is_dir():
            # A merge may have moved what is wanted out of the list's files into a new one; while
            # the lock is held, none does.
            with self._lock(_PATIENCE):
                self._search(keys, vectors, known, read)
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
        problem = f"vectors are not kept in {self.folder}"
        try:
            self._write(keys, vectors)
            problem = f"the files in {self.folder} are not merged"
            if len(self._shards()) > _MANY_SHARDS:
                self._merge()
        except OSError as error:
            warnings.warn(f"{problem}: {error}", stacklevel=3)

    def _search(self, keys, vectors, known, read: set[Path]) -> None:
        """Fill in what shards outside `read` know, and add them to it."""
        for path in self._shards():
            if known.all() or path in read:
                continue
            read.add(path)
            shard = self._read_shard(path)
            if shard is None or not len(shard[0]):
                continue
            rows = np.flatnonzero(~known)
            place = np.searchsorted(shard[0], keys[rows]).clip(max=len(shard[0]) - 1)
            hit = shard[0][place] == keys[rows]
            vectors[rows[hit]] = shard[1][place[hit]]
            known[rows[hit]] = True

    def _merge(self) -> None:
        """Write one shard that holds all, then remove those it was made of.

        Under the lock no other process removes a shard. One that is added meanwhile is not in the
        list and stays.
        """
        with self._lock(0) as locked:
            if not locked:  # another process is merging, or this drive knows no locks
                return
            parts = {path: shard for path in self._shards() if (shard := self._read_shard(path))}
            if len(parts) < 2:
                return
            keys, vectors = zip(*parts.values(), strict=True)
            self._write(np.concatenate(keys), np.concatenate(vectors))
            for path in parts:
                _remove(path)
            for path in self.folder.glob("*.tmp"):
                with contextlib.suppress(OSError):  # gone meanwhile
                    if time.time() - path.stat().st_mtime > _ABANDONED:
                        path.unlink()

    @contextlib.contextmanager
    def _lock(self, seconds: float) -> Iterator[bool]:
        """Hold the folder's lock, if it can be had within so many seconds; yield whether."""
        with contextlib.ExitStack() as held:
            lock = FileLock(self.folder / ".lock")
            try:
                held.enter_context(lock.acquire(timeout=seconds))
            except (OSError, NotImplementedError):  # taken, read-only, a drive without locks
                lock = None
            yield lock is not None

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*.npz"))

    def _write(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        keys, first = np.unique(keys, return_index=True)  # sorted, as `lookup` needs them
        # A name that no shard ever had: who removes one by its name can hit no other.
        name = f"{uuid.uuid4().hex}.npz"
        with whole(self.folder / name) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=keys, vectors=vectors[first])

    def _read_shard(self, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
        """Keys and vectors of a shard; None if it cannot be read, or is damaged (then removed)."""
        try:
            with path.open("rb") as file, np.load(file) as shard:
                keys, vectors = shard["keys"], shard["vectors"]  # zip members carry a checksum
            if keys.dtype == f"S{KEY_BYTES}" and vectors.shape == (len(keys), self.dim):
                return keys, vectors
        except OSError:  # merged away, another user's, a drive that is gone: no reason to remove it
            return None
        except Exception:  # readers of zip and npy raise a dozen kinds at a damaged file
            pass
        _remove(path)
        return None


def _remove(path: Path) -> None:
    """Remove a file that may be gone already; one that cannot be removed stays."""
    with contextlib.suppress(OSError):
        path.unlink()
