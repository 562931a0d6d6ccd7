"""Two towers: a user vector, an item vector, and nothing but a dot product between them.

What a tower is, is in `models.towers`; how its vectors become scores, in `_two_tower_vectors`; what
`fit` minimises, in `_objectives`; how a model is saved, in `_saving`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_one_of
from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.models._histories import HISTORY_SHARE, checked_popularity
from recsys_tutorial.models._objectives import catalogue_softmax, in_batch_softmax
from recsys_tutorial.models._two_tower_vectors import TwoTowerVectors

# The first edition had the towers here.
from recsys_tutorial.models.towers import *  # noqa: F403
from recsys_tutorial.training import train as run_training

_BLOCK = 256  # users that are encoded at a time


class TwoTower(TwoTowerVectors):
    """score(user, item) = f(user) . g(item) / temperature + w log(1 + n_item).

    f and g are the towers; n_item counts the item's likes in training, and w is learned (the
    popularity prior; without it the towers have to find out for themselves that some items are
    liked by everybody). Temperature and prior are folded into the vectors that `encode_users`
    and `encode_items` return, so that **a score is exactly their dot product**, and any index
    for dot products serves the model: item vectors are computed once, a user's at request time.

    Start values come from torch's global generator when the parts are built: call
    ``torch.manual_seed`` before. `fit` goes on from the present weights.

    Parameters
    ----------
    user_tower : Module
        Reads histories (`HistoryTower`, `TextHistoryTower`), or rows: then it knows its users (or
        queries) by their number only.
    item_tower : Module that reads rows. Give the same object to `HistoryTower` to tie the two.
    similarity : "dot", or "cosine": both vectors scaled to length 1
    temperature : float; by default 1 for "dot", where the towers can scale themselves, and 0.1 for
        "cosine", where it is learned from there (at least 0.01)
    popularity_prior : bool
    dtype : of the trained heads; by default float64 on a machine without a GPU, so that results
        repeat on other processors, else float32. Encoders keep float32.

    Attributes
    ----------
    history_ : DataFrame of `fit`, see `training.train`

    Raises
    ------
    ValueError
        For another similarity, a temperature out of range, and towers whose vectors or items do not
        fit together.
    """

    _kind = "a two-tower model"
    _mend = (
        "It belongs to another model: build this one from the same parts, and unfreeze the same "
        "blocks, as the one that was saved"
    )

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        negatives: str = "all",
        log_q: bool = False,
        popularity: np.ndarray | None = None,
        validation: Callable[[TwoTower], float] | None = None,
        epochs: int = 15,
        learning_rate=3e-3,
        **options,
    ) -> TwoTower:
        """Learn to find what users liked from the rest of what they liked.

        A tower that reads histories never sees the items it has to find: of each user a random
        share of the likes is shown, drawn evenly from 0 to 0.9, and the others are the targets.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items) of ones. For a user tower that reads rows, row u is
            its row u (queries and the pictures that answer them have such a matrix, too).
        negatives : "all", "liked" or "in_batch"
            "all": a softmax over the whole catalogue; an example is a user. Affordable where item
            vectors are cheap, that is with frozen features. "liked": the same over the items that
            somebody liked, so that what may not have been there yet is not pushed away. With the
            popularity prior the two were measured to do alike; without it, new items fill the
            lists: better for them, worse for the lists (chapter 4).
            "in_batch": an example is one like, and the other items of the batch are the negatives,
            except what the user liked.
        log_q : bool, correct in-batch negatives for being drawn by popularity, see `info_nce`
        popularity : ndarray (n_items,) >= 0, optional: what the prior takes for n_item instead of
            the likes in `train`, for example likes that weigh less with age
        validation, epochs, learning_rate : see `training.train`; validation is for example
            ``lambda model: evaluate(model, split.validation)["ndcg@10"]``
        **options : more of `training.train`'s

        Raises
        ------
        ValueError
            For `train` without a like or of another shape than the towers, for other negatives, and
            for a popularity out of range.
        """
        check_one_of(("all", "liked", "in_batch"), negatives=negatives)
        train = check_train(train)
        if train.shape[1] != self.n_items:
            raise ValueError(f"train has {train.shape[1]} items, the item tower {self.n_items}")
        if not self.reads_history and train.shape[0] != self.user_tower.n_rows:
            n_users = self.user_tower.n_rows
            raise ValueError(f"train has {train.shape[0]} users, the user tower {n_users}")
        if self.popularity_prior:
            self.log_popularity.copy_(checked_popularity(popularity, train)[1])
        n_likes = np.diff(train.indptr)  # (n_users,)
        parts = {"train": train, "share": HISTORY_SHARE}
        if negatives == "in_batch":
            users, items = np.repeat(np.arange(len(n_likes)), n_likes), train.indices
            counts = np.bincount(items, minlength=self.n_items)
            parts["log_share"] = np.log(np.maximum(counts, 1) / train.nnz) if log_q else None
        else:
            users = np.flatnonzero(n_likes)
            items = np.unique(train.indices) if negatives == "liked" else np.arange(self.n_items)
        objective = in_batch_softmax if negatives == "in_batch" else catalogue_softmax
        loss = functools.partial(objective, users=users, items=items, **parts)
        options |= {"validation": validation, "epochs": epochs, "learning_rate": learning_rate}
        self.history_ = run_training(self, loss, len(users), **options)
        return self

    def score(self, history: sparse.csr_matrix | np.ndarray) -> np.ndarray:
        """(n_users, n_items), float64: `encode_users(history) @ encode_items().T`."""
        return self.encode_users(history) @ self.encode_items().T

    def encode_users(self, users) -> np.ndarray:
        """Vectors of users, temperature and weight of the prior folded in.

        Parameters
        ----------
        users : csr_matrix (n_users, n_items), what they liked; or int ndarray, rows of a user
            tower that reads rows; or what else the tower's `embed` takes, such as a list of
            texts: a query is a user who liked this one text

        Returns
        -------
        ndarray (n_users, dim [+ 1]), float64
        """
        if sparse.issparse(users):
            users = check_history(users, self.n_items)
        n = users.shape[0] if hasattr(users, "shape") else len(users)
        parts = (users[start : start + _BLOCK] for start in range(0, n, _BLOCK))
        blocks = [self._numpy(self.user_vectors, part) for part in parts]
        width = self.item_tower.dim + self.popularity_prior
        return np.concatenate(blocks) if blocks else np.zeros((0, width))

    def encode_items(self, items: np.ndarray | Sequence | None = None) -> np.ndarray:
        """Vectors of the catalogue (computed once), of some of its rows, or of new items.

        Parameters
        ----------
        items : None; or int ndarray of rows; or what the item tower's `embed` takes, such as the
            texts of films that nobody has rated

        Returns
        -------
        ndarray (n, dim [+ 1]), float64
        """
        return super().encode_items() if items is None else self._numpy(self.item_vectors, items)

    def _description(self) -> dict:
        parts = {"similarity": self.similarity, "popularity prior": self.popularity_prior}
        return parts | super()._description()

    def _numpy(self, encode: Callable, what) -> np.ndarray:
        with evaluating(self):
            return encode(what).double().cpu().numpy()
