"""Losses of scores against written-out formulas and PyTorch's own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.losses import (
    bce_loss,
    bpr_loss,
    gbce_loss,
    info_nce,
    multinomial_loss,
    sampled_softmax_loss,
)


def vectors(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_multinomial_loss_is_the_equation():
    scores, targets = vectors(4, 6), (vectors(4, 6, seed=1) > 0).double()
    mask = (vectors(4, 6, seed=2) > 0.8) & (targets == 0)
    total = 0.0
    for u in range(4):
        kept = [i for i in range(6) if not mask[u, i]]
        normaliser = sum(math.exp(scores[u, i]) for i in kept)
        for i in range(6):
            if targets[u, i]:
                total -= math.log(math.exp(scores[u, i]) / normaliser)
    assert mask.any()
    loss = multinomial_loss(scores, targets, mask)
    assert loss.item() == pytest.approx(total / targets.sum().item(), rel=1e-12)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: multinomial_loss(s, targets, mask), (scores,))
    half = multinomial_loss(scores.detach().half(), targets, mask)
    assert half.isfinite() and multinomial_loss(scores, torch.zeros(4, 6)).item() == 0


def test_multinomial_loss_of_one_target_is_cross_entropy():
    scores, labels = vectors(5, 7), torch.tensor([0, 3, 6, 6, 1])
    targets = torch.nn.functional.one_hot(labels, 7).double()
    expected = torch.nn.functional.cross_entropy(scores, labels)
    assert torch.isclose(multinomial_loss(scores, targets), expected, rtol=1e-12)


def test_multinomial_loss_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 2\)"):
        multinomial_loss(torch.zeros(2, 3), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="mask leaves a target out"):
        multinomial_loss(torch.zeros(1, 2), torch.eye(2)[:1], torch.eye(2, dtype=bool)[:1])


def test_bpr_is_info_nce_with_one_negative():
    """-log sigmoid(s+ - s-) = -log(e^s+ / (e^s+ + e^s-))."""
    a, p, n = vectors(6, 3), vectors(6, 3, seed=1), vectors(6, 1, 3, seed=2)
    positive, negative = (a * p).sum(1), (a * n[:, 0]).sum(1)
    assert torch.isclose(
        bpr_loss(positive, negative), info_nce(a, p, n, temperature=1.0), rtol=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(positive=st.lists(st.floats(-30, 30), min_size=1, max_size=8), shift=st.floats(-30, 30))
def test_bpr_loss_is_what_its_formula_says(positive, shift):
    positive = np.array(positive)
    negative = positive[::-1] + shift
    expected = np.mean(np.log1p(np.exp(negative - positive)))
    got = bpr_loss(torch.from_numpy(positive), torch.from_numpy(negative.copy()))
    # Above 20 torch's softplus is x itself, which leaves out e^-20 of 20: a share of 1.03e-10.
    np.testing.assert_allclose(got.item(), expected, rtol=1.1e-10, atol=1e-12)


def test_bpr_loss_is_stable_and_broadcasts():
    x = torch.tensor([-1e4, 1e4], dtype=torch.float64, requires_grad=True)
    loss = bpr_loss(x, torch.zeros(2, dtype=torch.float64))
    loss.backward()
    assert loss.item() == pytest.approx(5e3) and x.grad.tolist() == [-0.5, 0.0]
    assert bpr_loss(torch.zeros(3, 1), torch.zeros(3, 5)).item() == pytest.approx(np.log(2))


def test_bce_is_torchs():
    positive, negative = vectors(5), vectors(5, 3, seed=1)
    labels = torch.cat([torch.ones(5), torch.zeros(15)]).double()
    scores = torch.cat([positive, negative.ravel()])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)
    assert torch.isclose(bce_loss(positive, negative), expected, rtol=1e-12)
    mask = torch.zeros(5, 3, dtype=bool)
    mask[1, 2] = mask[4, 0] = True
    kept = torch.cat([torch.ones(5, dtype=bool), ~mask.ravel()])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores[kept], labels[kept])
    assert torch.isclose(bce_loss(positive, negative, mask), expected, rtol=1e-12)


def test_bce_is_smallest_at_log_p_over_n_q():
    """The score it learns: log of an item's share of positives, over n times its share of draws."""
    p, q, n = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5]), 4
    s = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([s], max_iter=100)

    def expected_loss():
        optimizer.zero_grad()
        softplus = torch.nn.functional.softplus
        loss = (p * softplus(-s)).sum() + n * (q * softplus(s)).sum()
        loss.backward()
        return loss

    optimizer.step(expected_loss)
    assert torch.allclose(s.detach(), torch.log(p / (n * q)), atol=1e-3)
    # and bce_loss measures that expectation: positives and negatives counted in proportion
    rows = torch.repeat_interleave(torch.arange(3), torch.tensor([6, 3, 1]))
    draws = torch.repeat_interleave(torch.arange(3), torch.tensor([8, 12, 20])).view(10, 4)
    value = bce_loss(s[rows], s[draws])
    assert torch.isclose(value * (1 + n), expected_loss(), rtol=1e-5)


def test_sampled_softmax_is_info_nce_and_the_full_softmax():
    a, p, n = vectors(4, 3), vectors(4, 3, seed=1), vectors(4, 6, 3, seed=2)
    log_q = torch.log_softmax(vectors(4, 6, seed=3), 1)
    positive, negative = (a * p).sum(1), torch.einsum("bd,bnd->bn", a, n)
    loss = sampled_softmax_loss(positive, negative, log_q)
    same = info_nce(
        a, p, n, temperature=1.0, log_q=torch.zeros(4), negative_log_q=log_q + math.log(6)
    )
    assert torch.isclose(loss, same, rtol=1e-12)
    # all 6 other items, each drawn once with q = 1/6: the softmax over the 7 items
    full = -torch.cat([positive[:, None], negative], 1).log_softmax(1)[:, 0].mean()
    even = torch.full((6,), -math.log(6), dtype=torch.float64)
    assert torch.isclose(sampled_softmax_loss(positive, negative, even), full, rtol=1e-12)


