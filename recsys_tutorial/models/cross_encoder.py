"""The cross-encoder: user text and item text in one BERT sequence, a score from its last layer.

What it does and takes is half of the lines; the network itself is in `_pair_network`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recsys_tutorial._checks import check_one_of, check_shape
from recsys_tutorial._files.tensors import save_tensors
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.losses.lists import (
    distillation_loss,
    listwise_loss,
    pairwise_loss,
    pointwise_loss,
)
from recsys_tutorial.models._pair_network import PairNetwork
from recsys_tutorial.models._saving import read_into
from recsys_tutorial.models.pair_layout import Texts
from recsys_tutorial.training import train as run_training
from recsys_tutorial.training.monitor import model_state

LOSSES = {"pointwise": pointwise_loss, "pairwise": pairwise_loss, "listwise": listwise_loss}
_KIND = "a cross-encoder's adapter"
_USERS = 32  # users whose keys and values are held at a time


class CrossEncoder(PairNetwork):
    """score(user, item) = w . tanh(W h + b) + c, with h from BERT([CLS] user [SEP] item [SEP]).

    Every token looks at every other, so the score can depend on how the two texts fit, word by
    word (Nogueira & Cho 2019, arXiv:1901.04085). The price: nothing can be computed ahead for an
    item, and a score costs a pass through the network. So it is no `protocols.Recommender`, which
    would score all items, but the second stage of one: it learns from lists of candidates, and
    scores the candidates of a first stage (`reranking.Candidates`) as pairs of texts::

        found = Candidates(first.score(history), holdout, n)
        users = np.repeat(user_texts(history, titles), n)
        scores = model.score_pairs(users, [texts[column] for column in found.ranked.ravel()])

    ``attention="full"``: h is the vector of [CLS] after the last block; with the same weights this
    is sentence-transformers' CrossEncoder. ``attention="prefix"``: the same sequence, but the
    user's tokens do not look at the candidate. Their keys and values are then the same for all
    candidates and are computed once; h is the vector of the last [SEP]. A score costs the
    candidate's tokens only.

    Parameters
    ----------
    name : as in `pretrained.text_encoder`
    attention : "full" or "prefix"
    layer : int, blocks that are kept, counted from below; -1 is all of them
    last_blocks : int or "all", how many of the last blocks are trained (0: only W, b, w and c;
        "all": the embeddings, too)
    lora_rank : int or None; train low-rank updates of those blocks' matrices instead (Hu et al.
        2022, arXiv:2106.09685)
    max_user_tokens, max_tokens : int, see `PairLayout`
    dropout : float, while training
    seed : int, of the random start of w and of the updates
    device : torch device; by default as in `TextEncoder`

    Attributes
    ----------
    layout : PairLayout, which makes token numbers of texts
    batch_tokens : int, tokens that are run at a time, padding included: 2,048; may be changed
    description : dict, the settings that a saved file must agree with
    history_ : DataFrame of `fit`, one row per epoch
    train_users_ : hash of the users it was fitted on, or None

    Raises
    ------
    ValueError
        For another `attention`, for blocks that BERT does not have, and where `max_user_tokens`
        leaves no room for a candidate.
    """

    train_users_: str | None = None

    def score_pairs(self, users: Sequence[str], items: Sequence[str]) -> np.ndarray:
        """One score for each pair of texts, whatever their order and what else is in the batch.

        Each different text is tokenised once, and pairs of about equal length are run together, so
        that next to nothing is padding.

        Parameters
        ----------
        users, items : sequences of str (n,); a user's text may be cut at its end, a candidate's
            never is (see `PairLayout`)

        Returns
        -------
        ndarray (n,), float64; higher is better

        Raises
        ------
        ValueError
            For sequences of different lengths, for what is no str, and for a candidate that is
            too long to be read whole.
        """
        if str in (type(users), type(items)) or len(users) != len(items):
            raise ValueError("users and items must be two sequences of texts, equally long")
        users, items = self.layout.users(users), self.layout.items(items)
        scores = np.zeros(len(users.rows))
        with evaluating(self):
            for rows in self._groups(users.rows):
                found = self(*_pairs(users, rows, items, rows))
                scores[rows] = found.double().cpu().numpy()
        return scores

    def _groups(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Pairs of a few users at a time where users' states are held; else all at once."""
        if self.attention == "full":
            if len(rows):
                yield np.arange(len(rows))
            return
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], np.arange(_USERS, rows.max(initial=-1) + 1, _USERS))
        yield from (part for part in np.split(order, ends) if len(part))

    def fit(
        self,
        users: Sequence[str],
        items: Sequence[str],
        candidates: np.ndarray,
        labels: np.ndarray,
        *,
        loss: str = "listwise",
        teacher: np.ndarray | None = None,
        distill: float = 0.5,
        user_ids: Sequence[int] | None = None,
        epochs: int = 1,
        batch_size: int = 2,
        learning_rate: float | dict[str, float] | None = None,
        validation: Callable[[CrossEncoder], float] | None = None,
        **options,
    ) -> CrossEncoder:
        """Learn to order lists of candidates, such as a retriever really proposes; return self.

        Parameters
        ----------
        users : sequence of str (n_lists,), the text of each list's user
        items : sequence of str (n_items,), texts that `candidates` points into
        candidates : int ndarray (n_lists, list_size)
        labels : ndarray (n_lists, list_size), 1 where liked, else 0
        loss : "pointwise", "pairwise" or "listwise"
        teacher : ndarray (n_lists, list_size), another model's scores, or None
        distill : weight of `distillation_loss` where there is a teacher; 1 - distill is the loss's
        user_ids : sequence of int, whose lists they are; `train_users_` keeps their hash
        epochs : int
        batch_size : int, lists in a step
        learning_rate : by default 5e-4 for low-rank updates and 5e-5 for blocks, 1e-3 for the rest
        validation : callable model -> float, or None; larger is better
        **options : see `training.train`; with `checkpoint` a run that was killed goes on

        Raises
        ------
        ValueError
            For another loss, for arrays that do not fit each other, and for texts as in
            `score_pairs`.
        """
        check_one_of(LOSSES, loss=loss)
        candidates, labels, teacher = _checked_lists(len(users), candidates, labels, teacher)
        used, place = np.unique(candidates, return_inverse=True)
        place = place.reshape(candidates.shape)
        read = self.layout.users(users)
        texts = self.layout.items([items[row] for row in used])

        def objective(model: CrossEncoder, rows: np.ndarray, rng) -> Tensor:
            pairs = _pairs(read, np.repeat(rows, place.shape[1]), texts, place[rows].ravel())
            scores = model(*pairs).reshape(len(rows), -1)  # (batch_size, list_size)
            value = LOSSES[loss](scores, labels[rows].to(scores))
            if teacher is None:
                return value
            return (1 - distill) * value + distill * distillation_loss(scores, teacher[rows])

        rate = 5e-5 if self.description["lora_rank"] is None else 5e-4
        options |= {"epochs": epochs, "batch_size": batch_size, "validation": validation}
        learning_rate = {"": 1e-3, "bert": rate} if learning_rate is None else learning_rate
        options["learning_rate"] = learning_rate
        self.history_ = run_training(self, objective, len(users), **options)
        self.train_users_ = None if user_ids is None else hash_of_users(user_ids)
        return self

    def save(self, path: str | os.PathLike, notes: dict | None = None) -> None:
        """Write what was trained, and the hash of whom it was trained on, whole or not at all.

        Parameters
        ----------
        path : file name, ".safetensors" by custom; its folder is created
        notes : dict that JSON can hold, optional: kept in the file for who looks into it
        """
        info = {"kind": _KIND, "model": self.description, "train_users": self.train_users_}
        save_tensors(path, model_state(self), {**info, "notes": notes or {}})

    def load(self, path: str | os.PathLike) -> CrossEncoder:
        """Read what `save` wrote into a model that was built with the same settings; return self.

        Parameters
        ----------
        path : file name

        Raises
        ------
        FileNotFoundError
        ValueError
            When the file is damaged or belongs to a model with other settings.
        """
        mend = "Build the model with the settings of the one that was saved"
        info = read_into(self, path, _KIND, "model", self.description, mend)
        self.train_users_ = info["train_users"]
        return self


