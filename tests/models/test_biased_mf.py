"""BiasedMF against dense solves, its own objective and planted ratings."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models import BiasedMF, _biased_solvers
from recsys_tutorial.models._ratings import ratings_matrix
from tests.models.planted import likes, rating_frame, with_value

FRAME = rating_frame()
INFINITE = FRAME.assign(rating=FRAME["rating"].where(FRAME.index != 7, np.inf))
TRAIN = likes()
KNOWN = np.setdiff1d(FRAME["item_id"], FRAME["item_id"][9])  # all but the item of row 9
assert (FRAME["item_id"][:9] != FRAME["item_id"][9]).all()


def test_ids_are_ascending_in_whatever_order_the_ratings_come():
    mixed = FRAME.sample(frac=1.0, random_state=0).astype({"rating": int})
    matrix, users, items = ratings_matrix(mixed, None)
    assert users.tolist() == sorted(set(FRAME["user_id"]))
    assert items.tolist() == sorted(set(FRAME["item_id"]))
    assert matrix.dtype == np.float64
    row, column = (
        np.searchsorted(*pair) for pair in ((users, mixed["user_id"]), (items, mixed["item_id"]))
    )
    assert np.asarray(matrix[row, column]).ravel().tolist() == mixed["rating"].tolist()
    # A matrix's rows and columns are its ids.
    again, rows, columns = ratings_matrix(matrix[:7], None)
    assert (again != matrix[:7]).nnz == 0
    assert rows.tolist() == list(range(7)) and columns.tolist() == list(range(len(items)))
    wide, _, catalogue = ratings_matrix(mixed, [*items[::-1], 9999])
    assert catalogue.tolist() == [*items, 9999] and wide.shape == (len(users), len(catalogue))


def test_seeds_and_batches_are_what_was_asked_for():
    frame = rating_frame(noise=0.5, n_users=20, n_items=15)
    starts = [BiasedMF(2, iterations=0, solver="sgd", seed=s).fit(frame) for s in (1, 1, 2)]
    assert (starts[0].user_factors_ == starts[1].user_factors_).all()
    assert (starts[0].user_factors_ != starts[2].user_factors_).any()
    ends = [
        BiasedMF(2, 1.0, 3, solver="sgd", batch_size=size).fit(frame).history_["objective"].iloc[-1]
        for size in (16, 1024)
    ]
    assert abs(ends[0] - ends[1]) > 1e-3


def test_patience_is_how_long_the_validation_may_fail_to_rise():
    for patience in (1, 2):
        model = BiasedMF(2, 1.0, 9).fit(FRAME, validation=lambda m: 0.0, patience=patience)
        assert len(model.history_) == 1 + patience


def biased_objective(model, frame):
    error = frame["rating"] - model.predict(frame["user_id"], frame["item_id"], clip=False)
    total = (error**2).sum()
    for side in ("user", "item"):
        counts = frame[f"{side}_id"].value_counts().sort_index().to_numpy()
        times = counts if model.penalty == "per rating" else 1
        squares = (getattr(model, f"{side}_factors_") ** 2).sum(axis=1)
        bias = getattr(model, f"{side}_bias_") ** 2
        total += (times * (model.reg * squares + model.bias_reg * bias)).sum()
    return total


def test_biased_als_equals_a_dense_solve_of_every_user():
    frame = rating_frame(noise=0.3)
    model = BiasedMF(factors=4, reg=2.0, bias_reg=0.7, iterations=3).fit(frame)
    item = np.searchsorted(model.item_ids_, frame["item_id"])
    for row, user in enumerate(model.user_ids_):
        mine = (frame["user_id"] == user).to_numpy()
        f = np.column_stack([model.item_factors_[item[mine]], np.ones(mine.sum())])
        y = frame["rating"][mine] - model.global_mean_ - model.item_bias_[item[mine]]
        x = np.linalg.solve(f.T @ f + np.diag([2.0] * 4 + [0.7]), f.T @ y)
        np.testing.assert_allclose(model.user_factors_[row], x[:-1], atol=1e-10)
        np.testing.assert_allclose(model.user_bias_[row], x[-1], atol=1e-10)


def test_the_start_has_the_biases_of_a_shrunk_mean():
    """Items first, then users on what is left, each a sum over counts plus penalty."""
    frame = rating_frame(noise=0.3)
    model = BiasedMF(factors=2, bias_reg=3.0, iterations=1).fit(frame)
    seen = []
    original = _biased_solvers.half_step

    def first(model, ridge, ratings, factors, bias):
        seen.append((bias.copy(), factors.copy()))
        return original(model, ridge, ratings, factors, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_biased_solvers, "half_step", first)
        BiasedMF(factors=2, bias_reg=3.0, iterations=1).fit(frame)
    rest = frame["rating"] - model.global_mean_
    for name in ("item_id", "user_id"):
        by = rest.groupby(frame[name])
        bias = by.sum() / (by.count() + 3.0)
        rest = rest - frame[name].map(bias)
    np.testing.assert_allclose(seen[0][0], bias.to_numpy(), rtol=1e-10)
    # The users' vectors are the leading directions of what is left, 0.1 long in each number.
    table = frame.assign(rest=rest).pivot(index="user_id", columns="item_id", values="rest")
    leading = np.linalg.svd(table.fillna(0.0).to_numpy())[0][:, :2]
    vectors = seen[0][1] / (0.1 * np.sqrt(len(leading)))
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(2), atol=1e-9)
    assert np.linalg.norm(leading - vectors @ (vectors.T @ leading)) < 0.05
    without = BiasedMF(factors=20, iterations=0, solver="sgd").fit(frame)
    for start in (without.user_factors_, without.item_factors_):
        assert start.std() == pytest.approx(0.1, rel=0.1) and abs(start.mean()) < 0.02


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    factors=st.integers(1, 12),
    reg=st.floats(1e-3, 50),
    bias_reg=st.floats(0, 50),
    density=st.floats(0.05, 1),
    penalty=st.sampled_from(["once", "per rating"]),
)
def test_biased_objective_is_what_it_says_and_never_rises(
    seed, factors, reg, bias_reg, density, penalty
):
    frame = rating_frame(seed, n_users=12, n_items=9, density=density, noise=0.5)
    if frame.empty:
        return
    model = BiasedMF(factors, reg, 6, seed, bias_reg=bias_reg, penalty=penalty).fit(frame)
    objective = model.history_["objective"].to_numpy()
    # The recorded value is a difference of sums: its rounding error is that of the ratings'
    # squares, also where nothing is left of them (one rating, fitted exactly, ends at -1e-16).
    assert (np.diff(objective) <= 1e-9 * frame["rating"].pow(2).sum()).all()
    # rtol: the recorded value is a difference of sums that cancel when the fit is nearly exact.
    np.testing.assert_allclose(objective[-1], biased_objective(model, frame), rtol=1e-6, atol=1e-9)
    error = frame["rating"] - model.predict(frame["user_id"], frame["item_id"], clip=False)
    np.testing.assert_allclose(
        model.history_["train_rmse"].iloc[-1], np.sqrt((error**2).mean()), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("reg", "penalty"), [(4.0, "once"), (0.2, "per rating")])
def test_sgd_and_als_reach_the_same_objective(reg, penalty):
    frame = rating_frame(noise=0.5, n_users=40, n_items=30)
    options = {"bias_reg": reg / 4, "penalty": penalty}
    als = BiasedMF(3, reg, 200, **options).fit(frame)
    sgd = BiasedMF(3, reg, 150, solver="sgd", batch_size=128, **options).fit(frame)
    assert sgd.history_["objective"].iloc[0] > 1.2 * als.history_["objective"].iloc[-1]
    for model in (als, sgd):  # each reports its own objective truly
        np.testing.assert_allclose(
            model.history_["objective"].iloc[-1], biased_objective(model, frame), rtol=1e-6
        )
    np.testing.assert_allclose(
        sgd.history_["objective"].iloc[-1], als.history_["objective"].iloc[-1], rtol=1e-3
    )


def planted_rmse(model):
    frame = rating_frame(density=0.7)
    held_out = np.random.default_rng(5).random(len(frame)) < 0.2
    train, test = frame[~held_out], frame[held_out]
    model.fit(train)
    error = test["rating"] - model.predict(test["user_id"], test["item_id"], clip=False)
    return np.sqrt((error**2).mean()) / test["rating"].std()


@pytest.mark.parametrize(
    "model",
    [
        BiasedMF(2, 0.05, 100),
        BiasedMF(2, 0.05, 200, solver="sgd", learning_rate=0.03, batch_size=128),
    ],
    ids=["als", "sgd"],
)
def test_planted_ratings_are_recovered(model):
    assert planted_rmse(model) < 0.1


def test_an_untrained_model_does_not_recover_them():
    assert planted_rmse(BiasedMF(2, 0.05, iterations=0)) > 0.9


def test_folding_in_a_training_user_gives_their_vector_biased():
    frame = rating_frame(noise=0.3)
    model = BiasedMF(4, 2.0, 3).fit(frame)
    matrix = sparse.csr_matrix(
        (
            frame["rating"],
            (
                np.searchsorted(model.user_ids_, frame["user_id"]),
                np.searchsorted(model.item_ids_, frame["item_id"]),
            ),
        )
    )
    bias, factors = model.fold_in(matrix)
    np.testing.assert_allclose(factors, model.user_factors_, atol=1e-10)
    np.testing.assert_allclose(bias, model.user_bias_, atol=1e-10)
    pairs = frame.iloc[:50]
    users = np.searchsorted(model.user_ids_, pairs["user_id"])
    items = np.searchsorted(model.item_ids_, pairs["item_id"])
    np.testing.assert_allclose(
        model.score(matrix)[users, items],
        model.predict(pairs["user_id"], pairs["item_id"], clip=False),
        atol=1e-10,
    )


def test_unknown_ids_fall_back_to_biases_and_the_mean():
    model = BiasedMF(4, 1.0).fit(rating_frame())
    user, item, mean = model.user_ids_[3], model.item_ids_[5], model.global_mean_
    got = model.predict([user, -1, -1], [11, item, 10**9], clip=False)
    np.testing.assert_allclose(
        got, [mean + model.user_bias_[3], mean + model.item_bias_[5], mean], rtol=1e-12
    )


def test_clipping_is_explicit():
    frame = rating_frame()
    model = BiasedMF(2, 0.01, 30, rating_scale=(2.0, 4.0)).fit(frame)
    raw = model.predict(frame["user_id"], frame["item_id"], clip=False)
    assert raw.min() < 2 and raw.max() > 4
    np.testing.assert_array_equal(
        model.predict(frame["user_id"], frame["item_id"]), np.clip(raw, 2.0, 4.0)
    )
    assert BiasedMF(2).fit(frame).rating_scale_ == (frame["rating"].min(), frame["rating"].max())


def test_the_catalogue_may_be_wider_than_the_ratings():
    frame = rating_frame()
    catalogue = np.arange(9, 120)
    model = BiasedMF(3, 1.0).fit(frame, item_ids=catalogue)
    narrow = BiasedMF(3, 1.0).fit(frame)
    assert model.item_factors_.shape == (len(catalogue), 3)
    unrated = ~np.isin(catalogue, frame["item_id"])
    assert (model.item_factors_[unrated] == 0).all() and (model.item_bias_[unrated] == 0).all()
    assert model.score(sparse.csr_matrix((1, len(catalogue)))).shape == (1, len(catalogue))
    assert narrow.item_factors_.shape == (40, 3)


def test_a_warm_start_keeps_known_users_and_items_when_the_data_grow():
    frame = rating_frame(noise=0.3)
    before = frame[frame["user_id"] < 140]
    model = BiasedMF(3, 1.0, 30, warm_start=True).fit(before)
    old = model.item_factors_.copy()
    model.iterations = 0
    model.fit(frame)
    assert len(model.user_ids_) == 60
    np.testing.assert_array_equal(
        model.item_factors_[np.isin(model.item_ids_, before["item_id"])], old
    )
    model.iterations = 1
    warm = model.fit(frame).history_["objective"].iloc[0]
    assert warm < BiasedMF(3, 1.0, 1).fit(frame).history_["objective"].iloc[0]


BAD = [
    (lambda: BiasedMF(0), "factors must be finite and at least 1, got 0"),
    (lambda: BiasedMF(iterations=-1), "iterations must be finite and at least 0"),
    (lambda: BiasedMF(reg=0), "normal equations .* are singular"),
    (lambda: BiasedMF(reg=-1, solver="sgd"), "reg must be finite and at least 0, got -1"),
    (lambda: BiasedMF(reg=np.nan), "reg must be finite and at least 0, got nan"),
    (lambda: BiasedMF(bias_reg=-0.1), "bias_reg must be finite and at least 0"),
    (lambda: BiasedMF(solver="newton"), "solver must be 'als' or 'sgd'"),
    (lambda: BiasedMF(penalty="twice"), "penalty must be 'once' or 'per rating'"),
    (lambda: BiasedMF(learning_rate=0), "learning_rate must be positive"),
    (lambda: BiasedMF(batch_size=0), "batch_size must be finite and at least 1, got 0"),
    (lambda: BiasedMF(rating_scale=(5, 1)), "low < high"),
    (lambda: BiasedMF(rating_scale=(3, 3)), "low < high"),
    (lambda: BiasedMF().fit(FRAME.drop(columns="rating")), r"lacks the columns \['rating'\]"),
    (lambda: BiasedMF().fit(FRAME.iloc[:0]), "ratings is empty"),
    (lambda: BiasedMF().fit(INFINITE), "rating inf in row 7 is not a finite number"),
    (lambda: BiasedMF().fit(pd.concat([FRAME, FRAME.head(3)])), "3 .* pairs occur more than once"),
    (lambda: BiasedMF().fit(FRAME, item_ids=[10, 12]), "missing or unknown"),
    (
        lambda: BiasedMF().fit(FRAME.assign(user_id=FRAME["user_id"].where(FRAME.index > 0))),
        "row 0: .* missing or unknown",
    ),
    (lambda: BiasedMF().fit(TRAIN, item_ids=[1]), "item_ids goes with a frame"),
    (lambda: BiasedMF().fit(sparse.csr_matrix((3, 4))), "holds no rating"),
    (lambda: BiasedMF().fit(with_value(TRAIN, np.nan)), "nan or infinite value in row 0"),
    (lambda: BiasedMF().fit(FRAME, validation=0.5), "validation must be a function"),
    (lambda: BiasedMF().fit(FRAME, validation=lambda m: np.nan), "nan in iteration 1"),
    (
        lambda: BiasedMF().fit(FRAME, validation=len, patience=0),
        "patience must be finite and at least 1",
    ),
    (lambda: BiasedMF().fit(FRAME).predict([1, 2], [3]), "must be equally long"),
    (lambda: BiasedMF().fit(FRAME).predict([[1]], [[2]]), "must be equally long"),
    (lambda: BiasedMF().fit(FRAME, item_ids=KNOWN), "row 9: .* missing or unknown"),
    (lambda: BiasedMF().fit(FRAME).score(TRAIN), "history has 30 items, .* fitted on 40"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_warm_start_with_another_number_of_factors():
    model = BiasedMF(3, warm_start=True).fit(FRAME)
    model.factors = 4
    with pytest.raises(ValueError, match=r"the last fit left vectors \(60, 3\), not \(60, 4\)"):
        model.fit(FRAME)


def test_sgd_that_diverges_says_so():
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        BiasedMF(3, 1.0, 50, solver="sgd", learning_rate=5.0).fit(FRAME)
