"""The stored repetitions, the daily score, ways to stay up to date, and the shop's logs."""

import importlib.util
import types

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from recsys_tutorial.datasets import data_dir
from recsys_tutorial.feedback import runs as shop_runs
from recsys_tutorial.feedback.shop import Shop
from tests.feedback.test_shop import small_pictures


def test_a_repetition_is_scored_against_the_best_lists(pictures):
    shop = Shop(pictures, 40, seed=1, swap=0.1, new_per_day=20, n_days=6)
    names = ["oracle", "random", "greedy", "popularity"]
    table = shop_runs.run(shop_runs.make_policies(shop, 1, names), shop, n_days=6)
    assert len(table) == 6 * len(names)
    by = table.groupby("policy")
    np.testing.assert_allclose(by["regret"].sum()["oracle"], 0, atol=1e-12)
    assert (table["regret"] > -1e-12).all()
    best = table[table["policy"] == "oracle"].set_index("day")["clicks"]
    np.testing.assert_allclose(table["clicks"] + table["regret"], best[table["day"]])
    assert table["pictures"].between(0, 1).all() and table["new"].between(0, 1).all()
    assert table["themes"].between(1, 5).all()
    late = table[(table["policy"] == "popularity") & (table["day"] > 0)]
    stock = (np.sum(shop.arrival == 0) + 20 * late["day"]).to_numpy()
    np.testing.assert_allclose(late["pictures"] * stock, 5)  # one list for all


def test_the_stored_runs_are_what_the_code_does(pictures):
    """Stored with 4 places; a changed constant or stream moves the second place."""
    again = shop_runs.run_seed("drifting", 3, ["greedy"], pictures=pictures)
    stored = shop_runs.load_runs()
    assert not stored.isna().any().any()
    stored = stored[stored["setting"].eq("drifting") & stored["seed"].eq(3)]
    stored = stored[stored["policy"] == "greedy"].sort_values("day")
    for measure in ("clicks", "regret", "pictures", "themes"):
        np.testing.assert_allclose(again[measure], stored[measure], atol=1e-3)


def test_every_policy_begins_as_the_stored_runs_say(pictures):
    """Four days: after three random ones the policy that explores first has its first own list."""
    shop = Shop(pictures, 1000, 3, **shop_runs.SETTINGS["steady"])
    again = shop_runs.run(shop_runs.make_policies(shop, 3), shop, n_days=4)
    stored = shop_runs.load_runs()
    stored = stored[stored["setting"].eq("steady") & stored["seed"].eq(3) & (stored["day"] < 4)]
    measures = ["clicks", "regret", "pictures", "themes", "new"]
    again, stored = (t.set_index(["policy", "day"])[measures].sort_index() for t in (again, stored))
    # Stored with 4 places; a changed constant or stream moves the second place.
    pd.testing.assert_frame_equal(again, stored, rtol=0, atol=1e-3)


def test_theme_features_are_a_ridge_regression_of_themes(pictures):
    content, themes = shop_runs.theme_features(pictures)
    assert (content[:, 0] == 1).all() and (content[:, 1:] == pictures.features).all()
    named = pictures.traits[:, pictures.columns("theme")]
    fitted = Ridge(alpha=1.0, fit_intercept=False).fit(content, named).predict(content)
    assert (themes[:, 0] == 1).all()
    np.testing.assert_allclose(themes[:, 1:], fitted - fitted.mean(axis=0), atol=1e-9)


def test_a_repetition_is_of_the_shop_it_names(monkeypatch):
    pictures = small_pictures()
    shop = Shop(pictures, 7, 5)
    names = ["random", "popularity"]
    expected = shop_runs.run(shop_runs.make_policies(shop, 5, names), shop)
    found = shop_runs.run_seed("steady", 5, names, n_shoppers=7, pictures=pictures)
    assert (found["setting"] == "steady").all() and (found["seed"] == 5).all()
    pd.testing.assert_frame_equal(found[list(expected)], expected)
    assert set(found["day"]) == set(range(30))
    monkeypatch.setattr(shop_runs, "load_pictures", lambda: pictures)  # the default
    pd.testing.assert_frame_equal(shop_runs.run_seed("steady", 5, names, n_shoppers=7), found)


def test_the_stored_tables_are_what_their_command_makes(tmp_path):
    """One task of each table; the whole takes a quarter of an hour."""
    spec = importlib.util.spec_from_file_location("make", data_dir() / "simulation" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    for name, (_, tasks) in make.TASKS.items():
        stored = shop_runs.load_runs(name)
        columns = ["setting", "seed"] if name in ("runs", "confirmation") else ["seed"]
        wanted = {("drifting", *t) if name == "confirmation" else t for t in tasks}
        assert {tuple(row) for row in stored[columns].drop_duplicates().to_numpy()} == wanted
    pool = types.SimpleNamespace(starmap=lambda f, tasks, chunksize: [f(*task) for task in tasks])
    keys = ["setting", "policy", "seed", "measure"]
    for name in ("arrivals", "learning"):
        function, tasks = make.TASKS[name]
        make.TASKS[name] = (function, tasks[:1])
        make.make(name, tmp_path, pool)
        made = pd.read_csv(tmp_path / f"{name}.csv").set_index(keys)
        stored = pd.read_csv(data_dir() / "simulation" / f"{name}.csv").set_index(keys)
        # Stored with 4 places; a changed constant or stream moves the second place.
        pd.testing.assert_frame_equal(made, stored.loc[made.index], rtol=0, atol=1e-3)
        assert len(made) == len(stored) / len(tasks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrivals.csv", "learning.csv"]


def test_the_confirmation_has_seeds_of_its_own():
    fresh = shop_runs.load_runs("confirmation")
    others = ["runs", "tuning", "learning", "arrivals"]
    used = set().union(*(shop_runs.load_runs(name)["seed"] for name in others))
    assert set(fresh["seed"]) == set(range(300, 320)) and not used & set(fresh["seed"])
    assert set(shop_runs.load_runs()["seed"]) == set(range(20))


def test_the_confirmed_regularisations_are_the_best_on_the_tuning_seeds():
    tuned = shop_runs.load_runs("tuning").groupby("policy")["regret"].mean()
    names = tuned.index.str.partition(", reg ")
    best = tuned.groupby(names.get_level_values(0)).idxmin()
    crossed = {"greedy, reg 0.3", "Thompson, reg 0.1"}
    assert set(shop_runs.load_runs("confirmation")["policy"]) == {*best, *crossed}


def test_tables_survive_the_file(tmp_path, monkeypatch):
    rows = [("drifting", p, s, d, s + d / 8, d / 4) for p in "ab" for s in (0, 1) for d in range(3)]
    table = pd.DataFrame(rows, columns=["setting", "policy", "seed", "day", "clicks", "regret"])
    (tmp_path / "simulation").mkdir()
    wide = shop_runs.to_wide(table.assign(clicks=1 / 3))
    assert wide.columns.name is None
    assert set(wide.loc[wide["measure"] == "clicks", 0]) == {0.3333}  # four decimals
    shop_runs.to_wide(table).to_csv(tmp_path / "simulation" / "x.csv", index=False)
    monkeypatch.setattr(shop_runs, "data_dir", lambda: tmp_path)
    pd.testing.assert_frame_equal(shop_runs.load_runs("x"), table, check_like=True)
