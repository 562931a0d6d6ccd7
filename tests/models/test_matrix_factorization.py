import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse, special

from recsys_tutorial.evaluation import rank
from recsys_tutorial.losses import bpr_loss
from recsys_tutorial.models import BPR, BiasedMF, ImplicitALS

IMPLICIT = [ImplicitALS, BPR]


def rating_frame(seed=0, n_users=60, n_items=40, rank_=2, density=0.5, noise=0.0):
    """Planted ratings: 3.5 + biases + a product of rank 2; item i has id 10 + 2 i."""
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(n_users, rank_)), rng.normal(size=(n_items, rank_))
    b_u, b_i = rng.normal(0, 0.5, n_users), rng.normal(0, 0.5, n_items)
    u, i = np.nonzero(rng.random((n_users, n_items)) < density)
    rating = 3.5 + b_u[u] + b_i[i] + (p[u] * q[i]).sum(axis=1) + rng.normal(0, noise, len(u))
    return pd.DataFrame({"user_id": 100 + u, "item_id": 10 + 2 * i, "rating": rating})


def likes(seed=0, n_users=40, n_items=30, density=0.3):
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix((rng.random((n_users, n_items)) < density).astype(float))


def groups_of_taste(n_users=60, n_items=30, n_groups=3, missing=0.4, seed=0):
    """Users like the items of their own group alone; one like of each user is withheld."""
    rng = np.random.default_rng(seed)
    group_u, group_i = np.arange(n_users) % n_groups, np.arange(n_items) % n_groups
    liked = (group_u[:, None] == group_i) & (rng.random((n_users, n_items)) > missing)
    withheld = np.array([rng.choice(np.flatnonzero(row)) for row in liked])
    liked[np.arange(n_users), withheld] = False
    # Also what the user's group likes but this user was not seen to: it may rank as high.
    return sparse.csr_matrix(liked.astype(float)), group_u, group_i, withheld


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


def implicit_objective(model, train):
    """Hu et al.'s sum, written out over all pairs."""
    r = train.toarray()
    c, p = 1 + model.alpha * r, (r > 0).astype(float)
    error = (c * (p - model.user_factors_ @ model.item_factors_.T) ** 2).sum()
    totals = np.concatenate([c.sum(axis=1), c.sum(axis=0)]) ** model.frequency_scaling
    reg = model.reg * totals / totals.mean()
    squares = np.concatenate(
        [(model.user_factors_**2).sum(axis=1), (model.item_factors_**2).sum(axis=1)]
    )
    return error + reg @ squares


# --- least squares against dense solves -----------------------------------------------------


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


@pytest.mark.parametrize("frequency_scaling", [0.0, 0.5, 1.0])
def test_implicit_als_equals_a_dense_solve_of_every_user(frequency_scaling):
    train = likes()
    train.data = np.random.default_rng(1).integers(1, 4, train.nnz).astype(float)  # counts
    model = ImplicitALS(5, 3.0, 4.0, 3, frequency_scaling=frequency_scaling).fit(train)
    y, r = model.item_factors_, train.toarray()
    c = 1 + 4.0 * r
    totals = np.concatenate([c.sum(axis=1), c.sum(axis=0)]) ** frequency_scaling
    for u in range(len(r)):
        reg = 3.0 * totals[u] / totals.mean()
        left = y.T @ np.diag(c[u]) @ y + reg * np.eye(5)  # Hu et al. 2008, equation 4
        x = np.linalg.solve(left, y.T @ (c[u] * (r[u] > 0)))
        np.testing.assert_allclose(model.user_factors_[u], x, atol=1e-10)


# --- the objective --------------------------------------------------------------------------


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


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    factors=st.integers(1, 12),
    reg=st.floats(1e-3, 50),
    alpha=st.floats(0.01, 100),
    frequency_scaling=st.sampled_from([-0.5, 0.0, 0.5, 1.0]),
)
def test_implicit_objective_is_what_it_says_and_never_rises(
    seed, factors, reg, alpha, frequency_scaling
):
    train = likes(seed, n_users=12, n_items=9, density=0.3)
    if train.nnz == 0:
        return
    model = ImplicitALS(factors, reg, alpha, 6, seed, frequency_scaling=frequency_scaling)
    objective = model.fit(train).history_["objective"].to_numpy()
    assert (np.diff(objective) <= 1e-9 * abs(objective[0])).all()
    np.testing.assert_allclose(objective[-1], implicit_objective(model, train), rtol=1e-7)


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


