"""Chapter 12's models as `evaluate_rolling` asks for them: a Markov chain, SASRec, and a blend.

A little long, so that what is read, what is fitted to it and when fitting stops stand together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from recsys_tutorial._checks import check_positive, check_within
from recsys_tutorial._likes import only_entries
from recsys_tutorial.course._features import bert_texts, bert_titles
from recsys_tutorial.course._fits import Fit, content, fading_ease, fading_likes, going_on
from recsys_tutorial.models import MarkovChain, SASRec, towers
from recsys_tutorial.models._events import pieces
from recsys_tutorial.models._next_item import next_item_softmax
from recsys_tutorial.ranking import standardize, tie_key
from recsys_tutorial.splits import Split, shuffled_times

KNOWN, READ = 5, 100  # likes that a film needs, and a user's last likes that are learned
DIM = 32
LATEST = 0.15  # of the training users, by arrival: they say when training stops


def markov_chain(split: Split) -> MarkovChain:
    """What follows what, within five steps, asked by the last twenty likes.

    Parameters
    ----------
    split : Split in time

    Returns
    -------
    MarkovChain, fitted
    """
    chain = MarkovChain(50, reach=5, decay=0.9, n_last=20)
    return chain.fit(split.train, split.like_times)


def film_events(split: Split) -> tuple[sparse.csr_matrix, sparse.csr_matrix, np.ndarray]:
    """What SASRec learns from: each user's last 100 likes of films with at least five.

    Parameters
    ----------
    split : Split in time

    Returns
    -------
    likes, times : csr_matrix (n_train_users, n_items)
    known : bool ndarray (n_items,), which films
    """
    likes, times = split.train, split.train.astype(np.float64, copy=True)
    times.data[:] = split.like_times
    known = np.bincount(likes.indices, minlength=likes.shape[1]) >= KNOWN
    kept = known[likes.indices]
    likes, times = only_entries(likes, kept), only_entries(times, kept)
    late = last_of_each(times, READ)
    return only_entries(likes, late), only_entries(times, late), known


def last_of_each(times: sparse.csr_matrix, n: int) -> np.ndarray:
    """Which likes are among their user's last n, those of one time in the order of their columns.

    A mask for what is stored, before there is a model; `models._events.last_events` makes the
    sequences that a model reads.

    Parameters
    ----------
    times : csr_matrix (n_users, n_items), when
    n : int

    Returns
    -------
    bool ndarray (times.nnz,)
    """
    users = np.repeat(np.arange(times.shape[0]), np.diff(times.indptr))
    place = np.empty(times.nnz, np.int64)
    place[np.lexsort([times.data, users])] = np.arange(times.nnz)
    return place >= times.indptr[users + 1] - n


def sequence_model(
    split: Split, seed: int, items: str, dropout: float, *, dim: int = DIM, **options
) -> SASRec:
    """An untrained SASRec over a split's films.

    Parameters
    ----------
    split : Split
    seed : int, of the start values
    items : "ID", "text" (a frozen MiniLM's vectors) or "both"
    dropout : float
    dim : int
    **options : more of `SASRec`'s

    Returns
    -------
    SASRec
    """
    torch.manual_seed(seed)
    n, parts = len(split.items), []
    if items != "text":
        parts.append(towers.IdTower(n, dim, known=np.zeros(n, bool)))
    if items != "ID":
        x = bert_texts(split.items).astype(np.float64)
        x = 0.1 * (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
        parts.append(towers.FeatureTower(x, dim))
    tower = towers.SumTower(*parts) if len(parts) == 2 else parts[0]
    options = {"popularity_prior": True, "dropout": dropout, "dtype": torch.float32} | options
    return SASRec(tower, **options)


def sasrec(
    items: str = "ID",
    *,
    dropout: float = 0.5,
    epochs: tuple[int, int] = (30, 6),
    decay: float = 0.01,
    learning_rate: float = 1e-3,
    shuffled: bool = False,
    share: float = 1.0,
    **options,
) -> Callable[[int], Fit]:
    """SASRec from its start in the first window, trained on in each later one.

    How many passes do good hangs on how much is known, which grows from window to window. So the
    latest arrivals among the training users are kept back, and the epoch stays after which the loss
    of their sequences was lowest.

    Parameters
    ----------
    items, dropout, **options : see `sequence_model`
    epochs : the most of the first window, and of each later one
    shuffled : bool, all histories of training in a random order
    share : float, above 0 to 1, of the users who are learned from, drawn by the seed. Passes and
        patience grow as it shrinks, so that no fewer steps are allowed. Who is kept back, which
        films are asked for and what the prior counts stay the same; a film with fewer than five
        likes from the share and those kept back has no vector of its own

    Returns
    -------
    callable seed -> callable Split -> SASRec; one model, which goes on

    Raises
    ------
    ValueError
        For a share out of range.
    """
    check_positive(share=share)
    check_within(0, 1, share=share)

    def untrained(split: Split, seed: int) -> SASRec:
        return sequence_model(split, seed, items, dropout, **options)

    def train(model: SASRec, split: Split, seed: int, is_first: bool) -> SASRec:
        likes, times, known = film_events(split)
        late = latest(split)
        drawn = drawn_users(split, share, seed) & ~late
        own = np.bincount(split.train[drawn | late].indices, minlength=likes.shape[1]) >= KNOWN
        for part in model.modules():
            if isinstance(part, towers.IdTower):  # too few likes, no vector
                part.known.copy_(torch.from_numpy(own))
        times = shuffled_times(times, seed=seed) if shuffled else times
        return model.fit(
            likes[drawn],
            times[drawn],
            popularity=fading_likes(split),
            epochs=round(epochs[not is_first] / share),
            batch_size=16,
            learning_rate=learning_rate,
            weight_decay=decay,
            seed=seed,
            validation=_likelihood(likes[late], times[late], model.max_length, known),
            patience=round(6 / share),
        )

    return going_on(untrained, train)


def latest(split: Split) -> np.ndarray:
    """Which training users are the last to arrive: they say when training stops.

    Parameters
    ----------
    split : Split in time

    Returns
    -------
    bool ndarray (n_train_users,)
    """
    first = np.full(split.train.shape[0], np.inf)
    users = np.repeat(np.arange(len(first)), np.diff(split.train.indptr))
    np.minimum.at(first, users, split.like_times)
    return first > np.quantile(first[np.isfinite(first)], 1 - LATEST)


def drawn_users(split: Split, share: float, seed: int) -> np.ndarray:
    """A share of the training users: a smaller one is a part of a larger one.

    Parameters
    ----------
    split : Split
    share : float, above 0 to 1
    seed : int, another seed draws others

    Returns
    -------
    bool ndarray (n_train_users,)
    """
    place = tie_key(split.train_user_ids, seed=seed).argsort().argsort()
    return place < share * len(place)


def _likelihood(likes, times, length: int, known: np.ndarray) -> Callable[[SASRec], float]:
    """Mean log-probability of each next event of users that are not learned from."""
    parts, _ = pieces(likes, times.data, length)
    options = {"pieces": parts, "items": np.flatnonzero(known)}

    def mean(model: SASRec) -> float:
        return -float(next_item_softmax(model, np.arange(len(parts)), None, **options))

    return mean


def first_stage(seed: int = 0) -> Fit:
    """Chapter 3's fading EASE + BERT on a window's own users.

    Parameters
    ----------
    seed : int; nothing is drawn

    Returns
    -------
    callable Split -> ndarray (n_test_users, n_items)
    """
    kernel = content(bert_titles, 1.0)(seed)

    def scores(split: Split) -> np.ndarray:
        history = split.test.history
        ease, words = (m.score(history) for m in (fading_ease(split), kernel(split)))
        return 0.5 * standardize(ease) + 0.5 * standardize(words)

    return scores


def blend_with(model: Callable[[int], Fit], weight: float) -> Callable[[int], Fit]:
    """The first stage's scores, and a share of what a model of sequences says.

    Parameters
    ----------
    model : callable seed -> callable Split -> a model that reads times
    weight : float, of the model's standardised scores beside the first stage's

    Returns
    -------
    callable seed -> callable Split -> ndarray (n_test_users, n_items)
    """

    def begin(seed: int) -> Fit:
        fit, first = model(seed), first_stage(seed)

        def scores(split: Split) -> np.ndarray:
            said = fit(split).score(split.test.history, split.test.history_times)
            return standardize(first(split)) + weight * standardize(said)

        return scores

    return begin
