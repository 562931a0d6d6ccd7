"""Ways of keeping a model up to date: what each one waits for, and what steps are drawn from."""

import numpy as np

from recsys_tutorial.feedback.shop import Shop
from recsys_tutorial.feedback.ways import VISITS, run_ways, sample

WAYS = {"frozen": {}, "nightly": {"users": "night"}, "visit": {"users": "visit"}}


def test_without_drift_the_frozen_way_stays_and_the_others_learn(pictures):
    table = run_ways(Shop(pictures, 60, seed=2), 2, n_days=8, ways=WAYS)
    share = table.pivot(index="day", columns="way", values="share")
    assert share.index.tolist() == list(range(8)) and list(table) == ["way", "day", "share"]
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
        assert set(shown) == visits and {len(part) for part in (shopper, shown, slot)} == {500}
        assert set(shopper) == set(range(7)) and set(slot) == set(range(4))
        assert (clicks == (4 * shopper + slot) % 2).all()
    assert VISITS >= 1
