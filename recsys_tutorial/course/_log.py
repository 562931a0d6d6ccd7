"""What chapter 6's ranking stage reads of a log of impressions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsys_tutorial.course._features import genre_columns
from recsys_tutorial.datasets import CONTEXT


def log_features(log: pd.DataFrame, items: pd.DataFrame, train: np.ndarray) -> pd.DataFrame:
    """The context, the hour as a point on a circle, and the film's genres, standardised.

    Parameters
    ----------
    log : DataFrame of `datasets.impression_log`
    items : DataFrame with item_id and genres
    train : int ndarray, the rows whose mean and spread are used, so that nothing is known of later
        ones

    Returns
    -------
    DataFrame (n_rows, n_features)
    """
    found = log[[name for name in CONTEXT if name != "hour"]].copy()
    angle = 2 * np.pi * log["hour"].to_numpy() / 24
    found["hour_sin"], found["hour_cos"] = np.sin(angle), np.cos(angle)
    genres = genre_columns(items.set_index("item_id")["genres"])
    found[list(genres)] = genres.loc[log["item_id"]].to_numpy(float)
    known = found.iloc[train]
    spread = known.std()  # 0 for a genre that no training row has: it keeps its 0s and 1s
    return (found - known.mean()) / spread.where(spread > 1e-6, 1.0)
