"""What BiasedMF, ImplicitALS and BPR have in common: planted taste, warm starts, early stopping."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.evaluation import rank
from recsys_tutorial.models import BPR, BiasedMF, ImplicitALS
from recsys_tutorial.models._factors import leading_directions
from tests.models.planted import groups_of_taste, likes, rating_frame, with_value

IMPLICIT = [ImplicitALS, BPR]
TRAIN = likes()


def withheld_is_first(model):
    """Share of users for whom no item of another group stands above their withheld one."""
    train, group_u, group_i, withheld = groups_of_taste()
    model.fit(train)
    scores = model.score(train)
    foreign = np.where(group_u[:, None] == group_i, -np.inf, scores).max(axis=1)
    return (scores[np.arange(len(scores)), withheld] > foreign).mean()


@pytest.mark.parametrize(
    "model",
    [
        ImplicitALS(3, 1.0, 5.0),
        ImplicitALS(3, 1.0, 5.0, frequency_scaling=1.0),
        BPR(3, 0.02, 60, batch_size=64),
    ],
    ids=["als", "als, scaled", "bpr"],
)
def test_planted_taste_is_found(model):
    assert withheld_is_first(model) > 0.9


@pytest.mark.parametrize("model", [ImplicitALS(3, iterations=0), BPR(3, iterations=0)])
def test_an_untrained_model_does_not_find_it(model):
    assert withheld_is_first(model) < 0.4


def test_planted_taste_is_found_for_users_never_seen_in_training():
    train, group_u, group_i, _ = groups_of_taste()
    for model in (
        ImplicitALS(3, 1.0, 5.0).fit(train[:45]),
        BPR(3, 0.02, 60, batch_size=64).fit(train[:45]),
    ):
        best = rank(model.score(train[45:]), train[45:], 1)[:, 0]
        assert (group_i[best] == group_u[45:]).all()


@pytest.mark.parametrize("model", [ImplicitALS(4), BPR(4, iterations=5), BiasedMF(4)])
def test_a_users_scores_do_not_depend_on_who_else_is_asked_about(model):
    train = likes()
    model.fit(train)
    np.testing.assert_allclose(model.score(train)[7:8], model.score(train[7:8]), atol=1e-10)


def test_an_empty_history_falls_back():
    train, empty = likes(), sparse.csr_matrix((2, 30))
    als = ImplicitALS(4).fit(train)
    np.testing.assert_allclose(als.score(empty)[0], als.score(train).mean(axis=0), atol=1e-10)
    bpr = BPR(4, iterations=5).fit(train)
    np.testing.assert_array_equal(bpr.score(empty)[1], bpr.item_bias_)
    biased = BiasedMF(4).fit(train)
    np.testing.assert_allclose(biased.score(empty)[0], biased.global_mean_ + biased.item_bias_)
    everything = sparse.csr_matrix(np.ones((1, 30)))  # no item is left to hold against them
    np.testing.assert_array_equal(bpr.score(everything)[0], bpr.item_bias_)
    for model in (als, bpr, biased):
        assert model.score(sparse.csr_matrix((0, 30))).shape == (0, 30)


def test_a_warm_start_goes_on_where_the_last_fit_stopped():
    frame, train = rating_frame(noise=0.3), likes()
    whole, halves = BiasedMF(3, 1.0, 10).fit(frame), BiasedMF(3, 1.0, 5, warm_start=True)
    halves.fit(frame).fit(frame)
    np.testing.assert_allclose(halves.item_factors_, whole.item_factors_, atol=1e-9)
    whole, halves = ImplicitALS(3, iterations=10).fit(train), ImplicitALS(3, iterations=5)
    halves.warm_start = True
    halves.fit(train).fit(train)
    np.testing.assert_allclose(halves.item_factors_, whole.item_factors_, atol=1e-9)
    bpr = BPR(3, iterations=10, warm_start=True)
    first = bpr.fit(train).history_["objective"].iloc[0]
    assert bpr.fit(train).history_["objective"].iloc[0] < first


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (BiasedMF(3, 1.0, 20), rating_frame()),
        (BiasedMF(3, 1.0, 20, solver="sgd"), rating_frame()),
        (ImplicitALS(3, iterations=20), likes()),
        (BPR(3, iterations=20), likes()),
    ],
    ids=["als", "sgd", "implicit", "bpr"],
)
def test_early_stopping_keeps_the_best_iteration(model, data):
    calls, kept = iter([1.0, 3.0, 2.0, 2.5, 9.0]), []

    def validation(fitted):
        kept.append(fitted.item_factors_.copy())
        return next(calls)

    model.fit(data, validation=validation, patience=2)
    assert list(model.history_["validation"]) == [1.0, 3.0, 2.0, 2.5]
    assert list(model.history_.index) == [1, 2, 3, 4] and model.history_.index.name == "iteration"
    np.testing.assert_array_equal(model.item_factors_, kept[1])
    assert not np.array_equal(kept[1], kept[3])


@pytest.mark.parametrize(
    ("build", "data"),
    [(BiasedMF, rating_frame()), (ImplicitALS, likes()), (BPR, likes())],
    ids=["biased", "implicit", "bpr"],
)
def test_a_seed_repeats_and_another_seed_differs(build, data):
    a, b, c = (build(3, iterations=3, seed=seed).fit(data).item_factors_ for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


def test_a_start_for_als_spans_the_leading_directions_the_better_the_more_it_iterates():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 20)))[0] for n in (50, 40))
    strength = np.array([3.0, 2.5, 2.0] + [1.5] * 17)
    matrix = sparse.csr_matrix(left * strength @ right.T)
    lost = {}
    for options in ({"power_iterations": 0}, {}, {"power_iterations": 30}):
        found = leading_directions(matrix, 3, np.random.default_rng(1), **options)
        np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-12)
        outside = left[:, :3] - found @ (found.T @ left[:, :3])
        lost[options.get("power_iterations", 3)] = np.linalg.norm(outside)
    assert lost[0] > 2 * lost[3] > 100 * lost[30] and lost[30] < 1e-4
    assert leading_directions(matrix[:2], 3, rng).shape == (2, 2)


def test_nothing_is_printed_where_nobody_watches(capsys):
    ImplicitALS(2).fit(likes())
    BPR(2, iterations=2).fit(likes())
    assert capsys.readouterr() == ("", "")


def test_learning_leaves_torchs_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        BPR(2, iterations=1).fit(likes())
        BiasedMF(2, iterations=1, solver="sgd").fit(rating_frame())
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_importing_the_models_does_not_import_torch():
    import subprocess
    import sys

    code = "import sys, recsys_tutorial.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


BAD = [
    *[
        case
        for build in IMPLICIT
        for case in (
            (lambda build=build: build().fit(TRAIN.toarray()), "must be a sparse matrix"),
            (lambda build=build: build().fit(TRAIN * 0), "holds no interaction"),
            (lambda build=build: build().fit(with_value(TRAIN, np.inf)), "infinite value in row 0"),
            (lambda build=build: build().fit(with_value(TRAIN, -2.0)), "negative value -2.0"),
            (
                lambda build=build: build(iterations=1).fit(TRAIN).score(TRAIN[:, :20]),
                "history has 20 items, the model was fitted on 30",
            ),
            (
                lambda build=build: build(iterations=1).fit(TRAIN).score(with_value(TRAIN, np.nan)),
                "history holds a nan",
            ),
            (
                lambda build=build: (
                    build(3, iterations=1, warm_start=True).fit(TRAIN).fit(TRAIN[:, :20])
                ),
                "warm_start: the last fit left vectors",
            ),
        )
    ],
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_users=st.integers(1, 6),
    n_items=st.integers(2, 6),
    density=st.floats(0.05, 0.7),
    factors=st.integers(1, 10),
    reg=st.sampled_from([1e-6, 1.0, 1e6]),
    kind=st.sampled_from(["als", "implicit", "bpr"]),
)
def test_scores_are_finite_whatever_the_shape(seed, n_users, n_items, density, factors, reg, kind):
    train = likes(seed, n_users, n_items, density)
    train = train.multiply(np.arange(n_items) > 0).tocsr()  # nobody likes everything
    train.eliminate_zeros()
    if train.nnz == 0:
        return
    model = {
        "als": lambda: BiasedMF(factors, reg, 3),
        "implicit": lambda: ImplicitALS(factors, reg, 10.0, 3),
        "bpr": lambda: BPR(factors, min(reg, 1.0), 3),
    }[kind]()
    scores = model.fit(train).score(likes(seed + 1, 4, n_items, 0.4))
    assert scores.shape == (4, n_items) and np.isfinite(scores).all()
