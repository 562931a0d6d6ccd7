"""The image encoder against timm; files and things that are no picture."""

import io
import json
import shutil
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from recsys_tutorial.datasets import pictures
from recsys_tutorial.encoders import EncodeError, ImageEncoder
from recsys_tutorial.pretrained import image_encoder
from tests.encoders.samples import count_encoded, noise


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


def test_image_settings_and_content_are_keys(own_cache, monkeypatch):
    encoder = ImageEncoder(image_size=28, device="cpu")
    first = encoder.encode([noise(40, 30)])
    for changed in ({"image_size": 56}, {"pooling": "mean"}):
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, "100 x 100 is no multiple of the patch size 14.* 98 x 98"),
        ({"image_size": (112, 50)}, "nearest is 112 x 56"),
        ({"image_size": 0}, "nearest is 14 x 14"),
        ({"image_size": -14}, "nearest is 14 x 14"),
        ({"pooling": "max"}, "pooling must be 'cls', 'mean' or 'both'"),
        ({"layer": 0}, "layer must be 1 to 12"),
        ({"layer": 13}, "layer must be 1 to 12"),
    ],
)
def test_bad_image_settings(options, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder(**options)


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
    with pytest.raises(EncodeError) as caught:
        vit.encode([noise(20, 20), item])
    assert np.isnan(caught.value.vectors).all(1).tolist() == [False, True]
    assert message in caught.value.failures[1]


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


def test_one_pixel_is_a_plain_colour(vit):
    """A 1 x 1 picture is enlarged: the same as a plain picture of that colour."""
    one, plain = (Image.new("RGB", (side, side), (10, 200, 30)) for side in (1, 56))
    np.testing.assert_allclose(*vit.encode([one, plain]), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "mixer_s32_224", "pit_ti_224"])
def test_a_folder_without_a_vision_transformer_is_named(tmp_path, name):
    """No patches; no embeddings of positions; no list of blocks."""
    shutil.copytree(image_encoder(), tmp_path / "cnn")
    (tmp_path / "cnn" / "manifest.json").unlink()
    config = {"architecture": name, "num_classes": 0, "pretrained_cfg": {}}
    (tmp_path / "cnn" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"{name} is no vision transformer"):
        ImageEncoder(tmp_path / "cnn", image_size=224)


SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}


def small_vit(folder, name, **arguments):
    """A small ViT of timm with weights of its own and a classifier, saved as the hub has them."""
    folder.mkdir()
    model = timm.create_model(name, num_classes=3, img_size=28, **SMALL, **arguments).eval()
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": name, "model_args": {**SMALL, **arguments}}
    (folder / "config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch14_dinov2"])
def test_any_vit_of_timm_is_loaded_with_its_weights_and_draws_nothing(tmp_path, name):
    """With registers the positions are those of the patches alone, else the class token's, too."""
    model = small_vit(tmp_path / "vit", name)
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    encoder = ImageEncoder(tmp_path / "vit", 28, device="cpu", normalize=False, use_cache=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.inference_mode():
        tokens = model.forward_features(pixels)
        torch.testing.assert_close(encoder.hidden_states(pixels), tokens)
        torch.testing.assert_close(encoder(pixels), tokens[:, 0])
    assert encoder.dim == 32 and encoder.n_layers == 2 and encoder.batch_size == 32
    wide = ImageEncoder(tmp_path / "vit", (28, 42), device="cpu", use_cache=False)
    assert wide.encode([noise(40, 30)]).shape == (1, 32)


def test_without_a_class_token_there_is_the_mean_alone(tmp_path):
    small_vit(tmp_path / "vit", "vit_small_patch14_dinov2", class_token=False, global_pool="avg")
    for pooling in ("cls", "both"):
        with pytest.raises(ValueError, match="has no class token: pooling must be 'mean'"):
            ImageEncoder(tmp_path / "vit", 28, pooling=pooling)
    encoder = ImageEncoder(tmp_path / "vit", 28, pooling="mean", device="cpu", use_cache=False)
    assert encoder.encode([noise(40, 30)]).shape == (1, 32)


def test_positions_are_interpolated_as_dinov2_does():
    """Bicubic without antialiasing, as in the weights' own code; with it, a smaller grid blurs."""
    state = load_file(image_encoder() / "model.safetensors")["pos_embed"]  # (1, 1 + 37 * 37, dim)
    side = int((state.shape[1] - 1) ** 0.5)
    grid = state[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    options = {"size": (4, 6), "mode": "bicubic", "align_corners": False}
    wanted = torch.nn.functional.interpolate(grid, **options).flatten(2).transpose(1, 2)
    found = ImageEncoder(image_size=(56, 84), device="cpu", use_cache=False).model.pos_embed
    torch.testing.assert_close(found[:, :1], state[:, :1])
    torch.testing.assert_close(found[:, 1:], wanted, rtol=1e-5, atol=1e-6)
    blurred = torch.nn.functional.interpolate(grid, antialias=True, **options)
    assert (blurred.flatten(2).transpose(1, 2) - wanted).abs().max() > 0.01
