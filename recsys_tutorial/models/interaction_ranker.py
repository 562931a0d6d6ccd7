"""A second stage: an interaction model that orders the best candidates of a first one."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.losses import multinomial_loss
from recsys_tutorial.models.two_tower import checked_popularity, divide_likes
from recsys_tutorial.ranking import rank
from recsys_tutorial.training import train as run_training

_BLOCK = 16  # users whose candidates are scored at a time


class InteractionRanker(nn.Module):
    """score(u, i) = interaction(f(u), g(i)) + w log(1 + n_i) for a retriever's best items.

        h_j = W_u x_j + b_u,   f(u) = sum over liked j of h_j / sqrt(number),   g(i) = W_v x_i + b_v

    with the items' fixed features x. An interaction that reads histories gets the h_j themselves.
    The prior w log(1 + n_i) is that of `TwoTower`; with the dot product for an interaction this is
    that model, but trained on sampled negatives and asked about the candidates only.

    Start values come from torch's global generator: call ``torch.manual_seed`` before, and before
    the interaction is built. Everything is float64.

    Parameters
    ----------
    features : ndarray (n_items, n_features)
    interaction : Module or function
        (users (batch, dim), items (batch, dim)) -> (batch,), or a Module with
        ``reads_history = True``: (history (batch, length, dim), mask, items) -> (batch,)
    dim : int, length of f and g; None leaves the two heads out, and h_j = g(j) = x_j
    retriever : has `score(history)`
    n_candidates : int, how many of the retriever's best are ordered anew
    max_history : int
        The most h_j that a history-reading interaction gets: in training a random choice, in
        `score` spaced evenly over the catalogue's order.

    Attributes
    ----------
    history_ : DataFrame of `fit`, see `training.train`
    """

    def __init__(
        self,
        features: np.ndarray,
        interaction,
        dim: int | None = 16,
        *,
        retriever=None,
        n_candidates: int = 200,
        max_history: int = 20,
    ):
        super().__init__()
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or not np.isfinite(features).all():
            raise ValueError(
                f"features must be (n_items, n_features), finite; got {features.shape}"
            )
        if n_candidates < 1 or max_history < 1:
            raise ValueError(
                f"n_candidates and max_history must be at least 1, got {n_candidates} and "
                f"{max_history}"
            )
        self.n_items, n_features = features.shape
        self.register_buffer("features", torch.from_numpy(features), persistent=False)
        self.register_buffer("log_popularity", torch.zeros(self.n_items))
        none = dim is None
        self.user_head = nn.Identity() if none else nn.Linear(n_features, dim)
        self.item_head = nn.Identity() if none else nn.Linear(n_features, dim)
        self.interaction = interaction
        self.popularity_weight = nn.Parameter(torch.tensor(1.0))
        self.reads_history = getattr(interaction, "reads_history", False)
        self.n_candidates, self.max_history = n_candidates, max_history
        self._retriever = (retriever,)  # in a tuple: its parameters are not this model's
        self.double()

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        popularity: np.ndarray | None = None,
        n_positives: int = 4,
        n_negatives: int = 60,
        history_share: tuple[float, float] = (0.0, 0.9),
        epochs: int = 15,
        learning_rate=1e-2,
        **options,
    ) -> InteractionRanker:
        """Learn to find hidden likes among negatives that are drawn by popularity.

        An example is a user: a random share of the likes is shown, up to `n_positives` of the
        others are to be found among `n_negatives` items drawn from q ~ 1 + n_i. Each negative
        counts 1 / (n_negatives q), so that the sum estimates the softmax over the catalogue, as in
        `losses.sampled_softmax_loss`.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items) of ones
        popularity : ndarray (n_items,) >= 0, n_i; by default the likes in `train`
        n_positives, n_negatives, history_share : see above
        epochs, learning_rate, **options : see `training.train`
        """
        train = check_train(train)
        if train.shape[1] != self.n_items:
            raise ValueError(f"train has {train.shape[1]} items, the features {self.n_items}")
        if n_positives < 1 or n_negatives < 1:
            raise ValueError(f"need positives and negatives, got {n_positives} and {n_negatives}")
        counts = np.bincount(train.indices, minlength=self.n_items)
        n = checked_popularity(counts if popularity is None else popularity, self.n_items)
        self.log_popularity.copy_(torch.from_numpy(np.log1p(n)))
        q = (1.0 + n) / (1.0 + n).sum()
        steps = np.cumsum(q) / q.sum()
        weight = torch.from_numpy(-np.log(n_negatives * q))
        examples = np.flatnonzero(np.diff(train.indptr) > 1)

        def loss(model: InteractionRanker, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
            likes = train[examples[rows]]
            shown, hidden = divide_likes(likes, history_share, rng)
            positives, there = _some(hidden, n_positives, rng)  # (batch, n_positives) both
            drawn = rng.random((len(rows), n_negatives))
            negatives = np.minimum(np.searchsorted(steps, drawn), self.n_items - 1)
            liked = likes.toarray()[np.arange(len(rows))[:, None], negatives] > 0
            columns = np.hstack([positives, negatives])  # (batch, n_positives + n_negatives)
            scores = model.pair_scores(shown, columns, rng)
            scores = torch.cat(
                [scores[:, :n_positives], scores[:, n_positives:] + weight[negatives].to(scores)], 1
            )
            labels = torch.zeros_like(scores)
            labels[:, :n_positives] = torch.from_numpy(there).to(scores)
            left_out = torch.from_numpy(np.hstack([~there, liked])).to(scores.device)
            return multinomial_loss(scores, labels, left_out)

        self.history_ = run_training(
            self, loss, len(examples), epochs=epochs, learning_rate=learning_rate, **options
        )
        return self

    def pair_scores(
        self,
        history: sparse.csr_matrix,
        columns: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> Tensor:
        """Scores (n_users, k) of these items, int ndarray (n_users, k), with gradients.

        `rng` chooses from long histories; without it the choice is spaced evenly.
        """
        history = check_history(history, self.n_items)
        n_users, k = columns.shape
        unique, place = np.unique(columns, return_inverse=True)
        items = self.item_head(self.features[unique])[place.reshape(-1)]  # (n_users * k, dim)
        if self.reads_history:
            chosen, there = _some(history, self.max_history, rng)  # (n_users, length) both
            unique, place = np.unique(chosen, return_inverse=True)
            vectors = self.user_head(self.features[unique])[place.reshape(chosen.shape)]
            mask = torch.from_numpy(there).to(vectors.device)
            pairs = vectors.repeat_interleave(k, 0), mask.repeat_interleave(k, 0), items
        else:
            pairs = self.users(history).repeat_interleave(k, 0), items  # (n_users * k, dim) both
        scores = self.interaction(*pairs).view(n_users, k)
        return scores + self.popularity_weight * self.log_popularity[columns]

    def users(self, history: sparse.csr_matrix) -> Tensor:
        """f(u): (n_users, dim); 0 for who liked nothing."""
        history = check_history(history, self.n_items)
        liked = np.unique(history.indices)
        vectors = self.user_head(self.features[liked])  # (n_liked, dim)
        n = np.maximum(np.diff(history.indptr), 1)
        weights = history[:, liked].toarray() / np.sqrt(n)[:, None]  # (n_users, n_liked)
        return torch.from_numpy(weights).to(vectors) @ vectors

    def candidates(self, history: sparse.csr_matrix) -> np.ndarray:
        """The retriever's best columns that are not in the history, (n_users, n_candidates)."""
        if self._retriever[0] is None:
            raise ValueError("there is no retriever: pass one to InteractionRanker, or candidates")
        history = check_history(history, self.n_items)  # a stored zero is no reason to leave it out
        return rank(self._retriever[0].score(history), history, self.n_candidates)

    def score(self, history: sparse.csr_matrix, candidates: np.ndarray | None = None) -> np.ndarray:
        """(n_users, n_items): scores of the candidates, -inf elsewhere.

        candidates : int ndarray (n_users, k) of columns, -1 pads; by default the retriever's best
        """
        history = check_history(history, self.n_items)
        candidates = self.candidates(history) if candidates is None else np.asarray(candidates)
        if candidates.ndim != 2 or len(candidates) != history.shape[0]:
            raise ValueError(
                f"candidates must have a row for each of {history.shape[0]} users, got "
                f"{candidates.shape}"
            )
        if candidates.size and not -1 <= candidates.min() <= candidates.max() < self.n_items:
            raise ValueError(f"candidates must be columns below {self.n_items}, or -1")
        scores = np.full((history.shape[0], self.n_items + 1), -np.inf)  # the last column: padding
        self.eval()
        with torch.no_grad():
            for start in range(0, history.shape[0], _BLOCK):
                block = slice(start, start + _BLOCK)
                columns = candidates[block]
                found = self.pair_scores(history[block], np.maximum(columns, 0)).cpu().numpy()
                np.put_along_axis(scores[block], columns, found, 1)
        return scores[:, :-1]


def _some(
    likes: sparse.csr_matrix, n: int, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Up to n columns of each row: columns (rows, n), 0 where there are fewer; bool, True if real.

    At random with an rng; else all, or n of them spaced evenly.
    """
    counts = np.diff(likes.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(likes.nnz) - likes.indptr[rows]
    if rng is None:
        # The row's columns fall into n equal parts; the first of each part is kept.
        step = np.minimum(1.0, n / np.maximum(counts, 1))[rows]
        kept = np.floor(place * step) > np.floor((place - 1) * step)
        order = np.flatnonzero(kept)
    else:
        order = np.lexsort([rng.random(likes.nnz), rows])
        order = order[place < n]
    rows = rows[order]
    first = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(counts)))])
    place = np.arange(len(order)) - first[rows]
    width = max(1, min(n, int(counts.max(initial=0))))
    width = n if rng is not None else width
    columns, there = np.zeros((len(counts), width), np.int64), np.zeros((len(counts), width), bool)
    columns[rows, place], there[rows, place] = likes.indices[order], True
    return columns, there
