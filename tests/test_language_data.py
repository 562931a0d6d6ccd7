"""The stored measurements of chapter 14 are those that its script wrote."""

import hashlib
import json
import math
from pathlib import Path

import pandas as pd
import pytest

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
