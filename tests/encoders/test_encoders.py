"""Encoders against the original implementations; the cache, bad items, unfreezing."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image

from recsys_tutorial.datasets import load_movielens, pictures
from recsys_tutorial.encoders import EncodeError, ImageEncoder, TextEncoder
from recsys_tutorial.encoders import base as encoding
from recsys_tutorial.pretrained import image_encoder, text_encoder

TEXTS = [
    "Toy Story (1995)",
    "",
    "   ",
    "Amélie (Le Fabuleux Destin d'Amélie Poulain)",
    "大红灯笼高高挂",
    "🎬🍿 movie night 🎉",
    "naïve café\tİstanbul\n\u200b",
    "word " * 10_000,
    "a",
    "Adventure|Animation|Children|Comedy|Fantasy",
]


@pytest.fixture(scope="module")
def bert():
    return TextEncoder(device="cpu", use_cache=False)


@pytest.fixture(scope="module")
def vit():
    return ImageEncoder(image_size=56, device="cpu", use_cache=False)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache for vectors; the weights stay where they are."""
    monkeypatch.setattr(encoding, "cache_dir", lambda: tmp_path)
    return tmp_path


def count_encoded(monkeypatch, encoder):
    """Return a list to which every batch that the model really sees adds its size."""
    sizes, pool = [], encoder.pool

    def counted(inputs):
        sizes.append(len(inputs if torch.is_tensor(inputs) else inputs["input_ids"]))
        return pool(inputs)

    monkeypatch.setattr(encoder, "pool", counted)
    return sizes


def cosines(a, b):
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


# --- oracles


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


@pytest.mark.parametrize("layer", [1, 7, 12, -1])
def test_every_layer_of_the_vit_is_that_of_timm(layer):
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    whole = ImageEncoder(image_size=56, device="cpu", use_cache=False).model
    last = layer in (12, -1)
    with torch.inference_mode():
        (prefix,), (patches,) = zip(
            *(
                (prefix, tokens)
                for tokens, prefix in whole.forward_intermediates(
                    pixels,
                    indices=[11 if last else layer - 1],
                    norm=last,
                    output_fmt="NLC",
                    return_prefix_tokens=True,
                    intermediates_only=True,
                )
            ),
            strict=True,
        )
        expected = {"cls": prefix[:, 0], "mean": patches.mean(1)}
        expected["both"] = torch.cat([expected["cls"], expected["mean"]], dim=1)
        for pooling, vectors in expected.items():
            encoder = ImageEncoder(
                image_size=56, layer=layer, pooling=pooling, normalize=False, device="cpu"
            )
            assert encoder.dim == vectors.shape[1]
            np.testing.assert_allclose(encoder(pixels).numpy(), vectors.numpy(), atol=1e-4)


def test_picture_preprocessing_is_timms(vit):
    picture = noise(80, 60)
    config = timm.data.resolve_model_data_config(
        timm.create_model("vit_small_patch14_dinov2", num_classes=0)
    )
    transform = timm.data.create_transform(**{**config, "input_size": (3, 56, 56)})
    torch.testing.assert_close(vit.prepare([picture])[0], transform(picture))


@pytest.mark.parametrize("size", [14, 56, (56, 28), 98])
def test_any_multiple_of_the_patch_size(size):
    encoder = ImageEncoder(image_size=size, pooling="both", device="cpu", use_cache=False)
    vectors = encoder.encode([noise(70, 50)])
    assert vectors.shape == (1, 768) and np.isfinite(vectors).all()


def test_crops_differ_only_for_pictures_that_are_not_square():
    square, wide = noise(56, 56), noise(112, 56)
    vectors = {
        crop: ImageEncoder(image_size=56, crop=crop, device="cpu", use_cache=False).encode(
            [square, wide]
        )
        for crop in ("center", "squash", "border")
    }
    for crop in ("squash", "border"):
        np.testing.assert_allclose(vectors[crop][0], vectors["center"][0], atol=1e-5)
        assert cosines(vectors[crop][1:], vectors["center"][1:])[0] < 0.99


# --- batches


def test_a_text_does_not_depend_on_its_batch(bert, films):
    """Padding and order change nothing: rounding of float32 apart."""
    whole = bert.encode(films)
    order = np.random.default_rng(0).permutation(len(films))
    np.testing.assert_allclose(bert.encode([films[i] for i in order]), whole[order], atol=1e-5)
    for i in (0, 1, 4, 7):
        np.testing.assert_allclose(bert.encode([films[i]])[0], whole[i], atol=1e-5)


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
    bert.train()
    np.testing.assert_allclose(bert.encode(TEXTS[:3]), expected, atol=1e-6)
    assert bert.training
    bert.eval()


def test_progress_is_for_terminals(bert, capsys):
    bert.encode(TEXTS[:2])
    assert capsys.readouterr().err == ""
    bert.progress = True
    bert.encode(TEXTS[:2])
    assert "2/2" in capsys.readouterr().err
    bert.progress = None


# --- the cache


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


