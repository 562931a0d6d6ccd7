"""Store and look up vectors while other processes do the same: `cache_script.py FOLDER N SECONDS`.

Process N stores one vector a round, prints the round's number, and then looks up all that it has
stored so far, and what the others may have. It ends after SECONDS, or at the first vector that is
lost or wrong, with an error. Shards are merged at every third one.
"""

import sys
import time

import numpy as np

from recsys_tutorial.encoders import _cache as embedding_cache

DIM = 3
SHARED = 10  # rounds whose keys all processes store alike


def key(worker: int, number: int) -> bytes:
    """Of the number-th vector of a worker; the first few are those of everybody."""
    return embedding_cache.content_key(b"%d %d" % (0 if number < SHARED else worker, number))


def vector(number: int) -> np.ndarray:
    return np.full((1, DIM), number, np.float32)


def main(folder: str, worker: int, seconds: float) -> None:
    embedding_cache._MANY_SHARDS = 2
    embedding_cache._PATIENCE = 60.0  # a busy machine is slow, not wrong
    cache, number, keys = embedding_cache.EmbeddingCache(folder, DIM), 0, []
    end = time.monotonic() + seconds
    while number < 2 * SHARED or time.monotonic() < end:
        keys.append(key(worker, number))
        cache.store(np.array(keys[-1:], "S16"), vector(number))
        print(number, flush=True)
        number += 1
        vectors, known = cache.lookup(np.array(keys, "S16"))
        if not known.all():
            raise AssertionError(f"vectors {np.flatnonzero(~known)} of {number} are lost")
        if (vectors != np.arange(number)[:, None]).any():
            raise AssertionError(f"a wrong vector among {vectors[:, 0]}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
