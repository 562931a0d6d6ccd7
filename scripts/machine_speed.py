"""How slow this machine is now, so that time limits mean the same on every machine.

A limit of 60 seconds that was ample on an idle machine turns a slow or busy one red. So a limit is
written as the seconds that it would be on the reference, two idle cores, and scaled:

    subprocess.run(command, timeout=limit(60))

``scripts/run_tests.py`` measures once, before its first stage, and hands the factor on in
``RECSYS_TUTORIAL_TIME_FACTOR``, which may also be set by hand; elsewhere `limit` measures when it
is first called.

    python scripts/machine_speed.py      # prints this machine's factor
"""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping

VARIABLE = "RECSYS_TUTORIAL_TIME_FACTOR"
# Seconds of `workload` on an idle core of the machine that the limits were chosen on, x86_64 with
# AVX-512: the smallest processor time of 25 runs, BLAS with one thread.
REFERENCE_SECONDS = 1.0


def workload() -> float:
    """Return the seconds of a fixed piece of work: matrix products and Python's own steps."""
    import numpy as np

    matrix = np.random.default_rng(0).normal(size=(512, 512)) / 23.0  # the norm stays near 1
    product, total = matrix, 0
    start = time.perf_counter()
    for _ in range(120):
        product = np.tanh(product @ matrix)
    for i in range(10_000_000):
        total += i & 7
    return time.perf_counter() - start


def measure(processes: int = 1, env: Mapping[str, str] | None = None) -> float:
    """Return the seconds of the slowest of so many processes that do `workload` side by side."""
    command = [sys.executable, os.path.abspath(__file__), "--workload"]
    running = [
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=env
        )
        for _ in range(processes)
    ]
    printed = [process.communicate()[0] for process in running]
    for process in running:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return max(map(float, printed))


def factor_of(seconds: float) -> float:
    """Return what limits are multiplied with: never below 1, since a limit is no promise."""
    return max(1.0, seconds / REFERENCE_SECONDS)


def read_factor(text: str) -> float:
    """Return the factor that the environment variable holds; ValueError where it is none."""
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"{VARIABLE} must be a number above 0, such as 2.5: {text!r}")
    return factor


def factor() -> float:
    """Return the environment variable's factor, else a measured one."""
    text = os.environ.get(VARIABLE)
    return read_factor(text) if text else _measured()


@functools.cache
def _measured() -> float:
    return factor_of(measure())


def limit(seconds: float) -> int:
    """Return a time limit in whole seconds, given what it is on the reference machine."""
    return math.ceil(seconds * factor())


def kernel_limits(seconds: float) -> dict[str, int]:
    """Return nbclient's limits: so many seconds for a cell, its own defaults for what is around.

    Those, 60 seconds to start and 4 from a cell's end to its last output, do not know a busy
    machine; past the second, outputs are dropped with no more than a warning.
    """
    return {
        "timeout": limit(seconds),
        "startup_timeout": limit(60),
        "iopub_timeout": limit(4),
    }


def main(argv: list[str]) -> int:
    """Print the factor, or with --workload the seconds of one piece of work."""
    print(workload() if argv == ["--workload"] else f"{factor():.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
