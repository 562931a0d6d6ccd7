"""One leaderboard for the whole course: `data/leaderboard.csv`, a row per model.

Every chapter calls `record` for its models. Without further ado it compares what was just measured
with the committed row and says whether they agree; under `make notebooks` (which sets
RECSYS_TUTORIAL_RECORD=1) it writes the row. Quality belongs to the data and is printed; seconds
and megabytes belong to a machine, so they go to the file with its name and are never printed.

It is long because what writes the table, reads it and measures its costs must agree on its columns.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_tutorial._files import whole
from recsys_tutorial._paths import data_dir
from recsys_tutorial.evaluation import Evaluation

METRICS = ("ndcg@10", "recall@20")
COLUMNS = (
    ["chapter", "model", "n_users", "n_seeds"]
    + [f"{metric}{part}" for metric in METRICS for part in ("", "_low", "_high")]
    + ["parameters", "train_seconds", "ms_per_user", "peak_mb", "machine"]
)
# Enough for the last digits of another BLAS; a changed split, seed or model moves far more.
TOLERANCE = 5e-4


@dataclass
class Cost:
    """What a `with cost()` block took.

    Attributes
    ----------
    seconds : float, wall-clock time
    peak_mb : float, memory at its highest point above what was in use before the block
    """

    seconds: float = float("nan")
    peak_mb: float = float("nan")


@contextlib.contextmanager
def cost() -> Iterator[Cost]:
    """Measure a block of work.

    Yields
    ------
    Cost, filled in when the block ends; `peak_mb` is the growth of the process's resident memory
    (Linux; nan elsewhere)

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


def record(
    chapter: int,
    model: str,
    evaluation: Evaluation | Sequence[Evaluation],
    *,
    parameters: int | None = None,
    fitting: Cost | None = None,
    path: Path | None = None,
) -> str:
    """Compare a model with its committed row; under `make notebooks`, write the row.

    Parameters
    ----------
    chapter : int, the chapter that introduces the model
    model : str, its name in the table, unique over the course
    evaluation : Evaluation on the test users, or one per seed: then each user's values are
        averaged over the seeds first, and the interval is over users
    parameters : int, number of trained values; None where that means nothing
    fitting : Cost of one training run
    path : Path, the table's file; by default the one that the package carries

    Returns
    -------
    str, a line to print: the measured values and whether they agree with the committed row.
    """
    path = _default_path() if path is None else Path(path)
    evaluations = [evaluation] if isinstance(evaluation, Evaluation) else list(evaluation)
    mean = average(evaluations)
    row = {"chapter": chapter, "model": model, "n_users": len(mean.per_user.dropna())}
    row["n_seeds"] = len(evaluations)
    summary = mean.summary
    for metric in METRICS:
        row[metric], row[f"{metric}_low"], row[f"{metric}_high"] = summary.loc[metric]
    row["parameters"], row["ms_per_user"] = parameters, mean.ms_per_user
    if fitting:
        row["train_seconds"], row["peak_mb"] = fitting.seconds, fitting.peak_mb
    row["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    values = ", ".join(
        f"{m} {row[m]:.4f} [{row[m + '_low']:.4f}, {row[m + '_high']:.4f}]" for m in METRICS
    )
    if os.environ.get("RECSYS_TUTORIAL_RECORD") == "1":
        _write(row, path)
    return f"{model}: {values}; {_verdict(row, load(path))}"


def _verdict(row: dict, table: pd.DataFrame) -> str:
    """Does a row agree with the one of its model in the table?"""
    committed = table[table["model"] == row["model"]]
    if committed.empty:
        return "not on the leaderboard"
    old = committed.iloc[0]
    different = [
        f"{key} was {old[key]:.4f}"
        for key in row
        if key.partition("_")[0] in METRICS and not abs(old[key] - row[key]) <= TOLERANCE
    ]
    if old["n_users"] != row["n_users"]:
        different.append(f"n_users was {old['n_users']:.0f}, is {row['n_users']}")
    return "differs from the leaderboard: " + ", ".join(different) if different else "as listed"


def average(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One Evaluation whose per-user values are the means over runs with different seeds.

    Parameters
    ----------
    evaluations : sequence of Evaluation, of the same users

    Returns
    -------
    Evaluation, with the lists of the first

    Raises
    ------
    ValueError
        For none, or evaluations of different users.
    """
    if not evaluations:
        raise ValueError("no evaluation to average")
    first = evaluations[0]
    if not all(e.per_user.index.equals(first.per_user.index) for e in evaluations):
        raise ValueError("the evaluations are of different users")
    per_user = sum(e.per_user for e in evaluations) / len(evaluations)
    ms_per_user = float(np.mean([e.ms_per_user for e in evaluations]))
    return Evaluation(per_user, first.ranked, ms_per_user)


def load(path: Path | None = None) -> pd.DataFrame:
    """The whole table, ordered by chapter, then by NDCG@10.

    Parameters
    ----------
    path : Path, the table's file; by default the one that the package carries

    Returns
    -------
    DataFrame with `COLUMNS`, without rows where there is no file

    Raises
    ------
    ValueError
        When the file lacks a column.
    """
    path = _default_path() if path is None else Path(path)
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    table = pd.read_csv(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}: restore it from the repository")
    return table.sort_values(["chapter", "ndcg@10", "model"]).reset_index(drop=True)


def table(chapter: int | None = None, path: Path | None = None) -> pd.DataFrame:
    """The leaderboard up to a chapter, best first: quality with its interval, no costs.

    Later chapters are left out, so that a chapter's stored output does not change with them.

    Parameters
    ----------
    chapter : int, the last chapter to show; all by default
    path : Path, the table's file; by default the one that the package carries

    Returns
    -------
    DataFrame, index place, from 1; metrics with three decimals
    """
    rows = load(path)
    if chapter is not None:
        rows = rows[rows["chapter"] <= chapter]
    rows = rows.sort_values(["ndcg@10", "model"], ascending=[False, True])
    shown = rows[["model", "chapter"]].reset_index(drop=True)
    for metric in METRICS:
        # Rounded to three places: the interval is wider than the third.
        shown[metric] = rows[metric].round(3).to_numpy()
        shown[f"{metric} 95 %"] = [
            f"{low:.3f} to {high:.3f}"
            for low, high in zip(rows[f"{metric}_low"], rows[f"{metric}_high"], strict=True)
        ]
    shown.index = pd.RangeIndex(1, len(shown) + 1, name="place")
    return shown


def _write(row: dict, path: Path) -> None:
    table = load(path)
    table = table[table["model"] != row["model"]]
    rows = [*table.to_dict("records"), row]
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(["chapter", "model"])
    for column in COLUMNS:
        if column.partition("_")[0] in METRICS:
            table[column] = table[column].astype(float).round(6)
    for column, digits in (("train_seconds", 3), ("ms_per_user", 4), ("peak_mb", 1)):
        table[column] = table[column].astype(float).round(digits)
    table["parameters"] = table["parameters"].astype("Int64")
    with whole(path) as temporary:
        table.to_csv(temporary, index=False)


def _default_path() -> Path:
    return data_dir() / "leaderboard.csv"


def _resident_mb(*, peak: bool = False, reset_peak: bool = False) -> float:
    if sys.platform != "linux":
        return float("nan")
    if reset_peak:  # not everywhere allowed; then the peak is the process's since its start
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    key = "VmHWM:" if peak else "VmRSS:"
    status = Path("/proc/self/status").read_text()
    return int(status.split(key)[1].split()[0]) / 1024
