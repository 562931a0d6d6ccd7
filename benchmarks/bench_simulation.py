"""Ten policies before 1,000 simulated shoppers for 30 days, 20 times over, in under two minutes.

Times what data/simulation/make.py does for one setting, and keeps nothing of it.

    python -m benchmarks simulation
"""

from __future__ import annotations

import multiprocessing
import time

from benchmarks.harness import THREADS, Row, Timing
from recsys_tutorial.feedback.runs import run_seed

SEEDS = range(20)
PROMISED = 120.0  # seconds


def _drifting(seed: int) -> int:
    """One repetition with one thread, since there is a process for each core; its rows' number."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(limits=1):
        return len(run_seed("drifting", seed))


def run() -> list[Row]:
    with multiprocessing.get_context("spawn").Pool(THREADS) as pool:
        start = time.perf_counter()
        n_rows = pool.map(_drifting, SEEDS, chunksize=1)
        seconds = time.perf_counter() - start
    assert min(n_rows) == max(n_rows) > 0, "not the same work"
    case = f"1,000 shoppers x 30 days x 10 policies x {len(SEEDS)} seeds, {THREADS} processes"
    return [Row(case, Timing((seconds,)), "two minutes", Timing((PROMISED,)), target=1.0)]
