"""Chapter 12's models: what SASRec learns from, and that a blend is the sum of its parts."""

import numpy as np
import pytest
import torch

from recsys_tutorial import course
from recsys_tutorial.course import _sequences as sequences
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.models import SASRec, towers
from recsys_tutorial.models._events import Events, pieces
from recsys_tutorial.ranking import standardize
from recsys_tutorial.splits import rolling_split


@pytest.fixture(scope="module")
def windows():
    return rolling_split(*load_movielens()).tuning


@pytest.fixture(scope="module")
def window(windows):
    return windows[0]


def test_what_is_learned_is_the_last_likes_of_known_films(windows):
    window = windows[-1]
    likes, times, known = course.film_events(window)
    count = np.bincount(window.train.indices, minlength=window.train.shape[1])
    assert np.array_equal(known, count >= 5)
    assert known[likes.indices].all()
    assert np.array_equal(likes.indices, times.indices) and (likes.data == 1).all()
    assert np.diff(likes.indptr).max() == 100
    whole = window.train.astype(float)
    whole.data[:] = window.like_times
    for user in np.argsort(-np.diff(window.train.indptr))[:5]:
        row = whole[user]
        kept = np.sort(row.data[known[row.indices]])
        assert np.array_equal(np.sort(times[user].data), kept[-100:])


@pytest.mark.parametrize(
    "items, kind",
    [
        ("ID", towers.IdTower),
        ("text", towers.FeatureTower),
        ("both", towers.SumTower),
    ],
)
def test_what_an_item_is_read_by(window, items, kind):
    model = sequences.sequence_model(window, 0, items, 0.3, dim=16, max_length=20)
    assert isinstance(model, SASRec) and isinstance(model.item_tower, kind)
    assert (model.item_tower.dim, model.max_length) == (16, 20)
    assert model.popularity_prior


def test_one_model_goes_on_and_knows_more_films(windows):
    fit = course.sasrec(epochs=(2, 1), dim=8)(seed=0)
    first = fit(windows[0])
    known = first.item_tower.known.sum().item()
    n_first = len(first.history_)
    again = fit(windows[1])
    assert again is first and (n_first, len(again.history_)) == (2, 1)
    assert again.item_tower.known.sum() > known == course.film_events(windows[0])[2].sum()


def test_the_latest_arrivals_are_not_learned_from_and_say_when_to_stop(window, monkeypatch):
    seen = {}
    fit = SASRec.fit

    def watched(self, train, times, **options):
        seen.update(options, train=train)
        return fit(self, train, times, **options)

    monkeypatch.setattr(SASRec, "fit", watched)
    model = course.sasrec(epochs=(3, 1), dim=8)(seed=0)(window)
    likes, times, known = course.film_events(window)
    users = np.repeat(np.arange(len(window.train_user_ids)), np.diff(window.train.indptr))
    first = np.full(likes.shape[0], np.inf)
    np.minimum.at(first, users, window.like_times)
    order = np.argsort(first, kind="stable")
    n = seen["train"].shape[0]
    assert n == pytest.approx(0.85 * likes.shape[0], abs=1)
    assert (seen["train"] != likes[np.sort(order[:n])]).nnz == 0
    # What the others say: the mean log-probability of their next events, among the known films.
    late, columns = np.sort(order[n:]), np.flatnonzero(known)
    parts, _ = pieces(likes[late], times[late].data, model.max_length)
    found = []
    with torch.no_grad():
        before = Events(parts.items[:, :-1], parts.times[:, :-1], parts.lengths - 1)
        log_p = (model.user_vectors(before) @ model.item_vectors(columns).T).log_softmax(2)
    for row, length in enumerate(parts.lengths):
        following = np.searchsorted(columns, parts.items[row, 1:length])
        found += log_p[row, np.arange(length - 1), following].tolist()
    assert model.history_["validation"].max() == pytest.approx(np.mean(found), rel=1e-4)
    assert seen["patience"] == 6


def test_histories_are_shuffled_when_asked(window):
    found = [
        course.sasrec(epochs=(1, 1), dim=8, shuffled=s)(seed=0)(window).score(
            window.test.history, window.test.history_times
        )
        for s in (False, False, True)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[0], found[2], rtol=1e-2, atol=1e-2)


def test_a_share_of_the_users_is_learned_from_and_a_smaller_one_is_part_of_it(window, monkeypatch):
    seen, fit = {}, SASRec.fit

    def watched(self, train, times, **options):
        seen.update(options, train=train, times=times)
        return fit(self, train, times, **options)

    monkeypatch.setattr(SASRec, "fit", watched)
    model = course.sasrec("both", epochs=(2, 1), dim=8, share=0.25)(seed=0)(window)
    likes, times, known = course.film_events(window)
    late, n = sequences.latest(window), likes.shape[0]
    drawn = {s: sequences.drawn_users(window, s, 0) for s in (0.25, 0.5, 1.0)}
    for share, rows in drawn.items():
        assert rows.sum() == pytest.approx(share * n, abs=1)
    assert drawn[0.5][drawn[0.25]].all() and drawn[1.0].all()
    assert (drawn[0.25] != sequences.drawn_users(window, 0.25, 1)).any()
    rows = drawn[0.25] & ~late
    assert 0 < rows.sum() < 0.4 * (~late).sum()
    assert (seen["train"] != likes[rows]).nnz == 0 and (seen["times"] != times[rows]).nnz == 0
    # As many steps are allowed as with all users, and who says when to stop is whom they all have.
    assert len(model.history_) <= 8 and seen["epochs"] == 8 and seen["patience"] == 24
    before = course.sasrec("both", epochs=(2, 1), dim=8)(seed=0)(window)
    with torch.no_grad():
        assert seen["validation"](before) == pytest.approx(before.history_["validation"].max())
    counts = np.bincount(window.train[rows | late].indices, minlength=likes.shape[1])
    tower = next(m for m in model.modules() if isinstance(m, towers.IdTower))
    assert np.array_equal(tower.known.numpy(), counts >= 5)
    assert tower.known.sum() < known.sum()
    # The prior counts everybody's likes, also of those that are not learned from.
    assert torch.equal(model.log_popularity, before.log_popularity)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, np.nan])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="share must be"):
        course.sasrec(share=share)


def test_the_first_stage_is_chapter_3s(window):
    ours = evaluate(sequences.first_stage()(window), window.test)
    theirs = evaluate(course.MODELS["fading EASE + BERT"].fit()(window), window.test)
    assert ours["ndcg@10"] == pytest.approx(theirs["ndcg@10"], abs=1e-6)


def test_a_blend_is_the_sum_of_its_parts(window):
    model = course.sasrec(epochs=(1, 1), dim=8)
    said = model(0)(window).score(window.test.history, window.test.history_times)
    expected = standardize(sequences.first_stage()(window)) + 0.5 * standardize(said)
    found = sequences.blend_with(model, 0.5)(0)(window)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_chain_is_the_chapters(window):
    chain = sequences.markov_chain(window)
    assert (chain.smoothing, chain.reach, chain.decay, chain.n_last) == (50, 5, 0.9, 20)
    assert chain.transitions_.nnz > 0
