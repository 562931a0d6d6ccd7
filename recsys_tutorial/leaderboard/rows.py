"""The rows of the leaderboard: compare what was measured with the committed row, or write it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_tutorial._files import whole
from recsys_tutorial.evaluation import Evaluation
from recsys_tutorial.leaderboard.boards import FILMS, METRICS, Board, columns_of, differences_of
from recsys_tutorial.leaderboard.costs import Cost, recording
from recsys_tutorial.leaderboard.tables import load, load_users, users_path

__all__ = ["average", "record"]
# Enough for the last digits of another BLAS; a changed split, seed or model moves far more.
TOLERANCE = 5e-4


def record(
    chapter: int,
    model: str,
    evaluation: Evaluation | Sequence[Evaluation],
    *,
    parameters: int | None = None,
    fitting: Cost | None = None,
    path: Path | None = None,
    write: bool | None = None,
    board: Board = FILMS,
    tolerance: float = TOLERANCE,
) -> str:
    """Compare a model with its committed row; under `make notebooks`, write the row.

    Beside the table stands a file of each user's NDCG@10, a column per model, from which every
    row's paired difference to the board's references is computed.

    Parameters
    ----------
    chapter : int, the chapter that introduces the model
    model : str, its name in the table, unique over the course
    evaluation : Evaluation on the test users, or one per seed: then each user's values are
        averaged over the seeds first, and the interval is over users
    parameters : int, number of trained values; None where that means nothing
    fitting : Cost of one training run
    path : Path, the table's file; by default the one that the package carries
    write : bool, whether to write the row; by default, `recording` says
    board : Board, whose table and references; by default that of the films
    tolerance : float
        How far a value may lie from the committed one. More than the default only for a model whose
        training is unstable: there another machine's rounding acts like another seed.

    Returns
    -------
    str, a line to print: the measured values and whether they agree with the committed row

    Raises
    ------
    ValueError
        For evaluations of different users, or other users than the table's other models met.
    """
    path = board.path if path is None else Path(path)
    evaluations = [evaluation] if isinstance(evaluation, Evaluation) else list(evaluation)
    mean = average(evaluations)
    row = {"chapter": chapter, "model": model, "n_users": len(mean.per_user.dropna())}
    row["n_seeds"] = len(evaluations)
    for metric in METRICS:
        values = mean.values(metric).dropna()
        row[metric] = values.mean()
        row[f"{metric}_low"], row[f"{metric}_high"] = board.interval(values)
    row["parameters"], row["ms_per_user"] = parameters, mean.ms_per_user
    if fitting:
        row["train_seconds"], row["peak_mb"] = fitting.seconds, fitting.peak_mb
    row["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    shown = ", ".join(
        f"{m} {row[m]:.4f} [{row[m + '_low']:.4f}, {row[m + '_high']:.4f}]" for m in METRICS
    )
    if recording() if write is None else write:
        _write(row, mean.values(METRICS[0]), path, board)
    return f"{model}: {shown}; {_verdict(row, load(path, board), tolerance)}"


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


def _verdict(row: dict, table: pd.DataFrame, tolerance: float) -> str:
    """Does a row agree with the one of its model in the table?"""
    committed = table[table["model"] == row["model"]]
    if committed.empty:
        return "not on the leaderboard"
    old = committed.iloc[0]
    different = [
        f"{key} was {old[key]:.4f}"
        for key in row
        if key.partition("_")[0] in METRICS and not abs(old[key] - row[key]) <= tolerance
    ]
    if old["n_users"] != row["n_users"]:
        different.append(f"n_users was {old['n_users']:.0f}, is {row['n_users']}")
    return "differs from the leaderboard: " + ", ".join(different) if different else "as listed"


def _write(row: dict, values: pd.Series, path: Path, board: Board) -> None:
    users = load_users(path, board)
    if len(users.columns.drop(row["model"], errors="ignore")) and not users.index.equals(
        values.index
    ):
        raise ValueError(f"{row['model']} was judged on other users than {path.name} holds")
    users = users.reindex(values.index).assign(**{row["model"]: values.round(6)})
    table, columns = load(path, board), columns_of(board)
    table = table[table["model"] != row["model"]]
    table = pd.DataFrame([*table.to_dict("records"), row], columns=columns)
    table = table.sort_values(["chapter", "model"])
    differences = differences_of(board)
    table[differences] = [_differences(users, model, board) for model in table["model"]]
    for column in columns:
        if column.partition("_")[0] in METRICS or column in differences:
            table[column] = table[column].astype(float).round(6)
    for column, digits in (("train_seconds", 3), ("ms_per_user", 4), ("peak_mb", 1)):
        table[column] = table[column].astype(float).round(digits)
    table["parameters"] = table["parameters"].astype("Int64")
    with whole(users_path(path)) as temporary:
        users[table["model"]].to_csv(temporary)
    with whole(path) as temporary:
        table.to_csv(temporary, index=False)


def _differences(users: pd.DataFrame, model: str, board: Board) -> list[float]:
    """The values of `differences_of` for a model: nan where a reference has no row yet."""
    found = []
    for name in board.references:
        if name not in users or name == model:
            found += [np.nan] * 3
            continue
        difference = users[model] - users[name]
        found += [difference.mean(), *board.interval(difference)]
    return found
