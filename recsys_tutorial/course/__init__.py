"""The course's models with the settings that its chapters chose: for data of your own.

Chapters choose settings in view, on the windows of `Rolling.tuning`. What they chose stands here,
so that `make leaderboard DATA=folder` can ask whether it holds elsewhere. Left out is chapter 7's
reranker, which takes hours.

Examples
--------
>>> from recsys_tutorial.datasets import load_movielens
>>> from recsys_tutorial.evaluation import evaluate_rolling
>>> from recsys_tutorial.splits import rolling_split
>>> windows = rolling_split(*load_movielens()).test
>>> round(evaluate_rolling(MODELS["fading EASE"].fit(), windows)["ndcg@10"], 2)
0.21
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from recsys_tutorial.course import _codes as codes
from recsys_tutorial.course import _features as features
from recsys_tutorial.course import _fits as fits
from recsys_tutorial.course import _lists as lists
from recsys_tutorial.course import _sequences as sequences
from recsys_tutorial.course._codes import (
    code_decoder,
    film_codes,
    next_nats,
    popular_nats,
    random_codes,
)
from recsys_tutorial.course._contrastive import (
    LikePairs,
    PairBatch,
    contrastive_towers,
    corrected_info_nce,
    info_nce_towers,
)
from recsys_tutorial.course._features import bert_titles, counted_titles
from recsys_tutorial.course._fits import Fit, bpr, fading_ease, fading_likes, fading_log
from recsys_tutorial.course._language import (
    list_ndcg,
    means,
    rank_agreement,
    right_order,
    text_head,
)
from recsys_tutorial.course._lists import FirstStage, film_parts, window_lists
from recsys_tutorial.course._log import log_features
from recsys_tutorial.course._replies import told_ndcg, true_texts
from recsys_tutorial.course._sequences import film_events, sasrec
from recsys_tutorial.course._teaching import word_model
from recsys_tutorial.course._towers import in_windows, two_tower
from recsys_tutorial.models import EASE, ItemKNN, Popularity

__all__ = [
    "MODELS",
    "CourseModel",
    "FirstStage",
    "LikePairs",
    "PairBatch",
    "bert_titles",
    "bpr",
    "code_decoder",
    "contrastive_towers",
    "corrected_info_nce",
    "counted_titles",
    "fading_ease",
    "fading_likes",
    "fading_log",
    "film_codes",
    "film_events",
    "film_parts",
    "in_windows",
    "list_ndcg",
    "log_features",
    "means",
    "next_nats",
    "popular_nats",
    "random_codes",
    "rank_agreement",
    "right_order",
    "sasrec",
    "text_head",
    "told_ndcg",
    "true_texts",
    "window_lists",
    "word_model",
]


@dataclass(frozen=True)
class CourseModel:
    """One row of the leaderboard, to be made anew on other data.

    Attributes
    ----------
    chapter : int, the chapter that introduces it
    begin : callable seed -> callable (Split) -> fitted model or scores (n_users, n_items). The
        latter is for windows in their order: some models go on from what they have
    n_seeds : int, over how many seeds its row is the mean
    part : str or None, the row whose model is a part of this one
    around : callable, makes `begin` of the part's: whoever has fitted the part, or has its scores,
        need not fit it again
    """

    chapter: int
    begin: Callable[[int], Fit]
    n_seeds: int = 1
    part: str | None = None
    around: Callable[[Callable[[int], Fit]], Callable[[int], Fit]] | None = None

    def fit(self, seed: int = 0) -> Fit:
        """What `evaluate_rolling` asks for.

        Parameters
        ----------
        seed : int, of models that have one

        Returns
        -------
        callable Split -> fitted model or scores; begin another for other windows
        """
        return self.begin(seed)


def _around(
    chapter: int, part: str, begin: Callable[[int], Fit], around: Callable, weight: float
) -> CourseModel:
    """A model of three seeds that adds something to another row's."""
    whole = partial(around, weight=weight)
    return CourseModel(chapter, whole(begin), n_seeds=3, part=part, around=whole)


