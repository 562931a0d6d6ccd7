"""Users held out by whole groups: no group on two sides, nothing shown that is to be found."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.datasets import load_packages
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.models import ItemKNN, Popularity
from recsys_tutorial.splits import group_split, hold_out_by_group


def items(n: int) -> pd.DataFrame:
    return pd.DataFrame({"name": [f"item {i}" for i in range(n)]}, index=np.arange(n) + 5)


@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_groups_and_likes_are_on_one_side_each(seed, fraction, n_groups_of):
    rng = np.random.default_rng(seed)
    likes = sparse.csr_matrix((rng.random((60, 12)) < 0.3).astype(float))
    groups = rng.integers(0, 60 // n_groups_of, 60)
    split = group_split(
        likes, items(12), groups, 15, 10, fraction, max_group_share=1.0, seed=seed % 7
    )
    users = [split.train_user_ids, split.test.user_ids, split.validation.user_ids]
    of = [set(groups[u]) for u in users]
    assert not of[0] & of[1] and not of[0] & of[2] and not of[1] & of[2]
    assert len(split.test) + split.test.n_left_out <= 15
    held_out = sum(len(h) + h.n_left_out for h in (split.test, split.validation))
    assert len(split.train_user_ids) + held_out == 60
    for part in (split.test, split.validation):
        assert part.history.multiply(part.targets).nnz == 0
        whole = likes[part.user_ids]
        assert ((part.history + part.targets) != whole).nnz == 0
        n = np.diff(whole.indptr)
        np.testing.assert_array_equal(np.diff(part.history.indptr), np.floor(n * fraction + 1e-9))
        assert (np.diff(part.targets.indptr) > 0).all()
    assert (split.train != likes[split.train_user_ids]).nnz == 0


def test_without_groups_users_are_drawn_one_by_one_and_a_seed_is_a_draw():
    likes = sparse.csr_matrix(np.ones((50, 6)))
    one, same, other = (group_split(likes, items(6), None, 10, 5, seed=s) for s in (0, 0, 1))
    assert len(one.test) == 10 and len(one.validation) == 5
    np.testing.assert_array_equal(one.test.user_ids, same.test.user_ids)
    assert (one.test.history != same.test.history).nnz == 0
    assert not np.array_equal(one.test.user_ids, other.test.user_ids)
    assert list(one.items["item_id"]) == list(range(6)) and one.items["name"][2] == "item 2"


def test_a_large_group_trains():
    groups = np.concatenate([np.zeros(40, int), np.arange(1, 61)])
    for seed in range(5):
        split = group_split(
            sparse.csr_matrix(np.ones((100, 4))), items(4), groups, 20, 10, seed=seed
        )
        assert set(range(40)) <= set(split.train_user_ids)


def test_before_they_liked_anything_all_is_to_be_found():
    likes = sparse.csr_matrix(np.ones((30, 4)))
    part = group_split(likes, items(4), None, 10, 5).test
    new = part.without_history()
    assert new.history.nnz == new.seen.nnz == new.history_ratings.nnz == 0
    assert (new.targets != likes[new.user_ids]).nnz == 0
    assert part.history.nnz == 20  # the original stays
    assert evaluate(np.tile(np.arange(4.0), (10, 1)), new)["recall@10"] == 1.0


def test_families_leak_through_a_split_at_random():
    sources, packages, needs = load_packages()
    often = np.bincount(needs.indices) >= 10  # the others would take most of the time
    needs, packages, found = needs[:, often], packages[often], {}
    for name, groups in {"random": None, "unseen": sources["group"].to_numpy()}.items():
        split = group_split(needs, packages, groups, 1000, 100)
        assert 900 <= len(split.test) <= 1000
        found[name] = {
            m.__name__: evaluate(m().fit(split.train), split.test)["ndcg@10"]
            for m in (Popularity, ItemKNN)
        }
    assert found["random"]["ItemKNN"] > found["unseen"]["ItemKNN"] + 0.02
    assert found["unseen"]["ItemKNN"] > found["unseen"]["Popularity"] + 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": items(3)}, "has 4 columns, not 3|3"),
        ({"groups": np.zeros(3)}, "as many groups"),
        ({"groups": np.arange(30) // 2}, "in 15 groups 30 train, 0 test"),  # two are too many
        ({"max_group_share": 1.5}, "max_group_share must be from 0 to 1, got 1.5"),
        ({"groups": np.zeros(30)}, "in 1 groups 30 train, 0 test"),
        ({"n_test": 30}, "0 train"),
        ({"n_test": 0}, "must be 1 at least"),
        ({"history_fraction": 1.0}, "history_fraction"),
        ({"max_group_share": 0.0}, "max_group_share"),
        ({"likes": sparse.csr_matrix(-np.ones((30, 4)))}, "negative value"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"likes": sparse.csr_matrix(np.ones((30, 4))), "items": items(4), "n_test": 10}
    with pytest.raises(ValueError, match=message):
        group_split(**(good | {"n_validation": 5} | change))


def test_one_user_is_enough_for_a_part():
    split = group_split(sparse.csr_matrix(np.ones((30, 4))), items(4), None, 1, 1)
    assert (len(split.test), len(split.validation), len(split.train_user_ids)) == (1, 1, 28)


def test_items_may_be_held_out_until_none_is_left_to_train():
    groups = np.repeat([f"hand {i}" for i in range(40)], 5)
    parts = hold_out_by_group(groups, np.ones(200, bool), 100, largest=5)
    assert len(parts["train"]) == 0 and len(parts["train+"]) == 100
    assert sorted([*parts["test"], *parts["validation"]]) == list(range(200))
    one = hold_out_by_group(groups, np.ones(200, bool), 5, largest=5)
    assert len(one["train+"]) == 195 and len(one["train"]) == 190  # a hand each, no more


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(3, 20))
@settings(max_examples=60, deadline=None)
def test_items_leave_by_whole_groups(seed, n, largest):
    rng = np.random.default_rng(seed)
    groups = rng.choice([f"hand {i}" for i in range(30)] + ["unknown"] * 3, 200)
    candidates = rng.random(200) < 0.7
    sizes = [(groups[candidates] == g).sum() for g in set(groups) - {"unknown"}]
    assume(sum(s for s in sizes if s <= largest) >= 2 * (n + largest))  # so that two parts exist
    parts = hold_out_by_group(groups, candidates, n, seed, largest=largest, stay=("unknown",))
    for held, trains in (("test", "train+"), ("validation", "train"), ("test", "train")):
        assert not set(groups[parts[held]]) & set(groups[parts[trains]])
    for held in ("test", "validation"):
        rows = parts[held]
        assert len(rows) == n and candidates[rows].all() and (np.diff(rows) > 0).all()
        for name in set(groups[rows]):
            assert name != "unknown" and (groups[candidates] == name).sum() <= largest
    assert set(parts["train"]) < set(parts["train+"])
    # What leaves are whole groups and no more than it takes: without the last, n are not reached.
    gone = np.setdiff1d(np.arange(200), parts["train+"])
    left = [c for c in set(groups[gone]) if (groups[candidates] == c).sum()]
    assert sum((groups[candidates] == c).sum() for c in left) - n < largest


def test_items_held_out_by_group_differ_by_seed_and_repeat():
    groups = np.repeat([f"hand {i}" for i in range(40)], 5)
    draws = [
        hold_out_by_group(groups, np.ones(200, bool), 20, s, largest=5)["test"] for s in (0, 0, 1)
    ]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 101}, "two parts of 101 ask too much: such groups hold 200 candidates"),
        ({"n": 0}, "two parts of 0"),
        ({"largest": 4}, "hold 0 candidates"),
        ({"candidates": np.ones(199, bool)}, "bool array like groups"),
        ({"candidates": np.ones(200)}, "got float64"),
        ({"candidates": np.ones((40, 5), bool), "shape": (40, 5)}, "like groups, .40, 5., got"),
    ],
)
def test_items_that_cannot_be_held_out(change, message):
    arguments = {"candidates": np.ones(200, bool), "n": 20, "largest": 5} | change
    groups = np.repeat([f"hand {i}" for i in range(40)], 5)
    groups = groups.reshape(arguments.pop("shape", 200))
    with pytest.raises(ValueError, match=message):
        hold_out_by_group(groups, **arguments)
