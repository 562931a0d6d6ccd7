"""BPR against its loss, as trained and as folded in."""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import optimize, sparse, special

from recsys_tutorial._likes import as_likes
from recsys_tutorial.losses import bpr_loss
from recsys_tutorial.models import BPR
from recsys_tutorial.models._bpr_folding import fold_in
from tests.models.planted import groups_of_taste, likes


def test_bpr_starts_near_zero_and_without_a_direction():
    """Scores are next to 0 at first, so that the loss starts at log 2 for each pair."""
    model = BPR(16, iterations=1, learning_rate=1e-12).fit(groups_of_taste()[0])
    for factors in (model.user_factors_, model.item_factors_):
        assert abs(factors.mean()) < 0.01
        np.testing.assert_allclose(factors.std(), 0.1 / 4, rtol=0.2)


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


def test_a_step_goes_against_the_gradient_of_the_objective():
    model, rng = BPR(3, 0.1, bias_reg=0.3), np.random.default_rng(0)
    tables = [torch.from_numpy(rng.normal(size=shape)) for shape in ((4, 3), (6, 3), (6,))]
    u, i, j = triples = torch.from_numpy(rng.integers(4, size=(3, 20)))  # rows more than once
    p, q, b = leaves = [table.clone().requires_grad_() for table in tables]
    x_ui, x_uj = ((p[u] * q[n]).sum(1) + b[n] for n in (i, j))
    squares = sum((v**2).sum() for v in (p[u], q[i], q[j]))
    objective = len(u) * bpr_loss(x_ui, x_uj) + 0.1 * squares
    objective = objective + 0.3 * (b[i] ** 2 + b[j] ** 2).sum()
    expected = [
        leaf.detach() - 0.05 * slope
        for leaf, slope in zip(leaves, torch.autograd.grad(objective, leaves), strict=True)
    ]
    assert model._step(tables, triples, 0.05) == pytest.approx(objective.item())
    for table, wanted in zip(tables, expected, strict=True):
        torch.testing.assert_close(table, wanted)


def test_the_rate_falls_linearly_from_epoch_to_epoch(monkeypatch):
    rates = []
    monkeypatch.setattr(BPR, "_step", lambda self, tables, triples, rate: rates.append(rate) or 0.0)
    train = likes()
    BPR(2, iterations=4, learning_rate=0.2, batch_size=train.nnz).fit(train)
    assert rates == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_patience_is_how_long_the_validation_may_fail_to_rise():
    for patience in (1, 2):
        model = BPR(2, iterations=9).fit(likes(), validation=lambda m: 0.0, patience=patience)
        assert len(model.history_) == 1 + patience


def test_a_warm_start_keeps_known_users_and_gives_new_ones_a_row():
    train = likes()
    model = BPR(4, iterations=3, warm_start=True).fit(train[:8])
    before, items = model.user_factors_.copy(), model.item_factors_.copy()
    model.iterations = 0
    model.fit(train)
    np.testing.assert_array_equal(model.user_factors_[:8], before)
    np.testing.assert_array_equal(model.item_factors_, items)
    assert model.user_factors_.shape == (train.shape[0], 4) and model.user_factors_[8:].all()
    with pytest.raises(ValueError, match="the last fit left vectors"):
        model.fit(train[:5])


def test_bpr_takes_a_step_per_triple_where_the_batch_is_one():
    one, many = (BPR(2, iterations=1, batch_size=n).fit(likes()) for n in (1, 256))
    assert np.isfinite(one.item_factors_).all()
    assert (one.item_factors_ != many.item_factors_).any()


def test_folding_in_a_training_user_agrees_with_their_vector_bpr():
    # Trained and folded-in vectors minimise the same loss on other samples of negatives.
    train = groups_of_taste(n_users=90, n_items=60, missing=0.2)[0]
    model = BPR(4, 0.01, 150, batch_size=256).fit(train)
    a, b = model.fold_in(train), model.user_factors_
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.median(cosine) > 0.95
    shuffled = (a * b[::-1]).sum(axis=1)  # a guard: other users' vectors point elsewhere
    assert np.median(shuffled / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)) < 0.5


def test_bpr_fold_in_minimises_the_loss_it_says():
    train = likes(3)
    model = BPR(4, 0.05, 30).fit(train)
    history = likes(4)[:1]
    p = torch.tensor(fold_in(model, history, steps=200)[0], requires_grad=True)
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


def test_bpr_folds_in_step_by_step():
    """Each step lowers a bound of the loss, so more of them come nearer to the end."""
    train = groups_of_taste()[0]
    model, history = BPR(4, iterations=20, batch_size=64).fit(train), as_likes(train[:3], "history")
    end = fold_in(model, history, steps=200)
    off = [np.abs(fold_in(model, history, steps=n) - end).max() for n in (0, 1, 3)]
    assert off[0] > off[1] > off[2] > 0


def test_bpr_folds_in_groups_of_users_with_the_same_result_in_less_memory():
    train = sparse.vstack([likes()[:5], sparse.csr_matrix((2, 30)), likes(1, n_users=1000)])
    history, model = as_likes(train, "history"), BPR(16, iterations=2).fit(likes())
    whole, peaks = None, []
    for values in (2**30, 2**16, 700):  # all at once; a dozen; one or two users' pairs
        tracemalloc.start()
        vectors = fold_in(model, history, steps=2, block_values=values)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        whole = vectors if whole is None else whole
        np.testing.assert_allclose(vectors, whole, atol=1e-8)
    # The pairs' vectors of all are 9 MB; of a group 0.5 MB, beside what the ridges hold.
    assert peaks[0] > 2.5 * peaks[1] and peaks[0] > 2.5 * peaks[2], peaks


def test_bpr_folds_a_user_in_alike_beside_one_who_likes_everything():
    train = likes()
    model = BPR(4, iterations=2).fit(train)
    everything = sparse.csr_matrix(np.ones((1, 30)))
    beside = model.fold_in(sparse.vstack([everything, train[:3]]).tocsr())
    np.testing.assert_allclose(beside[1:], model.fold_in(train[:3]), atol=1e-8)
    assert not beside[0].any()


TRAIN = likes()
BAD = [
    (lambda: BPR(0), "factors must be finite and at least 1, got 0"),
    (lambda: BPR(iterations=-1), "iterations must be finite and at least 0"),
    (lambda: BPR(reg=-1), "reg must be finite and at least 0"),
    (lambda: BPR(learning_rate=-1), "learning_rate must be positive"),
    (lambda: BPR(batch_size=0), "batch_size must be finite and at least 1, got 0"),
    (lambda: BPR().fit(sparse.csr_matrix(np.ones((2, 3)))), "user row 0 likes all 3 items"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
