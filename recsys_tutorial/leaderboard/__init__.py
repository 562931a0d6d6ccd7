"""One leaderboard for the whole course: `data/leaderboard.csv`, a row per model.

Every chapter calls `record` for its models. Without further ado it compares what was just measured
with the committed row and says whether they agree; under `make notebooks` (which sets
RECSYS_TUTORIAL_RECORD=1) it writes the row. Quality belongs to the data and is printed; seconds
and megabytes belong to a machine, so they go to the file with its name and are never printed.

All models meet the same test users, in the same windows in time (`splits.rolling_split`). Two
simple baselines are references: each row has its difference to them, user by user, with an
interval. Another world has a board of its own: `PACKAGES`.
"""

from recsys_tutorial.leaderboard.boards import (
    COLUMNS,
    FILMS,
    METRICS,
    PACKAGES,
    REFERENCES,
    Board,
    columns_of,
    difference_columns,
)
from recsys_tutorial.leaderboard.costs import Cost, cost, measure, recording
from recsys_tutorial.leaderboard.rows import average, record
from recsys_tutorial.leaderboard.tables import load, load_users, places, table

__all__ = [
    "COLUMNS",
    "FILMS",
    "METRICS",
    "PACKAGES",
    "REFERENCES",
    "Board",
    "Cost",
    "average",
    "columns_of",
    "cost",
    "difference_columns",
    "load",
    "load_users",
    "measure",
    "places",
    "record",
    "recording",
    "table",
]
