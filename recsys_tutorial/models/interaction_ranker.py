"""A second stage: an interaction model that orders the best candidates of a first one.

What `fit` minimises is in `models._objectives`. Half of the module are its one class's docstrings.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least, finite_vectors
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial._modules import evaluating
from recsys_tutorial.models._histories import HISTORY_SHARE, checked_popularity, choose_likes
from recsys_tutorial.models._objectives import sampled_softmax
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

    Attributes
    ----------
    max_history : int
        The most h_j that a history-reading interaction gets, 20: in training a random choice, in
        `score` spaced evenly over the catalogue's order.
    history_ : DataFrame of `fit`, see `training.train`

    Raises
    ------
    ValueError
        For features of another form or not finite, and a number of candidates below 1.
    """

    def __init__(
        self,
        features: np.ndarray,
        interaction,
        dim: int | None = 16,
        *,
        retriever=None,
        n_candidates: int = 200,
    ):
        super().__init__()
        features = finite_vectors("features", features).astype(np.float64)
        check_at_least(1, n_candidates=n_candidates)
        self.n_items, n_features = features.shape
        self.register_buffer("features", torch.from_numpy(features), persistent=False)
        self.register_buffer("log_popularity", torch.zeros(self.n_items))
        none = dim is None
        self.user_head = nn.Identity() if none else nn.Linear(n_features, dim)
        self.item_head = nn.Identity() if none else nn.Linear(n_features, dim)
        self.interaction = interaction
        self.popularity_weight = nn.Parameter(torch.tensor(1.0))
        self.reads_history = getattr(interaction, "reads_history", False)
        self.n_candidates, self.max_history = n_candidates, 20
        self._retriever = (retriever,)  # in a tuple: its parameters are not this model's
        self.double()

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        popularity: np.ndarray | None = None,
        n_positives: int = 4,
        n_negatives: int = 60,
        epochs: int = 15,
        learning_rate=1e-2,
        **options,
    ) -> InteractionRanker:
        """Learn to find hidden likes among negatives that are drawn by popularity.

        An example is a user: a random share of the likes, from 0 to 0.9, is shown, up to
        `n_positives` of the others are to be found among `n_negatives` items drawn from q ~ 1 +
        n_i. Each negative counts 1 / (n_negatives q), so that the sum estimates the softmax over
        the catalogue, as in `losses.sampled_softmax_loss`.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items) of ones
        popularity : ndarray (n_items,) >= 0, n_i; by default the likes in `train`
        n_positives, n_negatives : int, see above
        epochs, learning_rate : see `training.train`
        **options : more of `training.train`'s

        Raises
        ------
        ValueError
            For `train` without a like or of another width, and for numbers out of range.
        """
        train = check_train(train)
        if train.shape[1] != self.n_items:
            raise ValueError(f"train has {train.shape[1]} items, the features {self.n_items}")
        check_at_least(1, n_positives=n_positives, n_negatives=n_negatives)
        n, log_popularity = checked_popularity(popularity, train)
        self.log_popularity.copy_(log_popularity)
        users = np.flatnonzero(np.diff(train.indptr) > 1)  # one like to show, one to hide
        loss = functools.partial(
            sampled_softmax, train=train, users=users, q=(1.0 + n) / (1.0 + n).sum(),
            n_positives=n_positives, n_negatives=n_negatives, share=HISTORY_SHARE,
        )  # fmt: skip
        options |= {"epochs": epochs, "learning_rate": learning_rate}
        self.history_ = run_training(self, loss, len(users), **options)
        return self

    def forward(
        self,
        history: sparse.csr_matrix,
        columns: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> Tensor:
        """Scores of some items of each user, with gradients.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)
        columns : int ndarray (n_users, k), the items
        rng : numpy Generator that chooses from long histories; without it the choice is spaced
            evenly

        Returns
        -------
        Tensor (n_users, k), float64
        """
        history = check_history(history, self.n_items)
        n_users, k = columns.shape
        items = self._of_columns(self.item_head, columns).flatten(0, 1)  # (n_users * k, dim)
        if self.reads_history:
            chosen, there = choose_likes(history, self.max_history, rng)  # (n_users, length) both
            liked = self._of_columns(self.user_head, chosen)  # (n_users, length, dim)
            user = liked, torch.from_numpy(there).to(liked.device)
        else:
            user = (self.users(history),)  # (n_users, dim)
        user = [part.repeat_interleave(k, 0) for part in user]
        scores = self.interaction(*user, items).view(n_users, k)
        return scores + self.popularity_weight * self.log_popularity[columns]

    def users(self, history: sparse.csr_matrix) -> Tensor:
        """f(u), with gradients; 0 for who liked nothing.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)

        Returns
        -------
        Tensor (n_users, dim)
        """
        history = check_history(history, self.n_items)
        liked = np.unique(history.indices)
        vectors = self.user_head(self.features[liked])  # (n_liked, dim)
        n = np.maximum(np.diff(history.indptr), 1)
        weights = history[:, liked].toarray() / np.sqrt(n)[:, None]  # (n_users, n_liked)
        return torch.from_numpy(weights).to(vectors) @ vectors

    def candidates(self, history: sparse.csr_matrix) -> np.ndarray:
        """The retriever's best columns that are not in the history.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)

        Returns
        -------
        int ndarray (n_users, n_candidates), -1 where there are fewer

        Raises
        ------
        ValueError without a retriever.
        """
        if self._retriever[0] is None:
            raise ValueError("there is no retriever: pass one to InteractionRanker, or candidates")
        history = check_history(history, self.n_items)  # a stored zero is no reason to leave it out
        return rank(self._retriever[0].score(history), history, self.n_candidates)

    def score(self, history: sparse.csr_matrix, candidates: np.ndarray | None = None) -> np.ndarray:
        """Scores of the candidates, -inf elsewhere.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)
        candidates : int ndarray (n_users, k) of columns, -1 pads; by default the retriever's best

        Returns
        -------
        ndarray (n_users, n_items), float64

        Raises
        ------
        ValueError
            For candidates of another form or of columns that do not exist, or with none given and
            no retriever.
        """
        history = check_history(history, self.n_items)
        candidates = self.candidates(history) if candidates is None else np.asarray(candidates)
        if candidates.ndim != 2 or len(candidates) != history.shape[0]:
            each = f"a row for each of {history.shape[0]} users"
            raise ValueError(f"candidates must have {each}, got {candidates.shape}")
        if candidates.size and not -1 <= candidates.min() <= candidates.max() < self.n_items:
            raise ValueError(f"candidates must be columns below {self.n_items}, or -1")
        scores = np.full((history.shape[0], self.n_items + 1), -np.inf)  # the last column: padding
        with evaluating(self):
            for start in range(0, history.shape[0], _BLOCK):
                block = slice(start, start + _BLOCK)
                columns = candidates[block]
                found = self(history[block], np.maximum(columns, 0)).cpu().numpy()
                np.put_along_axis(scores[block], columns, found, 1)
        return scores[:, :-1]

    def _of_columns(self, head: nn.Module, columns: np.ndarray) -> Tensor:
        """Vectors (n_users, k, dim) of items (n_users, k), each item through the head once."""
        unique, place = np.unique(columns, return_inverse=True)
        return head(self.features[unique])[place.reshape(columns.shape)]
