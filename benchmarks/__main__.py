"""Run the benchmarks, print one table of ratios and the machine it holds for.

    python -m benchmarks                 # every benchmarks/bench_*.py
    python -m benchmarks metrics als     # those whose name contains one of these words
    python -m benchmarks --threads 1     # for each side, on as many cores
    python -m benchmarks --save speed    # keep the table in benchmarks/results, too, and show it
                                         # in benchmarks/README.md

Exit code 1 when a promised ratio was missed, a benchmark failed, or one wrote into data/, which the
chapters read: results belong into benchmarks/results. A peer that is not installed is named and
left out.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import platform
import sys
import time
import traceback
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
BEGIN, END = "<!-- saved rows -->", "<!-- end of saved rows -->"


def cpu_model() -> str:
    """Return the processor's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def blas_kernels() -> list[str]:
    """Return "library version kernel" of every BLAS that is loaded now."""
    import threadpoolctl

    pools = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
    names = {f"{p['internal_api']} {p['version']} ({p.get('architecture', '?')})" for p in pools}
    return sorted(names)


def machine(threads: int) -> str:
    """Return the lines that say what machine and what versions a table holds for."""
    import numpy as np
    import psutil
    import scipy
    import torch

    memory = psutil.virtual_memory().total / 2**30
    return "\n".join(
        [
            f"{cpu_model()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
            f"{platform.system()} {platform.release()}",
            f"Python {platform.python_version()}, numpy {np.__version__}, "
            f"scipy {scipy.__version__}, torch {torch.__version__}",
            f"{threads} threads for each side; BLAS: {', '.join(blas_kernels()) or 'not told'}",
        ]
    )


def table(rows: list) -> str:
    """Return the rows as a plain text table, times in milliseconds."""
    head = ["what", "ours ms", "(best)", "peer", "peer ms", "(best)", "ratio", "by cpu", "promised"]
    body = [
        [
            row.case,
            f"{1e3 * row.ours.median:.3g}",
            f"{1e3 * row.ours.minimum:.3g}",
            row.peer,
            f"{1e3 * row.theirs.median:.3g}",
            f"{1e3 * row.theirs.minimum:.3g}",
            f"{row.ratio:.2f}x",
            "" if math.isnan(row.cpu_ratio) else f"{row.cpu_ratio:.2f}x",
            "" if row.target is None else f"{row.target:g}x{' MISSED' if row.missed else ''}",
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    left = {0, 3, 8}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [head, ["-" * width for width in widths], *body]
    )


def versions() -> str:
    """Return what the numbers hang on: Python, the libraries, and the kernel that BLAS chose."""
    from importlib import metadata

    def version(name: str) -> str:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            return ""

    names = ("numpy", "scipy", "torch", "implicit", "cornac", "scikit-surprise")
    found = [text for text in map(version, names) if text]
    return ", ".join([f"Python {platform.python_version()}", *found, *blas_kernels()])


def save(rows: list, path: Path, threads: int) -> None:
    """Write the rows into a table, in milliseconds; of the machine only its kind and its cores.

    Rows of other cases, or of another number of threads, stay.
    """
    import pandas as pd

    from recsys_tutorial._files import whole

    table = pd.DataFrame(
        {
            "case": row.case,
            "ours_ms": 1e3 * row.ours.median,
            "ours_cpu_ms": 1e3 * min(row.ours.cpu, default=math.nan),
            "peer": row.peer,
            "peer_ms": 1e3 * row.theirs.median,
            "peer_cpu_ms": 1e3 * min(row.theirs.cpu, default=math.nan),
            "ratio": row.ratio,
            "cpu_ratio": row.cpu_ratio,
            "promised": row.target,
            "threads": threads,
            "machine": f"{cpu_model()} ({platform.machine()}), {os.cpu_count()} cores",
            "versions": versions(),
        }
        for row in rows
    )
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        key, before = ["case", "peer", "threads"], pd.read_csv(path)
        table = pd.concat([before, table]).drop_duplicates(key, keep="last")
        table = table.sort_values(key, kind="stable")
    with whole(path) as temporary:
        table.round(2).to_csv(temporary, index=False)


def saved_table(folder: Path) -> str:
    """Return the saved rows as Markdown: a case and a peer, and how many times faster we were."""
    import pandas as pd

    lines = ["| what | beside | threads | ms | processor's | ratio | processor's | promised |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---:|"]
    for path in sorted(folder.glob("*.csv")):
        for row in pd.read_csv(path).to_dict("records"):
            if "ratio" in row:  # others are tables of another kind
                cells = [row["case"], row["peer"], row["threads"], f"{row['ours_ms']:.0f}"]
                numbers = {"ours_cpu_ms": 0, "ratio": 2, "cpu_ratio": 2, "promised": 2}
                for name, digits in numbers.items():
                    number = row.get(name, math.nan)
                    cells.append("" if math.isnan(number) else f"{number:.{digits}f}")
                lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def readme(folder: Path, text: str) -> str:
    """Return a page with the table of the saved rows between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{saved_table(folder)}\n{END}{after}"


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return {file: (bytes, time of change)} of everything below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks chosen and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", help="words that a benchmark's name must contain")
    save_help = "keep the table in benchmarks/results under this name, too"
    parser.add_argument("--save", metavar="NAME", help=save_help)
    parser.add_argument("--threads", type=int, help="threads and cores for each side (2)")
    options = parser.parse_args(argv)
    names = options.names
    if options.threads:
        os.environ["BENCHMARK_THREADS"] = str(options.threads)
        if hasattr(os, "sched_setaffinity"):  # the cores that a program finds are its threads
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cores[: options.threads])

    from benchmarks.harness import THREADS

    # Before numpy, torch or numba is imported: several read these once.
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(THREADS)

    from recsys_tutorial.datasets import data_dir

    modules = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    chosen = [m for m in modules if not names or any(name in m for name in names)]
    if not chosen:
        print(f"no benchmark matches {names}; there are: {', '.join(modules)}", file=sys.stderr)
        return 2
    rows, left_out, failed = [], [], []
    data = state(data_dir())
    for module in chosen:
        print(f"{module} ...", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            rows += importlib.import_module(f"benchmarks.{module}").run()
        except Exception as error:  # one broken benchmark must not hide the others' results
            missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
            if missing and not missing.startswith(("recsys_tutorial", "benchmarks")):
                left_out.append(f"{module}: {missing} is not installed (see the bench extra)")
            else:
                traceback.print_exc()
                failed.append(module)
        print(f"{module}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        before, data = data, state(data_dir())
        if data != before:
            changed = sorted(dict(data.items() ^ before.items()))
            print(f"{module} wrote into data/: {', '.join(changed)}", file=sys.stderr)
            failed.append(module)
    print(machine(THREADS), end="\n\n")
    if rows:
        print(table(rows), end="\n\n")
    if rows and options.save:
        folder, page = Path(__file__).parent / "results", Path(__file__).parent / "README.md"
        save(rows, folder / f"{options.save}.csv", THREADS)
        page.write_text(readme(folder, page.read_text("utf-8")), "utf-8")
    for line in left_out:
        print(f"left out: {line}")
    missed = [row.case for row in rows if row.missed]
    if missed:
        print(f"promised ratio missed: {'; '.join(missed)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if missed or failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