def test_bpr_objective_falls():
    objective = BPR(8, iterations=30, batch_size=64).fit(groups_of_taste()[0]).history_["objective"]
    assert objective.iloc[-1] < 0.7 * objective.iloc[0]


def test_bpr_penalises_the_biases_of_liked_and_of_drawn_items_alike():
    """Everybody likes item 0, so 1 is always the negative; its factors are penalised to nothing.

    Then the loss of a triple is softplus(b_1 - b_0) + bias_reg (b_0^2 + b_1^2), smallest where
    b_0 = -b_1 and sigmoid(-2 b_0) = 2 bias_reg b_0. Without a penalty, b_1 would sink for ever.
    """
    train = sparse.csr_matrix(np.repeat([[1.0, 0.0]], 6, axis=0))
    model = BPR(2, 1.0, 400, bias_reg=0.1, learning_rate=0.05).fit(train)
    bias = optimize.brentq(lambda b: special.expit(-2 * b) - 2 * 0.1 * b, 0, 5)
    np.testing.assert_allclose(model.item_bias_, [bias, -bias], rtol=1e-3)
    loss = np.log1p(np.exp(-2 * bias)) + 0.1 * 2 * bias**2
    np.testing.assert_allclose(model.history_["objective"].iloc[-1], loss, rtol=1e-3)


def test_bpr_takes_a_step_per_triple_where_the_batch_is_one():
    one, many = (BPR(2, iterations=1, batch_size=n).fit(likes()) for n in (1, 256))
    assert np.isfinite(one.item_factors_).all()
    assert (one.item_factors_ != many.item_factors_).any()


# --- planted answers ------------------------------------------------------------------------


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


# --- folding in -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("frequency_scaling", [0.0, 1.0])
def test_folding_in_a_training_user_gives_their_vector_implicit(frequency_scaling):
    train = likes()
    model = ImplicitALS(4, 2.0, 3.0, 3, frequency_scaling=frequency_scaling).fit(train)
    np.testing.assert_allclose(model.fold_in(train), model.user_factors_, atol=1e-10)


def test_folding_in_a_training_user_agrees_with_their_vector_bpr():
    # Trained and folded-in vectors minimise the same loss on other samples of negatives.
    train = groups_of_taste(n_users=90, n_items=60, missing=0.2)[0]
    model = BPR(4, 0.01, 150, batch_size=256).fit(train)
    a, b = model.fold_in(train), model.user_factors_
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.median(cosine) > 0.95
    shuffled = (a * b[::-1]).sum(axis=1)  # a guard: other users' vectors point elsewhere
    assert np.median(shuffled / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)) < 0.5


def test_bpr_fold_in_minimises_the_loss_it_says(monkeypatch):
    train = likes(3)
    model = BPR(4, 0.05, 30).fit(train)
    monkeypatch.setattr(model, "_FOLD_STEPS", 200)
    history = likes(4)[:1]
    p = torch.tensor(model.fold_in(history)[0], requires_grad=True)
    uniform = np.random.default_rng(0).random((history.nnz, 8))
    others = np.flatnonzero(history.toarray()[0] == 0)
    j = others[(uniform * len(others)).astype(int)]  # (likes, 8)
    q, b = torch.from_numpy(model.item_factors_), torch.from_numpy(model.item_bias_)
    i = history.indices
    loss = bpr_loss((q[i] @ p + b[i])[:, None], q[j] @ p + b[j]) + 0.05 * (p**2).sum()
    (gradient,) = torch.autograd.grad(loss, p)
    assert gradient.abs().max() < 1e-4  # at p = 0 it is 1e-2 or more
    zero = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    loss = bpr_loss((q[i] @ zero + b[i])[:, None], q[j] @ zero + b[j])
    assert torch.autograd.grad(loss, zero)[0].abs().max() > 1e-3


def test_bpr_folds_in_groups_of_users_with_the_same_result(monkeypatch):
    train = likes()
    train = sparse.vstack([train[:5], sparse.csr_matrix((2, 30)), train]).tocsr()
    model = BPR(4, iterations=5).fit(train)
    whole, calls = model.fold_in(train), []
    monkeypatch.setattr(model, "_FOLD_VALUES", 700)  # two or three users' pairs
    inner = model._fold_in_group
    monkeypatch.setattr(model, "_fold_in_group", lambda h: calls.append(h.nnz) or inner(h))
    np.testing.assert_allclose(model.fold_in(train), whole, atol=1e-8)
    assert len(calls) > 10 and sum(calls) == train.nnz


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


