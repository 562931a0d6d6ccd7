"""What models ask of their settings; the checks of all rooms."""

from recsys_tutorial._checks import check_at_least, check_positive

__all__ = ["check_at_least", "check_positive"]
