"""Chapter 6's first stage is chapter 3's model; its features have the same say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from recsys_tutorial import course
from recsys_tutorial.course import _lists
from recsys_tutorial.datasets import CONTEXT, impression_log, load_movielens
from recsys_tutorial.models import TargetAttention
from recsys_tutorial.splits import rolling_split


@pytest.fixture(scope="module")
def films():
    return load_movielens()


@pytest.fixture(scope="module")
def window(films):
    return rolling_split(*films).tuning[-1]


@pytest.fixture(scope="module")
def first(window):
    liked = np.unique(np.concatenate([window.train.indices, window.test.history.indices]))
    return course.FirstStage(window.items, liked)


def test_the_first_stage_is_fading_ease_and_bert(window, first):
    expected = course.MODELS["fading EASE + BERT"].fit()(window).score(window.test.history)
    found = first.fit(window)(window.test.history)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found == found.round(9)).all()
    fewer = first.fit(window, np.arange(50))(window.test.history)
    assert np.abs(fewer - found).max() > 0.1  # it was fitted on these rows


def test_lists_are_of_the_window(window, first):
    ((learned, judged),) = course.window_lists(first, [window], 20, n_folds=2)
    assert judged.columns.shape == (len(window.test), 20)
    scores = first.fit(window)(window.test.history)
    best = np.where(window.test.seen.toarray() > 0, -np.inf, scores).max(axis=1)
    np.testing.assert_allclose(judged.retriever[:, 0], best)
    assert (np.diff(judged.retriever, axis=1) <= 0).all()
    faded = np.log1p(np.asarray(window.faded(2000, "likes").sum(axis=0)).ravel())
    np.testing.assert_allclose(judged.log_popularity, faded[judged.columns])
    np.testing.assert_allclose(learned.log_popularity, faded[learned.columns])
    assert learned.liked.any(axis=1).all() and len(learned) > 100


def test_parts_have_the_same_say(window):
    parts = course.film_parts(window.items)
    assert [part.shape[1] for part in parts] == [64, 19, 9]
    for part in parts:
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-9)
        assert (part**2).sum(axis=1).mean() == pytest.approx(4 / 3)
    of_1999 = window.items["year"].to_numpy(float) == 1999
    assert np.ptp(parts[2][of_1999], axis=0).max() < 1e-9  # films of a year are alike
    dramas = window.items["genres"].str.contains("Drama").to_numpy()
    assert any(np.ptp(x[dramas]) < 1e-9 < np.ptp(x) for x in parts[1].T)


YEARS = [1930, 1935, 1936, 1940, 1955, 2015, np.nan]
FEW = pd.DataFrame(
    {
        "item_id": range(7),
        "title": ["Duel", "Solaris", "Alien", "May", "June", "July", "Him"],
        "genres": ["Drama", "Comedy|Drama", "Drama", "Comedy", "Sci-Fi", "Drama", "Drama"],
        "year": YEARS,
    }
)


def test_parts_by_hand():
    titles, genres, decades = course.film_parts(FEW)
    assert titles.shape == (7, 7)  # of seven films no more than seven components
    years = np.nan_to_num(YEARS, nan=1938.0)  # a missing one is the median
    middles = range(1935, 2016, 10)
    ones = np.array([[abs(year - middle) <= 5 for middle in middles] for year in years], float)
    named = np.array([[g in text for g in ("Comedy", "Drama", "Sci-Fi")] for text in FEW["genres"]])
    for part, raw in ((genres, named.astype(float)), (decades, ones)):
        centred = raw - raw.mean(axis=0)
        length = (centred**2).sum(axis=1).mean()
        np.testing.assert_allclose(part, centred * np.sqrt(4 / 3 / length), atol=1e-12)
    alike = course.film_parts(FEW.assign(genres="Drama"), dim=3)
    assert alike[0].shape == (7, 3) and (alike[1] == 0).all()


def test_a_dot_product_is_taken_row_by_row():
    users, items = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[5.0, 6], [7, 8]])
    assert _lists.dot(users, items).tolist() == [17.0, 53.0]


def test_target_attention_is_as_wide_as_a_film_is_long():
    design = _lists.target_attention()
    expected = TargetAttention(16, 16)
    assert [p.shape for p in design.parameters()] == [p.shape for p in expected.parameters()]


class Few:
    """A window of 20 films: who trains likes 3 or 5 of them, who is judged has seen 7 or 2."""

    train = sparse.csr_matrix(np.arange(20) < [[3], [5]], dtype=float)
    items = FEW

    def __init__(self, n_items=20):
        seen = sparse.csr_matrix(np.arange(20) < [[7], [2]], dtype=float)
        self.test = SimpleNamespace(seen=seen, history=seen)
        for matrix in (self.train, seen):
            matrix.resize(2, n_items)

    def faded(self, scale, unit):
        return self.train


@pytest.mark.parametrize("n_items, expected", [(20, 13), (500, 200)])
def test_lists_hold_two_hundred_films_or_what_everybody_has_left(monkeypatch, n_items, expected):
    asked = []
    monkeypatch.setattr(_lists, "FirstStage", lambda items, liked: liked.tolist())

    def lists_of(first, windows, n, seed):
        asked.append((first, n, seed))
        return [("learned", "judged")]

    monkeypatch.setattr(_lists, "window_lists", lists_of)
    assert _lists._lists_of(Few(n_items), 4) == ("learned", "judged")
    assert asked == [([0, 1, 2, 3, 4, 5, 6], expected, 4)]


def test_each_window_draws_from_a_seed_of_its_own(monkeypatch):
    first = SimpleNamespace(fit=lambda split, rows=None: lambda history: history)
    seeds = []

    def learned(train, fit, n, *, popularity, seed, n_folds):
        seeds.append((n, seed, n_folds))
        return popularity

    monkeypatch.setattr(_lists, "training_lists", learned)
    monkeypatch.setattr(_lists, "held_out_lists", lambda scores, test, popularity, n: n)
    found = _lists.window_lists(first, [Few(), Few()], 9, seed=5, n_folds=2)
    assert seeds == [(9, 5, 2), (9, 6, 2)]
    for popularity, n in found:
        assert popularity.tolist() == [2, 2, 2, 1, 1] + [0] * 15 and n == 9


def test_a_ranker_goes_on_from_window_to_window(monkeypatch):
    made, fits = [], []

    class Ranker:
        def __init__(self, parts, design, dim):
            made.append((len(parts), design, dim))

        def fit(self, learned, **options):
            fits.append((learned, options))

        def score(self, judged):
            return np.array([1.23456789049])

    judged = SimpleNamespace(full=lambda scores: scores.tolist())
    monkeypatch.setattr(_lists, "InteractionRanker", Ranker)
    monkeypatch.setattr(_lists, "_lists_of", lambda split, number: (number, judged))
    fit = _lists.reranked(lambda: float(torch.rand(1)), 0.02)(3)
    torch.manual_seed(3)
    expected = (3, float(torch.rand(1)), 16)
    torch.manual_seed(99)
    assert [fit(Few()) for _ in range(3)] == [[1.23456789]] * 3  # nine digits
    assert made == [expected]  # once, and begun with the seed
    options = {"seed": 3, "batch_size": 64, "learning_rate": 0.02, "weight_decay": 3.0}
    assert fits == [(i, {"epochs": 4 if i else 20, **options}) for i in range(3)]


def test_log_features_by_hand():
    log = pd.DataFrame({name: [1.0, 4.0, 2.0, 3.0] for name in CONTEXT if name != "hour"})
    log = log.assign(hour=[0, 6, 12, 21], item_id=[0, 3, 0, 4])
    x = course.log_features(log, FEW, np.arange(3))
    raw = log[[name for name in CONTEXT if name != "hour"]].copy()
    raw["hour_sin"], raw["hour_cos"] = [0, 1, 0, -(0.5**0.5)], [1, 0, -1, 0.5**0.5]
    raw["Comedy"], raw["Drama"] = [0, 1, 0, 0], [1, 0, 1, 0]
    expected = (raw - raw[:3].mean()) / raw[:3].std()
    expected["Sci-Fi"] = [0.0, 0, 0, 1]  # not in the training rows: nothing to divide by
    pd.testing.assert_frame_equal(x, expected, atol=1e-12)
    other = FEW.assign(genres=FEW["genres"].replace("Comedy", "(no genres listed)"))
    assert list(course.log_features(log, other, np.arange(3)))[-3:] == ["Comedy", "Drama", "Sci-Fi"]


def test_log_features(films):
    log = impression_log(films.ratings[:8000], films.items)
    train = np.arange(len(log) // 2)
    x = course.log_features(log, films.items, train)
    assert len(x) == len(log) and np.isfinite(x.to_numpy()).all()
    np.testing.assert_allclose(x.iloc[train].mean(), 0, atol=1e-8)
    spread = x.iloc[train].std()
    np.testing.assert_allclose(spread[spread > 0.5], 1)
    pairs = pd.DataFrame({"hour": log["hour"], "x": x["hour_sin"]}).drop_duplicates()
    assert len(pairs) == log["hour"].nunique()
    assert x["age"].corr(log["age"]) == pytest.approx(1)
