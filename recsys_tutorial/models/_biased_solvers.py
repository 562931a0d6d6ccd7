"""How `BiasedMF` is fitted: by alternating least squares, or by stochastic gradient descent.

Both minimise the objective that the class states, over the attributes of `model`, a BiasedMF.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.models._factors import leading_directions
from recsys_tutorial.models._threads import one_blas_thread
from recsys_tutorial.models.ridge import BatchedRidge
from recsys_tutorial.training.monitor import FitMonitor

if TYPE_CHECKING:
    from torch import Tensor


def start(model, side: str, known: dict, rng: np.random.Generator) -> None:
    """Random vectors and biases 0 of the users or items; or the last fit's, where `known`."""
    ids = getattr(model, f"{side}_ids_")
    bias, factors = np.zeros(len(ids)), rng.normal(0.0, 0.1, (len(ids), model.factors))
    if known:
        place = pd.Index(known[f"{side}_ids_"]).get_indexer(ids)
        bias[place >= 0] = known[f"{side}_bias_"][place[place >= 0]]
        factors[place >= 0] = known[f"{side}_factors_"][place[place >= 0]]
    setattr(model, f"{side}_bias_", bias)
    setattr(model, f"{side}_factors_", factors)


def fit_als(
    model,
    ratings: sparse.csr_matrix,
    monitor: FitMonitor,
    start_rng: np.random.Generator | None,
) -> None:
    """Items, then users, iteration after iteration; from a spectral start if given an rng."""
    by_item = ratings.T.tocsr()
    with one_blas_thread():
        if start_rng is not None:
            model.user_factors_, model.user_bias_ = _spectral_start(model, ratings, start_rng)
        users = BatchedRidge(ratings, model.factors + 1)
        items = BatchedRidge(by_item, model.factors + 1)
        for _ in monitor:
            model.item_factors_, model.item_bias_, _ = half_step(
                model, items, by_item, model.user_factors_, model.user_bias_
            )
            model.user_factors_, model.user_bias_, minimum = half_step(
                model, users, ratings, model.item_factors_, model.item_bias_
            )
            item_penalty = _penalty(model, by_item, model.item_factors_, model.item_bias_)
            user_penalty = _penalty(model, ratings, model.user_factors_, model.user_bias_)
            squared_error = max(minimum - user_penalty, 0.0)
            rmse = np.sqrt(squared_error / ratings.nnz)
            monitor.record(objective=minimum + item_penalty, train_rmse=rmse)