# --- predict --------------------------------------------------------------------------------


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


# --- warm start, early stopping, history, repetition -----------------------------------------


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


# --- bad input ------------------------------------------------------------------------------

FRAME = rating_frame()
INFINITE = FRAME.assign(rating=FRAME["rating"].where(FRAME.index != 7, np.inf))
TRAIN = likes()


def with_value(matrix, value):
    matrix = matrix.copy()
    matrix.data[3] = value
    return matrix


BAD = [
    (lambda: BiasedMF(0), "factors must be at least 1, got 0"),
    (lambda: ImplicitALS(-1), "factors must be at least 1, got -1"),
    (lambda: BPR(0), "factors must be at least 1, got 0"),
    (lambda: BiasedMF(iterations=-1), "iterations must not be negative"),
    (lambda: BPR(iterations=-1), "iterations must not be negative"),
    (lambda: BiasedMF(reg=0), "normal equations .* are singular"),
    (lambda: BiasedMF(reg=-1, solver="sgd"), "reg must be positive"),
    (lambda: BiasedMF(reg=np.nan), "reg must be positive and finite, got nan"),
    (lambda: BiasedMF(bias_reg=-0.1), "bias_reg must be finite and not negative"),
    (lambda: BiasedMF(solver="newton"), 'solver must be "als" or "sgd"'),
    (lambda: BiasedMF(penalty="twice"), 'penalty must be "once" or "per rating"'),
    (lambda: BiasedMF(learning_rate=0), "learning_rate must be positive"),
    (lambda: BiasedMF(batch_size=0), "batch_size must be at least 1"),
    (lambda: BiasedMF(rating_scale=(5, 1)), "low < high"),
    (lambda: ImplicitALS(reg=0), "reg must be positive"),
    (lambda: ImplicitALS(alpha=0), "alpha must be positive"),
    (lambda: ImplicitALS(alpha=np.inf), "alpha must be positive and finite"),
    (lambda: ImplicitALS(frequency_scaling=np.nan), "frequency_scaling must be finite"),
    (lambda: BPR(reg=-1), "reg must be finite and not negative"),
    (lambda: BPR(learning_rate=-1), "learning_rate must be positive"),
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
    (lambda: BiasedMF().fit(FRAME, validation=len, patience=0), "patience must be at least 1"),
    (lambda: BiasedMF().fit(FRAME).predict([1, 2], [3]), "must be equally long"),
    (lambda: BiasedMF().fit(FRAME).score(TRAIN), "history has 30 items, .* fitted on 40"),
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
    (lambda: BPR().fit(sparse.csr_matrix(np.ones((2, 3)))), "user row 0 likes all 3 items"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_warm_start_with_another_number_of_factors():
    model = BiasedMF(3, warm_start=True).fit(FRAME)
    model.factors = 4
    with pytest.raises(ValueError, match="had 3 factors, this one has 4"):
        model.fit(FRAME)


def test_sgd_that_diverges_says_so():
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        BiasedMF(3, 1.0, 50, solver="sgd", learning_rate=5.0).fit(FRAME)


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


# --- the loss -------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(positive=st.lists(st.floats(-30, 30), min_size=1, max_size=8), shift=st.floats(-30, 30))
def test_bpr_loss_is_what_its_formula_says(positive, shift):
    positive = np.array(positive)
    negative = positive[::-1] + shift
    expected = np.mean(np.log1p(np.exp(negative - positive)))
    got = bpr_loss(torch.from_numpy(positive), torch.from_numpy(negative.copy()))
    np.testing.assert_allclose(got.item(), expected, rtol=1e-10, atol=1e-12)


def test_bpr_loss_is_stable_and_broadcasts():
    x = torch.tensor([-1e4, 1e4], dtype=torch.float64, requires_grad=True)
    loss = bpr_loss(x, torch.zeros(2, dtype=torch.float64))
    loss.backward()
    assert loss.item() == pytest.approx(5e3) and x.grad.tolist() == [-0.5, 0.0]
    assert bpr_loss(torch.zeros(3, 1), torch.zeros(3, 5)).item() == pytest.approx(np.log(2))
