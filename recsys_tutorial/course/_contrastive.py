"""Chapter 8's towers: two linear heads that learn from pairs of a user and a film they liked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recsys_tutorial._likes import as_likes
from recsys_tutorial.course._features import bert_texts
from recsys_tutorial.course._fits import Fit, fading_likes
from recsys_tutorial.losses import info_nce
from recsys_tutorial.models import TwoTower, towers, unit_rows
from recsys_tutorial.splits import Split
from recsys_tutorial.training import train


@dataclass(frozen=True)
class PairBatch:
    """Some likes (u, i), as a contrastive loss needs them.

    Attributes
    ----------
    users : Tensor (batch, dim), of each u without film i, temperature and prior folded in
    items : Tensor (batch, dim), of each i: a score is a dot product
    known : bool Tensor (batch, batch), True where row's user likes column's film (the diagonal
        included)
    log_q : Tensor (batch,), log of each film's share of the likes
    drawn : function of a number n -> Tensor (n, dim), of films drawn evenly from the catalogue
    bias : scalar Tensor that is learned, for losses that judge each pair by itself. It starts where
        the prior's shares add up to 1: score + bias is then the log of a probability
    n_items : int, films of the catalogue
    """

    users: Tensor
    items: Tensor
    known: Tensor
    log_q: Tensor
    drawn: Callable[[int], Tensor]
    bias: Tensor
    n_items: int

    @property
    def scores(self) -> Tensor:
        """Of every user with every film: (batch, batch), those that belong together on top."""
        return self.users @ self.items.T


PairLoss = Callable[[PairBatch], Tensor]


class LikePairs:
    """The likes of a split, an example each, of users with two or more.

    Parameters
    ----------
    likes : csr_matrix (n_users, n_items)
    features : float ndarray (n_items, n_features); a user is the sum of their films' rows
    """

    def __init__(self, likes: sparse.csr_matrix, features: np.ndarray):
        likes = as_likes(likes, "likes", len(features))
        n = np.diff(likes.indptr)
        users = np.repeat(np.arange(len(n)), n)
        self.users, self.items = users[n[users] > 1], likes.indices[n[users] > 1].astype(np.int64)
        counts = np.bincount(likes.indices, minlength=len(features))
        self.log_q = np.log(np.maximum(counts, 1) / likes.nnz)  # (n_items,)
        self.known, self.sums, self.features = likes.toarray() > 0, likes @ features, features

    def __len__(self) -> int:
        return len(self.users)

    def batch(self, model: TwoTower, rows: np.ndarray, rng: np.random.Generator) -> PairBatch:
        """Vectors of some pairs, with gradients.

        Parameters
        ----------
        model : TwoTower whose user tower is a `PooledTower`, with a `bias`
        rows : int ndarray (batch,)
        rng : numpy Generator, for `drawn`

        Returns
        -------
        PairBatch
        """
        u, i = self.users[rows], self.items[rows]
        # What is to be found is hidden from the history.
        z = model.user_vectors(self.sums[u] - self.features[i])
        v = model.item_vectors(i)
        known = torch.from_numpy(self.known[u[:, None], i]).to(z.device)
        log_q = torch.from_numpy(self.log_q[i]).to(z)

        def drawn(n: int) -> Tensor:
            return model.item_vectors(rng.integers(len(self.features), size=n))

        return PairBatch(z, v, known, log_q, drawn, model.bias, len(self.features))


def contrastive_towers(
    features: np.ndarray,
    loss: PairLoss,
    temperature: float,
    *,
    epochs: tuple[int, int] = (4, 1),
    seed: int = 0,
    dim: int = 64,
    batch_size: int = 512,
    learning_rate: float = 3e-3,
    dtype: torch.dtype | None = None,
) -> Fit:
    """Two linear heads, cosine, the fading prior: trained anew in the first window, then on.

    Parameters
    ----------
    features : float ndarray (n_items, n_features)
    loss : function PairBatch -> scalar Tensor
    temperature : float, what cosines are divided by
    epochs : (in the first window, in each later one)
    seed, dim, batch_size, learning_rate, dtype : see `TwoTower` and `training.train`

    Returns
    -------
    function Split -> TwoTower, for windows in their order
    """
    torch.manual_seed(seed)
    heads = towers.PooledTower(features, dim), towers.FeatureTower(features, dim)
    settings = {"similarity": "cosine", "temperature": temperature, "popularity_prior": True}
    settings["dtype"] = dtype
    model = TwoTower(*heads, **settings)
    model.log_temperature.requires_grad_(False)
    model.bias = nn.Parameter(model.popularity_weight.new_zeros(()))
    windows = itertools.count()
    # Single numbers have far to go.
    rates = {"": learning_rate, "popularity_weight": 20 * learning_rate, "bias": 20 * learning_rate}

    def fit(split: Split) -> TwoTower:
        n = fading_likes(split)
        model.log_popularity.copy_(torch.from_numpy(np.log1p(n)))
        window = next(windows)
        if window == 0:
            model.bias.data.fill_(-np.log((1 + n).sum()))
        pairs = LikePairs(split.train, features)

        def objective(model, rows, rng):
            return loss(pairs.batch(model, rows, rng))

        options = {"epochs": epochs[min(window, 1)], "batch_size": batch_size, "seed": seed}
        train(model, objective, len(pairs), learning_rate=rates, **options)
        return model

    return fit


def corrected_info_nce(batch: PairBatch) -> Tensor:
    """InfoNCE with logQ; a user's other likes are no negatives.

    Parameters
    ----------
    batch : PairBatch, whose scores have the temperature in them

    Returns
    -------
    scalar Tensor
    """
    return info_nce(batch.users, batch.items, temperature=1.0, mask=batch.known, log_q=batch.log_q)


def info_nce_towers(seed: int) -> Fit:
    """Chapter 8's choice: BERT's vectors, sixteen epochs, then four in each window."""
    fit_towers = None

    def fit(split: Split) -> TwoTower:
        nonlocal fit_towers
        if fit_towers is None:
            films = unit_rows(bert_texts(split.items).astype(np.float64), center=True)
            options = {"epochs": (16, 4), "seed": seed, "dtype": torch.float32}
            fit_towers = contrastive_towers(films, corrected_info_nce, 0.2, **options)
        return fit_towers(split)

    return fit
