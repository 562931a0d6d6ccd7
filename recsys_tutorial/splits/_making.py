"""From frames of ratings to the parts of a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.splits import _tables as tables
from recsys_tutorial.splits._tables import to_matrix
from recsys_tutorial.splits.parts import Holdout


def train_part(
    frame: pd.DataFrame, item_ids: np.ndarray, min_rating: float, start: int | None = None
) -> dict:
    """A `Split`'s training attributes."""
    user_ids = np.unique(frame["user_id"])
    return {
        "start": start,
        "like_times": like_times(frame, user_ids, item_ids, min_rating).data.astype(np.int64),
        "train": tables.liked(frame, user_ids, item_ids, min_rating),
        "train_ratings": tables.rated(frame, user_ids, item_ids),
        "train_user_ids": user_ids,
    }


def like_times(
    frame: pd.DataFrame, user_ids: np.ndarray, item_ids: np.ndarray, min_rating: float
) -> sparse.csr_matrix:
    """When each like was given, in seconds."""
    likes = frame[frame["rating"] >= min_rating]
    return to_matrix(likes, user_ids, item_ids, likes["timestamp"].to_numpy())


def holdout(
    shown: pd.DataFrame, hidden: pd.DataFrame, item_ids: np.ndarray, min_rating: float
) -> Holdout:
    """Users who show some ratings and are judged by others; who cannot be judged is left out."""
    everyone = np.unique(np.concatenate([shown["user_id"], hidden["user_id"]]))
    history = tables.liked(shown, everyone, item_ids, min_rating)
    targets = tables.liked(hidden, everyone, item_ids, min_rating)
    rated = tables.rated(shown, everyone, item_ids)
    seen = to_matrix(shown, everyone, item_ids, np.ones(len(shown)))
    judged = (np.diff(history.indptr) > 0) & (np.diff(targets.indptr) > 0)
    times = like_times(shown, everyone, item_ids, min_rating)
    kept = [m[judged] for m in (history, rated, seen, targets)]
    n_left_out = int((~judged).sum())
    return Holdout(everyone[judged], *kept, n_left_out=n_left_out, history_times=times[judged])


def history_and_rest(ordered: pd.DataFrame, fraction: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first `fraction` of each user's rows, rounded down, and the other rows."""
    by_user = ordered.groupby("user_id")
    # 0.29 * 100 is 28.999999999999996: a rounding error must not cost the user a rating.
    n_shown = np.floor(by_user["item_id"].transform("size") * fraction + 1e-9)
    shown = by_user.cumcount() < n_shown
    return ordered[shown], ordered[~shown]


def window(
    ordered: pd.DataFrame,
    users: np.ndarray,
    item_ids: np.ndarray,
    history_fraction: float,
    min_rating: float,
) -> tuple[dict, Holdout]:
    """All that was known when the first of these users arrived, to train on; and the users."""
    own = ordered[ordered["user_id"].isin(users)]
    start = int(own["timestamp"].min())
    known = ordered[ordered["timestamp"] < start]
    shown, rest = history_and_rest(own, history_fraction)
    train = train_part(known, item_ids, min_rating, start)
    return train, holdout(shown, rest, item_ids, min_rating)
