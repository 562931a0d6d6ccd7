"""The stored measurements of chapter 15: what its script wrote, and nobody's who is judged."""

import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial._files.tensors import load_tensors
from recsys_tutorial.course import rank_agreement
from recsys_tutorial.language import LanguageModel, fill, load_adapter, users_hash
from recsys_tutorial.language.prompts import LEAD
from recsys_tutorial.pretrained import WeightsNotFound

FOLDER = Path(__file__).resolve().parents[1] / "data" / "teaching"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("chapter_15", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make.py"])  # chapter 14's script looks for numbers there
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def info():
    path = FOLDER / "adapter" / "adapter_model.safetensors"
    return load_tensors(path, "a language model's adapter")[1]


def table(name):
    return pd.read_csv(FOLDER / f"{name}.csv.gz")


def test_every_file_is_as_it_was_written():
    paths = [*FOLDER.glob("*.gz"), *(FOLDER / "adapter").iterdir()]
    assert {path.relative_to(FOLDER).as_posix() for path in paths} == set(MANIFEST)
    for name, expected in MANIFEST.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected, name
    assert sum(path.stat().st_size for path in paths) < 2.6e6


def test_no_test_user_is_among_those_the_adapter_was_taught_with(make, info):
    rolling = make.before.world()[2]
    first = rolling.test[0]
    test = {int(user) for split in rolling.test for user in split.test.user_ids}
    users = {lesson.user_id for lesson in make.lessons()}
    assert users <= set(first.train_user_ids.tolist()) and len(test) == 359
    assert not users & test and not users & set(make.kept_back())
    assert info["users"] == len(users) and info["users sha256"] == users_hash(users)
    # One test user more, and the hash is another one.
    assert users_hash(users | {min(test)}) != info["users sha256"]


def test_kept_back_users_answer_and_are_tuning_users(make):
    tuning = {int(u) for split in make.before.world()[2].tuning for u in split.test.user_ids}
    assert len(make.kept_back()) == make.N_KEPT == 40 and set(make.kept_back()) <= tuning
    asked = set(table("curve")["user_id"])
    assert asked == {x.user_id for x in make.questions()} <= set(make.kept_back())
    assert len(asked) > 30


def test_every_stage_was_asked_the_same():
    curve = table("curve")
    rows = curve.groupby("stage").size()
    assert rows.nunique() == 1 and {"untaught", "answers/1", "answers/5"} <= set(rows.index)
    same = curve.groupby(["user_id", "film"])[["answer", "n_tokens"]].nunique()
    assert (same == 1).all(axis=None)
    assert (curve["log_p"] < 0).all()


def pairs():
    """Tables of both models for test users, and for those of the tuning users kept back."""
    theirs = pd.read_csv(FOLDER.parent / "language" / "tuning.csv.gz")
    return {
        "test": (table("taught"), table("untaught")),
        "tuning": (table("taught_tuning"), theirs),
    }


@pytest.mark.parametrize("kind", ["test", "tuning"])
def test_both_models_read_the_same_candidates(kind):
    taught, untaught = pairs()[kind]
    keys = ["user_id", "place"]
    assert not taught.duplicated(keys).any() and not untaught.duplicated(keys).any()
    both = taught.merge(untaught, on=keys, validate="one_to_one")
    assert len(both) == min(len(taught), len(untaught))
    for name in ("window", "item_id", "liked", "n_targets", "n_tokens"):
        np.testing.assert_array_equal(both[f"{name}_x"], both[f"{name}_y"])
    np.testing.assert_allclose(both["ease_x"], both["ease_y"], atol=1e-3)
    assert (both["log_p_x"] != both["log_p_y"]).mean() > 0.99
    for prior in ("taught_prior", "untaught_prior"):
        assert set(both["item_id_x"]) <= set(table(prior)["item_id"])


@pytest.mark.parametrize("name", ["taught", "untaught", "rolling"])
def test_all_test_users_are_there_with_all_candidates(make, name):
    found = table(name)
    order = list(make.before.users(make.before.world()[2].test))
    if name == "rolling":  # is read window by window
        order = found["user_id"].unique().tolist() if set(found["user_id"]) == set(order) else []
    assert found["user_id"].unique().tolist() == order and len(order) == 359
    assert (found.groupby("user_id").size() == 30).all()


def test_weights_are_chosen_on_users_who_teach_nothing(make):
    chosen_on = set(table("taught_tuning")["user_id"])
    assert len(chosen_on) == 30 and chosen_on <= set(make.kept_back())


def test_what_chapter_14_has_read_is_in_the_table_of_the_untaught():
    theirs = pd.read_csv(FOLDER.parent / "language" / "rerank.csv.gz")
    both = theirs.merge(table("untaught"), on=["user_id", "item_id"], validate="one_to_one")
    assert len(both) == len(theirs)
    np.testing.assert_array_equal(both["log_p_x"], both["log_p_y"])


def test_nobody_taught_before_being_judged(make):
    rolling, noted = make.before.world()[2], table("rolling_users")
    assert sorted(noted["window"].unique()) == list(range(len(rolling.test)))
    arrives = {int(u): w for w, split in enumerate(rolling.test) for u in split.test.user_ids}
    for window, part in noted.groupby("window"):
        again = make.rolling_lessons(window)
        assert sum(part["lessons"]) == len(again) == make.FRESH + make.SAMPLED
        assert set(part["user_id"]) == {x.user_id for x in again}
        # Who teaches was judged in an earlier window, or never is.
        assert all(arrives.get(user, -1) < window for user in part["user_id"])
        assert not set(part["user_id"]) & set(make.kept_back())
    # Those judged in earlier windows do teach later: it is what goes on that is tested here.
    assert (noted["user_id"].isin(arrives)).mean() > 0.3


def test_most_lessons_of_a_window_are_new_and_none_is_of_later(make):
    for window in (1, 6, 11):
        split, last = make.before.world()[2].test[window], {}
        found, age, since = make.dated_lessons(window)
        last = dict(zip(found, age, strict=True))
        new = [last[x] < since for x in make.rolling_lessons(window)]
        assert np.mean(new) >= make.FRESH / len(new) and since < split.train.nnz / 5
        assert (age >= 0).all() and split.like_times.max() < split.start


def test_the_windows_own_adapter_read_the_same_candidates():
    rolling, taught = table("rolling"), table("taught")
    keys = ["user_id", "item_id"]
    both = rolling.merge(taught, on=keys, validate="one_to_one")
    assert len(both) == len(rolling) == len(taught)
    for name in ("window", "place", "liked", "n_targets", "n_tokens"):
        np.testing.assert_array_equal(both[f"{name}_x"], both[f"{name}_y"])
    assert (both["log_p_x"] != both["log_p_y"]).mean() > 0.99
    prior = table("rolling_prior")
    assert not prior.duplicated(["window", "item_id"]).any()
    read = set(map(tuple, rolling[["window", "item_id"]].to_numpy()))
    assert read == set(map(tuple, prior[["window", "item_id"]].to_numpy()))
    # One film, other windows: the adapter is another one.
    assert (prior.groupby("item_id")["log_p"].nunique() > 1).sum() > 100


def test_what_was_taught_by_hard_films_was_judged_on_those_kept_back(make):
    found = table("stages_tuning")
    theirs = pd.read_csv(FOLDER.parent / "language" / "tuning.csv.gz")
    keys = ["user_id", "item_id"]
    for _, part in found.groupby("stage"):
        assert len(part.merge(theirs, on=keys, validate="one_to_one")) == len(theirs) == len(part)
    assert set(found["user_id"]) <= set(make.kept_back())
    assert {"more/1", "dpo/1", "hard/1", "rolling 0/1"} == set(found["stage"])


def test_hard_films_are_those_that_ease_proposes(make):
    rolling, titles = make.before.world()[2], make.before.world()[3]
    split = rolling.test[0]
    likes = np.asarray(split.train.sum(axis=0)).ravel()
    often = {f" {title}\n": n for title, n in zip(titles, likes, strict=True)}
    row_of = {int(user): row for row, user in enumerate(split.train_user_ids)}
    hard = make.hard_lessons(30)
    theirs = {
        x.user_id: {
            f" {titles[c]}\n" for c in split.train_ratings[[row_of[x.user_id]]].indices
        }
        for x in hard
    }  # fmt: skip
    assert all(len(x.rejected) == 8 and not theirs[x.user_id] & set(x.rejected) for x in hard)
    drawn = make.preference_lessons()[:30]
    mean = [np.mean([often[e] for x in found for e in x.rejected]) for found in (hard, drawn)]
    assert mean[0] > 1.5 * mean[1]


def test_a_line_of_neighbours_names_5_of_the_candidates():
    found, untaught = table("neighbours"), table("untaught")
    keys = ["user_id", "item_id"]
    assert set(found["line"]) == {"EASE's first", "any"}
    for line, part in found.groupby("line"):
        both = part.merge(untaught, on=keys, validate="one_to_one")
        assert len(both) == len(part) == 30 * part["user_id"].nunique()
        assert (part.groupby("user_id")["shown"].sum() == 5).all()
        assert ((part["shown"] == 1) == (part["place"] < 5)).all() == (line == "EASE's first")
        # The line was read: a film that it names is likelier than without it.
        rise = both["log_p_x"] - both["log_p_y"]
        assert rise[both["shown"] == 1].mean() > rise[both["shown"] == 0].mean() + 1


def test_a_tower_is_judged_on_users_of_later_windows(make):
    found, keys = table("distilled"), ["user_id", "item_id"]
    assert found["window"].min() == make.HALF
    assert found.groupby(["teacher", "tower"]).size().nunique() == 1
    for (teacher, _), part in found.groupby(["teacher", "tower"]):
        theirs = table(teacher)
        later = theirs[theirs["window"] >= make.HALF]
        both = part.merge(later, on=keys, validate="one_to_one")
        assert len(both) == len(part) == len(later)
        agreement = rank_agreement(both, "user_id", "score", "log_p").mean()
        assert agreement > 0.6 > rank_agreement(both, "user_id", "score", "ease").mean() + 0.2


def test_a_tower_finds_planted_weights(make):
    rng = np.random.default_rng(0)
    u, v, a = rng.normal(size=(300, 4)), rng.normal(size=(300, 4)), rng.normal(size=(4, 4))
    y = v @ rng.normal(size=4) + ((u @ a) * v).sum(1)
    ask = u[200:], v[200:]
    said = make.tower((u[:200], v[:200]), y[:200], 1e-6, ask, True)
    np.testing.assert_allclose(said, y[200:], atol=1e-4)
    alone = make.tower((u[:200], v[:200]), y[:200], 1e-6, ask, False)
    assert np.abs(alone - y[200:]).mean() > 0.5  # it does not see u


# -- reasons


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Alien (1979), and Heat (1995).", {"liked": "1214", "itself": 1}),
        ("the film so much. It is a good idea", {}),
        ("The Matrix and The Godfather", {"liked": "2571", "other": "858"}),
        ("the movie The Matrix (1998)", {"liked": "2571", "wrong_year": 1}),
        ("the dark Foo Bar Bazer (1999)", {"invented": "Foo Bar Bazer (1999)"}),
        ("The Matrix: The Last (2001)", {"invented": "The Matrix: The Last (2001)"}),
        ("Alien (1979) and Foo (1999)", {"liked": "1214", "invented": "Foo (1999)"}),
        ("Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001).", {"other": "4973"}),
        ("the Fugitive (1993)", {"other": "457"}),
        ("Harry Potter and the Sorcerer's Stone.", {"other": "4896"}),
        ("Up", {}),
        ("Up (2009)", {"other": "68954"}),
    ],
)
def test_films_in_a_reason_are_found(make, text, expected):
    titles = make.before.world()[3]
    found = make.named(
        text, [titles.index("Alien (1979)"), titles.index("The Matrix (1999)")],
        titles.index("Heat (1995)"),
    )  # fmt: skip
    nothing = {"liked": "", "other": "", "itself": 0, "wrong_year": 0, "invented": ""}
    assert found == nothing | expected


