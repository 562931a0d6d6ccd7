"""Many users and many texts by one worker and by several: seconds, and memory of all processes.

    python -m benchmarks.bench_scale users 1000000 --workers 1 2
    python -m benchmarks.bench_scale texts 1000000 --workers 2

Users are drawn from a made catalogue of 2,000 items and ranked by EASE; texts are made titles, read
by the course's MiniLM. Adds rows to results/scale.csv. Memory is the largest sum of what all
processes hold, shared pages counted once.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from scipy import sparse

from recsys_tutorial import scale
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models import EASE

RESULTS = Path(__file__).parent / "results" / "scale.csv"
N_ITEMS, N_LIKES = 2000, 20
WORDS = [
    "a",
    "the",
    "last",
    "first",
    "lost",
    "silent",
    "red",
    "winter",
    "river",
    "city",
    "night",
    "king",
    "garden",
    "road",
    "machine",
    "return",
    "of",
    "in",
    "with",
    "without",
    "love",
    "war",
    "house",
    "letter",
    "stranger",
    "summer",
]


class Memory:
    """The most that this process and its children held during the block, in bytes."""

    def __enter__(self) -> Memory:
        self.most, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._done.wait(1.0):
            held = 0
            for process in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    held += process.memory_full_info().pss
            self.most = max(self.most, held)


def users(n: int) -> None:
    """Lists of ten for n users with 20 likes each."""
    rng = np.random.default_rng(0)
    columns = np.minimum(rng.geometric(1 / 300, (n, N_LIKES)) - 1, N_ITEMS - 1)
    rows = np.repeat(np.arange(n), N_LIKES)
    likes = sparse.csr_matrix((np.ones(rows.size), (rows, columns.ravel())), (n, N_ITEMS))
    likes.data[:] = 1.0
    model = EASE(200).fit(likes[:20_000])
    lists = scale.rank_users(lambda: model, likes, k=10)
    some = rng.choice(n, 1000, replace=False)
    np.testing.assert_array_equal(lists[some], scale.rank_users(lambda: model, likes[some], k=10))


def texts(n: int) -> None:
    """Vectors of n made titles, none twice."""
    rng = np.random.default_rng(0)
    words = np.array(WORDS)[rng.integers(len(WORDS), size=(n, 5))]
    made = [f"{' '.join(row)} {number}" for number, row in enumerate(words)]
    with tempfile.TemporaryDirectory() as folder:
        vectors = scale.encode(made, quiet_encoder, folder)
        assert vectors.shape == (n, 384)
        some = rng.choice(n, 200, replace=False)
        expected = quiet_encoder().encode([made[place] for place in some])
        np.testing.assert_allclose(vectors[some], expected, atol=1e-5)


def quiet_encoder() -> TextEncoder:
    """The course's encoder, without its cache and progress."""
    return TextEncoder(device="cpu", use_cache=False, progress=False)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["users", "texts"])
    parser.add_argument("n", type=int)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    for workers in options.workers:
        with Memory() as memory, scale.cluster(workers):
            began = time.perf_counter()
            {"users": users, "texts": texts}[options.what](options.n)
            seconds = time.perf_counter() - began
        row = {"what": options.what, "n": options.n, "workers": workers,
               "seconds": round(seconds, 1), "peak_gb": round(memory.most / 1e9, 2)}  # fmt: skip
        print(row, flush=True)
        before = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
        pd.concat([*before, pd.DataFrame([row])]).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
