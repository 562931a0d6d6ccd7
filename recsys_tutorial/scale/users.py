"""Lists for all users and what they are worth, by several workers."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._checks import check_at_least
from recsys_tutorial.evaluation import Evaluation
from recsys_tutorial.evaluation import evaluate as evaluate_here
from recsys_tutorial.ranking import rank
from recsys_tutorial.scale.workers import each_block
from recsys_tutorial.splits import Holdout

__all__ = ["evaluate", "rank_users"]


def rank_users(
    make: Callable, history: sparse.csr_matrix, k: int = 10, *,
    seen: sparse.csr_matrix | None = None, times: sparse.csr_matrix | None = None,
    block: int = 1024,
) -> np.ndarray:  # fmt: skip
    """The lists of all users, as `ranking.rank` makes them.

    Parameters
    ----------
    make : function -> fitted model with `score(history)`, or with `reads_times` also of times
    history : csr_matrix (n_users, n_items)
    k : int >= 1
    seen : csr_matrix (n_users, n_items), never recommended; None for the history
    times : csr_matrix (n_users, n_items), for a model that reads them
    block : int >= 1, users whose scores a worker holds at a time

    Returns
    -------
    ndarray (n_users, k), int64; -1 where a user has fewer items left

    Raises
    ------
    ValueError for k or block below 1, or matrices of unequal shapes.
    """
    check_at_least(1, k=k, block=block)
    history = sparse.csr_matrix(history)
    seen = history if seen is None else sparse.csr_matrix(seen)
    for name, other in (("seen", seen), ("times", times)):
        if other is not None and other.shape != history.shape:
            raise ValueError(f"{name} has shape {other.shape}, the history {history.shape}")
    found = np.empty((history.shape[0], k), dtype=np.int64)
    starts, given = range(0, len(found), block), (history, seen, times)
    for row in each_block(starts, make, partial(_rank_block, k, block), given, what="rank"):
        part = found[row["start"] : row["start"] + block]
        part[:] = row["items"][: len(part)]
    return found


def _rank_block(k: int, block: int, model, start: int, history, seen, times) -> dict:
    rows = slice(start, min(start + block, history.shape[0]))
    reads = getattr(model, "reads_times", False)
    scores = model.score(history[rows], times[rows]) if reads else model.score(history[rows])
    items = np.full((1, block, k), -1)
    items[0, : rows.stop - start] = rank(np.asarray(scores), seen[rows], k, first_row=start)
    return {"start": np.array([start]), "items": items}


def evaluate(
    make: Callable, holdout: Holdout, ks: Sequence[int] = (10, 20), *, block: int = 1024
) -> Evaluation:
    """`evaluation.evaluate`, of blocks of users.

    Parameters
    ----------
    make : as in `rank_users`
    holdout : Holdout
    ks : sequence of int >= 1
    block : int >= 1, users

    Returns
    -------
    Evaluation, the same as one process finds, milliseconds apart
    """
    check_at_least(1, block=block)
    n_users, ks = len(holdout), list(ks)
    if not n_users:
        return evaluate_here(make(), holdout, ks)
    parts: dict[int, dict] = {}
    work = partial(_evaluate_block, ks, block)
    for row in each_block(range(0, n_users, block), make, work, (holdout,), what="evaluate"):
        parts[row["start"]] = row
    order = [parts[start] for start in sorted(parts)]
    names = json.loads(order[0]["names"])
    values = np.concatenate([row["values"] for row in order])[:n_users]
    index = pd.Index(holdout.user_ids, name="user_id")
    ranked = np.concatenate([row["items"] for row in order])[:n_users]
    spent = sum(row["seconds"] for row in order)
    return Evaluation(pd.DataFrame(values, index, names), ranked, 1000 * spent / n_users)


def _evaluate_block(ks: list[int], block: int, model, start: int, holdout: Holdout) -> dict:
    rows = slice(start, min(start + block, len(holdout)))
    n = rows.stop - start
    matrices = ("user_ids", "history", "history_ratings", "seen", "targets", "history_times")
    cut = {name: getattr(holdout, name) for name in matrices}
    cut = {name: part if part is None else part[rows] for name, part in cut.items()}
    result = evaluate_here(model, dataclasses.replace(holdout, **cut), ks)
    values = np.full((1, block, result.per_user.shape[1]), math.nan)
    items = np.full((1, block, max(ks)), -1)
    values[0, :n], items[0, :n] = result.per_user.to_numpy(), result.ranked
    return {
        "start": np.array([start]), "values": values, "items": items,
        "names": np.array([json.dumps(list(result.per_user.columns))]),
        "seconds": np.array([result.ms_per_user * n / 1000]),
    }  # fmt: skip
