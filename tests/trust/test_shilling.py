"""Fake accounts look as they are said to, lift what they are to lift, and can be told."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.evaluation import auc
from recsys_tutorial.models import EASE, ItemKNN
from recsys_tutorial.trust import (
    KINDS,
    fake_profiles,
    holds_target,
    neighbour_suspicion,
    pca_suspicion,
)


def site(n_users=150, n_items=120, seed=0):
    """Two tastes, items 0 to 59 and 60 to 119; in each the lower numbers are liked more."""
    rng = np.random.default_rng(seed)
    taste = np.arange(n_users) % 2
    chance = 0.5 / (1 + np.arange(n_items) % 60) ** 0.5
    mine = taste[:, None] == (np.arange(n_items) >= 60)[None]
    x = rng.random((n_users, n_items)) < chance * np.where(mine, 1.0, 0.05)
    x[:, 119] = False
    x[0, 119] = True  # the target of attacks: one user likes it
    return sparse.csr_matrix(x.astype(float))


@pytest.mark.parametrize("kind", KINDS)
def test_each_account_likes_the_target_and_as_many_as_it_should(kind):
    x = site()
    fakes = fake_profiles(kind, 40, 119, x, 15, np.random.default_rng(1))
    assert fakes.shape == (40, 120) and set(fakes.data) == {1.0}
    np.testing.assert_array_equal(np.diff(fakes.indptr), 15)
    assert fakes[:, [119]].sum() == 40
    again = fake_profiles(kind, 40, 119, x, 15, np.random.default_rng(1))
    assert (fakes != again).nnz == 0


def test_the_kinds_differ_in_what_else_they_like():
    x = site()
    counts = np.asarray(x.sum(axis=0)).ravel()
    chart = np.argsort(-counts, kind="stable")[:7]
    mean, on_chart = {}, {}
    for kind in KINDS:
        fakes = fake_profiles(kind, 300, 119, x, 15, np.random.default_rng(2))
        others = fakes.indices[fakes.indices != 119]
        mean[kind] = counts[others].mean()
        on_chart[kind] = np.asarray(fakes[:, chart].sum(axis=0)).ravel()
    assert mean["random"] == pytest.approx(counts[:119].mean(), rel=0.05)
    assert mean["average"] > 1.3 * mean["random"]
    assert (on_chart["bandwagon"] == 300).all() and (on_chart["random"] < 100).all()


def test_nobody_unliked_is_a_filler():
    x = site().tolil()
    x[:, 50] = 0
    fakes = fake_profiles("random", 200, 119, x.tocsr(), 60, np.random.default_rng(0))
    assert fakes[:, [50]].sum() == 0


@pytest.mark.parametrize("model", [EASE(5.0), ItemKNN(20)])
def test_fakes_lift_the_target_and_it_is_the_target_that_does(model):
    x = site()
    seen = x[1:]

    def lifted(extra):
        full = sparse.vstack([x, extra]).tocsr() if extra is not None else x
        return holds_target(model.fit(full).score(seen), seen, 119).mean()

    fakes = fake_profiles("bandwagon", 40, 119, x, 15, np.random.default_rng(3))
    harmless = fakes.tolil()
    harmless[:, 119] = 0
    assert lifted(None) < 0.05
    assert lifted(harmless.tocsr()) < 0.05
    assert lifted(fakes) > 0.15


def test_who_has_seen_the_target_is_not_given_it():
    scores = np.array([[3.0, 2, 1], [1, 2, 3]])
    seen = sparse.csr_matrix([[1.0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(holds_target(scores, seen, 0, k=1), [False, False])
    np.testing.assert_array_equal(holds_target(scores, seen, 0, k=3), [False, True])


def test_detectors_find_planted_accounts():
    x = site()
    fakes = fake_profiles("random", 30, 119, x, 25, np.random.default_rng(4))
    both = sparse.vstack([x, fakes]).tocsr()
    fake = np.arange(180) >= 150
    assert auc(fake, pca_suspicion(both, 2)) > 0.9
    one_hand = sparse.vstack([x, fakes[[0] * 30]]).tocsr()
    assert auc(fake, neighbour_suspicion(one_hand)) > 0.99
    # Real users in the fakes' places are not suspected: it is not the place that tells.
    assert 0.3 < auc(np.arange(150) >= 120, pca_suspicion(x, 2)) < 0.7


def test_the_order_of_users_does_not_matter_to_detectors():
    x = site()
    order = np.random.default_rng(0).permutation(150)
    for suspicion in (pca_suspicion, neighbour_suspicion):
        np.testing.assert_allclose(suspicion(x[order]), suspicion(x)[order], atol=1e-10)


def test_neighbours_are_the_mean_cosine_of_the_nearest_others():
    x = sparse.csr_matrix([[1.0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
    root = 1 / np.sqrt(2)
    np.testing.assert_allclose(neighbour_suspicion(x, 1), [1, 1, root, 0])
    np.testing.assert_allclose(neighbour_suspicion(x, 2)[:2], (1 + root) / 2)
    assert neighbour_suspicion(x, 99).shape == (4,)


@pytest.mark.parametrize("n_users, n_items", [(30, 50), (50, 30), (40, 40)])
def test_components_are_those_of_the_whole_decomposition(n_users, n_items):
    """Whichever side is smaller."""
    x = np.random.default_rng(0).random((n_users, n_items)) < 0.3
    rows = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    want = -(np.linalg.svd(rows, full_matrices=False)[0][:, :3] ** 2).sum(axis=1)
    np.testing.assert_allclose(pca_suspicion(sparse.csr_matrix(x * 1.0), 3), want, atol=1e-10)


def test_neighbours_of_more_users_than_a_block_are_those_of_all_at_once():
    x = np.random.default_rng(1).random((1030, 12)) < 0.4
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    want = np.sort(cosine, axis=1)[:, -25:].mean(axis=1)
    got = neighbour_suspicion(sparse.csr_matrix(x * 1.0))
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_who_likes_nothing_is_not_suspected_by_components():
    x = sparse.csr_matrix([[1.0, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    suspicion = pca_suspicion(x, 1)
    assert np.isneginf(suspicion[2:]).all() and np.isfinite(suspicion[:2]).all()


BAD = {
    "kind": ({"kind": "love"}, "kind must be"),
    "target": ({"target": 120}, "target must be"),
    "no fakes": ({"n_fakes": 0}, "n_fakes must be"),
    "one like": ({"n_likes": 1}, "n_likes must be"),
    "more than there are": ({"n_likes": 121}, "n_likes must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(case):
    changed, message = BAD[case]
    good = {"kind": "random", "n_fakes": 2, "target": 119, "train": site(), "n_likes": 5}
    with pytest.raises(ValueError, match=message):
        fake_profiles(**good | changed, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="n_components"):
        pca_suspicion(site(), 0)
    with pytest.raises(ValueError, match="k must be"):
        neighbour_suspicion(site(), 0)
    with pytest.raises(ValueError, match="two users at least, got 1"):
        neighbour_suspicion(site()[:1])
