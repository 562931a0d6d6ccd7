"""What chapter 14 measures with: short lists, pairs in the right order, a head on vectors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import stats

from recsys_tutorial._checks import check_at_least
from recsys_tutorial.evaluation.intervals import mean_interval
from recsys_tutorial.evaluation.pointwise import group_quality

__all__ = ["list_ndcg", "means", "rank_agreement", "right_order", "text_head"]


def list_ndcg(
    candidates: pd.DataFrame, scores: np.ndarray, key: str = "user_id", k: int = 10
) -> pd.Series:
    """NDCG@k of each user's candidates in the order of scores.

    Another question than `group_quality`'s: the ideal list holds all of a user's targets, those
    that are no candidates too, and equal scores stay in an order that is given.

    Parameters
    ----------
    candidates : DataFrame, a row for each candidate: the column `key`; `place` in the first stage's
        order; `liked`, 0 or 1; `n_targets` of the user, those that are no candidates included
    scores : array (n_rows,), higher is better; equal ones stay in the first stage's order
    key : str, the column that names the user
    k : int >= 1

    Returns
    -------
    Series, a value for each user, in the order of their first rows

    Raises
    ------
    ValueError
        For a length that is not that of the table, and scores that are no numbers.
    """
    check_at_least(1, k=k)
    scores = np.asarray(scores, float)
    if scores.shape != (len(candidates),) or np.isnan(scores).any():
        raise ValueError(f"expected {len(candidates)} scores without nan, got {scores.shape}")
    # Rounded, so that a last bit decides nothing.
    order = candidates.assign(s=-np.round(scores, 9)).sort_values([key, "s", "place"])
    place = order.groupby(key).cumcount().to_numpy()
    gain = np.where(place < k, order["liked"].to_numpy() / np.log2(place + 2), 0.0)
    gains = pd.Series(gain).groupby(order[key].to_numpy()).sum()
    users = candidates.drop_duplicates(key)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))  # (k,)
    best = ideal[np.clip(users["n_targets"].to_numpy(), 1, k) - 1]
    return pd.Series(gains[users[key]].to_numpy() / best, index=users[key], name="ndcg")


def right_order(
    pairs: pd.DataFrame, scores: np.ndarray, key: str, right: str = "right"
) -> pd.Series:
    """Of each text, the share of (right, wrong) pairs in the right order: the AUC; ties half.

    Parameters
    ----------
    pairs : DataFrame with the column `key`, and the column `right` of 0 and 1
    scores : array (n_rows,), higher is better
    key, right : str, names of columns

    Returns
    -------
    Series, a value for each text that has both kinds, sorted by its key; 0.5 by chance

    Raises
    ------
    ValueError
        For a length that is not that of the table, other labels, and scores that are no numbers.
    """
    scores = np.round(np.asarray(scores, float), 9)
    if scores.shape != (len(pairs),):
        raise ValueError(f"expected {len(pairs)} scores, got {scores.shape}")
    return group_quality(pairs[right], scores, pairs[key])["auc"].rename(None)


def rank_agreement(table: pd.DataFrame, key: str, one: str, other: str) -> pd.Series:
    """Spearman's rank correlation of two columns within each group.

    Parameters
    ----------
    table : DataFrame
    key, one, other : str, names of columns

    Returns
    -------
    Series, a value for each group in which both columns vary
    """
    found = {}
    for name, part in table.groupby(key):
        if part[one].nunique() > 1 and part[other].nunique() > 1:
            found[name] = stats.spearmanr(part[one], part[other]).statistic
    return pd.Series(found, dtype=float)


def means(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Means over users or texts with 95 % bootstrap intervals, a row for each entry.

    Parameters
    ----------
    columns : dict of array (n,), finite; entries may have different lengths

    Returns
    -------
    DataFrame with the columns mean, low, high and n
    """
    rows = {}
    for name, values in columns.items():
        values = np.asarray(values, float)
        low, high = mean_interval(values)
        rows[name] = {"mean": values.mean(), "low": low, "high": high, "n": len(values)}
    found = pd.DataFrame(rows).T
    return found.astype({"n": int})


def text_head(
    texts: np.ndarray,
    films: np.ndarray,
    relevant: np.ndarray,
    reg: float,
    steps: int = 100,
    learning_rate: float = 3e-3,
) -> np.ndarray:
    """A linear map for texts, trained on top of frozen vectors: s = (u + u A) . v.

    A starts at 0, so that nothing learned is the dot product of the two vectors. The loss is the
    softmax over all films, where the relevant ones of a text share the probability evenly, plus
    reg times the sum of squares of A.

    Parameters
    ----------
    texts : ndarray (n_texts, dim), vectors of the training texts
    films : ndarray (n_films, dim), vectors of all films
    relevant : ndarray of bool (n_texts, n_films), at least one in each row
    reg : float >= 0
    steps : int >= 1, of Adam on all texts at once
    learning_rate : float > 0

    Returns
    -------
    ndarray (dim, dim), float64: I + A, so that scores are texts @ it @ films.T

    Raises
    ------
    ValueError
        For shapes that do not fit, and a text without a relevant film.
    """
    check_at_least(1, steps=steps)
    check_at_least(0, reg=reg)
    if relevant.shape != (len(texts), len(films)) or texts.shape[1] != films.shape[1]:
        raise ValueError(
            f"texts {texts.shape}, films {films.shape} and relevant {relevant.shape} do not fit"
        )
    if not relevant.any(axis=1).all():
        raise ValueError(f"text {int(np.argmin(relevant.any(axis=1)))} has no relevant film")
    u, v = torch.tensor(texts).double(), torch.tensor(films).double()
    share = torch.tensor(relevant).double()
    share = share / share.sum(1, keepdim=True)  # (n_texts, n_films)
    a = torch.zeros(u.shape[1], u.shape[1], dtype=torch.float64, requires_grad=True)
    log_scale = torch.tensor(10.0).double().log().requires_grad_()
    adam = torch.optim.Adam([a, log_scale], lr=learning_rate)
    for _ in range(steps):
        adam.zero_grad()
        logits = log_scale.exp() * ((u + u @ a) @ v.T)  # (n_texts, n_films)
        loss = -(share * torch.log_softmax(logits, 1)).sum(1).mean() + reg * (a**2).sum()
        loss.backward()
        adam.step()
    return np.eye(len(a)) + a.detach().numpy()
