"""Losses of vectors against written-out formulas, PyTorch's own, and sentence-transformers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.losses import (
    info_nce,
    multi_positive_nce,
    multinomial_loss,
)


def vectors(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def written_out(
    anchors, positives, negatives=None, *, temperature, in_batch, log_q=None, negative_log_q=None,
    positive_ids=None, mask=None,
):  # fmt: skip
    """One row and one candidate at a time, with exp and log as in the equation."""
    losses = []
    for b in range(len(anchors)):
        candidates = []  # (is it the positive, is it left out, logit)
        for j in range(len(positives)) if in_batch else [b]:
            logit = float(anchors[b] @ positives[j]) / temperature
            logit -= 0 if log_q is None else float(log_q[j])
            same = positive_ids is not None and positive_ids[b] == positive_ids[j]
            candidates.append([j == b, same and in_batch, logit])
        for j in range(0 if negatives is None else negatives.shape[-2]):
            vector = negatives[j] if negatives.ndim == 2 else negatives[b, j]
            logit = float(anchors[b] @ vector) / temperature
            if negative_log_q is not None:
                q = negative_log_q[j] if negative_log_q.ndim == 1 else negative_log_q[b, j]
                logit -= float(q)
            candidates.append([False, False, logit])
        if mask is not None:
            for candidate, left_out in zip(candidates, mask[b], strict=True):
                candidate[1] |= bool(left_out)
        kept = [logit for positive, left_out, logit in candidates if positive or not left_out]
        own = next(logit for positive, _, logit in candidates if positive)
        if len(kept) > 1:
            losses.append(-math.log(math.exp(own) / sum(math.exp(logit) for logit in kept)))
    return sum(losses) / max(len(losses), 1)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(2, 6),
    n_neg=st.integers(0, 4),
    own=st.booleans(),
    in_batch=st.booleans(),
    with_q=st.booleans(),
    with_ids=st.booleans(),
    with_mask=st.booleans(),
    temperature=st.floats(0.05, 5),
    seed=st.integers(0, 1000),
)
def test_info_nce_is_the_equation(
    batch, n_neg, own, in_batch, with_q, with_ids, with_mask, temperature, seed
):
    in_batch = in_batch or n_neg == 0
    rng = np.random.default_rng(seed)
    shape = (batch, n_neg, 3) if own else (n_neg, 3)
    options = {"temperature": temperature, "in_batch": in_batch}
    if with_q:
        options["log_q"] = torch.tensor(np.log(rng.uniform(0.01, 0.9, batch)))
        if n_neg:
            options["negative_log_q"] = torch.tensor(np.log(rng.uniform(0.01, 0.9, shape[:-1])))
    if with_ids:
        options["positive_ids"] = torch.tensor(rng.integers(0, 3, batch))
    if with_mask:
        n_candidates = (batch if in_batch else 1) + n_neg
        options["mask"] = torch.tensor(rng.random((batch, n_candidates)) < 0.4)
    tensors = [vectors(batch, 3, seed=seed), vectors(batch, 3, seed=seed + 1)]
    tensors.append(vectors(*shape, seed=seed + 2) if n_neg else None)
    expected = written_out(*tensors, **options)
    assert info_nce(*tensors, **options).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_defaults_choose_the_negatives():
    a, p, n = vectors(4, 3), vectors(4, 3, seed=1), vectors(5, 3, seed=2)
    alone = info_nce(a, p, temperature=0.5)
    assert alone == info_nce(a, p, temperature=0.5, in_batch=True)
    given = info_nce(a, p, n, temperature=0.5)
    assert given == info_nce(a, p, n, temperature=0.5, in_batch=False)
    assert given != info_nce(a, p, n, temperature=0.5, in_batch=True)
    shared = info_nce(a, p, n.expand(4, 5, 3), temperature=0.5)  # the same for every row
    assert shared.item() == pytest.approx(given.item(), rel=1e-12)


def test_candidates_without_a_log_q_are_not_corrected():
    a, p, n = vectors(4, 3), vectors(4, 3, seed=1), vectors(5, 3, seed=2)
    logits, labels = torch.cat([a @ p.T, a @ n.T], 1), torch.arange(4)
    cross_entropy = torch.nn.functional.cross_entropy
    for name, columns in (("log_q", range(4)), ("negative_log_q", range(4, 9))):
        q = torch.linspace(0.1, 0.7, len(columns), dtype=torch.float64)
        expected = logits.clone()
        expected[:, columns] -= q.log()
        loss = info_nce(a, p, n, temperature=1.0, in_batch=True, **{name: q.log()})
        assert torch.isclose(loss, cross_entropy(expected, labels), rtol=1e-12)
        # a list is read in the precision of the vectors, not in float32
        listed = info_nce(a, p, n, temperature=1.0, in_batch=True, **{name: q.log().tolist()})
        assert torch.isclose(listed, loss, rtol=1e-12)


def test_in_batch_is_cross_entropy_in_both_directions():
    a, p = vectors(7, 5), vectors(7, 5, seed=1)
    logits, labels = a @ p.T / 0.3, torch.arange(7)
    forward = torch.nn.functional.cross_entropy(logits, labels)
    backward = torch.nn.functional.cross_entropy(logits.T, labels)
    assert torch.isclose(info_nce(a, p, temperature=0.3), forward, rtol=1e-12)
    both = info_nce(a, p, temperature=0.3, symmetric=True)
    assert torch.isclose(both, (forward + backward) / 2, rtol=1e-12)
    # log_q corrects the direction in which positives are the candidates, and no other
    log_q = torch.log(torch.linspace(0.05, 0.5, 7, dtype=torch.float64))
    corrected = torch.nn.functional.cross_entropy(logits - log_q, labels)
    both = info_nce(a, p, temperature=0.3, symmetric=True, log_q=log_q)
    assert torch.isclose(both, (corrected + backward) / 2, rtol=1e-12)


def test_masks_apply_to_both_directions():
    a, p = vectors(4, 3), vectors(4, 3, seed=1)
    ids = torch.tensor([5, 6, 5, 7])
    logits = (a @ p.T).masked_fill((ids[:, None] == ids) & ~torch.eye(4, dtype=bool), -math.inf)
    labels = torch.arange(4)
    expected = torch.nn.functional.cross_entropy(logits, labels)
    expected += torch.nn.functional.cross_entropy(logits.T, labels)
    both = info_nce(a, p, temperature=1.0, symmetric=True, positive_ids=ids)
    assert torch.isclose(both, expected / 2, rtol=1e-12)


def test_equals_sentence_transformers_multiple_negatives_ranking_loss():
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import dot_score

    a, p, n = (vectors(6, 4, seed=seed).float() for seed in range(3))
    theirs = MultipleNegativesRankingLoss(None, scale=20.0, similarity_fct=dot_score)
    plain = theirs.compute_loss_from_embeddings([a, p], None)
    assert torch.isclose(info_nce(a, p, temperature=1 / 20), plain, rtol=1e-5)
    # their hard negatives are candidates of every row, beside the batch's positives
    hard = theirs.compute_loss_from_embeddings([a, p, n], None)
    assert torch.isclose(info_nce(a, p, n, temperature=1 / 20, in_batch=True), hard, rtol=1e-5)


@pytest.mark.parametrize("symmetric", [False, True])
def test_gradients_in_float64(symmetric):
    a, p, n = (vectors(4, 3, seed=seed).requires_grad_() for seed in range(3))
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    mask = torch.zeros(4, 7, dtype=bool)
    mask[0, 2] = mask[3, 5] = True

    def loss(a, p, n, temperature):
        options = {"temperature": temperature, "in_batch": True, "mask": mask}
        return info_nce(a, p, n[:3], symmetric=symmetric, **options)

    assert torch.autograd.gradcheck(loss, (a, p, n, temperature))


def test_rows_may_be_permuted_and_masked_negatives_change_nothing():
    a, p, n = vectors(5, 3), vectors(5, 3, seed=1), vectors(4, 3, seed=2)
    order = torch.tensor([3, 0, 4, 1, 2])
    plain = info_nce(a, p, n, temperature=0.2, in_batch=True)
    assert torch.isclose(
        info_nce(a[order], p[order], n, temperature=0.2, in_batch=True), plain, rtol=1e-12
    )
    more = torch.cat([n, 100 * vectors(2, 3, seed=3)])
    mask = torch.zeros(5, 5 + 6, dtype=bool)
    mask[:, -2:] = True
    masked = info_nce(a, p, more, temperature=0.2, in_batch=True, mask=mask)
    assert torch.isclose(masked, plain, rtol=1e-12)
    assert not torch.isclose(info_nce(a, p, more, temperature=0.2, in_batch=True), plain)


def test_a_row_without_negatives_does_not_count():
    a, p = vectors(3, 2).requires_grad_(), vectors(3, 2, seed=1)
    ids = torch.tensor([1, 1, 2])
    mask = torch.zeros(3, 3, dtype=bool)
    mask[0, 2] = True  # row 0 has lost row 1 to the equal id and row 2 to the mask
    expected = written_out(
        a.detach(), p, temperature=1.0, in_batch=True, positive_ids=ids, mask=mask
    )
    loss = info_nce(a, p, temperature=1.0, positive_ids=ids, mask=mask)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    assert (a.grad[0] == 0).all() and (a.grad[1:] != 0).all()
    nothing = info_nce(a, p, temperature=1.0, positive_ids=torch.ones(3))
    assert nothing.item() == 0 and nothing.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_small_temperatures_neither_overflow_nor_lose_the_gradient(dtype):
    a = torch.nn.functional.normalize(vectors(8, 16), dim=1).to(dtype).requires_grad_()
    p = torch.nn.functional.normalize(vectors(8, 16, seed=1), dim=1).to(dtype)
    loss = info_nce(a, p, temperature=0.01)
    loss.backward()
    exact = info_nce(a.detach().double(), p.double(), temperature=0.01)
    # float32's 2^-24 over a temperature of 0.01, times the length of a sum of 16 products
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=1e-4)
    assert a.grad.isfinite().all() and a.grad.abs().sum() > 0


def test_log_q_makes_the_sampled_partition_unbiased():
    """Drawing with probability q and dividing e^s by q estimates sum over all e^s."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=50)
    q = np.exp(0.5 * scores) / np.exp(0.5 * scores).sum()  # what is liked is drawn more often
    draws = rng.choice(50, p=q, size=(4000, 20))
    estimate = np.exp(scores[draws] - np.log(q[draws])).mean(axis=1)
    error = 4 * estimate.std() / np.sqrt(len(estimate))  # 4 standard errors
    assert abs(estimate.mean() - np.exp(scores).sum()) < error
    raw = 50 * np.exp(scores[draws]).mean(axis=1)  # as if drawn evenly: far off
    assert abs(raw.mean() - np.exp(scores).sum()) > 5 * error
    # and the loss contains exactly that estimate
    one, log_q = torch.ones(1, 1, dtype=torch.float64), torch.tensor(np.log(q))
    negatives = torch.tensor(scores[draws[0]])[:, None]
    loss = info_nce(
        one,
        2 * one,
        negatives,
        temperature=1.0,
        log_q=torch.zeros(1),
        negative_log_q=log_q[draws[0]],
    )
    assert loss.item() == pytest.approx(math.log(math.e**2 + 20 * estimate[0]) - 2)


