"""What the tests of encoders share: texts, pictures, and counting what is encoded."""

import numpy as np
import torch
from PIL import Image

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


def noise(width, height, seed=0, mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(), mode if bands > 1 else None)
