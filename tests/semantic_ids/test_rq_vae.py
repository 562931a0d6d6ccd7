"""RQ-VAE: its loss written out, the gradients that it stops, and a collapse with its repair."""

import numpy as np
import pytest
import torch

from recsys_tutorial.semantic_ids import RQVAE, codebook_usage, prefix_purity
from tests.semantic_ids.planted_codes import planted_vectors

pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(dim=12, seed=0, **options):
    torch.manual_seed(seed)
    return RQVAE(dim, **{"sizes": (4, 3), "code_dim": 6, "hidden": 16, **options})


def test_the_loss_is_its_equation():
    model = model_of(commitment=0.5)
    x = torch.from_numpy(planted_vectors()[0][:7])
    value, codes, residuals = model.loss(x)
    total = 0.0
    for row in range(7):
        z = model.encoder(x[row])
        left, q = z, torch.zeros_like(z)
        for level, book in enumerate(model.codebooks):
            torch.testing.assert_close(residuals[level][row], left)
            word = int(((left - book) ** 2).sum(1).argmin())
            assert codes[row, level] == word
            total = total + 1.5 * ((left - book[word]) ** 2).sum()
            left, q = left - book[word], q + book[word]
        total = total + ((x[row] - model.decoder(q)) ** 2).sum()
    torch.testing.assert_close(value, total / 7)


def test_gradients_go_straight_through():
    """What the encoder learns from the error is what the decoder's input is told, word or not."""
    model = model_of(commitment=0.0)
    x = torch.from_numpy(planted_vectors()[0][:5])
    model.loss(x)[0].backward()
    z = model.encoder(x)
    words = model.codes(x.numpy())
    q = sum(b[torch.from_numpy(w)] for b, w in zip(model.codebooks, words.T, strict=True)).detach()
    q.requires_grad_()
    ((x - model.decoder(q)) ** 2).sum(1).mean().backward()
    wanted = torch.autograd.grad(z, model.encoder[0].weight, q.grad)[0]
    torch.testing.assert_close(model.encoder[0].weight.grad, wanted)
    # The words learn from what they stand for alone: 2 (e - mean of theirs) times their share.
    left = z.detach()
    for word in range(4):
        mine = words[:, 0] == word
        e = model.codebooks[0][word].detach()
        wanted = 2 * (e - left[mine]).sum(0) / 5
        torch.testing.assert_close(model.codebooks[0].grad[word], wanted)


def test_commitment_pulls_the_encoder_to_its_words():
    x = torch.from_numpy(planted_vectors()[0][:5])
    grads = {}
    for commitment in (0.0, 0.25):
        model = model_of(commitment=commitment)
        model.loss(x)[0].backward()
        grads[commitment] = model.encoder[0].weight.grad
    z = model.encoder(x)
    left, pull = z, 0.0
    for book, words in zip(model.codebooks, model.codes(x.numpy()).T, strict=True):
        chosen = book[torch.from_numpy(words)].detach()
        pull, left = pull + 0.25 * ((left - chosen) ** 2).sum(1).mean(), left - chosen
    wanted = torch.autograd.grad(pull, model.encoder[0].weight)[0]
    torch.testing.assert_close(grads[0.25] - grads[0.0], wanted)


def test_planted_groups_are_the_words():
    vectors, coarse, _ = planted_vectors()
    model = model_of(seed=1)
    untrained = ((model.rebuild(vectors) - vectors) ** 2).sum(1).mean()
    model.fit(vectors, epochs=60, batch_size=40, learning_rate=5e-3)
    assert prefix_purity(model.codes(vectors), coarse)[0] > 0.95
    error = ((model.rebuild(vectors) - vectors) ** 2).sum(1).mean()
    spread = ((vectors - vectors.mean(0)) ** 2).sum(1).mean()  # what a constant would leave
    assert error < 0.3 * min(untrained, spread) and len(model.history_) == 60


def test_a_collapse_and_its_repair():
    """Far start values: all vectors choose the same few words, until dead ones are moved."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 12))
    used = {}
    for name, remedies in {
        "none": {"kmeans_start": False, "revive": False},
        "start": {"kmeans_start": True, "revive": False},
        "revive": {"kmeans_start": False, "revive": True},
    }.items():
        model = model_of(sizes=(32, 32), **remedies)
        if not model.kmeans_start:
            with torch.no_grad():
                for book in model.codebooks:
                    book.mul_(10)
        model.fit(vectors, epochs=15, batch_size=100, learning_rate=2e-3)
        used[name] = codebook_usage(model.codes(vectors), model.sizes).used.min()
    assert used["none"] < 8
    assert used["start"] > 24 and used["revive"] > 24


def test_only_dead_words_are_moved():
    model = model_of()
    before = [book.detach().clone() for book in model.codebooks]
    left = [torch.full((5, 6), 7.0, dtype=torch.float64), torch.full((5, 6), 9.0).double()]
    used = [np.array([True, False, True, True]), np.ones(3, bool)]
    model._revive(used, left, np.random.default_rng(0))
    assert (model.codebooks[0][1] == 7).all()
    torch.testing.assert_close(model.codebooks[0][[0, 2, 3]].detach(), before[0][[0, 2, 3]])
    torch.testing.assert_close(model.codebooks[1].detach(), before[1])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: model_of(sizes=()), "n_levels"),
        (lambda: model_of(sizes=(4, 0)), "size"),
        (lambda: model_of(code_dim=0), "code_dim"),
        (lambda: model_of(commitment=-1), "commitment"),
        (lambda: model_of().fit(np.zeros((5, 3))), r"vectors must be \(5, 12\)"),
        (lambda: model_of().fit(np.zeros((3, 12))), "3 vectors cannot fill 4 codewords"),
        (lambda: model_of().codes(np.full((2, 12), np.inf)), "row 0 of vectors"),
        (lambda: model_of().rebuild(np.zeros((2, 2))), r"vectors must be \(2, 12\)"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
