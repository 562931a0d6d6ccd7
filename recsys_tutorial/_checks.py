"""Checks of arguments that all rooms make: each raises a ValueError with the name and the value."""

import math
from collections.abc import Iterable

import numpy as np


def check_one_of(allowed: Iterable[str], /, **settings: str) -> None:
    """ValueError for the first setting that is none of the allowed words."""
    for name, value in settings.items():
        if value not in allowed:
            *most, last = map(repr, allowed)
            raise ValueError(f"{name} must be {', '.join(most)} or {last}, got {value!r}")


def check_positive(**settings: float) -> None:
    """ValueError for the first setting that is not positive and finite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")


def check_at_least(least: float, /, **settings: float) -> None:
    """ValueError for the first setting that is below `least` or not finite."""
    check_within(least, math.inf, **settings)


def check_within(low: float, high: float, /, **settings: float) -> None:
    """ValueError for the first setting that is not finite, below `low` or above `high`."""
    for name, value in settings.items():
        if not (low <= value <= high and math.isfinite(value)):
            limits = f"finite and at least {low}" if high == math.inf else f"{low} to {high}"
            raise ValueError(f"{name} must be {limits}, got {value}")


def check_shape(name: str, array, *shapes: tuple[int, ...], why: str = "") -> None:
    """ValueError unless the array or tensor has one of the shapes; `why` ends the message."""
    if tuple(array.shape) not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ValueError(f"{name} must be {expected}, got {tuple(array.shape)}{why}")


def check_pairs(anchors, positives, dim: int | None = None) -> None:
    """ValueError unless both are (n, dim), of the same size, rows of one belonging to the other."""
    shape, other = tuple(anchors.shape), tuple(positives.shape)
    if shape != other or len(shape) != 2 or dim not in (None, shape[1]):
        raise ValueError(f"both sides must be (n, {dim or 'dim'}), got {shape} and {other}")


def finite_vectors(name: str, vectors, least: int = 0) -> np.ndarray:
    """`vectors` as an array (n, dim), n at least `least`; ValueError unless all are finite."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or len(vectors) < least or not vectors.shape[1]:
        at_least = f" with n >= {least}" if least else ""
        raise ValueError(f"{name} must be (n, dim){at_least}, got shape {vectors.shape}")
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise ValueError(f"row {int(bad.argmax())} of {name} holds nan or infinity")
    return vectors
