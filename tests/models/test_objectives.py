"""What is minimised against its equation, written out; who is a negative and who is not."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.models import CandidateLists, InteractionRanker, TwoTower
from recsys_tutorial.models._histories import divide_likes
from recsys_tutorial.models._objectives import candidate_softmax, catalogue_softmax
from recsys_tutorial.models.towers import FeatureTower, HistoryTower, IdTower

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 6))
LIKES = sparse.csr_matrix((RNG.random((20, 12)) < 0.4).astype(float))

pytestmark = pytest.mark.usefixtures("one_thread")


def knows_rows(n_users=20):
    """A model whose first loss can be written down: nothing in it is random but its weights."""
    torch.manual_seed(0)
    users, items = IdTower(n_users, 4), FeatureTower(FEATURES, 4)
    torch.nn.init.normal_(users.table.weight)
    return TwoTower(users, items, dtype=torch.float64)


def first_loss(model, train, **options):
    """The loss of one step over all examples, before it changed the weights."""
    return model.fit(train, epochs=1, batch_size=train.nnz, **options).history_["loss"].item()


@pytest.mark.parametrize("log_q", [False, True])
def test_in_batch_is_the_equation(log_q):
    model = knows_rows()
    s = model(np.arange(20)).detach().numpy()
    q = np.bincount(LIKES.indices, minlength=12) / LIKES.nnz
    logits = s - log_q * np.log(q)
    users, items = LIKES.nonzero()
    expected = []
    for u, i in zip(users, items, strict=True):
        others = [logits[u, j] for j in items if LIKES[u, j] == 0]
        expected.append(np.logaddexp.reduce([logits[u, i], *others]) - logits[u, i])
    found = first_loss(model, LIKES, negatives="in_batch", log_q=log_q)
    assert found == pytest.approx(np.mean(expected), rel=1e-10)


def test_known_likes_are_no_negatives_in_the_batch():
    """Two users who like the same two items: nothing in their batch is a negative."""
    both = sparse.csr_matrix(np.eye(2, 12) + np.eye(2, 12)[::-1])
    assert first_loss(knows_rows(2), both, negatives="in_batch") == 0
    apart = sparse.csr_matrix(np.eye(2, 12))
    assert first_loss(knows_rows(2), apart, negatives="in_batch") > 0


@pytest.mark.parametrize("negatives", ["all", "liked"])
def test_the_softmax_over_the_catalogue_is_the_equation(negatives):
    likes = LIKES.toarray()
    likes[:, 3] = 0
    model = knows_rows()
    s = model(np.arange(20)).detach().numpy()
    items = np.flatnonzero(likes.any(0)) if negatives == "liked" else np.arange(12)
    log_p = s - np.logaddexp.reduce(s[:, items], axis=1, keepdims=True)
    expected = -(likes * log_p).sum() / likes.sum()
    found = first_loss(model, sparse.csr_matrix(likes), negatives=negatives)
    assert found == pytest.approx(expected, rel=1e-10)


def test_what_is_shown_is_neither_target_nor_negative():
    torch.manual_seed(0)
    items = FeatureTower(FEATURES, 4)
    model = TwoTower(HistoryTower(items), items, dtype=torch.float64)
    parts = {"train": LIKES, "users": np.arange(20), "items": np.arange(12), "share": (0.5, 0.5)}
    loss = catalogue_softmax(model, np.arange(20), np.random.default_rng(1), **parts)
    shown, hidden = divide_likes(LIKES, (0.5, 0.5), np.random.default_rng(1))
    s = model(shown).detach().numpy()
    s = np.where(shown.toarray() > 0, -np.inf, s)
    log_p = np.where(hidden.toarray() > 0, s - np.logaddexp.reduce(s, axis=1, keepdims=True), 0)
    assert shown.nnz and loss.item() == pytest.approx(-log_p.sum() / hidden.nnz, rel=1e-10)


def lists_of_two_likes(retriever):
    """Six candidates in each list, of which the second and the last are liked."""
    n = len(retriever)
    columns = np.tile(np.arange(6), (n, 1))
    return CandidateLists(LIKES[:n], columns, retriever, np.zeros((n, 6)), columns % 4 == 1)


def test_candidate_softmax_with_all_negatives_is_its_equation():
    model, s = InteractionRanker(FEATURES, None), RNG.normal(size=(3, 6))
    rng, parts = np.random.default_rng(0), {"lists": lists_of_two_likes(s)}
    expected = []
    for row in s[[2, 0]]:
        others = np.exp(row[[0, 2, 3, 4]]).sum()
        expected += [np.log(np.exp(row[i]) + others) - row[i] for i in (1, 5)]
    rows = np.array([2, 0])
    for many in (4, 6):  # six are asked for, four are there: the liked ones are no negatives
        loss = candidate_softmax(model, rows, rng, **parts, n_positives=2, n_negatives=many)
        assert loss.item() == pytest.approx(np.mean(expected), rel=1e-10)
    more = candidate_softmax(model, rows, rng, **parts, n_positives=5, n_negatives=4)
    assert more.item() == pytest.approx(np.mean(expected), rel=1e-10)


def test_candidate_softmax_draws_both_kinds_evenly():
    """Scores are 0 but for one candidate, so a loss says whether that one was drawn."""
    for high, n_drawn, of in ((1, 1, 2), (3, 1, 4)):
        s = np.zeros((400, 6))
        s[:, high] = 5.0
        lists = lists_of_two_likes(np.zeros((20, 6)))
        lists = CandidateLists(LIKES[np.zeros(400, int)], np.tile(lists.columns[0], (400, 1)), s,
                               np.zeros((400, 6)), np.tile(lists.liked[0], (400, 1)))  # fmt: skip
        model, rng = InteractionRanker(FEATURES, None), np.random.default_rng(0)
        losses = [
            candidate_softmax(
                model, np.array([row]), rng, lists=lists, n_positives=1, n_negatives=1
            ).item()
            for row in range(400)
        ]
        share = np.mean(np.abs(np.array(losses) - np.log(2)) > 0.1)
        assert share == pytest.approx(n_drawn / of, abs=0.08)  # three standard errors


def test_what_nobody_liked_is_pushed_away_by_all_and_left_alone_by_liked():
    likes = LIKES.toarray()
    likes[:, 0] = 0.0
    moved = {}
    for negatives in ("all", "liked"):
        torch.manual_seed(0)
        model = TwoTower(HistoryTower(IdTower(12, 8)), IdTower(12, 8), popularity_prior=True)
        before = model.encode_items()[:, :-1].copy()
        model.fit(sparse.csr_matrix(likes), negatives=negatives, epochs=2, weight_decay=0.0)
        moved[negatives] = np.abs(model.encode_items()[:, :-1] - before).max(axis=1)
    assert moved["all"][0] > 1e-3
    assert moved["liked"][0] == 0.0
    assert (moved["liked"][1:] > 1e-3).all()
