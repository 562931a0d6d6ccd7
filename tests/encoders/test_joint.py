"""Texts and pictures in one space: the vectors are those behind the model's own logits."""

import numpy as np
import pytest
import torch
from PIL import Image

from recsys_tutorial import pretrained
from recsys_tutorial.encoders import TextImageEncoder, joint
from tests.gpu_stand_ins import joint_encoder

TEXTS = ["a cat", "two dogs", "an old ship at sea"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return joint_encoder(tmp_path_factory.mktemp("joint") / "clip")


@pytest.fixture(scope="module")
def pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), dtype=np.uint8)
    return [Image.fromarray(p) for p in pixels]


def test_cosines_are_the_models_own(folder, pictures):
    encoder = TextImageEncoder(folder, device="cpu")
    inputs = encoder.processor(text=TEXTS, images=pictures, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = encoder.model(**inputs).logits_per_image / encoder.model.logit_scale.exp()
    found = encoder.encode_images(pictures) @ encoder.encode_texts(TEXTS).T
    np.testing.assert_allclose(found, logits.numpy(), atol=1e-5)  # pairs differ by 1e-2
    assert found.shape == (4, 3) and found.std() > 1e-3


def test_batches_change_nothing(folder, pictures, tmp_path):
    whole, small = (TextImageEncoder(folder, n, "cpu") for n in (64, 2))
    np.testing.assert_allclose(whole.encode_texts(TEXTS), small.encode_texts(TEXTS), atol=1e-6)
    for n, picture in enumerate(pictures):
        picture.save(tmp_path / f"{n}.png")
    files = [tmp_path / f"{n}.png" for n in range(4)]
    found = small.encode_images(files)
    np.testing.assert_allclose(whole.encode_images(pictures), found, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert small.encode_texts([]).shape == (0, small.dim)
    assert not any(p.requires_grad for p in small.model.parameters())


def test_batches_are_as_large_as_asked_for_and_the_device_is_the_one_that_is_named(
    folder, monkeypatch
):
    encoder = TextImageEncoder(folder, 2, "cpu")
    features, sizes = encoder.model.get_text_features, []
    monkeypatch.setattr(
        encoder.model,
        "get_text_features",
        lambda **inputs: (sizes.append(len(inputs["input_ids"])), features(**inputs))[1],
    )
    encoder.encode_texts(TEXTS)
    assert sizes == [2, 1] and not encoder.model.training
    assert TextImageEncoder(folder, device="meta").model.device.type == "meta"
    monkeypatch.setattr(joint, "best_device", lambda: "meta")
    assert TextImageEncoder(folder).model.device.type == "meta"


def test_weights_in_half_precision_become_float32(folder, tmp_path):
    encoder = TextImageEncoder(folder, device="cpu")
    encoder.model.half().save_pretrained(tmp_path)
    encoder.processor.save_pretrained(tmp_path)
    assert TextImageEncoder(tmp_path, device="cpu").model.dtype == torch.float32


def test_a_long_text_is_cut_and_a_model_of_texts_refused(folder):
    encoder = TextImageEncoder(folder, device="cpu")
    long = encoder.encode_texts(["word " * 500, "word " * 400])
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)
    with pytest.raises(ValueError, match="no model of texts and pictures"):
        TextImageEncoder(pretrained.text_encoder())