A, P, N = vectors(3, 2), vectors(3, 2, seed=1), vectors(4, 2, seed=2)
NAN = A.clone()
NAN[1, 0] = NAN[2, 1] = math.nan  # the first bad row is named
B = torch.eye(3, dtype=bool)


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((A, P), {"temperature": 0.0}, "temperature must be positive and finite, got 0.0"),
        ((A, P), {"temperature": -1.0}, "got -1.0"),
        ((A, P), {"temperature": math.nan}, "got nan"),
        ((A, P), {"temperature": math.inf}, "got inf"),
        ((A, P[:2]), {}, r"both sides must be \(n, dim\), got \(3, 2\) and \(2, 2\)"),
        ((A[0], P[0]), {}, r"got \(2,\) and \(2,\)"),
        ((A, P, N[:, :1]), {}, r"negatives must be \(n_neg, 2\) or \(3, n_neg, 2\), got \(4, 1\)"),
        ((A, P, N.expand(2, 4, 2)), {}, r"got \(2, 4, 2\)"),
        ((A, P, N[:0]), {}, r"got \(0, 2\)"),
        ((A, P, N[0]), {}, r"got \(2,\)"),
        ((A[:1], P[:1]), {}, "no row has a negative"),
        ((A, P), {"in_batch": False}, "no row has a negative"),
        ((A, P), {"log_q": torch.zeros(2)}, r"log_q must be \(3,\), got \(2,\)"),
        ((A, P), {"log_q": torch.tensor([0, -math.inf, 0])}, "no probability may be 0"),
        ((A, P, N), {"negative_log_q": torch.zeros(3)}, r"\(4,\) or \(3, 4\), got \(3,\)"),
        ((A, P), {"negative_log_q": torch.zeros(3)}, "but no negatives"),
        ((A, P), {"positive_ids": torch.zeros(2)}, r"positive_ids must be \(3,\)"),
        ((A, P), {"mask": torch.zeros(3, 2, dtype=bool)}, r"mask must be bool \(3, 3\)"),
        ((A, P), {"mask": torch.zeros(3, 3)}, "mask must be bool"),
        ((A, P, N), {"symmetric": True}, "symmetric needs in_batch"),
        ((A, P), {"hardness": -1.0}, "hardness must be finite and at least 0, got -1"),
        ((A, P), {"hardness": math.nan}, "hardness must be"),
        ((NAN, P), {}, "row 1 of anchors holds nan"),
        ((A, NAN), {}, "row 1 of positives holds nan"),
        ((A, P, NAN), {}, "row 1 of negatives holds nan"),
        ((1e200 * A, 1e200 * P), {}, "the loss is not finite: overflow"),
    ],
)
def test_info_nce_says_what_is_wrong(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        info_nce(*arguments, **{"temperature": 1.0, **options})


# -- hard-negative weights, the decoupled form


@pytest.mark.parametrize("mode", ["all_negatives", "in_batch_negatives"])
def test_hardness_equals_sentence_transformers(mode):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import dot_score

    unit = [torch.nn.functional.normalize(vectors(6, 4, seed=s), dim=1) for s in range(3)]
    tensors = unit if mode == "all_negatives" else unit[:2]
    theirs = MultipleNegativesRankingLoss(
        None, scale=20.0, similarity_fct=dot_score, hardness_mode=mode, hardness_strength=3.0
    ).compute_loss_from_embeddings(tensors, None)
    ours = info_nce(*tensors, temperature=0.05, in_batch=True, hardness=3.0)
    assert torch.isclose(ours, theirs, rtol=1e-9)
    assert ours > info_nce(*tensors, temperature=0.05, in_batch=True)  # near negatives weigh more


def test_hardness_multiplies_the_gradient_of_a_negative():
    a, p = vectors(1, 3), vectors(1, 3, seed=1)
    n = vectors(4, 3, seed=2).requires_grad_()
    info_nce(a, p, n, temperature=1.0, hardness=2.0).backward()
    s = (n @ a[0]).detach()
    weight = torch.exp(s + 2 * s)
    expected = weight / (weight.sum() + (a[0] @ p[0]).exp())
    assert torch.allclose(n.grad, expected[:, None] * a, rtol=1e-12)


def test_decoupled_leaves_the_positive_out_of_the_denominator():
    a, p, n = vectors(5, 3).requires_grad_(), vectors(5, 3, seed=1), vectors(4, 3, seed=2)
    s = a @ p.T / 0.5
    others = torch.cat([s.masked_fill(torch.eye(5, dtype=bool), -math.inf), a @ n.T / 0.5], 1)
    expected = (others.logsumexp(1) - s.diagonal()).mean()
    options = {"temperature": 0.5, "in_batch": True}
    assert torch.isclose(info_nce(a, p, n, **options, decoupled=True), expected, rtol=1e-12)
    # equation 3 of the paper: InfoNCE's gradient is this one times 1 - p(positive), row by row
    row = [x[:1] for x in (a, p)]
    plain = torch.autograd.grad(info_nce(*row, n, temperature=0.5), a)[0][0]
    free = torch.autograd.grad(info_nce(*row, n, temperature=0.5, decoupled=True), a)[0][0]
    p_positive = torch.exp(-info_nce(*row, n, temperature=0.5)).item()
    assert torch.allclose(plain, (1 - p_positive) * free, rtol=1e-10)


# -- all options of info_nce together


def direction(logits, similarity, left_out, *, hardness, decoupled):
    """One row and one negative at a time; row i's positive is candidate i."""
    losses = []
    for i, row in enumerate(logits.tolist()):
        negatives = [j for j in range(len(row)) if j != i and not left_out[i, j]]
        if negatives:
            total = sum(math.exp(row[j] + hardness * float(similarity[i, j])) for j in negatives)
            total += 0 if decoupled else math.exp(row[i])
            losses.append(math.log(total) - row[i])
    return sum(losses) / max(len(losses), 1)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(2, 5),
    n_neg=st.integers(0, 3),
    hardness=st.sampled_from([0.0, 0.5, 2.0]),
    decoupled=st.booleans(),
    symmetric=st.booleans(),
    with_q=st.booleans(),
    with_mask=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_info_nce_with_any_two_options_is_the_equation(
    batch, n_neg, hardness, decoupled, symmetric, with_q, with_mask, seed
):
    rng = np.random.default_rng(seed)
    a, p, n = (vectors(size, 3, seed=seed + k) for k, size in enumerate((batch, batch, n_neg)))
    options = {"temperature": 0.7, "in_batch": True, "symmetric": symmetric}
    options |= {"hardness": hardness, "decoupled": decoupled}
    similarity = torch.cat([a @ p.T, a @ n.T], dim=1)
    log_q = torch.zeros(batch + n_neg, dtype=torch.float64)
    if with_q:
        log_q = torch.tensor(np.log(rng.uniform(0.01, 0.9, batch + n_neg)))
        options["log_q"] = log_q[:batch]
        if n_neg:
            options["negative_log_q"] = log_q[batch:]
    left_out = torch.zeros(similarity.shape, dtype=bool)
    if with_mask:
        left_out = torch.tensor(rng.random(tuple(similarity.shape)) < 0.3)
        options["mask"] = left_out
    kind = {"hardness": hardness, "decoupled": decoupled}
    expected = direction(similarity / 0.7 - log_q, similarity, left_out, **kind)
    if symmetric:  # no correction there, and the batch's anchors alone are candidates
        pairs = similarity[:, :batch].T
        expected += direction(pairs / 0.7, pairs, left_out[:, :batch].T, **kind)
        expected /= 2
    loss = info_nce(a, p, n if n_neg else None, **options)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_hardness_counts_in_both_directions():
    a, p = vectors(5, 3), vectors(5, 3, seed=1)
    options = {"temperature": 0.5, "hardness": 2.0}
    there, back = info_nce(a, p, **options), info_nce(p, a, **options)
    both = info_nce(a, p, symmetric=True, **options)
    assert torch.isclose(both, (there + back) / 2, rtol=1e-12)
    assert not torch.isclose(back, info_nce(p, a, temperature=0.5), rtol=1e-3)


# -- several positives


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 7), with_q=st.booleans())
def test_multi_positive_is_the_equation(seed, n, with_q):
    rng = np.random.default_rng(seed)
    a, c = vectors(4, 3, seed=seed), vectors(n, 3, seed=seed + 1)
    positive = rng.random((4, n)) < 0.4
    mask = (rng.random((4, n)) < 0.3) & ~positive
    log_q = torch.tensor(np.log(rng.uniform(0.1, 0.9, n))) if with_q else None
    rows = []
    for i in range(4):
        s = [float(a[i] @ c[j]) / 0.3 - (float(log_q[j]) if with_q else 0) for j in range(n)]
        total = sum(math.exp(s[j]) for j in range(n) if not mask[i, j])
        terms = [-math.log(math.exp(s[j]) / total) for j in range(n) if positive[i, j]]
        rows += [sum(terms) / len(terms)] if terms else []
    options = {"temperature": 0.3, "log_q": log_q, "mask": torch.tensor(mask)}
    loss = multi_positive_nce(a, c, torch.tensor(positive), **options)
    assert loss.item() == pytest.approx(sum(rows) / max(len(rows), 1), rel=1e-9, abs=1e-12)


