"""The leaderboard's file, and the table that a chapter shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_tutorial.leaderboard.boards import FILMS, Board, columns_of, difference_columns

__all__ = [
    "load",
    "load_users",
    "places",
    "table",
    "users_path",
]


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
    path = users_path(board.path if path is None else Path(path))
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
            "" if np.isnan(d) else f"{d:+.3f} [{low:+.3f}, {high:+.3f}]"
            for d, low, high in differences
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


def users_path(path: Path) -> Path:
    """The file beside the table with each user's values.

    Parameters
    ----------
    path : Path, the table's file

    Returns
    -------
    Path
    """
    return path.with_name(f"{path.stem}_users.csv")
