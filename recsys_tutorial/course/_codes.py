"""Chapter 13's models as `evaluate_rolling` asks for them: a decoder of semantic IDs.

Codes of films stand in `data/semantic_ids/films.csv`, so that a trained decoder does not hang on
the last bit of a clustering; for other films they are made. A little long, so that codes, decoder
and what a code costs stand together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from recsys_tutorial._files import data_dir
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.course._features import bert_texts
from recsys_tutorial.course._fits import Fit, fading_log, going_on
from recsys_tutorial.course._sequences import KNOWN, film_events, latest
from recsys_tutorial.datasets import film_texts
from recsys_tutorial.models import GenerativeRetriever, ImplicitALS, SASRec, unit_rows
from recsys_tutorial.models._events import pieces
from recsys_tutorial.models._next_item import next_item_softmax
from recsys_tutorial.models.generative import next_code_loss
from recsys_tutorial.semantic_ids import residual_kmeans, with_extra_level
from recsys_tutorial.splits import Split

SIZES = (64, 64, 64)
WORDS = [f"word_{level}" for level in range(1, len(SIZES) + 1)]
TITLE_WORDS = [f"title_{name}" for name in WORDS]  # made of titles alone: to look at


def film_codes(items: pd.DataFrame) -> np.ndarray:
    """Each film's code by its text: title, year and genres, as MiniLM reads them.

    Parameters
    ----------
    items : DataFrame with ``title``, ``genres`` and ``year``, a row per film

    Returns
    -------
    int64 ndarray (n_items, 4), three words of 64 and the one that tells apart
    """
    texts = hashlib.sha256("\n".join(film_texts(items)).encode()).hexdigest()
    path = data_dir() / "semantic_ids" / "films.csv"
    if path.exists() and path.read_text(encoding="utf-8").startswith(f"# {texts}"):
        words = pd.read_csv(path, comment="#")[WORDS].to_numpy()
    else:
        words = made_codes(items)
    return with_extra_level(words)


def made_codes(items: pd.DataFrame) -> np.ndarray:
    """Three words for each film, made anew; see `film_codes`."""
    vectors = unit_rows(bert_texts(items).astype(np.float64), center=True)
    sizes = [min(size, len(vectors)) for size in SIZES]
    return residual_kmeans(vectors, sizes)[0]


def random_codes(items: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """The same codes, each given to a film at random: used alike, and no word means anything.

    Parameters
    ----------
    items : see `film_codes`
    seed : int

    Returns
    -------
    int64 ndarray (n_items, 4)
    """
    codes = film_codes(items)
    return codes[np.random.default_rng(seed).permutation(len(codes))]


def liked_codes(split: Split, seed: int = 0) -> np.ndarray:
    """Codes by who liked a film: of ALS vectors, from the likes that a split knows.

    A film with fewer likes than are learned from has no vector: its words are drawn.

    Parameters
    ----------
    split : Split
    seed : int, of what is drawn

    Returns
    -------
    int64 ndarray (n_items, 4)
    """
    known = np.bincount(split.train.indices, minlength=split.train.shape[1]) >= KNOWN
    factors = ImplicitALS(32, 10.0, 3.0, 8, seed=0).fit(split.train).item_factors_
    sizes = [min(size, int(known.sum())) for size in SIZES]
    words = np.random.default_rng(seed).integers(sizes, size=(len(known), len(sizes)))
    words[known] = residual_kmeans(unit_rows(factors[known], center=True), sizes)[0]
    return with_extra_level(words)


CODES: dict[str, Callable[[Split, int], np.ndarray]] = {
    "text": lambda split, seed: film_codes(split.items),
    "random": lambda split, seed: random_codes(split.items, seed),
    "ALS": liked_codes,
}


def code_decoder(
    codes: str = "text",
    *,
    dropout: float = 0.2,
    decay: float = 2.0,
    learning_rate: float = 1e-2,
    epochs: tuple[int, int] = (40, 6),
    dim: int = 64,
    max_length: int = 20,
    **options,
) -> Callable[[int], Fit]:
    """A decoder from its start in the first window, trained on in each later one, as `sasrec`.

    Its codes are those of the first window, since a decoder learns what the words mean. The seed
    is of its start, of the order of training and of codes that are dealt.

    Parameters
    ----------
    codes : "text", "random" or "ALS"
    dropout, dim, max_length, **options : see `GenerativeRetriever`
    decay, learning_rate : float, of the training
    epochs : of the first window, and of each later one; the latest arrivals among the training
        users say which one stays. All are run: behind a level stretch the loss falls once more,
        when the learning rate is low

    Returns
    -------
    callable seed -> callable Split -> GenerativeRetriever; one model, which goes on
    """

    def untrained(split: Split, seed: int) -> GenerativeRetriever:
        torch.manual_seed(seed)
        sizes = {"dim": dim, "max_length": max_length, "dropout": dropout}
        sizes |= {"dtype": torch.float32} | options
        return GenerativeRetriever(CODES[codes](split, seed), **sizes)

    def train(model: GenerativeRetriever, split: Split, seed: int, is_first: bool):
        likes, times, _ = film_events(split)
        late = latest(split)
        return model.fit(
            likes[~late],
            times[~late],
            epochs=epochs[not is_first],
            batch_size=16,
            learning_rate=learning_rate,
            weight_decay=decay,
            seed=seed,
            validation=code_likelihood(likes[late], times[late], model.max_length),
            patience=epochs[not is_first],
        )

    return going_on(untrained, train)


def code_likelihood(likes, times, length: int) -> Callable[[GenerativeRetriever], float]:
    """Mean log-probability of each event's code, in nats, of users that are not learned from.

    Parameters
    ----------
    likes, times : csr_matrix (n_users, n_items), as `film_events` gives them
    length : int, the most events that are read

    Returns
    -------
    callable GenerativeRetriever -> float
    """
    parts, users = pieces(likes, times.data, length)
    first = np.concatenate([[True], users[1:] != users[:-1]])

    def mean(model: GenerativeRetriever) -> float:
        with evaluating(model):
            loss = next_code_loss(model, np.arange(len(parts)), None, pieces=parts, first=first)
        return -float(loss)

    return mean


def next_nats(model: GenerativeRetriever | SASRec, split: Split) -> float:
    """What each event after their first one costs the users that are not learned from.

    Parameters
    ----------
    model : fitted by `code_decoder` or `sasrec`
    split : Split, of the fit

    Returns
    -------
    float, mean of -log p(next film), in nats. SASRec shares its probability among the films that
    are learned, a decoder among all films, or, not `constrained`, among all words
    """
    likes, times, known = film_events(split)
    late = latest(split)
    parts, _ = pieces(likes[late], times[late].data, model.max_length)
    rows = np.arange(len(parts))
    with evaluating(model):
        if isinstance(model, SASRec):
            kept = {"pieces": parts, "items": np.flatnonzero(known)}
            return float(next_item_softmax(model, rows, None, **kept))
        nobody = np.zeros(len(parts), bool)
        return float(next_code_loss(model, rows, None, pieces=parts, first=nobody))


def popular_nats(split: Split) -> float:
    """`next_nats` of how often a film was liked by the users who are learned from, plus one.

    Parameters
    ----------
    split : Split in time

    Returns
    -------
    float, nats
    """
    likes, times, known = film_events(split)
    late = latest(split)
    counts = np.where(known, 1.0 + np.asarray(likes[~late].sum(axis=0)).ravel(), 0.0)
    parts, _ = pieces(likes[late], times[late].data, 20)
    following = parts.items[:, 1:][parts.there[:, 1:]]
    return -float(np.log(counts[following] / counts.sum()).mean())


def with_prior(decoder: Callable[[int], Fit], weight: float) -> Callable[[int], Fit]:
    """A decoder's log-probabilities, and a share of what is popular lately.

    Parameters
    ----------
    decoder : callable seed -> callable Split -> GenerativeRetriever
    weight : float, of `fading_log`

    Returns
    -------
    callable seed -> callable Split -> ndarray (n_test_users, n_items)
    """

    def begin(seed: int) -> Fit:
        fit = decoder(seed)

        def scores(split: Split) -> np.ndarray:
            said = fit(split).score(split.test.history, split.test.history_times)
            return said + weight * fading_log(split)

        return scores

    return begin
