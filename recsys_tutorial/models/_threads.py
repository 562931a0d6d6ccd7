"""Threads for work that NumPy and SciPy do without Python's lock: which cores, and BLAS beside."""

from __future__ import annotations

import functools
import os

import threadpoolctl


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_blas_thread():
    """A block in which BLAS uses one thread, since the rows' blocks are what runs in parallel.

    A fit holds it from beginning to end: BLAS's own threads would go on spinning for milliseconds
    after each larger product, on the cores that the blocks need. BLAS is looked up once:
    `threadpoolctl.threadpool_limits` does so every time, which takes 2 ms, as a small solve does.
    """
    return _blas().limit(limits=1)


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController().select(user_api="blas")
