"""How a benchmark here is written, timed and reported.

A file ``benchmarks/bench_<topic>.py`` defines one function, ``run() -> list[Row]``, and
``python -m benchmarks`` (or ``make bench``) finds it, runs it and prints one table. A row is one
comparison: the same work, done by this package and by a peer, on the same inputs, in one process::

    from benchmarks.harness import Row, compare_speed

    def run() -> list[Row]:
        import ranx                                  # a missing peer is reported, not a crash

        ...                                          # build the inputs of both sides, untimed
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-12)   # first: is it the same work?
        return compare_speed(
            "NDCG@10 + Recall@20, 1,000 x 1,000",
            {"recsys_tutorial": ours, "ranx": theirs},              # the first one is ours
            target=15.0,                                            # peer's time / our time
        )

Rules that make a ratio worth believing:

- What is timed takes no argument; whatever a user of the peer would build once is built outside.
- The calls alternate (ours, peer, ours, peer, ...), so that a slow phase of the machine hits both.
- Both sides get ``THREADS`` threads: set in the environment before anything is imported, and again
  around every timed call for the libraries that can be told later.
- The ratio is the median over the rounds of peer's time / our time, which were taken one after the
  other; the fastest run is shown too, since it is the least disturbed one.
- Processor seconds are counted beside the clock's: they leave out what other programs took.
  With one thread their ratio is the one to believe on a busy machine; with more threads they do not
  say how well the work was shared.
- One untimed warm-up call each: compilation and first-touch of memory are not what is compared.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))  # set by `python -m benchmarks --threads`
# A sample shorter than this is repeated inside the clock, since a single call would measure noise.
SHORTEST_SAMPLE = 0.02


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: every sample taken, in the order of the rounds.

    `cpu` has the processor's seconds of the same samples, of all threads; () where not counted.
    """

    samples: tuple[float, ...]
    cpu: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Median seconds of one call."""
        return statistics.median(self.samples)

    @property
    def minimum(self) -> float:
        """Seconds of the fastest call."""
        return min(self.samples)


@dataclass(frozen=True)
class Row:
    """One line of the table: the same work by this package and by one peer.

    Parameters
    ----------
    case : str
        The work, with its sizes.
    ours, theirs : Timing
        Seconds of one call.
    peer : str
        The peer's name, and its version where that matters.
    target : float or None
        The ratio that must be reached; None: no promise.
    """

    case: str
    ours: Timing
    peer: str
    theirs: Timing
    target: float | None = None

    @property
    def ratio(self) -> float:
        """How many times faster this package is, in the middle of the rounds; below 1, slower."""
        rounds = zip(self.ours.samples, self.theirs.samples, strict=True)
        return statistics.median(theirs / ours for ours, theirs in rounds)

    @property
    def cpu_ratio(self) -> float:
        """The fastest peer's processor seconds / the fastest of ours; nan where not counted."""
        if not (self.ours.cpu and self.theirs.cpu):
            return math.nan
        return min(self.theirs.cpu) / min(self.ours.cpu)

    @property
    def missed(self) -> bool:
        """Whether a promised ratio was not reached."""
        return self.target is not None and self.ratio < self.target


@contextlib.contextmanager
def limited_threads(threads: int = THREADS) -> Iterator[None]:
    """Give BLAS, OpenMP and torch this many threads inside the block."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(limits=threads):
            yield
    finally:
        torch.set_num_threads(before)


def _sample(function: Callable[[], object], calls: int) -> tuple[float, float]:
    """Seconds of one call, and the processor's, as the mean of so many calls in a row."""
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        function()
    cpu = time.process_time() - cpu
    return (time.perf_counter() - start) / calls, cpu / calls


def interleave(
    functions: Mapping[str, Callable[[], object]], repeat: int = 7, threads: int = THREADS
) -> dict[str, Timing]:
    """Time several functions in alternation, so that the machine's moods hit all alike.

    Parameters
    ----------
    functions : mapping of str to callable
        Each takes no argument. One untimed call of each comes first.
    repeat : int
        Rounds; each gives every function one sample.
    threads : int
        Threads that each function may use.

    Returns
    -------
    dict of str to Timing
        In the order of `functions`.

    Raises
    ------
    ValueError
        If `functions` is empty or `repeat` is below 1.
    """
    if not functions or repeat < 1:
        raise ValueError(f"nothing to time: {len(functions)} functions, repeat={repeat}")
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    with limited_threads(threads):
        calls = {}
        for name, function in functions.items():
            _sample(function, 1)
            calls[name] = max(1, math.ceil(SHORTEST_SAMPLE / max(_sample(function, 1)[0], 1e-9)))
        gc_was_on = gc.isenabled()
        gc.disable()
        try:
            for _ in range(repeat):
                for name, function in functions.items():
                    samples[name].append(_sample(function, calls[name]))
                gc.collect()
        finally:
            if gc_was_on:
                gc.enable()
    return {name: Timing(*zip(*values, strict=True)) for name, values in samples.items()}


def compare_speed(
    case: str,
    functions: Mapping[str, Callable[[], object]],
    target: float | Mapping[str, float] | None = None,
    repeat: int = 7,
    threads: int = THREADS,
) -> list[Row]:
    """Time the first function against each of the others: one `Row` a peer.

    Parameters
    ----------
    case : str
        What is done, with its sizes.
    functions : mapping of str to callable
        Ours first, then the peers.
    target : float, mapping of peer to float, or None
        The ratio promised, for all peers or for those named.
    repeat, threads
        As in `interleave`.
    """
    if len(functions) < 2:
        raise ValueError(f"{case}: a comparison needs a peer, got {list(functions)}")
    (_, ours), *peers = interleave(functions, repeat, threads).items()
    targets = target if isinstance(target, Mapping) else dict.fromkeys(functions, target)
    return [Row(case, ours, peer, theirs, targets.get(peer)) for peer, theirs in peers]
