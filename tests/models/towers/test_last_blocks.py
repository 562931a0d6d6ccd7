"""A tower that trains the last blocks of a BERT, against the whole BERT."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models.towers.last_blocks import LastBlocksTower
from recsys_tutorial.models.two_tower import EncoderTower, FeatureTower, HistoryTower, TwoTower

TEXTS = ["Toy Story (1995)", "", "Heat", "The Good, the Bad and the Ugly (1966). Western", "Heat"]
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(len(TEXTS), 6))
LIKES = sparse.csr_matrix((RNG.random((20, len(TEXTS))) < 0.5).astype(float))


def whole(n_blocks, how):
    """The same tower with all blocks run at every step."""
    encoder = TextEncoder(normalize=False, use_cache=False)
    encoder.unfreeze(n_blocks)
    torch.manual_seed(0)
    return EncoderTower(encoder, TEXTS, 4)


def build(n_blocks=2, how="unfrozen", **options):
    torch.manual_seed(0)
    tower = LastBlocksTower(TEXTS, 4, n_blocks=n_blocks, **options)
    if how == "unfrozen":
        tower.encoder.unfreeze(n_blocks)
    elif how == "LoRA":
        tower.encoder.add_lora(rank=2)
    return tower


def two_tower(items):
    torch.manual_seed(1)
    return TwoTower(HistoryTower(FeatureTower(FEATURES, 4)), items, popularity_prior=True)


@pytest.mark.parametrize("n_blocks", [1, 2, 6])
def test_vectors_are_those_of_the_whole_bert(n_blocks):
    expected = TextEncoder(normalize=False, use_cache=False).encode(TEXTS)
    tower = build(n_blocks)
    rows = torch.tensor([3, 0, 0, 1])
    for trainable in (True, False):
        tower.encoder.requires_grad_(trainable)
        tower.eval()
        np.testing.assert_allclose(tower.vectors().detach(), expected, atol=2e-5)
        np.testing.assert_allclose(tower.vectors(rows).detach(), expected[rows], atol=2e-5)
    np.testing.assert_allclose(
        tower.embed(["Heat", "Toy Story (1995)"]).detach(),
        tower(torch.tensor([2, 0])).detach(),
        atol=2e-5,
    )


def test_texts_are_read_in_blocks(monkeypatch):
    expected = build(1, "frozen")()
    monkeypatch.setattr("recsys_tutorial.models.towers.last_blocks._BLOCK", 2)
    tower = build(1, "frozen")
    torch.testing.assert_close(tower(), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(tower.embed(TEXTS), expected, rtol=0, atol=2e-5)


def test_gradients_are_those_of_the_whole_bert():
    rows, gradients = torch.tensor([3, 0, 2]), []
    for tower in (build(1), whole(1, "unfrozen")):
        torch.manual_seed(2)
        tower.head = type(tower.head)(tower.encoder.dim, 4)
        tower.eval()  # no dropout
        tower(rows).pow(2).sum().backward()
        trained = [p for p in tower.encoder.parameters() if p.requires_grad]
        gradients.append([p.grad for p in trained])
    assert len(gradients[0]) == len(gradients[1]) > 10
    for own, theirs in zip(*gradients, strict=True):
        scale = theirs.abs().max().clamp(min=1e-6)
        assert (own - theirs).abs().max() <= 1e-3 * scale + 1e-6


@pytest.mark.parametrize("how", ["frozen", "unfrozen", "LoRA"])
def test_what_may_learn_learns(how, tmp_path):
    tower = build(1, how)
    before = {n: p.detach().clone() for n, p in tower.encoder.named_parameters()}
    model = two_tower(tower)
    rates = {"": 1e-2} if how == "frozen" else {"": 1e-2, "item_tower.encoder": 1e-3}
    model.fit(LIKES, negatives="in_batch", epochs=1, batch_size=16, learning_rate=rates)
    changed = [n for n, p in tower.encoder.named_parameters() if not torch.equal(p, before[n])]
    assert bool(changed) == (how != "frozen")
    assert all("lora" in name for name in changed) or how != "LoRA"
    scores = model.score(LIKES)
    model.save(tmp_path / "model")
    again = two_tower(build(1, how)).load(tmp_path / "model")
    np.testing.assert_allclose(again.score(LIKES), scores, atol=1e-5)


def test_says_what_is_wrong():
    for n_blocks in (0, 7):
        with pytest.raises(ValueError, match=f"n_blocks must be 1 to 6, got {n_blocks}"):
            build(n_blocks)
