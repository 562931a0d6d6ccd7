"""The stored measurements of chapter 16 are those that its script wrote."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.splits import rolling_split
from recsys_tutorial.trust import likelihood_ratio, sampled_gaussian_epsilon

FOLDER = Path(__file__).resolve().parents[2] / "data" / "trust"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))


def test_every_file_is_as_it_was_written_and_said_what_it_is():
    files = {path.name for path in FOLDER.glob("*.csv*")}
    assert files == set(MANIFEST) and files
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, expected in MANIFEST.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected, name
        assert f"`{name}`" in readme


@pytest.fixture(scope="module")
def judged_users():
    return {user for s in rolling_split(*load_movielens()).test for user in s.test.user_ids}


@pytest.mark.parametrize("name, unit", [("fairness", ["model"]), ("lists", ["way", "setting"])])
def test_each_arm_has_every_test_user_once(name, unit, judged_users):
    table = pd.read_csv(FOLDER / f"{name}.csv.gz")
    for _, part in table.groupby(unit):
        assert not part["user_id"].duplicated().any() and set(part["user_id"]) == judged_users
        assert part["ndcg"].between(0, 1).all()


def test_lists_as_they_were_are_the_models():
    lists, served = (pd.read_csv(FOLDER / f"{name}.csv.gz") for name in ("lists", "fairness"))
    alone = lists[lists["way"] == "as it was"].set_index("user_id")["ndcg"]
    model = served[served["model"] == "fading EASE"].set_index("user_id")["ndcg"]
    np.testing.assert_allclose(alone, model[alone.index], atol=1e-5)


def test_each_stored_model_can_be_attacked_with_the_others():
    """With every draw attacked in turn, as few users unknown as the README says."""
    table = pd.read_csv(FOLDER / "membership.csv.gz")
    for _, part in table.groupby("model"):
        wide = part.pivot(index="draw", columns="row")
        known, inside = wide["known"], wide["inside"]
        for draw in known.index:
            others, member = known.drop(draw), inside.drop(draw) == 1
            without, with_ = others.mask(member).to_numpy(), others.where(member).to_numpy()
            for arm in (None, with_):
                unknown = np.isnan(likelihood_ratio(known.loc[draw].to_numpy(), without, arm))
                assert unknown.sum() <= (3 if len(known) == 16 else 75)


def test_what_was_spent_holds_the_counts_of_every_fit():
    """Beside the steps' epsilon, a fifth of what was asked, for fresh counts in each fit."""
    table = pd.read_csv(FOLDER / "private.csv.gz")
    noisy = table[table["noise"] > 0].drop_duplicates("epsilon")
    assert len(noisy) == 6
    assert (table.groupby(["epsilon", "user_id"])["seed"].nunique() == 3).all()
    for row in noisy.to_dict("records"):
        for fits in (1, 12):
            steps = sampled_gaussian_epsilon(0.25, row["noise"], 100 * fits, 1e-5)
            want = steps + fits * 0.2 * float(row["epsilon"])
            assert row[f"epsilon_of_{fits}_fits"] == pytest.approx(want, rel=1e-4)
        assert row["epsilon_of_1_fits"] <= float(row["epsilon"])
    assert np.isinf(table.loc[table["noise"] == 0, "epsilon_of_12_fits"]).all()


def test_a_limit_was_passed_where_no_candidate_was_left_alone():
    """Places over the limit of each window's lists: as many as the README says."""
    lists, over = pd.read_csv(FOLDER / "lists.csv.gz"), {}
    windows = rolling_split(*load_movielens()).test
    for limit, part in lists[lists["way"] == "capped"].groupby("setting"):
        shown = part.set_index("user_id")["list"].str.split().explode().astype(int)
        counts = [shown.loc[list(s.test.user_ids)].value_counts() for s in windows]
        over[limit] = sum(int((c - limit).clip(lower=0).sum()) for c in counts)
    assert over == {2: 5, 4: 0, 8: 0, 16: 0}


def test_forgetting_was_exact_each_time():
    table = pd.read_csv(FOLDER / "unlearning_ease.csv")
    assert (table["largest_difference"] < 1e-8).all() and (table["largest_score"] > 0.1).all()


def test_models_of_one_draw_learned_from_the_same_half_and_are_asked_of_the_same_users():
    table = pd.read_csv(FOLDER / "membership.csv.gz")
    inside = table.pivot(index=["draw", "row"], columns="model", values="inside")
    assert (inside.nunique(axis=1) == 1).all()
    asked = inside.notna().groupby("draw").sum()
    assert ((asked == asked.to_numpy().max()) | (asked == 0)).all().all()
    assert inside.groupby("draw").mean().stack().dropna().between(0.4, 0.6).all()
    assert np.isfinite(table["known"]).all()


def test_every_model_was_attacked_at_eight_films_with_every_kind_and_number_of_fakes():
    table = pd.read_csv(FOLDER / "shilling.csv")
    assert not table.duplicated(["model", "target", "kind", "fakes"]).any()
    attacks = table[table["fakes"] > 0].groupby(["model", "target"]).size()
    assert attacks.groupby("model").apply(lambda n: (n == 15).sum()).min() == 8
    before = table[table["fakes"] == 0]
    assert (before["lists"] == 0).all() and before["model"].nunique() == 6