def test_image_settings_and_content_are_keys(own_cache, monkeypatch):
    encoder = ImageEncoder(image_size=28, device="cpu")
    first = encoder.encode([noise(40, 30)])
    for changed in ({"image_size": 56}, {"crop": "squash"}, {"pooling": "mean"}):
        other = ImageEncoder(**{"image_size": 28, "device": "cpu", **changed})
        assert np.abs(other.encode([noise(40, 30)]) - first).max() > 1e-3
    sizes = count_encoded(monkeypatch, encoder)
    encoder.encode([noise(40, 30)])
    assert sizes == []
    encoder.encode([noise(30, 40)])  # the same number of pixels, another shape
    encoder.encode([noise(40, 30, seed=5)])
    assert sizes == [1, 1]


def test_a_changed_file_is_encoded_again(own_cache, tmp_path):
    encoder = ImageEncoder(image_size=28, device="cpu")
    path = tmp_path / "picture.png"
    noise(40, 30).save(path)
    first = encoder.encode([path])
    np.testing.assert_array_equal(encoder.encode([str(path)]), first)
    noise(40, 30, seed=1).save(path)
    assert np.abs(encoder.encode([path]) - first).max() > 1e-3


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
    encoder = ImageEncoder(image_size=28, batch_size=2, device="cpu")
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


# --- bad items


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
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors = bert.encode(["first", item, "last"], errors="nan")
    assert np.isnan(vectors).all(1).tolist() == [False, True, False]


def test_unusual_texts_have_a_result(bert):
    vectors = bert.encode(TEXTS)
    assert np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors[1], vectors[2])  # nothing but spaces is nothing
    np.testing.assert_allclose(vectors[7], bert.encode(["word " * 254])[0], atol=1e-5)


def test_only_bad_items_and_very_many(bert):
    with pytest.raises(EncodeError, match="and 15 more"):
        bert.encode([None] * 25)
    assert np.isnan(bert.encode([None] * 3, errors="nan")).all()


@pytest.mark.parametrize("items", ["one text", b"bytes", Path("a"), 5, iter(["a"])])
def test_one_item_instead_of_a_list(bert, items):
    with pytest.raises(TypeError, match="expected a list of items, got one"):
        bert.encode(items)


