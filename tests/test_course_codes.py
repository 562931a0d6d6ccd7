"""Chapter 13's models: whose codes are whose, what a decoder learns from, what its prior adds."""

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_tutorial import course, semantic_ids
from recsys_tutorial.course import _codes as codes
from recsys_tutorial.course._sequences import latest
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.models import GenerativeRetriever
from recsys_tutorial.splits import rolling_split

SMALL = {"dim": 8, "epochs": (2, 1), "max_length": 6, "dropout": 0.0}


@pytest.fixture(scope="module")
def windows():
    return rolling_split(*load_movielens()).tuning


@pytest.fixture(scope="module")
def films():
    return load_movielens().items


@pytest.fixture(scope="module")
def model(windows):
    return course.code_decoder("text", **SMALL)(0)(windows[0])


def purity(words, films):
    genre = films["genres"].str.partition("|")[0].to_numpy()
    return semantic_ids.prefix_purity(words, genre)[0]


def test_the_stored_codes_are_those_of_the_course_and_no_two_alike(films):
    found = course.film_codes(films)
    stored = pd.read_csv(codes.data_dir() / "semantic_ids" / "films.csv", comment="#")
    assert stored["item_id"].tolist() == films["item_id"].tolist()
    assert np.array_equal(found[:, :3], stored[codes.WORDS])
    assert len(np.unique(found, axis=0)) == len(films)
    assert found[:, :3].max(axis=0).tolist() == [63, 63, 63]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_other_films_get_codes_of_their_own_text(films, monkeypatch):
    few, asked = films.iloc[:70].reset_index(drop=True), []

    def read(items):
        asked.append(len(items))
        return np.random.default_rng(0).normal(size=(len(items), 5)).astype(np.float32)

    monkeypatch.setattr(codes, "bert_texts", read)
    found = course.film_codes(few)
    assert asked == [70] and found.shape == (70, 4)
    assert not np.array_equal(found[:, :3], course.film_codes(films)[:70, :3])
    assert course.film_codes(few.iloc[:9].reset_index(drop=True)).shape == (9, 4)


def test_random_codes_are_used_alike_and_mean_nothing(films):
    text, dealt = course.film_codes(films), course.random_codes(films)
    assert np.array_equal(np.unique(text, axis=0), np.unique(dealt, axis=0))
    assert purity(text, films) > 2.5 * purity(dealt, films)
    assert not np.array_equal(dealt, course.random_codes(films, seed=1))


def test_codes_of_likes_are_for_films_with_five(windows, films):
    split = windows[-1]
    found = codes.liked_codes(split)
    known = np.bincount(split.train.indices, minlength=len(films)) >= 5
    liked, rest = found[known], found[~known]
    assert len(np.unique(found, axis=0)) == len(films)
    # Films that the same people like share a first word; what is drawn is used evenly.
    together = (split.train[:, known].T @ split.train[:, known]).toarray()
    same = liked[:, :1] == liked[:, 0]
    np.fill_diagonal(same, False)
    others = ~same & ~np.eye(len(liked), dtype=bool)
    assert together[same].mean() > 1.2 * together[others].mean()
    usage = semantic_ids.codebook_usage(rest[:, :3], (64, 64, 64))
    assert (usage["perplexity"] > 62).all()


def test_one_decoder_goes_on_with_its_first_codes(windows):
    fit = course.code_decoder("ALS", **SMALL)(0)
    first = fit(windows[0])
    kept, n_first = first.tree.codes.copy(), len(first.history_)
    assert {parameter.dtype for parameter in first.parameters()} == {torch.float32}
    again = fit(windows[1])
    assert again is first and (n_first, len(again.history_)) == (2, 1)
    assert np.array_equal(again.tree.codes, kept)
    assert not np.array_equal(codes.liked_codes(windows[1]), kept)


def test_the_latest_arrivals_are_not_learned_from_and_say_when_to_stop(windows, monkeypatch):
    seen, fit = {}, GenerativeRetriever.fit

    def watched(self, train, times, **options):
        seen.update(options, train=train, times=times)
        return fit(self, train, times, **options)

    monkeypatch.setattr(GenerativeRetriever, "fit", watched)
    model = course.code_decoder("text", **SMALL)(0)(windows[0])
    likes, times, _ = course.film_events(windows[0])
    early = ~latest(windows[0])
    assert (seen["train"] != likes[early]).nnz == 0
    assert (seen["times"] != times[early]).nnz == 0
    assert seen["patience"] == seen["epochs"]  # none stops before the learning rate is low
    assert seen["validation"](model) == pytest.approx(model.history_["validation"].max(), rel=1e-5)


def test_nats_are_the_mean_of_what_each_next_film_costs(windows):
    """Written out: each kept-back user's pieces, read event by event."""
    model = course.code_decoder("text", constrained=False, **SMALL)(0)(windows[0])
    likes, times, _ = course.film_events(windows[0])
    late = np.flatnonzero(latest(windows[0]))
    parts, _ = codes.pieces(likes[late], times[late].data, model.max_length)
    found = []
    for row in range(len(parts)):
        part = parts.rows(np.array([row]))
        with torch.no_grad():
            states, _ = model.read(part, drop_last=True)
            logs = [head(states[0]).log_softmax(1) for head in model.heads]
        n = model.tree.n_levels
        for event in range(1, part.lengths[0]):
            words = model.tree.codes[part.items[0, event]]
            steps = zip(logs, words, range(event * n, event * n + n), strict=True)
            found.append(-sum(float(log[at, word]) for log, word, at in steps))
    assert course.next_nats(model, windows[0]) == pytest.approx(np.mean(found), rel=1e-4)


def test_sasrec_has_nats_of_the_same_events(windows):
    model = course.sasrec("ID", dim=8, epochs=(1, 1))(0)(windows[0])
    known = course.film_events(windows[0])[2].sum()
    assert course.next_nats(model, windows[0]) == pytest.approx(np.log(known), abs=1.0)
    assert course.next_nats(model, windows[0]) == pytest.approx(
        -model.history_["validation"].max(), rel=1e-4
    )


def test_what_is_popular_costs_its_share_of_the_likes_learned(windows):
    split = windows[2]
    likes, times, known = course.film_events(split)
    late = latest(split)
    counts = dict.fromkeys(np.flatnonzero(known), 1.0)
    for film in likes[~late].indices:
        counts[film] += 1
    total, found = sum(counts.values()), []
    for user in np.flatnonzero(late):
        row = times[user]
        when, films = row.data, row.indices
        # The first event is drawn from those of the first second; here all of that are left out.
        if len(films) > 1:
            found += [-np.log(counts[f] / total) for f in films[when > when.min()]]
    assert course.popular_nats(split) == pytest.approx(np.mean(found), abs=0.1)
    assert 4 < course.popular_nats(split) < np.log(known.sum()) + 1


def test_a_prior_is_added_with_its_weight(windows):
    fit = course.code_decoder("text", **SMALL)
    split = windows[0]
    said = fit(0)(split).score(split.test.history, split.test.history_times)
    found = codes.with_prior(fit, 0.7)(0)(split)
    counts = np.asarray(split.faded(2000, "likes").sum(axis=0)).ravel()
    np.testing.assert_allclose(found, said + 0.7 * np.log1p(counts), rtol=1e-4)
    np.testing.assert_allclose(course.fading_log(split), np.log1p(counts))
