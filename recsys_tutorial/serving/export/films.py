"""The films' page: which tables its six models need, and the same models in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial._checks import check_one_of, finite_vectors
from recsys_tutorial._torch.modules import evaluating
from recsys_tutorial.datasets import film_texts
from recsys_tutorial.models import EASE, Blend, ItemKNN, SASRec, TwoTower
from recsys_tutorial.ranking import standardize
from recsys_tutorial.serving.export.bundle import lines
from recsys_tutorial.serving.export.scorers import ContentScores, NeighbourScores, TowerScores
from recsys_tutorial.serving.export.sequence import SequenceScores, sequence_tables
from recsys_tutorial.serving.export.tables import (
    Neighbours,
    ShortVectors,
    item_weights,
    short_vectors,
    strongest,
)
from recsys_tutorial.serving.export.words import WordVectors

__all__ = ["PageModels", "films_files"]

MODELS = ("popularity", "item-kNN", "EASE", "text tower", "SASRec", "blend")
BLEND = {"EASE": 1.0, "content": 1.4, "text tower": 0.8}  # chapter 4's weights


def films_files(
    items: pd.DataFrame,
    likes: np.ndarray,
    liked: np.ndarray,
    *,
    knn: ItemKNN,
    ease: EASE,
    tower: TwoTower,
    sasrec: SASRec,
    content: np.ndarray,
    words: WordVectors,
    n_knn: int = 20,
    n_ease: int = 50,
) -> dict[str, dict]:
    """What `write_bundle` is to write for the films' page.

    Parameters
    ----------
    items : DataFrame with title and genres, a row per film
    likes : ndarray (n_items,), what popularity counts, faded
    liked : int ndarray, the columns that somebody liked in training, ascending
    knn, ease : fitted, on the same likes
    tower : fitted TwoTower whose user tower is a `HistoryTower` with "sqrt", with a prior
    sasrec : fitted, see `sequence_tables`
    content : ndarray (n_items, dim), what films are about, for the kernel and for wishes
    words : WordVectors of the same dim
    n_knn, n_ease : int, neighbours that are kept of each film

    Returns
    -------
    {file: {name: array}}: films, item-knn, ease, tower, content, sasrec, words

    Raises
    ------
    ValueError
        For a tower of another form, words of another length, and from the parts.
    """
    n = len(items)
    content = finite_vectors("content", content)
    if content.shape != (n, words.short.numbers.shape[1]):
        raise ValueError(f"content must be {(n, words.short.numbers.shape[1])}: {content.shape}")
    kept = {
        name: strongest(item_weights(model, liked, n), liked, n, k)
        for name, model, k in (("item-knn", knn, n_knn), ("ease", ease, n_ease))
    }
    return {
        "films": _catalogue(items, likes),
        **{name: vars(neighbours) for name, neighbours in kept.items()},
        "tower": _tower(tower),
        "content": vars(short_vectors(content)),
        "sasrec": sequence_tables(sasrec),
        "words": {"pieces": "\n".join(words.pieces), **vars(words.short)},
    }


def _catalogue(items: pd.DataFrame, likes: np.ndarray) -> dict:
    """A line per film, the title and, after the last period, its genres; and its popularity."""
    return {
        "texts": "\n".join(film_texts(items)),
        "log_likes": np.log1p(likes).astype(np.float32),
    }


def _tower(model: TwoTower) -> dict[str, np.ndarray]:
    """Both sides' vectors and the prior."""
    users = model.user_tower
    if getattr(users, "pooling", None) != "sqrt" or not model.popularity_prior:
        raise ValueError("the tower must read histories pooled by 'sqrt' and have a prior")
    if model.similarity != "dot":
        raise ValueError(f"the tower's similarity must be 'dot', got {model.similarity!r}")
    with evaluating(model):
        a = users.items(None).double().cpu().numpy()
        weight = model.popularity_weight.item()
    items = model.encode_items()  # (n_items, dim + 1)
    a, b = short_vectors(a), short_vectors(items[:, :-1])
    return {
        "user_numbers": a.numbers,
        "user_scales": a.scales,
        "item_numbers": b.numbers,
        "item_scales": b.scales,
        "prior": (weight * items[:, -1]).astype(np.float32),
    }


class PageModels:
    """The page's models, read from the tables of `films_files`.

    Parameters
    ----------
    files : {file: {name: array}}, as `read_bundle` gives them

    Attributes
    ----------
    titles : list of str (n_items,), with the year
    log_likes : float64 ndarray (n_items,), log(1 + likes)
    units : float64 ndarray (n_items, dim), what films are about, of length 1
    words : WordVectors: with `units`, how well a film suits a wish
    """

    def __init__(self, files: Mapping[str, Mapping[str, np.ndarray]]):
        films, tower, words = files["films"], files["tower"], files["words"]
        self.titles = [text.rpartition(". ")[0] for text in lines(films["texts"])]
        self.log_likes = films["log_likes"].astype(np.float64)
        content = ContentScores(ShortVectors(**files["content"]))
        self.units = content.units
        short = ShortVectors(words["numbers"], words["scales"])
        self.words = WordVectors(tuple(lines(words["pieces"])), short)
        self._models = {
            "item-kNN": NeighbourScores(Neighbours(**files["item-knn"])),
            "EASE": NeighbourScores(Neighbours(**files["ease"])),
            "text tower": TowerScores(
                ShortVectors(tower["user_numbers"], tower["user_scales"]),
                ShortVectors(tower["item_numbers"], tower["item_scales"]),
                tower["prior"].astype(np.float64),
            ),
            "SASRec": SequenceScores(files["sasrec"]),
            "content": content,
        }
        parts = [self._models[part] for part in BLEND]
        self._models["blend"] = Blend(parts, list(BLEND.values()))

    def score(
        self, name: str, history: sparse.csr_matrix, times: sparse.csr_matrix | None = None
    ) -> np.ndarray:
        """What one of the models says, standardised.

        Parameters
        ----------
        name : "popularity", "item-kNN", "EASE", "text tower", "SASRec" or "blend"
        history : csr_matrix (n_users, n_items), 1 where liked
        times : csr_matrix, when, for "SASRec"

        Returns
        -------
        float64 ndarray (n_users, n_items)

        Raises
        ------
        ValueError
            For another name, and for SASRec without times.
        """
        check_one_of(MODELS, name=name)
        if name == "popularity":
            scores = np.tile(self.log_likes, (history.shape[0], 1))
        elif name == "SASRec":
            scores = self._models[name].score(history, times)
        else:
            scores = self._models[name].score(history)
        return standardize(scores)

    def wish(self, texts: list[str]) -> np.ndarray:
        """How well each film suits each wish.

        Parameters
        ----------
        texts : list of str (n_texts,)

        Returns
        -------
        float64 ndarray (n_texts, n_items), cosines
        """
        return self.words.encode(texts) @ self.units.T
