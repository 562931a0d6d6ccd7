"""The pairs of chapter 8's losses, and towers that learn from them."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial import course
from recsys_tutorial.course import _contrastive
from recsys_tutorial.models import TwoTower, towers
from recsys_tutorial.splits import Holdout, Split

pytestmark = pytest.mark.usefixtures("one_thread")


def in_two_camps(n_users=60, n_items=24, seed=0):
    """Users like films of one half, by features that say which."""
    rng = np.random.default_rng(seed)
    camp = np.arange(n_users) % 2
    likes = (rng.random((n_users, n_items)) < 0.5) & (np.arange(n_items) % 2 == camp[:, None])
    features = rng.normal(size=(n_items, 6))
    features[:, 0] += 3 * (1 - 2 * (np.arange(n_items) % 2))
    return sparse.csr_matrix(likes.astype(float)), features, camp


class Window(Split):
    """A split whose likes do not fade."""

    def faded(self, scale, unit="years"):
        return self.train


def window():
    likes, features, camp = in_two_camps()
    part = Holdout(np.arange(60), likes, likes, likes, likes)
    split = Window(np.arange(24), None, likes, likes, np.arange(60), part, part)
    return split, features, camp


def test_a_batch_hides_what_is_to_be_found():
    likes, features, _ = in_two_camps()
    likes = sparse.vstack([likes, sparse.csr_matrix(([1.0], ([0], [3])), (1, 24))]).tocsr()
    pairs = course.LikePairs(likes, features)
    assert len(pairs) == likes.nnz - 1  # who liked one film has no history without it
    torch.manual_seed(0)
    model = TwoTower(towers.PooledTower(features, 4), towers.FeatureTower(features, 4),
                     similarity="cosine", popularity_prior=True)  # fmt: skip
    model.bias = torch.nn.Parameter(torch.zeros(()))
    rows = np.array([0, 5, 9])
    batch = pairs.batch(model, rows, np.random.default_rng(0))
    u, i = pairs.users[rows], pairs.items[rows]
    history = likes[u].toarray()
    history[np.arange(3), i] = 0
    with torch.no_grad():
        z, v = model.user_vectors(sparse.csr_matrix(history)), model.item_vectors(i)
    torch.testing.assert_close(batch.users.detach(), z)
    torch.testing.assert_close(batch.scores.detach(), z @ v.T)
    assert np.array_equal(batch.known.numpy(), likes[u].toarray()[:, i] > 0)
    assert batch.known.diagonal().all()
    share = np.asarray(likes.sum(0)).ravel() / likes.nnz
    np.testing.assert_allclose(batch.log_q.numpy(), np.log(share[i]))
    assert batch.drawn(7).shape == (7, 5)
    assert batch.n_items == 24


def test_shares_of_films_that_nobody_or_one_user_likes():
    likes = sparse.csr_matrix([[1.0, 1, 0, 0], [1, 0, 1, 0]])
    pairs = course.LikePairs(likes, np.eye(4))
    # four likes; a film that nobody likes is no pair's, and counts as if it had one like
    np.testing.assert_allclose(pairs.log_q, np.log([2 / 4, 1 / 4, 1 / 4, 1 / 4]))


def test_corrected_info_nce_is_a_softmax_over_what_is_not_known_to_be_liked():
    torch.manual_seed(0)
    users, items = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    known = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    log_q = torch.tensor([0.5, 0.2, 0.3]).double().log()
    batch = course.PairBatch(users, items, known, log_q, None, None, 3)
    logits = users @ items.T - log_q
    logits[0, 1] = -torch.inf  # user 0 likes the film of user 1, too
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(3))
    torch.testing.assert_close(course.corrected_info_nce(batch), expected)


def test_towers_learn_the_camps_and_untrained_ones_do_not():
    split, features, camp = window()
    right = np.arange(24) % 2 == camp[:, None]

    def share_of_own(rate):
        options = {"epochs": (30, 1), "batch_size": 64, "dim": 4, "learning_rate": rate}
        fit = course.contrastive_towers(features, course.corrected_info_nce, 0.2, **options)
        scores = fit(split).score(split.train)
        best = np.argsort(-scores, axis=1)[:, :8]
        return np.take_along_axis(right, best, axis=1).mean()

    assert share_of_own(0.02) > 0.95 > 0.8 > share_of_own(1e-9)


def test_later_windows_go_on_from_the_first():
    split, features, _ = window()
    steps = []

    def counted(b):
        steps.append(len(b.users))
        return course.corrected_info_nce(b)

    fit = course.contrastive_towers(features, counted, 0.2, epochs=(3, 1), batch_size=64, dim=4)
    first = fit(split)
    n, weight = len(steps), first.item_tower.head[-1].weight.detach().clone()
    assert fit(split) is first
    assert len(steps) == n + n // 3 and n == 3 * int(np.ceil(split.train.nnz / 64))
    assert first.item_tower.dim == first.user_tower.dim == 4
    np.testing.assert_allclose(
        first.log_popularity, np.log1p(np.asarray(split.train.sum(0)).ravel()), rtol=1e-6
    )
    assert not torch.equal(weight, first.item_tower.head[-1].weight)
    assert first.log_temperature.item() == pytest.approx(np.log(0.2))  # it is not learned


def test_the_bias_starts_once_even_where_all_windows_have_as_many_epochs():
    split, features, _ = window()

    def with_bias(b):
        return course.corrected_info_nce(b) + (b.bias - 3) ** 2

    fit = course.contrastive_towers(features, with_bias, 0.2, epochs=(1, 1), batch_size=8, dim=4)
    start = -np.log((1 + np.asarray(split.train.sum(0))).sum())
    biases = [fit(split).bias.item() for _ in range(3)]
    assert start < biases[0] < biases[1] < biases[2]
    assert biases[2] - biases[0] > biases[0] - start  # it goes on from where it was


def test_the_bias_starts_where_the_priors_shares_add_up_to_one():
    split, features, _ = window()
    fit = course.contrastive_towers(
        features, lambda b: b.bias + b.scores.mean(), 0.2, epochs=(1, 1), learning_rate=1e-12
    )
    n = np.asarray(split.train.sum(0)).ravel()
    assert fit(split).bias.item() == pytest.approx(-np.log((1 + n).sum()), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_towers_start_from_their_seed_in_the_precision_asked_for(dtype):
    _, features, _ = window()
    heads = []

    def never(batch):
        raise AssertionError("nothing is trained here")

    for seed, outside in ((1, 5), (1, 6), (2, 5)):
        torch.manual_seed(outside)
        fit = course.contrastive_towers(features, never, 0.2, seed=seed, dim=4, dtype=dtype)
        model = next(
            c.cell_contents for c in fit.__closure__ if isinstance(c.cell_contents, TwoTower)
        )
        heads.append(model.item_tower.head[-1].weight.detach().clone())
    assert heads[0].dtype == dtype
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_the_chapters_towers_read_bert_and_are_made_once(monkeypatch):
    made, texts = [], np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)

    def towers_of(*arguments, **options):
        made.append((arguments, options))
        return lambda split: split

    monkeypatch.setattr(_contrastive, "bert_texts", lambda items: texts)
    monkeypatch.setattr(_contrastive, "contrastive_towers", towers_of)
    split, _, _ = window()
    fit = _contrastive.info_nce_towers(3)
    assert fit(split) is split and fit(split) is split
    (((films, loss, temperature), options),) = made
    centred = texts.astype(float) - texts.astype(float).mean(0)
    np.testing.assert_allclose(films, centred / np.linalg.norm(centred, axis=1)[:, None])
    assert (loss, temperature) == (course.corrected_info_nce, 0.2)
    assert options == {"epochs": (16, 4), "seed": 3, "dtype": torch.float32}


def test_the_single_numbers_take_twenty_times_the_steps_of_the_heads():
    split, features, _ = window()
    ends = []
    for rate in (1e-4, 2e-4):  # Adam's first step is as long as its rate, whatever the gradient
        options = {"epochs": (1, 1), "batch_size": 10**4, "dim": 4, "learning_rate": rate}
        fit = course.contrastive_towers(
            features, lambda b: b.bias + b.scores.mean(), 0.2, **options
        )
        model = fit(split)
        ends.append([model.popularity_weight.item(), model.bias.item()])
    np.testing.assert_allclose(np.subtract(*ends), 20 * 1e-4, rtol=1e-3)
