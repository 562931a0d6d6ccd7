"""Make the five tables of this folder: every repetition of every setting of the simulated shop.

    python data/simulation/make.py                 # all of them, on two processes
    python data/simulation/make.py arrivals        # one of them

Chapter 11 loads them and computes some of the repetitions again. pictures.npz, which the shop
reads, is made by make_pictures.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from recsys_tutorial._files import whole
from recsys_tutorial.feedback.arrivals import first_days
from recsys_tutorial.feedback.runs import (
    KEYS,
    SETTINGS,
    learn_seed,
    make_policies,
    run,
    run_seed,
    to_wide,
)
from recsys_tutorial.feedback.shop import Shop, load_pictures

SEEDS = range(20)
TUNING_SEEDS = range(100, 104)
FRESH_SEEDS = range(300, 320)  # nothing else has used them
REGS = [0.03, 0.1, 0.3, 1.0, 3.0]  # the same for every policy
# Each policy's best of them on the tuning seeds.
CHOSEN = {
    "greedy": 0.1,
    "explore first": 1.0,
    "epsilon 0.05": 0.3,
    "Thompson": 0.3,
    "LinUCB": 0.3,
}


def arrivals_seed(seed: int) -> pd.DataFrame:
    """`first_days` with its setting and seed."""
    return first_days(seed).assign(setting="arriving", seed=seed)


def by_reg(arms: list[tuple[str, float]], seed: int) -> pd.DataFrame:
    """Policies under drift, each with a regularisation, in one shop."""
    shop = Shop(load_pictures(), 1000, seed, **SETTINGS["drifting"])
    policies = {
        f"{name}, reg {reg}": make_policies(shop, seed, [name], reg=reg)[name] for name, reg in arms
    }
    table = run(policies, shop).assign(setting="drifting", seed=seed)
    return table[[*KEYS, "day", "regret"]]


def tune_seed(seed: int) -> pd.DataFrame:
    """Greedy and the explorers with the same five regularisations; 30 days' regret as day 29's."""
    table = by_reg([(name, reg) for name in CHOSEN for reg in REGS], seed)
    return table.groupby(KEYS, as_index=False)["regret"].sum().assign(day=29)


def confirm_seed(seed: int) -> pd.DataFrame:
    """Greedy and the explorers as tuned; greedy and Thompson with each other's choice, too."""
    return by_reg([*CHOSEN.items(), ("greedy", 0.3), ("Thompson", 0.1)], seed)


# {table: (function, its arguments, one task each)}
TASKS: dict[str, tuple[Callable, list[tuple]]] = {
    "runs": (run_seed, [(setting, seed) for setting in SETTINGS for seed in SEEDS]),
    "learning": (learn_seed, [(seed,) for seed in SEEDS]),
    "arrivals": (arrivals_seed, [(seed,) for seed in SEEDS]),
    "tuning": (tune_seed, [(seed,) for seed in TUNING_SEEDS]),
    "confirmation": (confirm_seed, [(seed,) for seed in FRESH_SEEDS]),
}


def make(name: str, folder: Path, pool) -> None:
    """Compute one table and write it, whole or not at all."""
    function, tasks = TASKS[name]
    table = pd.concat(pool.starmap(function, tasks, chunksize=1))
    with whole(folder / f"{name}.csv") as temporary:
        to_wide(table).to_csv(temporary, index=False)


def main(argv: list[str] | None = None) -> None:
    """Make the tables chosen and say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TASKS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    unknown = sorted(set(options.tables) - set(TASKS))
    if unknown:
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(TASKS)}")
    # The processes that are spawned inherit these: one thread each.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for name in options.tables or TASKS:
            start = time.monotonic()
            make(name, options.out, pool)
            print(f"{name}.csv: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
