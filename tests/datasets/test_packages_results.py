"""The committed results about packages are whole, of the users of the split, and chosen inside."""

import ast

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.datasets import data_dir, load_packages
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.models import Popularity
from recsys_tutorial.splits import group_split

FOLDER = data_dir() / "packages"


@pytest.fixture(scope="module")
def split():
    sources, packages, needs = load_packages()
    return group_split(needs, packages, sources["group"].to_numpy())


def chosen(table):
    return table.loc[table.groupby("model")["ndcg@10"].idxmax()].set_index("model")["setting"]


@pytest.mark.parametrize(
    ("name", "which"), [("tuning.csv", "maintainers"), ("tuning.csv", "random"),
                        ("tower_tuning.csv", None), ("similarity_tuning.csv", None)],
)  # fmt: skip
def test_no_choice_is_at_the_edge_of_its_grid(name, which):
    table = pd.read_csv(FOLDER / name, dtype={"setting": str})
    table = table if which is None else table[table["split"] == which]
    for model, setting in chosen(table).items():
        settings = table.loc[table["model"] == model, "setting"].map(ast.literal_eval)
        grid = np.array([np.atleast_1d(s) for s in settings], dtype=float)
        for one, of in zip(np.atleast_1d(ast.literal_eval(setting)), grid.T, strict=True):
            assert of.min() < one < of.max(), model


def test_popularity_is_what_the_probe_says(split):
    probe = pd.read_csv(FOLDER / "probe.csv")
    probe = probe[probe["split"] == "maintainers"].set_index("model")
    found = evaluate(Popularity().fit(split.train), split.test, (10,))["ndcg@10"]
    assert found == pytest.approx(probe.loc["popularity", "mean"], abs=2e-5)  # five digits
    assert (probe["low"] < probe["mean"]).all() and (probe["mean"] < probe["high"]).all()
    difference = probe["mean"] - probe.loc["EASE", "mean"]
    np.testing.assert_allclose(probe["mean minus EASE"], difference, atol=2e-5)


@pytest.mark.parametrize("name", ["towers.csv.gz", "similarity.csv.gz"])
def test_towers_are_of_the_test_users_and_three_seeds_each(split, name):
    table = pd.read_csv(FOLDER / name, index_col="user_id")
    assert table.index.tolist() == split.test.user_ids.tolist()
    assert table.notna().all(axis=None) and (table >= 0).all(axis=None)
    assert (table <= 1).all(axis=None)
    seeds = table.columns.str.split("|").map(lambda c: (*c[:2], c[3]))
    assert (seeds.value_counts() == 3).all()