def test_errors_has_two_values(bert):
    with pytest.raises(ValueError, match="errors must be 'raise' or 'nan', got 'ignore'"):
        bert.encode(["a"], errors="ignore")


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, "100 x 100 is no multiple of the patch size 14.* 98 x 98"),
        ({"image_size": (112, 50)}, "nearest is 112 x 56"),
        ({"image_size": 0}, "nearest is 14 x 14"),
        ({"image_size": -14}, "nearest is 14 x 14"),
        ({"pooling": "max"}, "pooling must be 'cls', 'mean' or 'both'"),
        ({"crop": "stretch"}, "crop must be"),
        ({"layer": 0}, "layer must be 1 to 12"),
        ({"layer": 13}, "layer must be 1 to 12"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_bad_image_settings(options, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder(**options)


def noise(width, height, seed=0, mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(), mode if bands > 1 else None)


def png_of_size(width, height):
    """Return a PNG whose header claims so many pixels; there is next to no data behind it."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


BAD_FILES = {
    "empty": (b"", "the file is empty (0 bytes)"),
    "text": (b"this is no picture", "not a picture that Pillow can read"),
    "html": (b"<html>404 Not Found</html>", "not a picture that Pillow can read"),
    "truncated jpeg": (encoded(noise(99, 99), "JPEG")[:1500], "truncated"),
    "truncated png": (encoded(noise(99, 99), "PNG")[:1500], "truncated"),
    "header only": (encoded(noise(99, 99), "PNG")[:20], ""),
    "bomb": (png_of_size(30_000, 30_000), "Image size (900000000 pixels) exceeds limit"),
    "small bomb": (png_of_size(10_000, 10_000), "10000 x 10000 pixels are more than 50,000,000"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a picture that Pillow can read"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_picture_is_named_and_the_others_are_kept(vit, tmp_path, kind):
    data, message = BAD_FILES[kind]
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's warning of a bomb would name no file
        with pytest.raises(EncodeError) as caught:
            vit.encode([noise(20, 20), path, noise(20, 20, seed=1)])
    assert set(caught.value.failures) == {1}
    assert str(path) in caught.value.failures[1] and message in caught.value.failures[1]
    assert np.isnan(caught.value.vectors).all(1).tolist() == [False, True, False]
    expected = vit.encode([noise(20, 20), noise(20, 20, seed=1)])
    np.testing.assert_allclose(caught.value.vectors[[0, 2]], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Path("nowhere.png"), "nowhere.png: there is no such file"),
        (Path(), "there is no such file"),
        (None, "expected a picture or a path, got NoneType"),
        (3.5, "expected a picture or a path, got float"),
        (np.zeros((5, 5, 3)), "expected a picture or a path, got ndarray"),
        (b"bytes", "expected a picture or a path, got bytes"),
        (Image.new("RGB", (0, 5)), "0 x 5 pixels"),
        (Image.new("1", (9000, 9000)), "9000 x 9000 pixels are more than 50,000,000"),
    ],
)
def test_what_is_no_picture(vit, item, message):
    vectors = vit.encode([noise(20, 20), item], errors="nan")
    assert np.isnan(vectors).all(1).tolist() == [False, True]
    with pytest.raises(EncodeError) as caught:
        vit.encode([item])
    assert message in caught.value.failures[0]


def test_the_same_bad_picture_twice_is_named_twice(vit, tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(BAD_FILES["truncated png"][0])
    with pytest.raises(EncodeError) as caught:
        vit.encode([path, noise(9, 9), path])
    assert set(caught.value.failures) == {0, 2}


def test_a_mended_picture_costs_only_itself(own_cache, tmp_path, monkeypatch):
    encoder = ImageEncoder(image_size=28, device="cpu")
    path = tmp_path / "picture.png"
    path.write_bytes(b"damaged")
    items = [noise(20, 20, seed=s) for s in range(5)] + [path]
    with pytest.raises(EncodeError):
        encoder.encode(items)
    sizes = count_encoded(monkeypatch, encoder)
    noise(20, 20, seed=9).save(path)
    assert np.isfinite(encoder.encode(items)).all()
    assert sizes == [1]


def test_transparent_becomes_white():
    clear = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    assert pictures.open_picture(clear).getpixel((3, 3)) == (255, 255, 255)
    half = Image.new("RGBA", (6, 6), (255, 0, 0, 128))
    assert pictures.open_picture(half).getpixel((3, 3)) == (255, 127, 127)
    palette = Image.new("P", (6, 6), 0)
    palette.putpalette([9, 9, 9])
    palette.info["transparency"] = 0
    assert pictures.open_picture(palette).getpixel((3, 3)) == (255, 255, 255)
    grey = Image.new("LA", (6, 6), (0, 0))
    assert pictures.open_picture(grey).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"])
def test_every_mode_has_a_result(vit, mode):
    source = noise(30, 30)
    picture = pictures.open_picture(source.convert("RGB") if mode == "LAB" else source)
    if mode == "LAB":
        from PIL import ImageCms

        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    elif mode != "RGB":
        picture = picture.convert(mode)
    assert pictures.open_picture(picture).mode == "RGB"
    assert np.isfinite(vit.encode([picture])).all()


def test_cmyk_keeps_its_colours(tmp_path):
    Image.new("RGB", (8, 8), (200, 40, 90)).convert("CMYK").save(tmp_path / "c.jpg", quality=98)
    colour = np.array(pictures.open_picture(tmp_path / "c.jpg").getpixel((4, 4)))
    assert np.abs(colour - (200, 40, 90)).max() <= 6


def test_sixteen_bit_grey_is_scaled(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    seen = np.asarray(pictures.open_picture(tmp_path / "ramp.png"))[:, :, 0]
    assert np.abs(seen.astype(int) - ramp // 256).max() <= 1


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pictures.open_picture(tmp_path / "a.gif").getpixel((5, 5)) == (255, 0, 0)


def test_a_cameras_rotation_is_applied(tmp_path):
    picture = Image.new("RGB", (20, 10), "white")
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert pictures.open_picture(tmp_path / "turned.jpg").size == (10, 20)


def test_one_pixel_is_a_plain_colour(vit):
    """A 1 x 1 picture is enlarged: the same as a plain picture of that colour."""
    one, plain = (Image.new("RGB", (side, side), (10, 200, 30)) for side in (1, 56))
    np.testing.assert_allclose(*vit.encode([one, plain]), atol=1e-5)


# --- training


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


def test_prepare_and_forward_are_what_encode_does(bert, vit):
    with torch.inference_mode():
        text = bert(bert.prepare(TEXTS)).numpy()
        picture = vit(vit.prepare([noise(20, 20), noise(30, 10)])).numpy()
    np.testing.assert_allclose(text, bert.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(picture, vit.encode([noise(20, 20), noise(30, 10)]), atol=1e-5)


def test_a_folder_of_tuned_weights_loads_and_has_its_own_cache(own_cache, tmp_path):
    encoder, items = make("text")
    before = encoder.encode(items)
    with torch.no_grad():
        encoder.blocks[0].output.dense.weight.mul_(1.5)
    tuned = tmp_path / "tuned"
    encoder.model.save_pretrained(tuned)
    encoder.tokenizer.save_pretrained(tuned)
    again = TextEncoder(tuned, device="cpu")
    np.testing.assert_allclose(again.encode(items), encoder.encode(items), atol=1e-6)
    assert np.abs(again.encode(items) - before).max() > 1e-3


def test_a_folder_without_a_vision_transformer_is_named(tmp_path):
    import json
    import shutil

    shutil.copytree(image_encoder(), tmp_path / "cnn")
    (tmp_path / "cnn" / "manifest.json").unlink()
    config = {"architecture": "resnet18", "num_classes": 0, "pretrained_cfg": {}}
    (tmp_path / "cnn" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="resnet18 is no vision transformer"):
        ImageEncoder(tmp_path / "cnn")
