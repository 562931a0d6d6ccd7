"""A second stage: an interaction model that orders the candidates of a first one.

What it reads is in `models.candidate_lists`. Almost half of the lines are
docstrings of its one class.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from recsys_tutorial._checks import check_at_least, finite_vectors
from recsys_tutorial._likes import check_history
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.models._histories import choose_likes
from recsys_tutorial.models._objectives import candidate_softmax
from recsys_tutorial.models.candidate_lists import CandidateLists
from recsys_tutorial.training import train as run_training

_BLOCK = 16  # users whose candidates are scored at a time
_RATE = 0.01  # of the two weights that all designs share


class InteractionRanker(nn.Module):
    """score(u, i) = interaction(f(u), g(i)) + w_r r_ui + w_p log(1 + n_i) for candidates i.

        h_jp = W_p x_jp,  f(u) = sum over liked j and parts p of h_jp / sqrt(number of j),
        g(i) = sum over p of V_p x_ip

    with the items' fixed features x, in one part or several (title, genres, year: x_ip is part p of
    item i; with linear heads the sum over parts is one head on all features side by side). r_ui is
    the first stage's score. w_r starts at 1, w_p and the V at 0: every design starts from the first
    stage's order.

    An interaction with ``reads_history = True`` gets the films of the history instead of f(u), one
    vector each; with ``reads_parts = True`` it gets each part of each film, and each part of the
    candidate, as a vector of its own. ``interaction=None`` leaves it out: the two weights alone.

    Start values come from torch's global generator: call ``torch.manual_seed`` before, and before
    the interaction is built. Everything is float64.

    Parameters
    ----------
    features : ndarray (n_items, n_features), or a sequence of them, one for each part
    interaction : None, or a Module or function
        (users (batch, dim), items (batch, dim)) -> (batch,), or a Module with
        ``reads_history = True``: (history (batch, length, dim), mask, items) -> (batch,), where
        items is (batch, n_parts, dim) if it also has ``reads_parts = True``
    dim : int, length of f and g; None leaves the heads out: h_j = g(j) = x_j
    max_history : int
        The most films that a history-reading interaction gets: in training a random choice, in
        `score` spaced evenly over the catalogue's order.

    Attributes
    ----------
    history_ : DataFrame of `fit`, see `training.train`

    Raises
    ------
    ValueError
        For features of another form or not finite, and a max_history below 1.
    """

    def __init__(
        self,
        features: np.ndarray | Sequence[np.ndarray],
        interaction,
        dim: int | None = 16,
        *,
        max_history: int = 20,
    ):
        super().__init__()
        parts = [features] if isinstance(features, np.ndarray) else list(features)
        parts = [finite_vectors("features", part).astype(np.float64) for part in parts]
        check_at_least(1, max_history=max_history)
        self.sizes = [part.shape[1] for part in parts]
        features = torch.from_numpy(np.hstack(parts))
        self.register_buffer("features", features, persistent=False)  # (n_items, n_features)
        self.reads_history = getattr(interaction, "reads_history", False)
        self.reads_parts = getattr(interaction, "reads_parts", False)
        self.user_head = None if dim is None else nn.Linear(features.shape[1], dim, bias=False)
        self.item_head = None if dim is None else nn.Linear(features.shape[1], dim, bias=False)
        if dim is not None:
            nn.init.zeros_(self.item_head.weight)
        self.interaction, self.max_history = interaction, max_history
        self.retriever_weight = nn.Parameter(torch.tensor(1.0))
        self.popularity_weight = nn.Parameter(torch.tensor(0.0))
        self.double()

    def fit(
        self,
        lists: CandidateLists,
        *,
        n_positives: int = 4,
        n_negatives: int = 28,
        epochs: int = 20,
        learning_rate: float = 1e-2,
        **options,
    ) -> InteractionRanker:
        """Learn to find the liked candidates among those of the same list that were not.

        Parameters
        ----------
        lists : CandidateLists, each with something liked, such as `training_lists` gives
        n_positives, n_negatives : int, the most of each kind that a step draws from a list
        epochs, learning_rate : see `training.train`; the weights of retriever and popularity keep a
            rate of their own, so that they do not depend on the design beside them
        **options : more of `training.train`'s

        Returns
        -------
        InteractionRanker, itself; `fit` goes on from the present weights

        Raises
        ------
        ValueError
            For lists of other items, a list with nothing liked in it, and numbers out of range.
        """
        self._check(lists)
        check_at_least(1, n_positives=n_positives, n_negatives=n_negatives)
        if not (len(lists) and lists.liked.any(axis=1).all()):
            raise ValueError("there must be a list, and something liked in each")
        loss = functools.partial(
            candidate_softmax, lists=lists, n_positives=n_positives, n_negatives=n_negatives
        )
        rates = {"": learning_rate, "retriever_weight": _RATE, "popularity_weight": _RATE}
        options |= {"epochs": epochs, "learning_rate": rates}
        self.history_ = run_training(self, loss, len(lists), **options)
        return self

    def forward(
        self,
        history: sparse.csr_matrix,
        columns: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> Tensor:
        """The interaction's part of the scores, with gradients; 0 without an interaction.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)
        columns : int ndarray (n_users, k), candidates
        rng : numpy Generator that chooses from long histories; without it the choice is spaced
            evenly

        Returns
        -------
        Tensor (n_users, k), float64
        """
        history = check_history(history, len(self.features))
        n_users, k = columns.shape
        if self.interaction is None:
            return self.features.new_zeros(n_users, k)
        items = self._vectors(self.item_head, columns).flatten(0, 1)  # (n_users * k, [parts,] dim)
        if self.reads_history:
            chosen, there = choose_likes(history, self.max_history, rng)  # (n_users, length) both
            liked = self._vectors(self.user_head, chosen)  # (n_users, length, [parts,] dim)
            if self.reads_parts:
                there = there.repeat(liked.shape[2], axis=1)
                liked = liked.flatten(1, 2)  # (n_users, length * parts, dim)
            user = liked, torch.from_numpy(there).to(liked.device)
        else:
            user = (self.users(history),)  # (n_users, dim)
        user = [part.repeat_interleave(k, 0) for part in user]
        return self.interaction(*user, items).view(n_users, k)

    def base(self, retriever: np.ndarray, log_popularity: np.ndarray) -> Tensor:
        """w_r r_ui + w_p log(1 + n_i), what all designs share.

        Parameters
        ----------
        retriever, log_popularity : ndarray (n_users, k), as in `CandidateLists`

        Returns
        -------
        Tensor (n_users, k)
        """
        r, p = (torch.from_numpy(a).to(self.features) for a in (retriever, log_popularity))
        return self.retriever_weight * r + self.popularity_weight * p

    def users(self, history: sparse.csr_matrix) -> Tensor:
        """f(u), with gradients; 0 for who liked nothing.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items)

        Returns
        -------
        Tensor (n_users, dim)
        """
        history = check_history(history, len(self.features))
        liked = np.unique(history.indices)
        vectors = self.features[liked]  # (n_liked, n_features)
        vectors = vectors if self.user_head is None else self.user_head(vectors)
        n = np.maximum(np.diff(history.indptr), 1)
        weights = history[:, liked].toarray() / np.sqrt(n)[:, None]  # (n_users, n_liked)
        return torch.from_numpy(weights).to(vectors) @ vectors

    def score(self, lists: CandidateLists) -> np.ndarray:
        """Scores of the candidates.

        Parameters
        ----------
        lists : CandidateLists

        Returns
        -------
        ndarray (n, k), float64: `lists.full` makes of it what `evaluate` takes

        Raises
        ------
        ValueError
            For lists of other items.
        """
        self._check(lists)
        found = [np.empty((0, lists.columns.shape[1]))]
        with evaluating(self):
            for start in range(0, len(lists), _BLOCK):
                part = slice(start, start + _BLOCK)
                scores = self(lists.history[part], lists.columns[part])
                scores = scores + self.base(lists.retriever[part], lists.log_popularity[part])
                found.append(scores.cpu().numpy())
        return np.vstack(found)

    def _vectors(self, head: nn.Linear | None, columns: np.ndarray) -> Tensor:
        """Vectors (n, k, [parts,] dim) of items (n, k), each item through the head once."""
        unique, place = np.unique(columns, return_inverse=True)
        found = self.features[unique]
        if self.reads_parts:
            weights = head.weight.split(self.sizes, 1)  # (dim, size) each
            pieces = zip(found.split(self.sizes, 1), weights, strict=True)
            found = torch.stack([x @ w.T for x, w in pieces], 1)  # (n_unique, parts, dim)
        elif head is not None:
            found = head(found)  # (n_unique, dim)
        return found[place.reshape(columns.shape)]

    def _check(self, lists: CandidateLists) -> None:
        n_items = len(self.features)
        if lists.history.shape[1] != n_items:
            raise ValueError(f"the lists have {lists.history.shape[1]} items, not {n_items}")
