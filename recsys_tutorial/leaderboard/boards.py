"""Which table a row belongs to: its file, its references, and which users stand or fall together.

A board is a task with test users of its own. Numbers of one board say nothing about another's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_tutorial._files import data_dir
from recsys_tutorial.datasets import load_packages
from recsys_tutorial.evaluation import bootstrap_means
from recsys_tutorial.evaluation.intervals import group_means

__all__ = ["FILMS", "PACKAGES", "Board"]


@dataclass(frozen=True)
class Board:
    """One leaderboard.

    Attributes
    ----------
    file : str, the name of its table among the data that the package carries
    references : tuple of str, the models that every row is compared with, in pairs
    groups : callable -> ndarray, optional
        The group of each user id, as an array that user ids index. Intervals redraw whole groups;
        by default users.
    """

    file: str
    references: tuple[str, ...]
    groups: Callable[[], np.ndarray] | None = None

    @property
    def path(self) -> Path:
        """Where the table is."""
        return data_dir() / self.file

    def means(self, values: pd.DataFrame) -> np.ndarray:
        """Means of the columns with other users, or other groups of users, drawn from these.

        Parameters
        ----------
        values : DataFrame (n_users, n_columns), finite, index user_id

        Returns
        -------
        ndarray (n_resamples, n_columns); all columns share the draws

        Raises
        ------
        ValueError
            For a user id that has no group.
        """
        if self.groups is None:
            return bootstrap_means(values.to_numpy())
        groups, ids = self.groups(), values.index.to_numpy()
        if not ((ids >= 0) & (ids < len(groups))).all():
            raise ValueError(f"users of {self.file} are numbered from 0 to {len(groups) - 1}")
        return group_means(values.to_numpy(), groups[ids])

    def interval(self, values: pd.Series) -> tuple[float, float]:
        """95 % bootstrap interval of a mean.

        Parameters
        ----------
        values : Series (n_users,), finite, index user_id: a metric, or a difference of two models

        Returns
        -------
        low, high : float
        """
        low, high = np.percentile(self.means(values.to_frame()), [2.5, 97.5])
        return float(low), float(high)


@cache  # each interval of each row asks
def _maintainers() -> np.ndarray:
    return load_packages().sources["group"].to_numpy()


FILMS = Board("leaderboard.csv", ("fading popularity", "fading EASE"))
# `load_packages`, `group_split` by maintainer, half of the needs shown: NDCG on the others.
PACKAGES = Board("leaderboard_packages.csv", ("popularity", "EASE"), _maintainers)


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
        + differences_of(board)
        + ["parameters", "train_seconds", "ms_per_user", "peak_mb", "machine"]
    )


def differences_of(board: Board) -> list[str]:
    """The columns of the differences to all of a board's references.

    Parameters
    ----------
    board : Board

    Returns
    -------
    list of str
    """
    return [column for name in board.references for column in difference_columns(name)]


COLUMNS = columns_of(FILMS)
