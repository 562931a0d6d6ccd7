"""The rows of the leaderboard: compare what was measured, write it, show the table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_tutorial._files import whole
from recsys_tutorial.evaluation import Evaluation
from recsys_tutorial.leaderboard.boards import FILMS, Board
from recsys_tutorial.leaderboard.costs import Cost, recording

__all__ = [
    "COLUMNS",
    "METRICS",
    "REFERENCES",
    "average",
    "columns_of",
    "difference_columns",
    "load",
    "load_users",
    "record",
    "table",
]

METRICS = ("ndcg@10", "recall@20")
REFERENCES = FILMS.references  # what every row about films is compared with, in pairs
_PARTS = ("", "_low", "_high")


def difference_columns(reference: str) -> list[str]:
    """The columns of a row's difference to one of a board's references: itself, and its interval.

    Parameters
    ----------
    reference : str, a model's name

    Returns
    -------
    list of three str
    """
    return [f"minus_{reference.replace(' ', '_')}{part}" for part in _PARTS]


def columns_of(board: Board) -> list[str]:
    """The columns of a board's table.

    Parameters
    ----------
    board : Board

    Returns
    -------
    list of str
    """
    return (
        ["chapter", "model", "n_users", "n_seeds"]
        + [f"{metric}{part}" for metric in METRICS for part in _PARTS]
        + _differences_of(board)
        + ["parameters", "train_seconds", "ms_per_user", "peak_mb", "machine"]
    )


def _differences_of(board: Board) -> list[str]:
    return [column for name in board.references for column in difference_columns(name)]


COLUMNS = columns_of(FILMS)
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
    return f"{model}: {shown}; {_verdict(row, load(path, board))}"


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


def load(path: Path | None = None, board: Board = FILMS) -> pd.DataFrame:
    """The whole table, ordered by chapter, then by NDCG@10.

    Parameters
    ----------
    path : Path, the table's file; by default the one that the package carries
    board : Board, whose table

    Returns
    -------
    DataFrame with `COLUMNS`, or another board's, without rows where there is no file

    Raises
    ------
    ValueError
        When the file lacks a column.
    """
    path, columns = board.path if path is None else Path(path), columns_of(board)
    if not path.exists():
        return pd.DataFrame(columns=columns)
    table = pd.read_csv(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}: restore it from the repository")
    return table.sort_values(["chapter", "ndcg@10", "model"]).reset_index(drop=True)


def load_users(path: Path | None = None, board: Board = FILMS) -> pd.DataFrame:
    """Each test user's NDCG@10 under each model: what paired differences are made from.

    Parameters
    ----------
    path : Path, the table's file; by default the one that the package carries
    board : Board, whose table

    Returns
    -------
    DataFrame (n_users, n_models), index user_id, columns the models' names; without columns where
    there is no such file beside the table
    """
    path = _users_path(board.path if path is None else Path(path))
    return pd.read_csv(path, index_col="user_id") if path.exists() else pd.DataFrame()


def table(
    chapter: int | None = None, path: Path | None = None, board: Board = FILMS
) -> pd.DataFrame:
    """The leaderboard up to a chapter, best first: quality and differences, no costs.

    Later chapters are left out, so that a chapter's stored output does not change with them. A
    model's place is 1 + the number of models that are better in pairs, user by user, with an
    interval above 0: who cannot be told apart shares a place (see `places`). The intervals are 95 %
    each, not corrected for their number.

    Parameters
    ----------
    chapter : int, the last chapter to show; all by default
    path : Path, the table's file; by default the one that the package carries
    board : Board, whose table

    Returns
    -------
    DataFrame, index place; metrics with three decimals
    """
    rows = load(path, board)
    if chapter is not None:
        rows = rows[rows["chapter"] <= chapter]
    rows = rows.sort_values(["ndcg@10", "model"], ascending=[False, True])
    shown = rows[["model", "chapter"]].reset_index(drop=True)
    # Rounded to three places: the interval is wider than the third.
    shown["NDCG@10"] = rows["ndcg@10"].round(3).to_numpy()
    shown["95 %"] = [
        f"{low:.3f} to {high:.3f}"
        for low, high in zip(rows["ndcg@10_low"], rows["ndcg@10_high"], strict=True)
    ]
    for name in board.references:
        differences = rows[difference_columns(name)].to_numpy()  # (n_rows, 3)
        shown[f"- {name}"] = [
            "" if model == name or np.isnan(d) else f"{d:+.3f} [{low:+.3f}, {high:+.3f}]"
            for model, (d, low, high) in zip(rows["model"], differences, strict=True)
        ]
    shown.index = pd.Index(places(rows["model"], load_users(path, board), board), name="place")
    return shown


def places(models: Sequence[str], users: pd.DataFrame, board: Board = FILMS) -> list[int]:
    """1 + how many of these models are better than each one, beyond what luck would do.

    Nobody stands behind a model with a lower mean: where pairs say so (a is better than b, though
    not than c, whose mean is lower), both get the better place.

    Parameters
    ----------
    models : names, columns of `users`
    users : DataFrame (n_users, n_models), a metric of each user under each model
    board : Board, which says what is redrawn

    Returns
    -------
    list of int, >= 1, in the order of `models`
    """
    if not len(models):
        return []
    values = users[list(models)]  # (n_users, n_models)
    means = board.means(values)  # (n_resamples, n_models)
    better = np.percentile(means[:, :, None] - means[:, None, :], 2.5, axis=0) > 0  # row > column
    found, order = 1 + better.sum(axis=0), np.argsort(values.to_numpy().mean(axis=0), kind="stable")
    found[order] = np.minimum.accumulate(found[order])  # from the lowest mean upwards
    return found.tolist()


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
    differences = _differences_of(board)
    table[differences] = [_differences(users, model, board) for model in table["model"]]
    for column in columns:
        if column.partition("_")[0] in METRICS or column in differences:
            table[column] = table[column].astype(float).round(6)
    for column, digits in (("train_seconds", 3), ("ms_per_user", 4), ("peak_mb", 1)):
        table[column] = table[column].astype(float).round(digits)
    table["parameters"] = table["parameters"].astype("Int64")
    with whole(_users_path(path)) as temporary:
        users[table["model"]].to_csv(temporary)
    with whole(path) as temporary:
        table.to_csv(temporary, index=False)


def _differences(users: pd.DataFrame, model: str, board: Board) -> list[float]:
    """The values of `_differences_of` for a model: nan where a reference has no row yet."""
    found = []
    for name in board.references:
        if name not in users or name == model:
            found += [np.nan] * 3
            continue
        difference = users[model] - users[name]
        found += [difference.mean(), *board.interval(difference)]
    return found


def _users_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}_users.csv")