def test_multi_positive_with_one_each_is_info_nce():
    a, p = vectors(5, 3).requires_grad_(), vectors(5, 3, seed=1)
    one = multi_positive_nce(a, p, torch.eye(5, dtype=bool), temperature=0.2)
    assert torch.isclose(one, info_nce(a, p, temperature=0.2), rtol=1e-12)
    same = torch.tensor([0, 1, 0, 2, 1])
    same = same[:, None] == same
    assert torch.autograd.gradcheck(lambda x: multi_positive_nce(x, p, same, temperature=0.5), (a,))
    # every user likes one item: each counts the same, as in multinomial_loss
    scores = (a @ p.T).detach()
    flat = multinomial_loss(scores, torch.eye(5).double())
    assert torch.isclose(multi_positive_nce(a, p, torch.eye(5, dtype=bool), temperature=1.0), flat)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: multi_positive_nce(A, P[:, :1], A > 0, temperature=1.0), "anchors must be"),
        (lambda: multi_positive_nce(A[0], P, B, temperature=1.0), r"got \(2,\) and \(3, 2\)"),
        (lambda: multi_positive_nce(A, P[0], B, temperature=1.0), r"got \(3, 2\) and \(2,\)"),
        (lambda: multi_positive_nce(A, P, A > 0, temperature=1.0), r"is_positive must be bool"),
        (lambda: multi_positive_nce(A, P, B, temperature=0.0), "temperature must be positive"),
        (lambda: multi_positive_nce(A, P, B, temperature=1.0, mask=B), "leaves a positive out"),
        (lambda: multi_positive_nce(NAN, P, B, temperature=1.0), "row 1 of anchors holds nan"),
        (lambda: multi_positive_nce(A, NAN, B, temperature=1.0), "row 1 of candidates holds nan"),
    ],
)
def test_multi_positive_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
