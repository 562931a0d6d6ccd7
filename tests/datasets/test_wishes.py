"""Wishes in words: whole, within their vocabulary, no near-duplicates across the parts."""

import importlib.util
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import cohen_kappa_score

from recsys_tutorial.datasets import (
    DataFileError,
    data_dir,
    label_agreement,
    load_movielens,
    load_wishes,
)
from recsys_tutorial.datasets.wishes import ERAS, GENRES, KINDS, is_aspect

FOLDER = data_dir() / "wishes"
FILES = ("wishes.csv", "second_labels.csv", "manifest.json")


@pytest.fixture(scope="module")
def wishes():
    return load_wishes()


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_wishes", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def films_of(row):
    """The films that a text names."""
    named = {int(word[5:]) for word in (*row.liked, *row.disliked) if word.startswith("film:")}
    return named | set(row.about)


def test_the_table_is_whole(wishes):
    texts = wishes.texts
    assert len(texts) >= 320
    assert texts["wish_id"].tolist() == list(range(1, len(texts) + 1))
    assert texts.groupby("kind").size().min() >= 80 and set(texts["kind"]) == set(KINDS)
    assert set(texts["split"]) == {"tuning", "test"} and set(texts["join"]) == {"all", "any"}
    assert texts["text"].str.strip().eq(texts["text"]).all() and texts["text"].is_unique
    assert texts["text"].str.split().str.len().between(3, 80).all()
    assert texts["about"].map(len).eq(texts["kind"].eq("review")).all()


def test_labels_are_of_the_vocabulary_and_do_not_contradict_themselves(wishes):
    for row in wishes.texts.itertuples():
        assert row.liked and all(map(is_aspect, (*row.liked, *row.disliked))), row.text
        assert not set(row.liked) & set(row.disliked), row.text
        if row.kind == "exclusion":
            assert row.disliked, row.text
        if row.kind == "comparison":
            assert any(word.startswith("film:") for word in row.liked), row.text
    ids = set(load_movielens().items["item_id"])
    assert all(films_of(row) <= ids for row in wishes.texts.itertuples())


def test_every_genre_and_most_times_are_asked_for(wishes):
    liked = {word for cell in wishes.texts["liked"] for word in cell}
    assert set(GENRES) <= liked
    assert len(liked & set(ERAS)) >= 8


def test_themes_films_and_labels_are_in_one_part_only(wishes):
    texts = wishes.texts
    assert texts.groupby("theme")["split"].nunique().max() == 1
    assert texts.groupby("theme").size().eq(8).all()
    films = {part: set() for part in ("tuning", "test")}
    for row in texts.itertuples():
        films[row.split] |= films_of(row)
    assert not films["tuning"] & films["test"]
    labels = texts.assign(labels=texts[["liked", "disliked", "join"]].apply(tuple, axis=1))
    assert labels.groupby("labels")["theme"].nunique().max() == 1
    assert texts["split"].eq("tuning").mean() == pytest.approx(0.4, abs=0.02)


def test_no_near_duplicates_across_the_parts(wishes):
    texts = wishes.texts
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).fit_transform(texts["text"])
    tuning = texts["split"].eq("tuning").to_numpy()
    # The highest is 0.42, of two texts that share "I don't want"; a copy with three words changed
    # has about 0.8.
    assert (vectors[tuning] @ vectors[~tuning].T).max() < 0.5
    close = texts["text"][tuning].iloc[0].replace("friends", "brothers")
    both = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)).fit(texts["text"])
    pair = both.transform([texts["text"][tuning].iloc[0], close])
    assert (pair @ pair.T)[0, 1] > 0.5


