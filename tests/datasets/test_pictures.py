"""Pictures of every kind become the same three bands."""

import numpy as np
import pytest
from PIL import Image

from recsys_tutorial.datasets import pictures


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


def test_the_largest_picture_has_just_as_many_pixels(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 12)
    assert pictures.open_picture(Image.new("RGB", (3, 4))).size == (3, 4)
    with pytest.raises(ValueError, match="1 x 13 pixels are more than 12"):
        pictures.open_picture(Image.new("RGB", (1, 13)))
