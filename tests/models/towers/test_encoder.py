"""Encoders within towers: what is trained, what is run how often, what is saved."""

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models import TwoTower
from recsys_tutorial.models.towers import (
    EncoderTower,
    FeatureTower,
    HistoryTower,
    TextHistoryTower,
)
from tests.models.planted_groups import SUBJECTS

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 6))
LIKES = sparse.csr_matrix((RNG.random((20, 12)) < 0.4).astype(float))

pytestmark = pytest.mark.usefixtures("one_thread")


def test_live_encoders_do_not_depend_on_the_batch(bert):
    texts = ["a robot in space", "x", "a long text about love, war, and everything " * 3, "love"]
    tower = EncoderTower(bert, texts, 4).eval()
    torch.manual_seed(0)
    live = EncoderTower(TextEncoder(device="cpu", use_cache=False).unfreeze(1), texts, 4).eval()
    for each in (tower, live):
        with torch.no_grad():
            together = each(torch.arange(4))
            alone = torch.cat([each(torch.tensor([row])) for row in range(4)])
            assert torch.allclose(each(None), together) and torch.allclose(
                each.embed(texts), together
            )
        # padding changes float32 sums
        assert torch.allclose(alone, together, atol=1e-5)


TITLES = [word for words in SUBJECTS for word in words[:3]]


def fresh_bert():
    return TextEncoder(device="cpu", use_cache=False)


def weights(encoder):
    return {name: value.detach().clone() for name, value in encoder.named_parameters()}


@pytest.mark.parametrize("how", ["frozen", "last block", "LoRA"])
def test_what_is_unfrozen_is_trained_and_nothing_else(how, tmp_path):
    encoder = fresh_bert()
    if how == "last block":
        encoder.unfreeze(1)
    elif how == "LoRA":
        encoder.add_lora(rank=2)

    def build(encoder):
        torch.manual_seed(0)
        return TwoTower(
            HistoryTower(FeatureTower(FEATURES, 4)), EncoderTower(encoder, TITLES, 4),
            popularity_prior=True,
        )  # fmt: skip

    before, model = weights(encoder), build(encoder)
    rates = {"": 1e-2} if how == "frozen" else {"": 1e-2, "item_tower.encoder": 1e-3}
    model.fit(LIKES, negatives="in_batch", epochs=1, batch_size=16, learning_rate=rates)
    changed = {n for n, value in weights(encoder).items() if not torch.equal(value, before[n])}
    trainable = {n for n, p in encoder.named_parameters() if p.requires_grad}
    # one step's key bias may have no gradient: attention does not depend on it
    assert changed <= trainable and len(changed) >= 0.8 * len(trainable)
    assert (how == "frozen") == (not changed)

    scores = model.score(LIKES)
    model.save(tmp_path / "model.safetensors")
    small_file = {"frozen": 30, "last block": 8000, "LoRA": 400}[how]
    assert (tmp_path / "model.safetensors").stat().st_size < small_file * 1024
    again = fresh_bert()
    if how == "last block":
        again.unfreeze(1)
    elif how == "LoRA":
        again.add_lora(rank=2)
    restored = build(again).load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(restored.score(LIKES), scores, atol=1e-5)
    if how != "frozen":
        with pytest.raises(ValueError, match="unfreeze the same blocks"):
            build(fresh_bert()).load(tmp_path / "model.safetensors")
        encoder.requires_grad_(False)
        with pytest.raises(ValueError, match=r"item_tower\.encoder was trained and then frozen"):
            model.save(tmp_path / "again.safetensors")


def test_a_frozen_encoder_is_run_once_and_without_dropout(monkeypatch):
    encoder = fresh_bert()
    calls, encode = [], encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda items: calls.append(len(items)) or encode(items))
    modes, pool = [], encoder.pool
    monkeypatch.setattr(encoder, "pool", lambda x: modes.append(encoder.training) or pool(x))
    items = EncoderTower(encoder, TITLES, 4)
    TwoTower(HistoryTower(items), items).fit(LIKES, epochs=3)
    for buffer in encoder.buffers():  # as a move to another device makes anew
        buffer.add_(0)
    items()
    assert calls == [12] and modes and not any(modes)
    encoder.unfreeze(1)
    assert items.train().encoder.training and not items.eval().encoder.training


def test_in_a_tower_a_frozen_encoder_has_no_dropout():
    encoder = fresh_bert()
    for tower in (
        EncoderTower(encoder, TITLES, 4),
        TextHistoryTower(encoder, TITLES, 4),
        TwoTower(HistoryTower(EncoderTower(encoder, TITLES, 4)), FeatureTower(FEATURES, 4)),
    ):
        encoder.requires_grad_(False)
        assert tower.train().training and not any(part.training for part in encoder.modules())
        encoder.unfreeze(1)
        assert tower.train().training and all(part.training for part in encoder.modules())
        assert not tower.eval().training and not encoder.training


def test_what_was_trained_since_is_read_anew():
    """Frozen vectors are kept only as long as the encoder is what it was."""
    encoder = fresh_bert()
    items, users = EncoderTower(encoder, TITLES, 4).eval(), TextHistoryTower(encoder, TITLES, 4)
    before = items().detach(), users.embed(TITLES[:2]).detach()
    with torch.no_grad():
        next(encoder.parameters()).mul_(1.5)
    after = items().detach(), users.embed(TITLES[:2]).detach()
    for old, new in zip(before, after, strict=True):
        assert not torch.allclose(old, new, atol=1e-3)


def test_many_users_are_read_in_blocks(monkeypatch):
    tower = TextHistoryTower(fresh_bert().unfreeze(1), TITLES, 4).eval()
    with torch.no_grad():
        whole = tower.embed(TITLES[:5])
        monkeypatch.setattr("recsys_tutorial.models.towers.encoder._BLOCK", 2)
        torch.testing.assert_close(tower.embed(TITLES[:5]), whole, rtol=0, atol=1e-5)


def test_the_user_as_one_text(bert):
    torch.manual_seed(0)
    tower = TextHistoryTower(bert, TITLES, 4, max_titles=3)
    history = sparse.csr_matrix(np.array([[0] * 11 + [1], [0] * 12, [1] * 12], dtype=float))
    assert tower.texts(history) == [TITLES[11], "", "; ".join(TITLES[i] for i in (0, 6, 11))]
    model = TwoTower(tower, FeatureTower(FEATURES, 4))
    before = model.score(history)
    model.fit(LIKES, epochs=1)
    assert not np.allclose(model.score(history), before)
    by_text = model.encode_users([TITLES[11]])
    np.testing.assert_allclose(by_text, model.encode_users(history[[0]]), atol=1e-6)
    with torch.no_grad():
        nobody, everything = tower(history)[1:]
    assert (nobody == 0).all() and (everything != 0).any()


def test_a_frozen_reader_of_histories_reads_each_text_once(monkeypatch):
    encoder = fresh_bert()
    read, encode = [], encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda texts: read.extend(texts) or encode(texts))
    tower = TextHistoryTower(encoder, TITLES, 4)
    vectors = tower.embed([TITLES[0], TITLES[1], TITLES[0]])
    assert torch.equal(vectors[0], vectors[2]) and not torch.allclose(vectors[0], vectors[1])
    tower.embed([TITLES[1], TITLES[2]])
    assert read == [TITLES[0], TITLES[1], TITLES[2]]
    for buffer in encoder.buffers():  # as a move to another device makes anew
        buffer.add_(0)
    tower.embed(TITLES[:2])
    assert len(read) == 3
    assert tower.embed([]).shape == (0, 4)
