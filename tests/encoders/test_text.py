"""The text encoder against sentence-transformers and transformers; batches and bad texts."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.encoders import EncodeError, TextEncoder, text
from recsys_tutorial.encoders._loading import block_list, load_bert
from recsys_tutorial.pretrained import text_encoder
from tests.encoders.samples import TEXTS, cosines


@pytest.fixture(scope="module")
def films():
    titles = load_movielens().items["title"].tolist()
    return TEXTS + titles[::100]


def test_text_vectors_are_those_of_sentence_transformers(bert, films):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(text_encoder()), device="cpu")
    reference = theirs.encode(films, show_progress_bar=False)
    ours = bert.encode(films)
    assert ours.dtype == np.float32 and ours.shape == (len(films), 384)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, rtol=1e-5)
    # Measured 0.9999996. The bound still rejects one more word piece cut off, a mask that counts
    # padding, and the first token instead of the mean:
    assert cosines(ours, reference).min() > 0.9999
    cls = TextEncoder(pooling="cls", device="cpu", use_cache=False).encode(films)
    assert np.median(cosines(cls, reference)) < 0.95
    shorter = TextEncoder(max_tokens=255, device="cpu", use_cache=False).encode(films[7:8])
    assert cosines(shorter, reference[7:8])[0] < 0.99999


@pytest.mark.parametrize("layer", [0, 1, 3, 5, 6, -1])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_every_layer_is_that_of_transformers(layer, pooling):
    texts = TEXTS[:6]
    encoder = TextEncoder(
        layer=layer, pooling=pooling, normalize=False, device="cpu", use_cache=False
    )
    folder = text_encoder()
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = model(**tokens, output_hidden_states=True).hidden_states[layer]
    mask = tokens["attention_mask"][:, :, None]
    expected = hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(encoder.encode(texts), expected.numpy(), atol=2e-5)
    alone = encoder.encode(texts[:1])  # a batch without padding
    np.testing.assert_allclose(alone, expected[:1].numpy(), atol=2e-5)


def test_a_text_does_not_depend_on_its_batch(bert, films):
    """Padding and order change nothing: rounding of float32 apart."""
    whole = bert.encode(films)
    order = np.random.default_rng(0).permutation(len(films))
    np.testing.assert_allclose(bert.encode([films[i] for i in order]), whole[order], atol=1e-5)
    for i in (0, 1, 4, 7):
        np.testing.assert_allclose(bert.encode([films[i]])[0], whole[i], atol=1e-5)


def test_a_batch_fits_into_a_laptops_memory(bert):
    widest = bert.model.config.intermediate_size  # numbers of a token, of 4 bytes each
    assert bert.batch_tokens * widest * 4 < 2**25  # 32 MB; a GPU is given 16 times as much


@pytest.mark.parametrize("batch_tokens", [1, 30, 100_000])
def test_batches_keep_to_their_budget(bert, films, monkeypatch, batch_tokens):
    monkeypatch.setattr(bert, "batch_tokens", batch_tokens)
    shapes, pool = [], bert.pool
    monkeypatch.setattr(
        bert, "pool", lambda inputs: (shapes.append(inputs["input_ids"].shape), pool(inputs))[1]
    )
    texts = films[8:40]
    bert.encode(texts)
    assert sum(shape[0] for shape in shapes) == len(set(texts))
    assert all(shape[0] == 1 or shape[0] * shape[1] <= batch_tokens for shape in shapes)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "expected a text, got None (NoneType)"),
        (float("nan"), "expected a text, got nan (float)"),
        (7, "expected a text, got 7 (int)"),
        (b"bytes", "expected a text, got b'bytes' (bytes)"),
        (["list"], "expected a text, got ['list'] (list)"),
        ("lone \ud800 surrogate", "surrogates not allowed"),
    ],
)
def test_a_bad_text_is_named_and_the_others_are_kept(bert, item, message):
    with pytest.raises(EncodeError) as caught:
        bert.encode(["first", item, "last"])
    assert "1 of 3 items could not be encoded" in str(caught.value)
    assert f"item 1: {message}" in str(caught.value) or message in caught.value.failures[1]
    assert set(caught.value.failures) == {1}
    np.testing.assert_allclose(
        caught.value.vectors[[0, 2]], bert.encode(["first", "last"]), atol=1e-6
    )
    assert np.isnan(caught.value.vectors).all(1).tolist() == [False, True, False]


def test_unusual_texts_have_a_result(bert):
    vectors = bert.encode(TEXTS)
    assert np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors[1], vectors[2])  # nothing but spaces is nothing
    np.testing.assert_allclose(vectors[7], bert.encode(["word " * 254])[0], atol=1e-5)


def test_of_a_long_text_the_beginning_is_prepared(bert):
    assert bert.prepare(["word " * 600, "word"])["input_ids"].shape == (2, bert.max_tokens)
    assert TextEncoder(max_tokens=3, device="cpu").prepare(["word " * 9])["input_ids"].numel() == 3


def test_a_cpu_takes_fewer_tokens_at_a_time():
    assert TextEncoder(device="cpu").batch_tokens == 2048
    assert TextEncoder(device="meta").batch_tokens == 32768


def test_a_model_that_states_no_limit_reads_512_tokens(monkeypatch):
    def without_limit(folder):
        model = load_bert(folder)
        del model.config.max_position_embeddings
        return model

    monkeypatch.setattr(text, "load_bert", without_limit)
    with pytest.raises(ValueError, match="max_tokens must be 3 to 512, got 513"):
        TextEncoder(max_tokens=513)


class Lists(nn.Module):
    """A model with two blocks, beside a list of other things."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=2)
        self.heads = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
        self.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(2))


