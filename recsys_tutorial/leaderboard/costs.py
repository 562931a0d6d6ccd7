"""What a model costs: seconds, and the memory that it needs at its highest point."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from joblib.externals.loky import ProcessPoolExecutor

__all__ = ["Cost", "cost", "measure", "recording"]


@dataclass
class Cost:
    """What a block of work took.

    Attributes
    ----------
    seconds : float, wall-clock time
    peak_mb : float, memory at its highest point above what was in use before the block
    """

    seconds: float = float("nan")
    peak_mb: float = float("nan")


@contextlib.contextmanager
def cost() -> Iterator[Cost]:
    """Measure a block of work in this process.

    Yields
    ------
    Cost, filled in when the block ends; `peak_mb` is the growth of the process's resident memory
    (Linux; nan elsewhere). What the block takes from memory that earlier work left does not count:
    `measure` sees that, too.

    Examples
    --------
    >>> with cost() as fitting:
    ...     total = sum(range(1000))
    >>> fitting.seconds > 0
    True
    """
    measured = Cost()
    gc.collect()  # else what earlier work left is freed within the block and hides its growth
    before = _resident_mb(reset_peak=True)
    began = time.perf_counter()
    try:
        yield measured
    finally:
        measured.seconds = time.perf_counter() - began
        measured.peak_mb = max(0.0, _resident_mb(peak=True) - before)


def measure(work: Callable, *arguments) -> Cost:
    """What a call costs, in a process of its own: nothing that ran before it hides its memory.

    The call is made twice there, and the second one is measured: the first one imports what is
    needed.

    Parameters
    ----------
    work : callable, such as a function Split -> fitted model; a notebook's own will do
    *arguments : what it is called with

    Returns
    -------
    Cost of one call; unless results are being recorded (see `recording`), nan without a call, so
    that tests and readers do not wait for it
    """
    if not recording():
        return Cost()
    with ProcessPoolExecutor(max_workers=1) as process:
        return process.submit(_second_call, work, arguments).result()


def recording() -> bool:
    """Are results being stored, as `make notebooks` does (RECSYS_TUTORIAL_RECORD=1)?

    Returns
    -------
    bool
    """
    return os.environ.get("RECSYS_TUTORIAL_RECORD") == "1"


def _second_call(work: Callable, arguments: tuple) -> Cost:
    work(*arguments)
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library keeps what it wants
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with cost() as measured:
        kept = work(*arguments)
    del kept  # it was alive until the peak was read
    return measured


def _resident_mb(*, peak: bool = False, reset_peak: bool = False) -> float:
    if sys.platform != "linux":
        return float("nan")
    if reset_peak:  # not everywhere allowed; then the peak is the process's since its start
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    key = "VmHWM:" if peak else "VmRSS:"
    status = Path("/proc/self/status").read_text()
    return int(status.split(key)[1].split()[0]) / 1024