def test_reasons_name_what_the_table_says(make):
    found = pd.read_csv(FOLDER / "explanations.csv.gz", dtype={"liked": str, "other": str})
    assert found.groupby("arm")["user_id"].nunique().eq(make.N_REASONS).all()
    again = make.with_names(found)
    blank = {"liked": "", "other": "", "invented": ""}
    pd.testing.assert_frame_equal(again, found.fillna(blank), check_dtype=False)
    by_weights = again[again["arm"] == "EASE's weights"]
    assert (by_weights["liked"] != "").all() and (by_weights["itself"] == 0).all()
    assert (by_weights[["other", "invented"]] == "").all(axis=None)


@pytest.fixture(scope="module")
def taught():
    try:
        one = LanguageModel(device="cpu", progress=False)
    except WeightsNotFound as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the language model's weights are not here: {error}")
    prompt, ends = fill("title"), [f"{LEAD}Heat (1995)\n"]
    before = one.log_likelihood([prompt], ends)
    load_adapter(one, FOLDER / "adapter")
    assert abs(one.log_likelihood([prompt], ends) - before) > 0.01
    return one


def test_a_user_read_again_by_the_taught_model_has_the_stored_scores(make, taught, monkeypatch):
    stored = table("taught")
    user = stored["user_id"].iloc[0]
    own = stored[stored["user_id"] == user].sort_values("place").iloc[::5]
    monkeypatch.setattr(make.before, "model", lambda: taught)
    _, items, rolling, titles, _, _ = make.before.world()
    split = rolling.test[own["window"].iloc[0]]
    row = split.test.user_ids.tolist().index(user)
    prompt = make.before.likes_prompt(make.before.last_likes(split, row, make.before.N_LIKES))
    title_of = dict(zip(items["item_id"], titles, strict=True))
    ends = [f"{LEAD}{title_of[item]}\n" for item in own["item_id"]]
    again = taught.log_likelihood([prompt] * len(ends), ends)
    np.testing.assert_allclose(again, own["log_p"], atol=0.02)
