"""The table of the chapters whose models are trained once: `data/leaderboard_frozen.csv`.

Their models stop learning when the first of 194 test users arrives (`splits.new_user_split`).
Chapter 1 shows what that costs, and `leaderboard` holds the models that are trained again as time
passes. The two tables judge different users and must not be compared.
"""

from __future__ import annotations

import pandas as pd

from recsys_tutorial import leaderboard
from recsys_tutorial._paths import data_dir

__all__ = ["load", "record", "table"]

# So that a chapter needs one name for whichever table it is on.
Cost, average, cost = leaderboard.Cost, leaderboard.average, leaderboard.cost


def record(chapter: int, model: str, evaluation, **settings) -> str:
    """`leaderboard.record` for this table, whose rows are compared and no longer written.

    Parameters
    ----------
    chapter : int, the chapter that introduces the model
    model : str, its name in the table
    evaluation : Evaluation, or one per seed
    **settings : parameters and fitting, as for `leaderboard.record`

    Returns
    -------
    str, a line to print
    """
    path = data_dir() / "leaderboard_frozen.csv"
    return leaderboard.record(chapter, model, evaluation, path=path, write=False, **settings)


def load() -> pd.DataFrame:
    """The whole table, ordered by chapter, then by NDCG@10.

    Returns
    -------
    DataFrame with `leaderboard.COLUMNS`
    """
    return leaderboard.load(data_dir() / "leaderboard_frozen.csv")


def table(chapter: int | None = None) -> pd.DataFrame:
    """The table up to a chapter, best first: quality with its interval, no costs.

    Parameters
    ----------
    chapter : int, the last chapter to show; all by default

    Returns
    -------
    DataFrame, index place, from 1; metrics with three decimals
    """
    rows = load()
    if chapter is not None:
        rows = rows[rows["chapter"] <= chapter]
    rows = rows.sort_values(["ndcg@10", "model"], ascending=[False, True])
    shown = rows[["model", "chapter"]].reset_index(drop=True)
    for metric in leaderboard.METRICS:
        shown[metric] = rows[metric].round(3).to_numpy()
        shown[f"{metric} 95 %"] = [
            f"{low:.3f} to {high:.3f}"
            for low, high in zip(rows[f"{metric}_low"], rows[f"{metric}_high"], strict=True)
        ]
    shown.index = pd.RangeIndex(1, len(shown) + 1, name="place")
    return shown
