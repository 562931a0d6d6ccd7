"""Open a picture so that a model can look at it, or say what is wrong with it."""

import io
import os
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

# A picture this large is a mistake or an attack (a "decompression bomb"), and no model here looks
# at more than a few hundred pixels of its side.
MAX_PIXELS = 50_000_000


def open_picture(source: Image.Image | str | os.PathLike) -> Image.Image:
    """Return the picture as RGB.

    Parameters
    ----------
    source : PIL.Image.Image, str or path-like
        Any mode and any format that Pillow reads. Transparent parts become white, of an animation
        the first frame counts, a camera's rotation is applied, 16-bit grey is scaled to 8 bits.

    Returns
    -------
    PIL.Image.Image, mode "RGB"

    Raises
    ------
    ValueError
        When the file is missing, empty, truncated, no picture, or has more than `MAX_PIXELS`; or
        `source` is no picture at all. The message says which.
    """
    if isinstance(source, Image.Image):
        return _as_rgb(source, "picture")
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"expected a picture or a path, got {type(source).__name__}")
    path, data = Path(source), read_picture_file(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _as_rgb looks itself
            image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture that Pillow can read") from None
    except Exception as error:  # a decoder meets damaged bytes in many ways
        raise ValueError(f"{path}: {error}") from error
    return _as_rgb(image, path)


def read_picture_file(path: str | os.PathLike) -> bytes:
    """Return the bytes of a picture's file.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    ValueError
        When the file is missing or empty.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file")
    data = Path(path).read_bytes()
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes)")
    return data


def _as_rgb(image: Image.Image, name: str | Path) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:  # the size stands in the header: nothing is decoded yet
        raise ValueError(
            f"{name}: {width} x {height} pixels are more than {MAX_PIXELS:,}; make it smaller"
        )
    if not width * height:
        raise ValueError(f"{name}: {width} x {height} pixels, there is nothing to see")
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except Exception as error:
        raise ValueError(f"{name}: {error}") from error
    if image.mode.startswith("I"):  # convert() would clip at 255, so all but black became white
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
