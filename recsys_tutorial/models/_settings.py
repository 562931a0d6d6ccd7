"""What models ask of their settings."""

from __future__ import annotations

import math


def check_positive(**settings: float) -> None:
    """ValueError for the first setting that is not positive and finite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")


def check_at_least(least: float, **settings: float) -> None:
    """ValueError for the first setting that is below `least` or not finite."""
    for name, value in settings.items():
        if not least <= value < math.inf:
            raise ValueError(f"{name} must be finite and at least {least}, got {value}")
