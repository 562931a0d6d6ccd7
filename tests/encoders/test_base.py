"""What both encoders share: equal items, the cache, interruption, what may learn."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_tutorial.encoders import EncodeError, ImageEncoder, TextEncoder, base
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


@pytest.mark.parametrize("kind", ["text", "image"])
def test_progress_is_for_terminals(kind, capsys):
    for progress in (None, False):
        encoder, items = make(kind, progress=progress, use_cache=False)
        capsys.readouterr()
        encoder.encode(items)
        assert capsys.readouterr().err == ""
    make(kind, progress=True, use_cache=False)[0].encode(items)
    said = capsys.readouterr().err
    assert "1/1" in said and "item" in said


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


def test_vectors_lie_under_a_hash_of_the_settings(cached_bert, own_cache):
    """Another way to compute it would make every cache worthless."""
    cached_bert.encode(TEXTS[:1])
    (folder,) = (own_cache / "embeddings").iterdir()
    settings = {"version": 1, "device": "cpu", "dtype": "torch.float32", **cached_bert.settings}
    text = json.dumps(settings, sort_keys=True).encode()
    assert folder.name == hashlib.sha256(text).hexdigest()[:24]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_without_a_cache_nothing_is_kept_and_what_may_learn_reads_none(
    kind, own_cache, monkeypatch
):
    encoder, items = make(kind, use_cache=False)
    encoder.encode(items)
    assert list(own_cache.iterdir()) == []
    encoder = make(kind)[0]
    encoder.encode(items)
    sizes = count_encoded(monkeypatch, encoder.unfreeze(1))
    encoder.encode(items)
    assert sizes == [1]


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


@pytest.mark.parametrize("n_bad, more", [(10, False), (11, True)])
def test_ten_bad_items_are_named_and_the_others_counted(n_bad, more):
    text = str(EncodeError({n: f"fault {n}" for n in range(n_bad)}, np.zeros((12, 1))))
    assert f"{n_bad} of 12 items" in text and "item 9: fault 9" in text
    assert "item 10:" not in text and ("and 1 more" in text) == more


def loss_of(encoder, items):
    return encoder(encoder.prepare(items))[:, 0].sum()


KINDS = {"text": (TextEncoder, ["a film"]), "image": (ImageEncoder, [noise(20, 20)])}


def make(kind, device="cpu", **options):
    encoder, items = KINDS[kind]
    options |= {"image_size": 28} if kind == "image" else {}
    return encoder(device=device, **options), items


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_is_on_the_device_that_is_named_and_else_on_the_best(kind, monkeypatch):
    assert make(kind, device="meta")[0].device.type == "meta"
    monkeypatch.setattr(base, "best_device", lambda: "meta")
    assert make(kind, device=None)[0].device.type == "meta"
    assert make(kind)[0].device.type == "cpu"


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

    encoder.unfreeze(encoder.n_layers)
    assert all(p.requires_grad for p in encoder.blocks.parameters())
    assert n_parameters(encoder) - encoder.n_trainable > 0  # the embeddings
    for blocks in (0, -1, encoder.n_layers + 1, "some", 1.5):
        with pytest.raises(ValueError, match=r"blocks must be 'all' or 1 to"):
            encoder.unfreeze(blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_starts_as_nothing_and_learns(kind):
    encoder, items = make(kind)
    before = encoder.encode(items)
    assert encoder.unfreeze("all").add_lora(rank=4) is encoder  # which freezes all else
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