_TEXT_TOWER = two_tower(features.bert_texts, 20.0)
_SASREC = sasrec("both", dropout=0.2, decay=10.0)
_DECODER = code_decoder("text")

MODELS = {
    "popularity": CourseModel(1, fits.anew(lambda split: Popularity().fit(split.train))),
    "fading popularity": CourseModel(
        1, fits.anew(lambda split: Popularity().fit(split.faded(fits.FADING_LIST, "likes")))
    ),
    "item-kNN": CourseModel(1, fits.anew(lambda split: ItemKNN(100, shrink=20).fit(split.train))),
    "fading item-kNN": CourseModel(
        1, fits.anew(lambda split: ItemKNN(100, shrink=20).fit(split.faded(64000, "likes")))
    ),
    "EASE": CourseModel(1, fits.anew(lambda split: EASE(200).fit(split.train))),
    "fading EASE": CourseModel(1, fits.anew(fading_ease)),
    "BPR": CourseModel(2, fits.bpr(0.003, 0.1, 72), n_seeds=3),
    "BiasedMF": CourseModel(2, fits.biased_mf(14.0, 3.0), n_seeds=3),
    "BiasedMF for lists": CourseModel(2, fits.biased_mf(10.0, 30.0), n_seeds=3),
    "ImplicitALS": CourseModel(2, fits.als(None), n_seeds=3),
    "fading ImplicitALS": CourseModel(2, fits.als(64000), n_seeds=3),
    "TF-IDF content": CourseModel(3, fits.content(features.counted_titles, 4.0)),
    "BERT content": CourseModel(
        3, fits.content(partial(features.bert_titles, to_scale=False), 8.0)
    ),
    "fading EASE + genres": CourseModel(3, fits.hybrid(features.centred_genres, 1.0, 0.4)),
    "fading EASE + TF-IDF": CourseModel(3, fits.hybrid(features.counted_titles, 2.0, 0.4)),
    "fading EASE + BERT": CourseModel(3, fits.hybrid(features.bert_titles, 1.0, 0.5)),
    "genres two-tower": CourseModel(4, two_tower(features.genres_and_decade, 60.0), n_seeds=3),
    "TF-IDF two-tower": CourseModel(4, two_tower(features.counted_texts, 6.0), n_seeds=3),
    "BERT kernel + fading popularity": CourseModel(
        4, fits.beside_prior(features.bert_texts, 2.0, 4.0)
    ),
    "text two-tower": CourseModel(4, _TEXT_TOWER, n_seeds=3),
    "fading EASE + BERT kernel + text two-tower": _around(
        4, "text two-tower", _TEXT_TOWER, fits.blend, 0.8
    ),
    "dot product, 200 reranked": CourseModel(6, lists.reranked(lambda: lists.dot, 1e-4), n_seeds=3),
    "target attention, 200 reranked": CourseModel(
        6, lists.reranked(lists.target_attention, 0.03), n_seeds=3
    ),
    "InfoNCE two-tower": CourseModel(8, info_nce_towers, n_seeds=3),
    "fading EASE + BERT kernel + InfoNCE two-tower": _around(
        8, "InfoNCE two-tower", info_nce_towers, fits.blend, 1.6
    ),
    "two-tower on one text + ID": CourseModel(
        10, two_tower(features.bert_texts, 20.0, ids=True), n_seeds=3
    ),
    "Markov chain": CourseModel(12, fits.anew(sequences.markov_chain)),
    "SASRec": CourseModel(12, _SASREC, n_seeds=3),
    "fading EASE + BERT + SASRec": _around(12, "SASRec", _SASREC, sequences.blend_with, 1.6),
    "decoder of text codes": CourseModel(13, _DECODER, n_seeds=3),
    "decoder of text codes + fading popularity": _around(
        13, "decoder of text codes", _DECODER, codes.with_prior, 7.2
    ),
}