def half_step(
    model,
    ridge: BatchedRidge,
    ratings: sparse.csr_matrix,
    factors: np.ndarray,
    bias: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Vectors and biases of the rows of `ratings`, given those of its columns; the minimum."""
    features = np.column_stack([factors, np.ones(len(factors))])  # [q_i, 1]
    targets = ratings.data - model.global_mean_ - bias[ratings.indices]
    penalty = np.array([model.reg] * model.factors + [model.bias_reg])
    if model.penalty == "per rating":  # rows without ratings are not solved for: any g does
        penalty = (
            np.maximum(_penalty_counts(model, ratings), 1.0)[:, None] * penalty
        )  # (n_rows, k + 1)
    x, explained = ridge.solve(features, targets, penalty)
    return x[:, :-1].copy(), x[:, -1].copy(), float(targets @ targets - explained.sum())


def _spectral_start(
    model, ratings: sparse.csr_matrix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """User vectors and biases to start from: the main directions of the biases' residuals.

    Unknown entries count as 0, which is wrong for a fit and good enough for a start.
    """
    users = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    residual = ratings.data - model.global_mean_
    for rows in (ratings.indices, users):  # items first, so that the users' biases are last
        counts = np.bincount(rows)
        bias = np.bincount(rows, residual) / np.maximum(counts + model.bias_reg, 1.0)
        residual = residual - bias[rows]
    table = sparse.csr_matrix((residual, ratings.indices, ratings.indptr), ratings.shape)
    directions = leading_directions(table, model.factors, rng)
    factors = rng.normal(0.0, 0.1, (ratings.shape[0], model.factors))
    factors[:, : directions.shape[1]] = 0.1 * np.sqrt(len(factors)) * directions
    return factors, np.append(bias, np.zeros(len(factors) - len(bias)))


def fit_sgd(
    model, ratings: sparse.csr_matrix, monitor: FitMonitor, rng: np.random.Generator
) -> None:
    """Every rating once per epoch, in random order; the objective is measured after each."""
    import torch  # here: who solves by least squares need not wait for it

    from recsys_tutorial.models.sgd import descend, one_torch_thread

    start = (model.user_bias_[:, None], model.user_factors_)
    start += (model.item_bias_[:, None], model.item_factors_)
    tables = [torch.tensor(table, requires_grad=True) for table in start]
    parts = _objective_of_batch(model, ratings, tables)
    order = torch.arange(ratings.nnz)

    def batches():
        order[:] = torch.from_numpy(rng.permutation(ratings.nnz))
        return order.split(model.batch_size)

    with one_torch_thread():
        steps = descend(tables, lambda b: parts(b)[0], batches, model.learning_rate, monitor)
        for _ in steps:
            with torch.no_grad():
                each = [parts(batch) for batch in order.split(2**16)]
            objective, error = (sum(map(float, values)) for values in zip(*each, strict=True))
            b_u, model.user_factors_, b_i, model.item_factors_ = (
                table.detach().numpy() for table in tables
            )
            model.user_bias_, model.item_bias_ = b_u[:, 0], b_i[:, 0]
            monitor.record(objective=objective, train_rmse=np.sqrt(error / ratings.nnz))


def _objective_of_batch(
    model, ratings: sparse.csr_matrix, tables: list[Tensor]
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function of places in ``ratings.data``: their part of the objective, and squared error."""
    import torch
    from torch.nn.functional import embedding

    user = np.repeat(np.arange(ratings.shape[0]), np.diff(ratings.indptr))
    user, item = torch.from_numpy(user), torch.from_numpy(ratings.indices.astype(np.int64))
    rating = torch.from_numpy(ratings.data - model.global_mean_)
    user_share, item_share = (  # g / n of each rating's user, and item
        torch.from_numpy(_penalty_counts(model, m) / np.maximum(np.diff(m.indptr), 1))[rows]
        for m, rows in ((ratings, user), (ratings.T.tocsr(), item))
    )

    def parts(batch: Tensor) -> tuple[Tensor, Tensor]:
        u, i = user[batch], item[batch]
        # sparse: the gradient names the rows of this batch and no others
        b_u, p_u = (embedding(u, table, sparse=True) for table in tables[:2])
        b_i, q_i = (embedding(i, table, sparse=True) for table in tables[2:])
        dots = (p_u * q_i).sum(1)  # (batch,)
        error = ((rating[batch] - b_u[:, 0] - b_i[:, 0] - dots) ** 2).sum()
        penalty_u = model.reg * (p_u**2).sum(1) + model.bias_reg * b_u[:, 0] ** 2
        penalty_i = model.reg * (q_i**2).sum(1) + model.bias_reg * b_i[:, 0] ** 2
        return error + user_share[batch] @ penalty_u + item_share[batch] @ penalty_i, error

    return parts


def _penalty_counts(model, ratings: sparse.csr_matrix) -> np.ndarray:
    """(n_rows,): g, how often each row's penalty counts."""
    counts = np.diff(ratings.indptr)
    return counts.astype(np.float64) if model.penalty == "per rating" else np.ones(len(counts))


def _penalty(model, ratings: sparse.csr_matrix, factors: np.ndarray, bias: np.ndarray) -> float:
    rows = model.reg * (factors**2).sum(axis=1) + model.bias_reg * bias**2
    return float(_penalty_counts(model, ratings) @ rows)