def test_a_third_is_labelled_twice_and_the_labellings_agree(wishes):
    texts, second = wishes
    assert len(second) >= len(texts) / 3
    assert second["wish_id"].is_unique and second["wish_id"].isin(texts["wish_id"]).all()
    kinds = texts.set_index("wish_id")["kind"][second["wish_id"]]
    assert kinds.value_counts().tolist() == [29] * 4
    table = label_agreement(texts, second).set_index("aspect")
    assert 0.9 < table["kappa"]["all"] < 1  # equal labels would be copies
    for genre in ("Comedy", "Drama", "Thriller"):
        assert table["kappa"][genre] > 0.8


def test_kappa_equals_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    names = ["War", "Crime", "Drama"]

    def draw():
        classes = rng.integers(-1, 2, (40, 3))
        cells = {
            column: [tuple(n for n, c in zip(names, row, strict=True) if c == sign)
                     for row in classes]
            for column, sign in (("liked", 1), ("disliked", -1))
        }  # fmt: skip
        return classes, pd.DataFrame({"wish_id": np.arange(40), **cells})

    (a, first), (b, second) = draw(), draw()
    table = label_agreement(first, second.sample(frac=1, random_state=1)).set_index("aspect")
    for k, name in enumerate(names):
        assert table["kappa"][name] == pytest.approx(cohen_kappa_score(a[:, k], b[:, k]), abs=1e-12)
        assert table["n_first"][name] == np.count_nonzero(a[:, k])
        assert table["n_second"][name] == np.count_nonzero(b[:, k])
        assert table["agree"][name] == pytest.approx((a[:, k] == b[:, k]).mean())
    assert table["kappa"]["all"] == pytest.approx(cohen_kappa_score(a.ravel(), b.ravel()))
    assert list(table.index[:-1]) == sorted(names, key=lambda n: (-table["n_first"][n], n))


def test_an_aspect_that_nobody_mentions_has_no_kappa(wishes):
    table = label_agreement(wishes.texts, wishes.second, ["1930s"])
    assert table["agree"][0] == 1 and np.isnan(table["kappa"][0])


def test_agreement_refuses_what_it_cannot_compare(wishes):
    twice = pd.concat([wishes.second, wishes.second[:1]])
    with pytest.raises(ValueError, match="second has a text twice"):
        label_agreement(wishes.texts, twice)
    with pytest.raises(ValueError, match="no text in common"):
        label_agreement(wishes.texts, wishes.second.assign(wish_id=0).iloc[:1])


def copy_to(folder):
    for name in FILES:
        shutil.copy(FOLDER / name, folder)


@pytest.mark.parametrize("name", FILES)
def test_missing_and_damaged_files(tmp_path, name):
    copy_to(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataFileError, match="damaged"):
        load_wishes(tmp_path)
    path.unlink()
    with pytest.raises(DataFileError, match="missing"):
        load_wishes(tmp_path)


def test_a_wrong_label_is_told_with_its_line(tmp_path, make):
    copy_to(tmp_path)
    path = tmp_path / "wishes.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    assert lines[2].startswith("2,heist,wish,tuning,Crime Thriller new,")
    lines[2] = lines[2].replace("Crime", "Crimes")
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(DataFileError, match=r"wishes.csv, line 3, column liked: 'Crimes' is nei"):
        make.main(["--folder", str(tmp_path)])


def test_other_columns_are_refused(tmp_path, make):
    copy_to(tmp_path)
    path = tmp_path / "wishes.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("join", "joined", 1), encoding="utf-8")
    with pytest.raises(DataFileError, match="the columns must be wish_id, theme"):
        make.main(["--folder", str(tmp_path)])


def test_make_changes_nothing_that_is_in_order(tmp_path, make, capsys):
    copy_to(tmp_path)
    make.main(["--folder", str(tmp_path)])
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    make.main(["--folder", str(tmp_path), "--agreement"])
    assert "all labels equal: " in capsys.readouterr().out
    assert set(json.loads((tmp_path / "manifest.json").read_text())["files"]) == set(FILES[:2])


@pytest.mark.parametrize("word", ["sad", "Film noir", "film:", "film:x", "1920s", "80s", ""])
def test_what_is_no_label(word):
    assert not is_aspect(word)
