"""Chapter 6's first stage is chapter 3's model; its features have the same say."""

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial import course
from recsys_tutorial.datasets import impression_log, load_movielens
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
