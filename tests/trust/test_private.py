"""Per-user gradients against autograd and Opacus; a user moves a step by no more than they may."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.evaluation import auc
from recsys_tutorial.trust import PrivateTowers
from recsys_tutorial.trust.private import clipped_sum


def likes(n_users=60, n_items=40, seed=0):
    """Two tastes, which the features tell apart."""
    rng = np.random.default_rng(seed)
    mine = (np.arange(n_users) % 2)[:, None] == (np.arange(n_items) % 2)[None]
    return sparse.csr_matrix((rng.random(mine.shape) < np.where(mine, 0.4, 0.03)).astype(float))


def features(n_items=40, seed=1):
    rng = np.random.default_rng(seed)
    return np.hstack([np.eye(2)[np.arange(n_items) % 2], rng.normal(0, 0.3, (n_items, 3))])


def parts(n_users=60):
    x = likes(n_users).toarray()
    shown = x * (np.random.default_rng(2).random(x.shape) < 0.5)
    return sparse.csr_matrix(shown), sparse.csr_matrix(x - shown)


def fitted(**options):
    options = {"dim": 4, "steps": 3, "noise": 0.0} | options
    counts = np.asarray(likes().sum(axis=0)).ravel()
    return PrivateTowers(features(), **options).fit(likes(), counts)


def torch_loss(a, b, w, f, prior, shown, hidden):
    """One user's loss, as it is written."""
    x = (shown @ f) / shown.sum().clamp(min=1).sqrt()
    scores = (x @ a) @ (f @ b).T + w * prior
    scores = scores.masked_fill(shown > 0, -torch.inf).log_softmax(0)
    return -(hidden * scores.masked_fill(shown > 0, 0)).sum() / hidden.sum()


def test_users_gradients_are_autograds():
    model = fitted()
    shown, hidden = parts()
    x, by_a, y, by_b, dw = model.user_gradients(shown, hidden)
    fixed = [torch.from_numpy(v) for v in (features(), model.prior_)]
    for user in range(0, 60, 7):
        weights = [torch.tensor(v, requires_grad=True) for v in (model.a_, model.b_, model.w_)]
        rows = [torch.from_numpy(m[[user]].toarray()[0]) for m in (shown, hidden)]
        torch_loss(*weights, *fixed, *rows).backward()
        want = [weight.grad.numpy() for weight in weights]
        np.testing.assert_allclose(np.outer(x[user], by_a[user]), want[0], atol=1e-12)
        np.testing.assert_allclose(np.outer(y[user], by_b[user]), want[1], atol=1e-12)
        assert dw[user] == pytest.approx(float(want[2]), abs=1e-12)


