"""Make pictures.npz: what the simulated shop knows about its pictures, as small integers.

    python data/simulation/make_pictures.py

Encoders compute in float32, whose last bits differ between processors; in a simulation one flipped
click changes all that follows. So their vectors are computed once and kept rounded.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from recsys_tutorial.datasets import load_clipart
from recsys_tutorial.encoders import ImageEncoder, TextEncoder

HUES = 6  # red, yellow, green, cyan, blue, magenta


def look(picture: Image.Image) -> np.ndarray:
    """Colour and style of one picture: 6 shares of hue, grey; ink, shading, detail."""
    pixels = np.asarray(picture.convert("HSV"), dtype=np.float64) / 255.0  # (height, width, 3)
    hue, saturation, value = pixels.reshape(-1, 3).T
    ink = (saturation > 0.1) | (value < 0.9)
    vivid = ink & (saturation > 0.25) & (value > 0.2)
    bucket = np.round(hue[vivid] * HUES).astype(int) % HUES
    share = np.bincount(bucket, minlength=HUES) / max(ink.sum(), 1)
    grey = (ink & ~vivid).sum() / max(ink.sum(), 1)
    rgb = np.asarray(picture.convert("RGB"))
    shades = len(np.unique(rgb.reshape(-1, 3) // 16, axis=0))
    light = np.asarray(picture.convert("L"), dtype=np.float64) / 255.0
    detail = np.abs(np.diff(light, axis=0)).mean() + np.abs(np.diff(light, axis=1)).mean()
    return np.array([*share, grey, ink.mean(), np.log(shades), np.log(detail + 1e-3)])


def principal(vectors: np.ndarray, n: int) -> np.ndarray:
    """The first n principal components, each with variance 1; signs by the largest entry."""
    centred = vectors - vectors.mean(axis=0)
    u, _, vt = np.linalg.svd(centred, full_matrices=False)
    largest = vt[np.arange(n), np.abs(vt[:n]).argmax(axis=1)]
    return u[:, :n] * np.sign(largest) * np.sqrt(len(u))  # (n_items, n)


def standard(x: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1; constant columns become 0."""
    return (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)


def main() -> None:
    clipart = load_clipart()
    items = clipart.items[clipart.items["candidate"]].reset_index(drop=True)
    keywords = items["keywords"].str.replace("|", ", ", regex=False)
    text = TextEncoder().encode(list(items["title"] + ". " + keywords)).astype(np.float64)
    vit = ImageEncoder(image_size=112, pooling="both", normalize=False)
    picture = vit.encode(clipart.paths(items["item_id"])).astype(np.float64)
    # Both modalities with the same total variance, as one vector: early fusion.
    text, picture = (standard(x) / np.sqrt(x.shape[1]) for x in (text, picture))
    features = principal(np.concatenate([text, picture], axis=1), 32)  # (n_items, 32)
    looks = np.array([look(image) for image in clipart.images(items["item_id"])])
    np.savez_compressed(
        Path(__file__).parent / "pictures.npz",
        item_id=items["item_id"].to_numpy(),
        features=np.round(features * 1000).astype(np.int16),
        looks=np.round(looks * 1000).astype(np.int16),
    )


if __name__ == "__main__":
    main()