def test_the_blocks_are_the_list_of_as_many_as_the_configuration_says():
    model = Lists()
    assert block_list(model) is model.layers
    model.config.num_hidden_layers = 4
    with pytest.raises(ValueError, match="Lists has no list of 4 transformer blocks"):
        block_list(model)


@pytest.mark.parametrize("bars", [True, False])
def test_loading_shows_no_bar_and_leaves_the_switch_of_bars_and_the_draws_alone(bars, capfd):
    switch = transformers.utils.logging
    before, state = switch.is_progress_bar_enabled(), torch.random.get_rng_state()
    switch.enable_progress_bar() if bars else switch.disable_progress_bar()
    try:
        load_bert(text_encoder())
        assert switch.is_progress_bar_enabled() == bars
    finally:
        switch.enable_progress_bar() if before else switch.disable_progress_bar()
    assert capfd.readouterr().err == ""
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling must be 'mean' or 'cls', got 'max'"),
        ({"layer": 7}, "layer must be 0 to 6"),
        ({"layer": -2}, "layer must be 0 to 6"),
        ({"max_tokens": 2}, "max_tokens must be 3 to 512, got 2"),
        ({"max_tokens": 513}, "max_tokens must be 3 to 512, got 513"),
    ],
)
def test_bad_text_settings(options, message):
    with pytest.raises(ValueError, match=message):
        TextEncoder(**options)


def test_texts_are_padded_on_the_right_whatever_a_folder_says(bert, tmp_path):
    folder = tmp_path / "left"
    shutil.copytree(text_encoder(), folder)
    (folder / "manifest.json").unlink()
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": "left"}))
    ids = TextEncoder(folder, device="cpu").prepare(["a long film", "film"])["input_ids"]
    assert torch.equal(ids, bert.prepare(["a long film", "film"])["input_ids"]) and ids[1, -1] == 0


def test_a_folder_of_tuned_weights_loads_and_has_its_own_cache(own_cache, tmp_path):
    encoder, items = TextEncoder(device="cpu"), ["a film"]
    before = encoder.encode(items)
    with torch.no_grad():
        encoder.blocks[0].output.dense.weight.mul_(1.5)
    tuned = tmp_path / "tuned"
    encoder.model.save_pretrained(tuned)
    encoder.tokenizer.save_pretrained(tuned)
    again = TextEncoder(tuned, device="cpu")
    np.testing.assert_allclose(again.encode(items), encoder.encode(items), atol=1e-6)
    assert np.abs(again.encode(items) - before).max() > 1e-3