@pytest.mark.filterwarnings("ignore:Full backward hook")  # inputs need no gradient
def test_users_gradients_are_those_of_opacus():
    """Where the extra `trust` is installed: per-sample gradients by hooks on the two heads."""
    pytest.importorskip("opacus")
    from opacus import GradSampleModule

    class Heads(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            n_features, dim = model.a_.shape
            self.a = torch.nn.Linear(n_features, dim, bias=False).double()
            self.b = torch.nn.Linear(n_features, dim, bias=False).double()
            self.a.weight.data = torch.from_numpy(model.a_.T.copy())
            self.b.weight.data = torch.from_numpy(model.b_.T.copy())

        def forward(self, x, items):
            return torch.einsum("nd,nid->ni", self.a(x), self.b(items))

    model = fitted()
    shown, hidden = parts()
    x, by_a, y, by_b, _ = model.user_gradients(shown, hidden)
    heads = GradSampleModule(Heads(model), loss_reduction="sum")
    items = torch.from_numpy(features()).expand(60, -1, -1)
    scores = heads(torch.from_numpy(x), items) + model.w_ * torch.from_numpy(model.prior_)
    seen, wanted = (torch.from_numpy(part.toarray()) for part in (shown, hidden))
    log_p = scores.masked_fill(seen > 0, -torch.inf).log_softmax(1).masked_fill(seen > 0, 0)
    (-(wanted * log_p).sum(1) / wanted.sum(1).clamp(min=1)).sum().backward()
    theirs = [heads._module.a.weight.grad_sample, heads._module.b.weight.grad_sample]
    for got, (left, right) in zip(theirs, ((x, by_a), (y, by_b)), strict=True):
        want = np.einsum("nf,nd->ndf", left, right)
        np.testing.assert_allclose(got.numpy(), want, atol=1e-10)


@pytest.mark.parametrize("max_norm", [0.02, 0.3, np.inf])
def test_each_user_is_clipped_on_their_own(max_norm):
    model = fitted()
    gradients = model.user_gradients(*parts())
    x, by_a, y, by_b, dw = gradients
    whole = [
        np.concatenate([np.outer(x[u], by_a[u]).ravel(), np.outer(y[u], by_b[u]).ravel(), [dw[u]]])
        for u in range(60)
    ]
    want = sum(g * min(1.0, max_norm / max(np.linalg.norm(g), 1e-300)) for g in whole)
    np.testing.assert_allclose(clipped_sum(*gradients, max_norm), want, atol=1e-12)
    # What one user can change, which is what the noise is measured in.
    without = clipped_sum(*(part[1:] for part in gradients), max_norm)
    assert np.linalg.norm(want - without) <= max_norm * (1 + 1e-9)


def test_the_noise_is_as_large_as_it_is_said_to_be():
    model = fitted(max_norm=0.5, noise=3.0)
    shown, hidden = parts()
    rng = np.random.default_rng(0)
    drawn = np.array([model._noisy_gradient(shown, hidden, rng) for _ in range(400)])
    spread = drawn.std(axis=0) * model.rate * 60
    assert spread.mean() == pytest.approx(3.0 * 0.5, rel=0.02)
    want = clipped_sum(*model.user_gradients(shown, hidden), 0.5) / (model.rate * 60)
    assert np.abs(drawn.mean(axis=0) - want).max() < 5 * 1.5 / (model.rate * 60) / 20


def taste_found(model):
    """Whether films of the user's own taste score higher, for users who show one like."""
    history = sparse.csr_matrix(np.eye(40))
    own = (np.arange(40)[:, None] % 2 == np.arange(40) % 2) & ~np.eye(40, dtype=bool)
    scores = model.score(history)
    keep = ~np.eye(40, dtype=bool)
    return auc(own[keep].astype(int), scores[keep])


def test_it_learns_and_noise_makes_it_forget():
    clean = fitted(steps=150, max_norm=np.inf)
    assert taste_found(clean) > 0.95
    assert taste_found(fitted(steps=1, max_norm=np.inf, learning_rate=1e-9)) < 0.8  # untrained
    assert taste_found(fitted(steps=150, noise=0.05)) > 0.9
    noisy = np.mean([taste_found(fitted(steps=150, noise=50.0, seed=s)) for s in range(8)])
    assert noisy < 0.75


def test_a_seed_repeats_and_another_does_not():
    first, same, other = (fitted(noise=1.0, seed=s).a_ for s in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3


def test_what_is_spent_adds_up_over_fits():
    model = PrivateTowers(features(), noise=4.0, rate=0.2, steps=50)
    twice = PrivateTowers(features(), noise=4.0, rate=0.2, steps=100)
    assert model.epsilon(fits=2) == twice.epsilon() > model.epsilon()
    assert PrivateTowers(features(), noise=0.0).epsilon() == np.inf


def test_the_defaults_spend_what_their_description_says():
    assert PrivateTowers(features()).epsilon(1e-5) == pytest.approx(30, abs=0.5)


def test_each_user_is_drawn_on_their_own_with_the_chance_of_the_account():
    """Poisson's way: sizes of batches spread as a binomial's do, and pairs come independently."""
    batches = []

    class Noted(PrivateTowers):
        def user_gradients(self, shown, hidden):
            batches.append((shown + hidden).indices)
            return super().user_gradients(shown, hidden)

    own = sparse.identity(60, format="csr")  # each user likes one item, which says who it is
    Noted(features(60), dim=1, rate=0.25, steps=2000, noise=0.0).fit(own)
    drawn = np.array([np.isin(np.arange(60), batch) for batch in batches])  # (steps, users)
    assert np.abs(drawn.mean(axis=0) - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)
    # A batch of fixed size would not vary at all, and its pairs would shun each other.
    assert drawn.sum(axis=1).var() == pytest.approx(60 * 0.25 * 0.75, rel=0.2)


BAD = {
    "noise without a norm": ({"noise": 1.0, "max_norm": np.inf}, "max_norm must be"),
    "norm": ({"max_norm": 0.0}, "max_norm must be"),
    "noise": ({"noise": -1.0}, "noise must be"),
    "rate": ({"rate": 0.0}, "rate must be"),
    "steps": ({"steps": 0}, "steps must be"),
    "learning rate": ({"learning_rate": 0.0}, "learning_rate must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_named(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        PrivateTowers(features(), **options)


def test_bad_data_are_named():
    with pytest.raises(ValueError, match="features must be"):
        PrivateTowers(features(39), steps=1).fit(likes())
    with pytest.raises(ValueError, match="popularity must be 40 numbers"):
        PrivateTowers(features(), steps=1).fit(likes(), -np.ones(40))
