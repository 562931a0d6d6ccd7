"""Run notebooks and tests as other machines would: another last bit, other kernels, other loads.

    python scripts/portability.py                           # everything: hours
    python scripts/portability.py shake --seeds 3           # the sharpest, on all notebooks
    python scripts/portability.py kernels --only 06 09      # some of the notebooks
    python scripts/portability.py shake --tests             # the package's tests instead

What `shake` does is in shake.py: it stands for every processor at once. `kernels` asks the
libraries for the code that they would run on other processors, as far as this one can, with one
thread and with two; `busy` runs beside a process for each core that never sleeps. Whatever is
stored must compare equal in each. The end is a table, and exit code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE))

from scripts.run_tests import CELL_LIMIT, SITE_TESTS, TEST_LIMIT, cell_limits, environment  # noqa: E402
from scripts.set_repository import notebooks  # noqa: E402

# What makes the libraries take another processor's path; OpenBLAS is numpy's and scipy's, MKL and
# ATen are torch's. A kernel that this processor lacks would crash, hence the flag it needs.
KERNELS = {
    "ATen without vectors": ("", {"ATEN_CPU_CAPABILITY": "default"}),
    "ATen, MKL with AVX2": ("avx2", {"ATEN_CPU_CAPABILITY": "avx2",
                                     "MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    "OpenBLAS Haswell": ("avx2", {"OPENBLAS_CORETYPE": "Haswell"}),
    "OpenBLAS SkylakeX": ("avx512f", {"OPENBLAS_CORETYPE": "SkylakeX"}),
    "MKL compatible": ("", {"MKL_CBWR": "COMPATIBLE"}),
}  # fmt: skip
STARTUP = """
import sys
sys.path.insert(0, {root!r})
from scripts.shake import install
install(get_ipython())
"""


def processor_flags() -> set[str]:
    """Return what this processor can; empty where the system does not say."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return set()
    lines = [line for line in info.read_text().splitlines() if line.startswith("flags")]
    return set(lines[0].split()) if lines else set()


def plan(kinds: list[str], seeds: int) -> list[tuple[str, dict[str, str]]]:
    """Return the (name, environment) of each run."""
    runs: list[tuple[str, dict[str, str]]] = []
    if "shake" in kinds:
        runs += [(f"shake, seed {seed}", {"SHAKE": str(seed)}) for seed in range(1, seeds + 1)]
    if "kernels" in kinds:
        flags = processor_flags()
        runs += [(name, env) for name, (flag, env) in KERNELS.items() if not flag or flag in flags]
        runs += [("two threads", dict.fromkeys(THREADS, "2"))]
    if "busy" in kinds:
        runs += [("beside a busy process on each core", {"BUSY": "1"})]
    return runs


SLOWER = 3  # than usual, at most, is a shaken run, or one beside busy processes
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def command(options: argparse.Namespace, shaken: bool) -> list[str]:
    """Return pytest's command line."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", str(options.workers), "--dist",
              "loadfile", "--tb", "short"]  # fmt: skip
    if options.tests:
        paths = options.only or ["tests", "recsys_tutorial"]
        pytest += ["--timeout", f"{SLOWER * TEST_LIMIT:.0f}"]
        return pytest + (["-p", "scripts.shake"] if shaken else []) + paths + [
            f"--ignore={path}" for path in SITE_TESTS
        ]  # fmt: skip
    paths = notebooks(ROOT, "", "solutions")
    if options.only:
        paths = [path for path in paths if any(part in path.as_posix() for part in options.only)]
    chosen = [str(path.relative_to(ROOT)) for path in paths]
    return [*pytest, *cell_limits(SLOWER * CELL_LIMIT), "--nbval", "--nbval-current-env", *chosen]


def failures(report: Path) -> list[str]:
    """Return the failed tests or cells of a JUnit report."""
    if not report.is_file():
        return ["no report: pytest itself failed"]
    return [
        f"{case.get('classname')}::{case.get('name')}"
        for case in ElementTree.parse(report).getroot().iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]


def fresh_cache(folder: Path, env: dict[str, str]) -> Path:
    """Return a cache that has the weights and no vectors: those are computed the run's own way."""
    cache = folder / "cache"
    cache.mkdir()
    weights = Path(env["RECSYS_TUTORIAL_CACHE"]) / "weights"
    try:
        (cache / "weights").symlink_to(weights)
    except OSError:  # Windows allows links to administrators alone
        shutil.copytree(weights, cache / "weights")
    return cache


def run(name: str, env: dict[str, str], options: argparse.Namespace) -> tuple[float, list[str]]:
    """Run pytest in an environment; return seconds and what failed."""
    start = time.monotonic()
    print(f"\n=== {name}: {' '.join(f'{k}={v}' for k, v in env.items())}", flush=True)
    busy = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(busy) for _ in range((os.cpu_count() or 1) * ("BUSY" in env))]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        full = {**environment(options.workers), **env}
        full["RECSYS_TUTORIAL_CACHE"] = str(fresh_cache(Path(folder), full))
        if "SHAKE" in env and not options.tests:
            startup = Path(folder) / "profile_default" / "startup"
            startup.mkdir(parents=True)
            (startup / "00-shake.py").write_text(STARTUP.format(root=str(HERE)))
            full["IPYTHONDIR"] = folder
        try:
            line = [*command(options, "SHAKE" in env), f"--junitxml={report}"]
            subprocess.run(line, cwd=ROOT, env=full, stdin=subprocess.DEVNULL)
        finally:
            for other in others:
                other.kill()
        return time.monotonic() - start, failures(report)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", help="shake, kernels, busy; default: all three")
    parser.add_argument("--seeds", type=int, default=2, help="shaken runs (default 2)")
    parser.add_argument("--tests", action="store_true", help="the tests, not the notebooks")
    parser.add_argument("--only", nargs="+", help="parts of notebooks' paths, or test files")
    parser.add_argument("--workers", type=int, default=2, help="pytest's workers (default 2)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run what was chosen; print the table; return 1 if anything failed."""
    options = parser().parse_args(argv)
    unknown = set(options.kinds) - {"shake", "kernels", "busy"}
    if unknown:
        parser().error(f"no kind {', '.join(sorted(unknown))}; there are shake, kernels, busy")
    runs = plan(options.kinds or ["shake", "kernels", "busy"], options.seeds)
    results = [(name, *run(name, env, options)) for name, env in runs]
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print("seconds  failed  run")
    for name, seconds, failed in results:
        print(f"{seconds:7.0f}  {len(failed):6d}  {name}")
        for item in failed:
            print(f"{'':17s}{item}")
    return 1 if any(failed for *_, failed in results) else 0


if __name__ == "__main__":
    sys.exit(main())