def test_the_bias_of_the_sampled_softmax_shrinks_with_the_number_of_negatives():
    """The partition estimate has none; its logarithm falls short by about variance / 2n."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200)
    q = np.exp(0.3 * scores) / np.exp(0.3 * scores).sum()
    exact = math.log(math.e + np.exp(scores).sum()) - 1
    bias = {}
    for n in (1, 4, 16, 64):
        draws = rng.choice(200, p=q, size=(20_000, n))
        negative, log_q = torch.tensor(scores[draws]), torch.tensor(np.log(q[draws]))
        loss = sampled_softmax_loss(torch.ones(20_000).double(), negative, log_q)
        bias[n] = exact - loss.item()
        partition = math.e + np.exp(scores[draws] - np.log(q[draws])).mean(1)
        error = 4 * partition.std() / math.sqrt(len(partition))
        assert abs(partition.mean() - (math.e + np.exp(scores).sum())) < error
    # standard errors are below 0.005: a bias that stayed, or had the other sign, would show
    assert bias[1] > 2 * bias[4] > 4 * bias[16] > 0 and abs(bias[64]) < 0.01


S, T = torch.zeros(3), torch.zeros(3, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: bce_loss(S, T[:2]), r"positive_scores must be \(batch,\)"),
        (lambda: bce_loss(T, T), r"got \(3, 2\) and \(3, 2\)"),
        (lambda: bce_loss(S, T[:, :0]), r"got \(3,\) and \(3, 0\)"),
        (lambda: bce_loss(S, T, S > 0), r"mask must be bool \(3, 2\)"),
        (lambda: bce_loss(S[0], S[0]), r"got \(\) and \(\)"),
        (lambda: bce_loss(S, T[:, :, None]), r"got \(3,\) and \(3, 2, 1\)"),
        (lambda: bce_loss(S, T * math.nan), "row 0 of negative_scores holds nan"),
        (lambda: bce_loss(S * math.nan, T), "row 0 of positive_scores holds nan"),
        (lambda: gbce_loss(S, T[:2], n_items=9), r"got \(3,\) and \(2, 2\)"),
        (lambda: gbce_loss(S, T * math.nan, n_items=9), "row 0 of negative_scores holds nan"),
        (lambda: gbce_loss(S * math.nan, T, n_items=9), "row 0 of positive_scores holds nan"),
        (lambda: sampled_softmax_loss(S, T[:2], S[:2]), r"got \(3,\) and \(2, 2\)"),
        (lambda: sampled_softmax_loss(S, T * math.nan, T), "row 0 of negative_scores holds nan"),
        (lambda: sampled_softmax_loss(S * math.nan, T, T), "row 0 of positive_scores holds nan"),
        (lambda: sampled_softmax_loss(S, S, S), r"negative_scores must be \(batch, n_neg\)"),
        (lambda: sampled_softmax_loss(S, T, S), r"negative_log_q must be \(3, 2\) or \(2,\)"),
        (lambda: sampled_softmax_loss(S, T, T - math.inf), "no probability may be 0"),
    ],
)
def test_bad_scores_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gbce_is_its_equation_and_between_bce_and_a_calibrated_loss():
    p, n = torch.tensor([0.5, -1.0]).double(), torch.tensor([[0.2, 2.0, -3.0]] * 2).double()
    for t in (0.0, 0.4, 1.0):
        alpha = 3 / 99
        beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
        total = beta * p.sigmoid().log().sum() + (1 - n.sigmoid()).log().sum()
        found = gbce_loss(p, n, n_items=100, calibration=t)
        assert torch.isclose(found, -total / 8, rtol=1e-12)
    assert torch.isclose(gbce_loss(p, n, n_items=100, calibration=0.0), bce_loss(p, n))
    # all other items are drawn: nothing is left to calibrate
    assert torch.isclose(gbce_loss(p, n, n_items=4, calibration=1.0), bce_loss(p, n))
    one = gbce_loss(p, n[:, :1], n_items=100)
    assert torch.isclose(gbce_loss(p, n[:, 0], n_items=100), one)


def test_gbce_fully_calibrated_learns_the_probabilities():
    """One context, a known distribution over items: sigmoid(s) is p at t = 1, and more at t = 0."""
    chance = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    found = {}
    for t in (0.0, 1.0):
        s = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([s], max_iter=200)

        def expected(s=s, t=t, optimizer=optimizer):
            optimizer.zero_grad()
            loss = sum(
                chance[i] / 3
                * gbce_loss(s[i : i + 1], s[j : j + 1, None], n_items=4, calibration=t)
                for i in range(4) for j in range(4) if i != j
            )  # fmt: skip
            loss.backward()
            return loss

        optimizer.step(expected)
        found[t] = s.detach().sigmoid()
    torch.testing.assert_close(found[1.0], chance, atol=1e-4, rtol=0)
    assert (found[0.0] > chance + 0.05).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_items": 3}, "n_items"),
        ({"n_items": 9, "calibration": 1.5}, "calibration"),
        ({"n_items": 9, "calibration": -0.1}, "calibration"),
    ],
)
def test_gbce_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        gbce_loss(torch.zeros(2), torch.zeros(2, 3), **options)
