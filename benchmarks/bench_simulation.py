"""Ten policies before 1,000 simulated shoppers for 30 days, 20 times over, in under two minutes.

Writes what chapter 11 loads from data/simulation/: all repetitions of all settings, of which the
chapter computes some again (runs.csv); ways to stay up to date (learning.csv); the first days of
new pictures (arrivals.csv); and the explorer that was chosen on the tuning seeds against greedy, on
seeds that nothing else uses (confirmation.csv).

    python -m benchmarks simulation
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
import time
from collections.abc import Callable

import pandas as pd

from benchmarks.harness import THREADS, Row, Timing
from recsys_tutorial.datasets import data_dir
from recsys_tutorial.shop_logs import first_days
from recsys_tutorial.shop_runs import KEYS, SETTINGS, learn_seed, run_seed, to_wide

SEEDS = range(20)
FRESH_SEEDS = range(20, 100)  # all below those that settings were tuned on
PROMISED = 120.0  # seconds


def _call(task: tuple[Callable, tuple]) -> pd.DataFrame:
    import threadpoolctl

    function, arguments = task
    with threadpoolctl.threadpool_limits(limits=1):  # a process for each core
        return function(*arguments)


def arrivals_seed(seed: int) -> pd.DataFrame:
    """`first_days` with its setting and seed."""
    return first_days(seed).assign(setting="arriving", seed=seed)


def run() -> list[Row]:
    tables = []
    with multiprocessing.get_context("spawn").Pool(THREADS) as pool:
        for setting in SETTINGS:
            start = time.perf_counter()
            tables.append(_map(pool, run_seed, [(setting, seed) for seed in SEEDS]))
            if setting == "drifting":
                seconds = time.perf_counter() - start
        _write("runs", pd.concat(tables))
        _write("learning", _map(pool, learn_seed, [(seed,) for seed in SEEDS]))
        _write("arrivals", _map(pool, arrivals_seed, [(seed,) for seed in SEEDS]))
        pair = ["greedy", "Thompson"]
        tasks = [("drifting", seed, pair) for seed in FRESH_SEEDS]
        columns = [*KEYS, "day", "regret"]
        _write("confirmation", _map(pool, run_seed, tasks)[columns])
    case = f"1,000 shoppers x 30 days x 10 policies x {len(SEEDS)} seeds, {THREADS} processes"
    return [Row(case, Timing((seconds,)), "two minutes", Timing((PROMISED,)), target=1.0)]


def _map(pool: multiprocessing.pool.Pool, function: Callable, tasks: list) -> pd.DataFrame:
    return pd.concat(pool.map(_call, [(function, task) for task in tasks], chunksize=1))


def _write(name: str, table: pd.DataFrame) -> None:
    to_wide(table).to_csv(data_dir() / "simulation" / f"{name}.csv", index=False)
