"""What both encoders share: equal items, the cache, interruption, what may learn."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_tutorial.encoders import EncodeError, ImageEncoder, TextEncoder
from tests.encoders.samples import TEXTS, count_encoded, noise


def test_equal_items_are_encoded_once(bert, vit, monkeypatch):
    sizes = count_encoded(monkeypatch, bert)
    vectors = bert.encode(["a film", "another", "a film", "a film"])
    assert sum(sizes) == 2
    np.testing.assert_array_equal(vectors[[0, 0]], vectors[[2, 3]])
    sizes = count_encoded(monkeypatch, vit)
    vit.encode([noise(9, 9), noise(9, 9), noise(9, 9, seed=1)])
    assert sum(sizes) == 2


def test_nothing_gives_no_rows(bert, vit):
    assert bert.encode([]).shape == (0, 384)
    assert vit.encode([]).shape == (0, 384)
    assert bert.encode([]).dtype == np.float32


def test_training_mode_is_restored_and_dropout_is_off(bert):
    expected = bert.encode(TEXTS[:3])
    encoder = make("text")[0].unfreeze("all").train()
    np.testing.assert_allclose(encoder.encode(TEXTS[:3]), expected, atol=1e-6)
    assert encoder.training and all(block.training for block in encoder.blocks)


def test_dropout_can_be_asked_of_a_frozen_encoder():
    """What contrastive learning makes its two views with."""
    encoder = make("text")[0]
    inputs = encoder.prepare(TEXTS[:3])
    with torch.no_grad():
        plain, again = encoder(inputs), encoder(inputs)
        encoder.train()
        one, other = encoder(inputs), encoder(inputs)
    torch.testing.assert_close(plain, again)
    # a repeat differs by rounding, 1e-7; a tenth of the units left out moves vectors of length 1
    assert min((one - other).norm(dim=1).min(), (one - plain).norm(dim=1).min()) > 0.05


def test_progress_is_for_terminals(bert, capsys):
    bert.encode(TEXTS[:2])
    assert capsys.readouterr().err == ""
    bert.progress = True
    bert.encode(TEXTS[:2])
    assert "2/2" in capsys.readouterr().err
    bert.progress = None


@pytest.fixture
def cached_bert(own_cache):
    return TextEncoder(device="cpu")


def test_a_second_call_computes_nothing(cached_bert, own_cache, monkeypatch):
    first = cached_bert.encode(TEXTS)
    sizes = count_encoded(monkeypatch, cached_bert)
    np.testing.assert_array_equal(cached_bert.encode(TEXTS[::-1]), first[::-1])
    assert sizes == []
    cached_bert.encode([*TEXTS, "one more"])
    assert sizes == [1]
    assert not list(own_cache.rglob("*.tmp"))


def test_another_object_and_another_list_type_share_the_cache(cached_bert, monkeypatch):
    first = cached_bert.encode(TEXTS)
    other = TextEncoder(device="cpu")
    sizes = count_encoded(monkeypatch, other)
    np.testing.assert_array_equal(other.encode(np.array(TEXTS)), first)
    assert sizes == []


@pytest.mark.parametrize(
    "changed",
    [{"pooling": "cls"}, {"layer": 5}, {"normalize": False}, {"max_tokens": 8}],
    ids=lambda d: next(iter(d)),
)
def test_other_settings_are_other_vectors(cached_bert, changed):
    text = ["a text of more than eight word pieces, so that every setting matters"]
    first = cached_bert.encode(text)
    assert np.abs(TextEncoder(device="cpu", **changed).encode(text) - first).max() > 1e-3


def test_changed_weights_do_not_meet_the_cache(cached_bert):
    first = cached_bert.encode(TEXTS[:2])
    with torch.no_grad():
        cached_bert.blocks[0].output.dense.weight.mul_(1.5)
    changed = cached_bert.encode(TEXTS[:2])
    assert np.abs(changed - first).max() > 1e-3
    np.testing.assert_array_equal(TextEncoder(device="cpu").encode(TEXTS[:2]), first)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"NUMPY", b"numpy")),
        lambda path: np.savez(path, keys=np.array([object()]), vectors=np.zeros((1, 384))),
        lambda path: np.savez(path, keys=np.array([b"k"], "S16"), vectors=np.zeros((2, 384))),
        lambda path: flip_byte(path),
    ],
    ids=["empty", "cut", "header", "pickle", "shapes", "flipped bit"],
)
def test_a_damaged_cache_file_is_computed_again(cached_bert, own_cache, damage):
    first = cached_bert.encode(TEXTS[:4])
    (shard,) = own_cache.rglob("*.npz")
    damage(shard)
    np.testing.assert_array_equal(cached_bert.encode(TEXTS[:4]), first)


def flip_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def test_a_cache_that_cannot_be_written_is_a_warning(cached_bert, own_cache):
    (own_cache / "embeddings").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="vectors are not kept in"):
        vectors = cached_bert.encode(TEXTS[:2])
    assert np.isfinite(vectors).all()


def test_an_interrupted_run_keeps_what_it_has(own_cache, monkeypatch):
    encoder = ImageEncoder(image_size=28, device="cpu")
    encoder.batch_size = 2
    items, pool, calls = [noise(20, 20, seed=s) for s in range(6)], encoder.pool, []

    def interrupted(inputs):
        calls.append(len(inputs))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return pool(inputs)

    monkeypatch.setattr(encoder, "pool", interrupted)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(items)
    encoder.encode(items)
    assert calls == [2, 2, 2, 2]  # the third batch twice, the first two once


def test_only_bad_items_and_very_many(bert):
    with pytest.raises(EncodeError, match="and 15 more") as caught:
        bert.encode([None] * 25)
    assert np.isnan(caught.value.vectors).all()


@pytest.mark.parametrize("items", ["one text", b"bytes", Path("a"), 5, iter(["a"])])
def test_one_item_instead_of_a_list(bert, items):
    with pytest.raises(TypeError, match="expected a list of items, got one"):
        bert.encode(items)


def loss_of(encoder, items):
    return encoder(encoder.prepare(items))[:, 0].sum()


KINDS = {"text": (TextEncoder, ["a film"]), "image": (ImageEncoder, [noise(20, 20)])}


def make(kind):
    encoder, items = KINDS[kind]
    options = {"image_size": 28} if kind == "image" else {}
    return encoder(device="cpu", **options), items


def n_parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_at_first_then_all_or_the_last_blocks(kind):
    encoder, items = make(kind)
    assert encoder.n_trainable == 0 and not encoder.training
    with pytest.raises(RuntimeError, match="does not require grad"):
        loss_of(encoder, items).backward()

    assert encoder.unfreeze("all") is encoder
    assert encoder.n_trainable == n_parameters(encoder) > 20e6
    encoder.unfreeze(2)
    last = [*encoder.blocks[-2:], *([encoder.model.norm] if kind == "image" else [])]
    assert encoder.n_trainable == n_parameters(*last)
    loss_of(encoder, items).backward()
    for module in encoder.blocks[-2:]:
        assert all(p.grad is not None for p in module.parameters())
    assert all(p.grad is None for module in encoder.blocks[:-2] for p in module.parameters())

    for blocks in (0, -1, encoder.n_layers + 1, "some", 1.5):
        with pytest.raises(ValueError, match=r"blocks must be 'all' or 1 to"):
            encoder.unfreeze(blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_starts_as_nothing_and_learns(kind):
    encoder, items = make(kind)
    before = encoder.encode(items)
    assert encoder.add_lora(rank=4) is encoder
    # A (4, in) and B (out, 4) for each adapted matrix: query and value, or the joint qkv
    width, out = 384, 3 * 384
    pair = 4 * (width + out) if kind == "image" else 2 * 4 * (width + width)
    assert encoder.n_trainable == encoder.n_layers * pair
    np.testing.assert_allclose(encoder.encode(items), before, atol=1e-6)  # B = 0

    encoder.train()
    optimizer = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=0.01)
    target = torch.zeros(1, encoder.dim)
    target[0, 0] = 1
    losses = []
    for _ in range(5):
        loss = (encoder(encoder.prepare(items)) - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert np.abs(encoder.encode(items) - before).max() > 1e-3


def test_an_adapter_counts_twice():
    encoder, _ = make("text")
    encoder.add_lora(rank=4)
    scales = {m.scaling["default"] for m in encoder.modules() if hasattr(m, "lora_A")}
    assert scales == {2.0}  # alpha / rank


@pytest.mark.parametrize("kind", KINDS)
def test_lora_in_the_last_blocks_alone(kind):
    encoder = make(kind)[0]
    last = encoder.blocks[-2:]
    names = ["qkv", "fc1"] if kind == "image" else ["query", "dense"]
    encoder.add_lora(rank=4, targets=names, blocks=2)
    inside = sum(p.numel() for p in last.parameters() if p.requires_grad)
    assert encoder.n_trainable == inside > 0
    adapted = [n for n, p in last.named_parameters() if p.requires_grad and "lora_A" in n]
    # of each block: the joint projection and the first layer after it; the query and three "dense"
    assert len(adapted) == 2 * (2 if kind == "image" else 4)
    for blocks in (0, encoder.n_layers + 1, "some"):
        with pytest.raises(ValueError, match=r"blocks must be 'all' or 1 to"):
            make(kind)[0].add_lora(blocks=blocks)


def test_a_step_of_training_leaves_the_cache(own_cache):
    encoder, items = make("text")
    before = encoder.encode(items)
    encoder.unfreeze(1)
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1.0)
    encoder(encoder.prepare(["another film"]))[0, 0].backward()
    optimizer.step()
    assert np.abs(encoder.encode(items) - before).max() > 1e-4
    encoder.requires_grad_(False)  # frozen again, yet not the weights of the file
    assert np.abs(encoder.encode(items) - before).max() > 1e-4
    np.testing.assert_array_equal(make("text")[0].encode(items), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_move_to_another_device_is_no_change(kind):
    encoder = make(kind)[0]
    assert not encoder.changed
    assert not encoder.to("meta").changed  # all tensors are new ones
    with torch.inference_mode():
        assert not make(kind)[0].changed  # versions are not counted there


def test_prepare_and_forward_are_what_encode_does(bert, vit):
    with torch.inference_mode():
        text = bert(bert.prepare(TEXTS)).numpy()
        picture = vit(vit.prepare([noise(20, 20), noise(30, 10)])).numpy()
    np.testing.assert_allclose(text, bert.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(picture, vit.encode([noise(20, 20), noise(30, 10)]), atol=1e-5)
