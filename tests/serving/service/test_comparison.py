"""Two versions by their users' likes: planted rates come back, with an interval that fits."""

import math

import numpy as np
import pytest

from recsys_tutorial.serving.service import FeedbackStore, compare_arms
from scripts.machine_speed import limit


@pytest.fixture
def store(tmp_path):
    store = FeedbackStore(tmp_path / "feedback.sqlite3")
    yield store
    store.close()


def plant(store, version, users, chance, seed=0):
    """Each user is shown ten items, and likes each of them with a chance."""
    rng, futures = np.random.default_rng(seed), []
    for user in users:
        list_id = f"{version}-{user}"
        store.add_list(list_id, user, version, range(10))
        for item in np.flatnonzero(rng.random(10) < chance):
            futures.append(store.add(user, int(item), "like", list_id=list_id))
    for future in futures:
        future.result(timeout=limit(60))


def test_a_better_version_is_seen_to_be_better(store):
    plant(store, "new", [f"a{n}" for n in range(80)], 0.4)
    plant(store, "old", [f"b{n}" for n in range(80)], 0.2, seed=1)
    found = compare_arms(store, "new", "old")
    assert found.n_users == (80, 80) and not found.paired
    # a mean of 800 draws: 0.2 is twelve standard errors of a rate away from 0.4
    assert found.rates == pytest.approx((0.4, 0.2), abs=0.06)
    assert 0 < found.low < found.difference < found.high
    back = compare_arms(store, "old", "new")
    assert back.difference == -found.difference and back.high < 0


def test_equal_versions_are_not_told_apart(store):
    plant(store, "new", [f"a{n}" for n in range(80)], 0.3)
    plant(store, "old", [f"b{n}" for n in range(80)], 0.3, seed=1)
    found = compare_arms(store, "new", "old")
    assert found.low < 0 < found.high


def test_the_same_users_are_compared_each_with_themselves(store):
    """Users differ far more than versions do: paired, the difference is plain all the same."""
    for number in range(20):
        plant(store, "new", [f"u{number}"], 1.0 if number % 2 else 0.2, seed=number)
        plant(store, "old", [f"u{number}"], 0.9 if number % 2 else 0.05, seed=number)
    paired = compare_arms(store, "new", "old", paired=True)
    unpaired = compare_arms(store, "new", "old")
    assert paired.paired and paired.n_users == (20, 20)
    assert paired.difference == pytest.approx(unpaired.difference)
    assert paired.low > 0 > unpaired.low


def test_only_likes_of_what_was_shown_count_and_each_once(store):
    store.add_list("l1", "ann", "new", [1, 2, 3, 4])
    for item, value, list_id in (
        (1, "like", "l1"), (1, "like", "l1"), (2, "hide", "l1"), (3, "like", None),
    ):  # fmt: skip
        store.add("ann", item, value, list_id=list_id).result(timeout=limit(60))
    store.add_list("l2", "ann", "new", [5, 6, 7, 8]).result(timeout=limit(60))
    found = compare_arms(store, "new", "old")
    assert found.n_users == (1, 0)
    assert found.rates[0] == 1 / 8
    assert math.isnan(found.rates[1]) and math.isnan(found.low)


def test_a_version_is_not_compared_with_itself(store):
    with pytest.raises(ValueError, match="new cannot be compared with itself"):
        compare_arms(store, "new", "new")
