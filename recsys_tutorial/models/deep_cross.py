"""Models of the ranking stage: rows of features to probabilities, for one objective or several."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least, finite_vectors
from recsys_tutorial.training import train as run_training

__all__ = ["DCN", "CrossNetwork", "MMoE", "SharedBottom", "fit_probabilities"]


class CrossNetwork(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l, for l = 0, ..., L - 1: features crossed, and again.

    Each layer multiplies by x_0 once more, so L layers reach products of up to L + 1 features
    (DCN-v2: Wang et al. 2021, doi:10.1145/3442381.3450078; * is element by element).

    Parameters
    ----------
    dim : int, number of features
    n_layers : int >= 1, L
    """

    def __init__(self, dim: int, n_layers: int):
        super().__init__()
        check_at_least(1, n_layers=n_layers)
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(n_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Cross.

        Parameters
        ----------
        x : Tensor (batch, dim), x_0

        Returns
        -------
        Tensor (batch, dim), x_L
        """
        crossed = x
        for layer in self.layers:
            crossed = x * layer(crossed) + crossed  # (batch, dim)
        return crossed


class DCN(nn.Module):
    """A `CrossNetwork`, then a hidden layer, then a logit: DCN-v2 in its stacked form.

    Without crosses and hidden layer it is logistic regression.

    Parameters
    ----------
    dim : int, number of features
    n_layers : int >= 0, of crosses; 0 leaves them out
    hidden : int, width of the layer behind them; None leaves it out
    """

    def __init__(self, dim: int, n_layers: int = 2, hidden: int | None = None):
        super().__init__()
        self.cross = CrossNetwork(dim, n_layers) if n_layers else nn.Identity()
        self.deep = nn.Linear(dim, 1) if hidden is None else _mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Parameters
        ----------
        x : Tensor (batch, dim)

        Returns
        -------
        Tensor (batch, 1)
        """
        return self.deep(self.cross(x))


class SharedBottom(nn.Module):
    """One hidden layer that all objectives read, and a small network for each: the plain way.

    Parameters
    ----------
    dim : int, number of features
    hidden : int, width of the shared layer
    n_tasks : int, objectives
    head : int, width of the hidden layer of each objective's own network
    """

    def __init__(self, dim: int, hidden: int, n_tasks: int = 2, head: int = 16):
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())
        self.heads = nn.ModuleList(_mlp(hidden, head) for _ in range(n_tasks))

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Parameters
        ----------
        x : Tensor (batch, dim)

        Returns
        -------
        Tensor (batch, n_tasks)
        """
        shared = self.bottom(x)  # (batch, hidden)
        return torch.cat([head(shared) for head in self.heads], 1)


class MMoE(nn.Module):
    """Several small bottoms, the experts, and for each objective k its own mixture of them.

        f_k(x) = sum_i softmax(G_k x)_i expert_i(x),    logit_k = head_k(f_k(x))

    (multi-gate mixture of experts: Ma et al. 2018, doi:10.1145/3219819.3220007)

    Parameters
    ----------
    dim : int, number of features
    hidden : int, width of an expert
    n_experts : int
    n_tasks : int, objectives
    head : int, width of the hidden layer of each objective's own network
    """

    def __init__(self, dim: int, hidden: int, n_experts: int = 4, n_tasks: int = 2, head: int = 16):
        super().__init__()
        self.n_experts = n_experts
        self.experts = nn.Sequential(nn.Linear(dim, n_experts * hidden), nn.ReLU())
        self.gates = nn.ModuleList(nn.Linear(dim, n_experts, bias=False) for _ in range(n_tasks))
        self.heads = nn.ModuleList(_mlp(hidden, head) for _ in range(n_tasks))

    def forward(self, x: Tensor) -> Tensor:
        """Logits.

        Parameters
        ----------
        x : Tensor (batch, dim)

        Returns
        -------
        Tensor (batch, n_tasks)
        """
        experts = self.experts(x).unflatten(1, (self.n_experts, -1))  # (batch, experts, hidden)
        mixed = [torch.einsum("be,beh->bh", gate(x).softmax(1), experts) for gate in self.gates]
        return torch.cat([head(f) for head, f in zip(self.heads, mixed, strict=True)], 1)


def fit_probabilities(
    model: nn.Module,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int = 3,
    batch_size: int = 1024,
    **options,
) -> pd.DataFrame:
    """Train logits by the log loss, all objectives at once.

    Parameters
    ----------
    model : Module, Tensor (batch, n_features) -> logits (batch, n_tasks), in float64
    features : ndarray (n, n_features)
    labels : ndarray (n, n_tasks) of 0, 1, and nan where an objective does not apply to a row: what
        was not rated is neither liked nor disliked
    epochs, batch_size : see `training.train`
    **options : more of `training.train`'s

    Returns
    -------
    DataFrame, the history of `training.train`; a loss is the sum over objectives of its mean over
    the rows that have it

    Raises
    ------
    ValueError
        For features that are not finite, and labels of other values or another shape.
    """
    features = finite_vectors("features", features)
    labels = np.asarray(labels, dtype=np.float64)
    known = ~np.isnan(labels)
    if labels.ndim != 2 or len(labels) != len(features) or not np.isin(labels[known], (0, 1)).all():
        raise ValueError(f"labels must be 0, 1 or nan and ({len(features)}, n_tasks)")
    x, y = torch.from_numpy(features.astype(np.float64)), torch.from_numpy(np.nan_to_num(labels))
    known = torch.from_numpy(known.astype(np.float64))

    def loss(model, rows, rng):
        rows = torch.from_numpy(rows)
        logits = model(x[rows].to(next(model.parameters()).device))  # (batch, n_tasks)
        truth, there = y[rows].to(logits), known[rows].to(logits)
        each = nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return ((each * there).sum(0) / there.sum(0).clamp(min=1)).sum()

    return run_training(model, loss, len(x), epochs=epochs, batch_size=batch_size, **options)


def _mlp(dim: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))
