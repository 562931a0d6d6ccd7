"""Run every stage of the tests, go on after a failing one, and say how long each took.

    .venv/bin/python scripts/run_tests.py                     # what `make test` runs
    .venv/bin/python scripts/run_tests.py lint tests          # some of the stages

At the start the machine's speed is measured, and all time limits follow it: a slow or busy machine
is slow, not red. Tests and notebooks print a line each when they are finished.

The stages: lint (ruff, codespell), tests (pytest over the package and the tools), notebooks (every
notebook runs again and its outputs are compared), site (the book is built, then looked at).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts import machine_speed  # noqa: E402

# These need the built site, so they come after it.
SITE_TESTS = (
    "tests/test_book.py",
    "tests/test_browser.py",
    "tests/test_browser_pages.py",
    "tests/test_browser_pictures.py",
    "tests/test_browser_search.py",
    "tests/test_browser_teaching.py",
    "tests/test_browser_try_it.py",
)
# Seconds on two idle cores. A cell is meant to take at most 60, but some of chapters 8 and 9 take
# more with one thread, and one that runs out of time takes the rest with it.
CELL_LIMIT = 900
TEST_LIMIT = 600
# Names the folder of the site that was built just now: its tests do not build another.
SITE_VARIABLE = "RECSYS_TUTORIAL_SITE"


@dataclass(frozen=True)
class Result:
    """What a stage came to."""

    stage: str
    seconds: float
    failed: tuple[str, ...]


def environment(workers: int) -> dict[str, str]:
    """Return the environment of all stages."""
    from recsys_tutorial.datasets import cache_dir

    env = dict(os.environ)
    # One folder for the features that several notebooks and tests need, also for a test that gives
    # its subprocess another home.
    env["RECSYS_TUTORIAL_CACHE"] = str(cache_dir())
    # Each worker has its share of the cores: with two workers and two threads each on two cores,
    # OpenMP's threads wait for each other in busy loops and everything takes longer. Stored outputs
    # do not depend on the number of threads beyond 1e-14.
    share = str(max(1, (os.cpu_count() or 1) // workers))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        env.setdefault(name, share)
    env["PYTHONUNBUFFERED"] = "1"
    env.pop("RECSYS_TUTORIAL_RECORD", None)  # tests compare the leaderboard, they never write it
    return env


def time_factor(workers: int, env: dict[str, str]) -> float:
    """Return what time limits are multiplied with, measured unless the environment sets it; say it.

    As many processes are timed as there will be workers, each with its share of the threads.
    """
    given = env.get(machine_speed.VARIABLE)
    if given:
        factor = machine_speed.read_factor(given)
        print(f"speed: time limits x {factor:.2f}, as {machine_speed.VARIABLE} says", flush=True)
        return factor
    seconds = machine_speed.measure(workers, env)
    factor = round(machine_speed.factor_of(seconds), 2)
    print(
        f"speed: {seconds:.1f} s for what an idle core of the reference machine does in "
        f"{machine_speed.REFERENCE_SECONDS:.1f} s: time limits x {factor:.2f} "
        f"({machine_speed.VARIABLE} sets another factor)",
        flush=True,
    )
    return factor


def cell_limits(seconds: float) -> list[str]:
    """Return pytest's options that stop a cell after so many seconds, and pytest itself later.

    nbval interrupts the cell; pytest's limit would fail it and leave the kernel computing.
    """
    return ["--nbval-cell-timeout", f"{seconds:.0f}", "--timeout", f"{seconds + 120:.0f}"]


def stages(workers: int, factor: float = 1.0, root: Path = ROOT) -> dict[str, list[list[str]]]:
    """Return {stage: its commands}; a stage stops at its first command that fails.

    `factor` multiplies the limits for a test and for a cell.
    """
    python = [sys.executable]
    pytest = [*python, "-m", "pytest"]
    limited = [*pytest, "--timeout", f"{factor * TEST_LIMIT:.0f}"]
    site_tests = [path for path in SITE_TESTS if (root / path).is_file()]
    plan = {
        "lint": [[*python, "scripts/lint.py"]],
        "tests": [
            # in the order of collection, see tests/conftest.py, not the files of most tests first
            [*limited, "-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder",
             "--durations", "10"]
            + [f"--ignore={path}" for path in SITE_TESTS]
        ],
        "notebooks": [
            [*pytest, *cell_limits(factor * CELL_LIMIT), "-n", str(workers), "--dist", "loadfile",
             "--nbval", "--nbval-current-env", "notebooks"]
        ],
        "site": [[*python, "scripts/build_book.py"]],
    }  # fmt: skip
    if site_tests:
        # by the groups of tests/conftest.py
        dealt = ["-n", str(workers), "--dist", "loadgroup", "--durations", "10"]
        plan["site"].append([*limited, *dealt, *site_tests])
    return plan


def run_stage(name: str, commands: list[list[str]], env: dict[str, str]) -> Result:
    """Run a stage's commands one after the other."""
    start = time.monotonic()
    failed = []
    if name == "site":
        env = env | {SITE_VARIABLE: str(ROOT / "_build" / "html")}
    for command in commands:
        shown = " ".join(["python", *command[1:]])
        print(f"\n=== {name}: {shown}", flush=True)
        # No standard input: nothing here may wait for an answer.
        done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
        if done.returncode:
            failed.append(f"{shown} (exit code {done.returncode})")
            break
    return Result(name, time.monotonic() - start, tuple(failed))


def summary(results: list[Result]) -> str:
    """Return the seconds of each stage, and what failed."""
    lines = ["", "stage        seconds"]
    lines += [f"{r.stage:<12} {r.seconds:7.0f}  {'FAILED' if r.failed else ''}" for r in results]
    lines.append(f"{'all':<12} {sum(r.seconds for r in results):7.0f}")
    lines += [f"failed: {command}" for r in results for command in r.failed]
    return "\n".join(line.rstrip() for line in lines)


def main(argv: list[str] | None = None) -> int:
    """Run the stages chosen and return 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="pytest's workers")
    parser.add_argument("stages", nargs="*", help="lint, tests, notebooks, site; default: all")
    options = parser.parse_args(argv)
    plan = stages(options.workers)
    unknown = [name for name in options.stages if name not in plan]
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(plan)}")
    env = environment(options.workers)
    if options.stages != ["lint"]:
        factor = time_factor(options.workers, env)
        env[machine_speed.VARIABLE] = str(factor)
        plan = stages(options.workers, factor)
    chosen = [name for name in plan if not options.stages or name in options.stages]
    results = [run_stage(name, plan[name], env) for name in chosen]
    print(summary(results), flush=True)
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