def _pairs(
    users: Texts, whose: np.ndarray, items: Texts, what: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """What `forward` takes of users and items at these positions; each user is there once."""
    numbers, owner = np.unique(users.rows[whose], return_inverse=True)
    return [users.ids[n] for n in numbers], owner, [items.ids[n] for n in items.rows[what]]


def _checked_lists(
    n_lists: int, candidates: np.ndarray, labels: np.ndarray, teacher: np.ndarray | None
) -> tuple[np.ndarray, Tensor, Tensor | None]:
    """What `fit` was given, as array and tensors; ValueError unless all are (n_lists, size)."""
    candidates, labels = np.asarray(candidates), torch.as_tensor(np.asarray(labels, float))
    teacher = None if teacher is None else torch.as_tensor(np.asarray(teacher))
    for what, values in (("candidates", candidates), ("labels", labels), ("teacher", teacher)):
        if values is not None:
            check_shape(what, values, (n_lists, candidates.shape[-1]))
    return candidates, labels, teacher


def hash_of_users(user_ids: Sequence[int]) -> str:
    """A sha256 (64 hexadecimal digits) of a set of users, whatever their order.

    Parameters
    ----------
    user_ids : sequence of int
    """
    return hashlib.sha256(np.unique(np.asarray(user_ids, dtype=np.int64)).tobytes()).hexdigest()
