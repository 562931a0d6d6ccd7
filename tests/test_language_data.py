"""The stored measurements of chapter 14 are those that its script wrote."""

import hashlib
import json
import math
import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from recsys_tutorial.language import TitleTrie

FOLDER = Path(__file__).resolve().parents[1] / "data" / "language"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def test_every_file_is_as_it_was_written():
    files = {path.name for path in FOLDER.glob("*.gz")}
    assert files == set(MANIFEST) and len(files) > 8
    for name, expected in MANIFEST.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected, name


@pytest.mark.parametrize("name", ["rerank", "tuning"])
def test_each_user_has_its_candidates_once(name):
    table = pd.read_csv(FOLDER / f"{name}.csv.gz")
    assert not table.duplicated(["user_id", "item_id"]).any()
    for _, part in table.groupby("user_id"):
        assert part["place"].tolist() == list(range(len(part))) and len(part) == 30
        assert part["ease"].is_monotonic_decreasing
        assert part["n_targets"].nunique() == 1
    assert (table["log_p"] < 0).all()


def test_letters_are_probabilities_and_all_orders_are_there():
    table = pd.read_csv(FOLDER / "positions.csv.gz")
    one_answer = table.groupby(["user_id", "n", "order"])["log_p"]
    assert one_answer.agg(lambda x: sum(map(math.exp, x))).max() <= 1 + 1e-3
    four = table[table["n"] == 4]
    orders = four.groupby(["user_id", "order"])["film"].agg(tuple).groupby("user_id").nunique()
    assert (orders == math.factorial(4)).all()


def test_no_tuning_user_is_a_test_user():
    tuning, test = (pd.read_csv(FOLDER / f"{name}.csv.gz") for name in ("tuning", "rerank"))
    assert not set(tuning["user_id"]) & set(test["user_id"])


def test_the_likeliest_title_is_no_less_probable_than_what_a_narrow_beam_wrote():
    table = pd.read_csv(FOLDER / "generation.csv.gz")
    log_p = table.pivot(index="user_id", columns="how", values="log_p")
    # Read in other batches, and stored with four digits: a wrong search is off by whole units.
    assert (log_p["likeliest"] >= log_p["beam of 3"] - 0.01).all()
    assert (log_p["likeliest"] >= log_p["likeliest new"] - 0.01).all()
    written = table[table["how"].isin(["beam of 3", "likeliest", "likeliest new"])]
    assert (written["known"] == 1).all()


class Letters:
    """A model of three letters; what may follow "a" is uncertain, what follows "b" is sure."""

    def __call__(self, text, add_special_tokens=False):
        return {"input_ids": ["abc\n".index(letter) for letter in text.strip(" ")]}

    tokenizer = property(lambda self: self)

    def tokens(self, text):
        return self(text)["input_ids"]

    def read(self, tokens):
        return None

    def next_log_probabilities(self, shared, tails):
        first, after_a = [0.55, 0.25, 0.15, 0.05], [0.3, 0.3, 0.3, 0.1]
        sure = [0.02, 0.02, 0.02, 0.94]
        rows = [first if not t else after_a if t[0] == 0 else sure for t in tails]
        return torch.tensor(rows).log()


@pytest.mark.parametrize("n_open", [1, 2, 32])
def test_the_search_gives_titles_from_the_likeliest_on(monkeypatch, n_open):
    monkeypatch.setattr(sys, "argv", ["make.py"])
    make = runpy.run_path(str(FOLDER / "make.py"))
    search = make["by_probability"]
    monkeypatch.setitem(search.__globals__, "model", Letters)
    titles = ["a", "aa", "ab", "ac", "abc", "b", "c", "cb"]
    found = list(search("abc", TitleTrie(Letters(), titles), n_open))
    expected = {"a": 0.055, "b": 0.235, "c": 0.141, "cb": 0.15 * 0.02 * 0.94}
    expected |= {"aa": 0.0165, "ab": 0.0165, "ac": 0.0165, "abc": 0.55 * 0.3 * 0.3 * 0.1}
    assert [title for _, title in found][:3] == ["b", "c", "a"]
    assert [title for _, title in found][-1] == "cb"
    assert {t: math.exp(p) for p, t in found} == pytest.approx(expected, rel=1e-5)
    assert [p for p, _ in found] == sorted((p for p, _ in found), reverse=True)
