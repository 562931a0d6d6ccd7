"""Generative retrieval: a decoder that writes the code of the next item, word by word.

The network is in `_code_network`, its loss in `_next_code`, how codes are written side by side in
`_code_beams`.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_within
from recsys_tutorial._likes import as_likes, check_train
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.models._code_beams import beam_search, every_code
from recsys_tutorial.models._code_network import CodeNetwork
from recsys_tutorial.models._events import Events, last_events, likes_in_time, pieces
from recsys_tutorial.models._next_code import next_code_loss
from recsys_tutorial.training import train as run_training

__all__ = ["GenerativeRetriever"]

_BLOCK = 64  # users whose lists are written at a time
_NODES = 20_000  # of the tree, over users, that are scored at a time


class GenerativeRetriever(CodeNetwork):
    """score(u, j) = log p(code of j | history) = sum_l log p(c_l | history, c_1, ..., c_{l-1}).

    A causal transformer (the blocks of `SASRec`) reads a start sign and the codes of the history's
    items one after the other; each level has a softmax of its own, over those of its words that
    lead to an item's code (see `constrained`). Every word of every event is learned at once, a
    user's first event included: after the start sign alone stands what people like who are not
    known yet. (Codes as words: Rajput et al. 2023, TIGER, arXiv:2305.05065, with an encoder and a
    decoder; one decoder for both as in GPTs.)

    Start values come from torch's global generator: call ``torch.manual_seed`` before. `fit` goes
    on from the present weights.

    Parameters
    ----------
    codes : int ndarray (n_items, n_levels), no two rows alike: `semantic_ids.with_extra_level`
    dim, n_blocks, n_heads : int; dim is a multiple of n_heads
    max_length : int, the most events that are read: of a longer history the last ones
    dropout : float
    constrained : bool, whether each softmax is over the words that lead to an item's code, so that
        the items share all probability, or over all words of the level, as in TIGER, so that the
        network has to learn which codes exist. `generate` writes only codes that exist either way
    dtype : of what is trained; by default float64 on a machine without a GPU, so that results
        repeat on other processors, else float32

    Attributes
    ----------
    history_ : DataFrame of `fit`, see `training.train`

    Raises
    ------
    ValueError
        For codes that two items share, and a number out of range.
    """

    reads_times = True
    _kind = "a model that writes codes"
    _mend = "Build the model with the codes, the sizes and `constrained` of the one that was saved"

    def fit(
        self,
        train: sparse.csr_matrix,
        times: np.ndarray | sparse.csr_matrix,
        *,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 0,
        **options,
    ) -> GenerativeRetriever:
        """Learn to write each event of the training users after those before it; return self.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked
        times : ndarray (train.nnz,) in the order of ``train.indices``, or csr_matrix: when, in
            seconds, as `Split.like_times`
        epochs, learning_rate, seed, **options : see `training.train`
        batch_size : int, pieces of at most `max_length` + 1 events

        Raises
        ------
        ValueError
            For `train` without two likes of one user or of another width, and times that do not
            fit.
        """
        likes, times = likes_in_time(train, "train", times, self.tree.n_items)
        parts, users = pieces(check_train(likes), times, self.max_length, seed=seed)
        if not len(parts):
            raise ValueError("nobody has two likes in train: there is no next item to learn from")
        first = np.concatenate([[True], users[1:] != users[:-1]])
        loss = functools.partial(next_code_loss, pieces=parts, first=first)
        options |= {"epochs": epochs, "batch_size": batch_size, "seed": seed}
        self.history_ = run_training(self, loss, len(parts), learning_rate=learning_rate, **options)
        return self

    def score(
        self, history: sparse.csr_matrix, times: sparse.csr_matrix | np.ndarray
    ) -> np.ndarray:
        """The log-probability of every item's code: exact, through all nodes of the tree.

        The cost grows with the catalogue, as for any model that scores all items; `generate` is
        for catalogues that do not allow it.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked
        times : csr_matrix or ndarray, when, as `Holdout.history_times`

        Returns
        -------
        ndarray (n_users, n_items), float64. Their exponentials sum to 1; not `constrained`, to
        1 at most: what is on codes that no item has is lost.

        Raises
        ------
        ValueError
            For a history of another width, or times that do not fit.
        """
        _, events = self._read_from(history, times)
        scores = np.empty((len(events), self.tree.n_items))
        widest = max([1, *map(len, self.tree.words[:-1])])
        step = max(1, _NODES // widest)
        for start in range(0, len(events), step):
            rows = np.arange(start, min(start + step, len(events)))
            with evaluating(self):
                leaves = every_code(self, events.rows(rows)).double().cpu().numpy()
            scores[rows] = leaves[:, self.tree.node_of[-1]]
        return scores

    def generate(
        self,
        history: sparse.csr_matrix,
        times: sparse.csr_matrix | np.ndarray,
        k: int = 10,
        beams: int = 20,
        seen: sparse.csr_matrix | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write a list for each user, by beam search through the codes that exist.

        Of each level the `beams` most probable beginnings go on. Only words are written that lead
        to an item which the user has not seen, so that a list holds items of the catalogue, each
        once, and none that was seen. With as many beams as items the list is that of `score`.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked
        times : csr_matrix or ndarray, when, as `Holdout.history_times`
        k : int, how long the list is to be
        beams : int, k to the number of items
        seen : csr_matrix (n_users, n_items), > 0 for what must not be written, as `Holdout.seen`;
            by default the history

        Returns
        -------
        items : int64 ndarray (n_users, k), best first; -1 where a user has seen all others
        log_probabilities : float64 ndarray (n_users, k), of their codes; -inf there

        Raises
        ------
        ValueError
            For a history of another width, times or a `seen` that do not fit, fewer beams than k.
        """
        check_within(1, self.tree.n_items, k=k)
        check_within(k, self.tree.n_items, beams=beams)
        likes, events = self._read_from(history, times)
        barred = likes if seen is None else as_likes(seen, "seen", self.tree.n_items)
        if barred.shape != likes.shape:
            raise ValueError(f"seen has {barred.shape[0]} users, the history {likes.shape[0]}")
        items = np.full((len(events), k), -1, np.int64)
        found = np.full((len(events), k), -np.inf)
        for start in range(0, len(events), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(events)))
            with evaluating(self):
                nodes, total = beam_search(self, events.rows(rows), barred[rows], beams)
            n = min(k, nodes.shape[1])
            kept = np.isfinite(total[:, :n])
            items[rows, :n] = np.where(kept, self.tree.leaf_items[nodes[:, :n]], -1)
            found[rows, :n] = total[:, :n]
        return items, found

    def _description(self) -> dict:
        digest = hashlib.sha256(np.ascontiguousarray(self.tree.codes, "<i8").tobytes())
        own = {"codes": digest.hexdigest()}
        own |= {"constrained": True} if self.constrained else {}  # older files do not have it
        return own | super()._description()

    def _read_from(self, history, times) -> tuple[sparse.csr_matrix, Events]:
        """The likes of a history, and the last ones in their order."""
        likes, times = likes_in_time(history, "history", times, self.tree.n_items)
        return likes, last_events(likes, times, self.max_length)
