"""The stored repetitions, the daily score, ways to stay up to date, and the shop's logs."""

import importlib.util
import types

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from recsys_tutorial.datasets import data_dir
from recsys_tutorial.feedback import runs as shop_runs
from recsys_tutorial.feedback.logs import Choice, choice, click_law, first_days
from recsys_tutorial.feedback.off_policy import doubly_robust, importance_weights
from recsys_tutorial.feedback.online import VISITS, run_ways, sample
from recsys_tutorial.feedback.shop import Shop, load_pictures


@pytest.fixture(scope="module")
def pictures():
    return load_pictures()


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
    function, tasks = make.TASKS["arrivals"]
    make.TASKS["arrivals"] = (function, tasks[:1])
    pool = types.SimpleNamespace(starmap=lambda f, tasks, chunksize: [f(*task) for task in tasks])
    make.make("arrivals", tmp_path, pool)
    keys = ["setting", "policy", "seed", "measure"]
    made = pd.read_csv(tmp_path / "arrivals.csv").set_index(keys)
    stored = pd.read_csv(data_dir() / "simulation" / "arrivals.csv").set_index(keys)
    # Stored with 4 places; a changed constant or stream moves the second place.
    pd.testing.assert_frame_equal(made, stored.loc[made.index], rtol=0, atol=1e-3)
    assert len(made) == len(stored) / len(tasks)
    assert [path.name for path in tmp_path.iterdir()] == ["arrivals.csv"]


def test_the_confirmation_has_seeds_of_its_own():
    fresh = shop_runs.load_runs("confirmation")
    assert set(fresh["policy"]) == {"greedy", "Thompson"}
    assert set(fresh["seed"]) == set(range(20, 100))
    assert set(shop_runs.load_runs()["seed"]) == set(range(20))


def test_tables_survive_the_file(tmp_path, monkeypatch):
    rows = [("drifting", p, s, d, s + d / 8, d / 4) for p in "ab" for s in (0, 1) for d in range(3)]
    table = pd.DataFrame(rows, columns=["setting", "policy", "seed", "day", "clicks", "regret"])
    (tmp_path / "simulation").mkdir()
    shop_runs.to_wide(table).to_csv(tmp_path / "simulation" / "x.csv", index=False)
    monkeypatch.setattr(shop_runs, "data_dir", lambda: tmp_path)
    pd.testing.assert_frame_equal(shop_runs.load_runs("x"), table, check_like=True)


WAYS = {"frozen": {}, "nightly": {"users": "night"}, "visit": {"users": "visit"}}


def test_without_drift_the_frozen_way_stays_and_the_others_learn(pictures):
    table = run_ways(Shop(pictures, 60, seed=2), 2, n_days=8, ways=WAYS)
    share = table.pivot(index="day", columns="way", values="share")
    np.testing.assert_allclose(share["frozen"], share.loc[0, "frozen"])
    assert share.loc[7, "nightly"] > share.loc[0, "nightly"]
    assert share["visit"].mean() > share["frozen"].mean()
    assert (share.loc[0, "nightly"], share.loc[0, "visit"]) != (0, 0)
    # The night's way starts the day as the visit's way ended the one before.
    assert abs(share["visit"] - share["nightly"]).max() < 0.05


def test_steps_without_a_rate_are_no_steps(pictures):
    steps = {"users": "visit", "head": "steps"}
    ways = {
        "visit": {"users": "visit"},
        "none": steps | {"rate": 0.0},
        "some": steps | {"rate": 30},
    }
    table = run_ways(Shop(pictures, 30, 3), 3, n_days=2, ways=ways)
    share = table.pivot(index="day", columns="way", values="share")
    np.testing.assert_allclose(share["none"], share["visit"])
    assert abs(share["some"] - share["visit"]).max() > 1e-3


def test_a_batch_is_of_the_last_visit_or_of_all():
    rng, shape = np.random.default_rng(0), (7, 4)
    log = [(np.full(shape, v), np.arange(28).reshape(shape) % 2) for v in range(5)]
    for replay, visits in ((False, {4}), (True, {0, 1, 2, 3, 4})):
        shopper, shown, slot, clicks = sample(log, replay, rng, n=500)
        assert set(shown) == visits
        assert (clicks == (4 * shopper + slot) % 2).all()
    assert VISITS >= 1


def small_choice():
    rng = np.random.default_rng(4)
    tables = [softmax(rng.standard_normal((6, 3)), axis=1) for _ in range(2)]
    return Choice(rng.random((6, 3)), *tables, rng.random((6, 3)), rng.random((6, 3)))


def test_the_stated_variance_is_that_of_many_logs():
    case = small_choice()
    shopper, action, reward = case.draw(400_000, np.random.default_rng(5))
    w = importance_weights(case.target[shopper, action], case.logging[shopper, action])
    q = np.random.default_rng(6).random((6, 3))
    for predicted in (np.zeros((6, 3)), q, case.attraction):
        expected = (case.target * predicted).sum(axis=1)[shopper]
        rounds = expected + w * (reward - predicted[shopper, action])
        found = doubly_robust(reward, w, action, case.target[shopper], predicted[shopper])
        assert abs(found.value - case.truth) < 5 * found.standard_error
        # 400,000 rounds know a variance to about 0.5 %; leaving out a part would cost over 5 %.
        assert rounds.var() == pytest.approx(sum(case.variance(predicted).values()), rel=0.02)
    assert case.variance(case.attraction)["choice"] == pytest.approx(0, abs=1e-12)


def test_a_case_has_two_policies_and_candidates_worth_showing(pictures):
    wanted, any_ = (choice(7, retrieved=r, pictures=pictures) for r in (True, False))
    for case in (wanted, any_):
        for p in (case.logging, case.target):
            np.testing.assert_allclose(p.sum(axis=1), 1)
        assert case.logging.min() >= 0.02 - 1e-12
        assert case.target.max(axis=1).mean() > case.logging.max(axis=1).mean()
        assert case.truth > (case.logging * case.attraction).sum(axis=1).mean()
    assert wanted.attraction.mean() > 1.5 * any_.attraction.mean()


def test_content_places_a_new_picture_at_once_and_numbers_cannot(pictures):
    table = first_days(8, n_days=14, n_shoppers=150, n_ages=3, pictures=pictures)
    share = table.pivot(index="day", columns="policy", values="share")
    assert list(share.index) == [0, 1, 2]
    # At age 0 an ID model names any picture.
    assert abs(share.loc[0, "ID model"] - share.loc[0, "random"]) < 0.1
    assert share.loc[0, "greedy"] > share.loc[0, "random"] + 0.1


def test_the_law_of_clicks_by_hand_and_by_its_mean(pictures):
    shop = Shop(pictures, 50, seed=9, n_slots=2)
    shown = shop.best()
    a, b = (shop.examination * np.take_along_axis(shop.attraction, shown, axis=1)).T
    by_hand = [((1 - a) * (1 - b)).mean(), (a + b - 2 * a * b).mean(), (a * b).mean()]
    np.testing.assert_allclose(click_law(shop, shown), by_hand)
    assert click_law(shop, shown) @ np.arange(3) == pytest.approx(
        shop.expected_clicks(shown).mean()
    )
