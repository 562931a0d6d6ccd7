"""A log as a ranking stage has it: what was shown, when, to whom, and what came of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsys_tutorial._checks import check_at_least

__all__ = ["CONTEXT", "impression_log"]

# Known at the moment of the impression; all but the first two need the log so far.
CONTEXT = (
    "age", "hour", "log_activity", "user_share", "log_popularity", "film_share", "affinity",
)  # fmt: skip
_YEAR = 365.25 * 86400  # seconds


def impression_log(
    ratings: pd.DataFrame,
    items: pd.DataFrame,
    *,
    n_unrated: int = 3,
    min_rating: float = 4.0,
    n_skipped: int = 5_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Rated films, each beside films that this user never rated, with the context of the moment.

    MovieLens says what was rated and not what was shown. So each rating brings `n_unrated` films
    of the same moment: those of earlier ratings, drawn by chance, hence by popularity so far. What
    the user has rated at any time is left out, and so are ratings of a film that nobody rated
    before, which could not have been drawn either. Features look at earlier ratings alone.

    Parameters
    ----------
    ratings : DataFrame with user_id, item_id, rating and timestamp (seconds)
    items : DataFrame with item_id, year and genres
    n_unrated : int >= 1, films beside a rated one
    min_rating : float, from which on a film was liked
    n_skipped : int >= 1, the earliest ratings: a past, but no impressions
    seed : int, of the draws, and of the order of equal times

    Returns
    -------
    DataFrame in the order of time: user_id, item_id, timestamp; rated (0 or 1), liked (0 or 1, nan
    where not rated); and the context: age (of the film, years), hour (of the day, 0 to 23,
    universal time), log_activity (log(1 + ratings of this user so far)), user_share and film_share
    (of this user's and this film's ratings so far, how many were likes, from 1 like in 2),
    log_popularity (log(1 + ratings of this film so far)), affinity (share of this user's likes
    that have a genre of the film, mean over the film's genres)

    Raises
    ------
    ValueError
        For fewer ratings than are skipped, a rated item that is not among `items`, and numbers out
        of range.
    """
    check_at_least(1, n_unrated=n_unrated, n_skipped=n_skipped)
    if len(ratings) <= n_skipped:
        raise ValueError(f"{len(ratings)} ratings are none beside {n_skipped} that are skipped")
    rng = np.random.default_rng(seed)
    items = items.set_index("item_id")
    unknown = ~ratings["item_id"].isin(items.index)
    if unknown.any():
        raise ValueError(f"item_id {ratings['item_id'][unknown].iloc[0]} is not among the items")
    order = np.lexsort([rng.random(len(ratings)), ratings["timestamp"]])
    past = ratings.iloc[order].reset_index(drop=True)
    past["liked"] = (past["rating"] >= min_rating).astype(float)
    log = _rows(past, n_unrated, n_skipped, rng)
    film = items.loc[log["item_id"]]
    year = film["year"].astype(float).fillna(items["year"].astype(float).median()).to_numpy()
    log["age"] = np.maximum(1970 + log["timestamp"] / _YEAR - year, 0.0)
    log["hour"] = log["timestamp"] // 3600 % 24
    for name, key, count in (("user", "user_id", "log_activity"), ("film", "item_id", "")):
        n, likes = _so_far(past, log, key)
        log[count or "log_popularity"] = np.log1p(n)
        log[f"{name}_share"] = (likes + 1) / (n + 2)
    log["affinity"] = _affinity(past, log, items["genres"].str.get_dummies("|"))
    return log.drop(columns="event")[
        ["user_id", "item_id", "timestamp", "rated", "liked", *CONTEXT]
    ]


def _rows(past: pd.DataFrame, n_unrated: int, n_skipped: int, rng) -> pd.DataFrame:
    """Rated and unrated rows with `event`, the number of the rating that they belong to."""
    events = np.arange(n_skipped, len(past))
    events = events[past["item_id"].duplicated().to_numpy()[n_skipped:]]
    rated = past.loc[events, ["user_id", "item_id", "timestamp", "liked"]]
    rated = rated.assign(rated=1, event=events)
    again = np.repeat(events, n_unrated)
    drawn = (rng.random(len(again)) * again).astype(np.int64)  # an earlier rating, its film
    other = past.loc[again, ["user_id", "timestamp"]]
    other["item_id"] = past["item_id"].to_numpy()[drawn]
    other = other.assign(rated=0, event=again)
    other = other.drop_duplicates(["event", "item_id"])
    known = pd.MultiIndex.from_frame(past[["user_id", "item_id"]])
    other = other[~pd.MultiIndex.from_frame(other[["user_id", "item_id"]]).isin(known)]
    both = pd.concat([rated, other])  # what was not rated has no "liked"
    return both.sort_values("event", kind="stable", ignore_index=True)


def _so_far(past: pd.DataFrame, log: pd.DataFrame, key: str) -> tuple[np.ndarray, np.ndarray]:
    """How many earlier ratings there are with this row's user or film; and how many likes."""
    codes, names = pd.factorize(past[key])
    order = np.lexsort([np.arange(len(past)), codes])
    sums = np.concatenate([[0.0], np.cumsum(past["liked"].to_numpy()[order])])
    own = pd.Index(names).get_indexer(log[key])
    place = codes[order] * len(past) + order  # ascending
    first = np.searchsorted(place, own * len(past))
    until = np.searchsorted(place, own * len(past) + log["event"].to_numpy())
    return until - first, sums[until] - sums[first]


def _affinity(past: pd.DataFrame, log: pd.DataFrame, genres: pd.DataFrame) -> np.ndarray:
    """Share of the user's earlier likes with a genre, mean over the film's genres."""
    total, found = np.zeros(len(log)), np.zeros(len(log))
    n_likes = _so_far(past, log, "user_id")[1]
    for name in genres:
        has = genres[name].reindex(past["item_id"]).to_numpy() * past["liked"].to_numpy()
        own = genres[name].reindex(log["item_id"]).to_numpy()
        found += own * _so_far(past.assign(liked=has), log, "user_id")[1]
        total += own
    return found / np.maximum(total, 1) / np.maximum(n_likes, 1)
