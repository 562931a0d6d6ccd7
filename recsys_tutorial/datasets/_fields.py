"""What a field of a table may hold: each takes a text to a value, or raises a ValueError."""

from collections.abc import Callable, Sequence

INT64_MAX = 2**63 - 1


def whole_number(text: str) -> int:
    """Return a non-negative integer that fits into 64 bits; ValueError for any other text."""
    try:
        number = int(plain(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if number < 0:
        raise ValueError(f"{number} is negative")
    if number > INT64_MAX:
        raise ValueError(f"{number} does not fit into 64 bits (largest: {INT64_MAX})")
    return number


def filled(text: str) -> str:
    """Return a text that is not blank; ValueError for any other."""
    if not text.strip():
        raise ValueError("is empty")
    return text


def one_of(names: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that takes the first name to False, the second to True, and no other."""

    def flag(text: str) -> bool:
        if text not in names:
            raise ValueError(f"{text!r} is not {' or '.join(names)}")
        return text == names[1]

    return flag


def plain(text: str) -> str:
    """Refuse the spellings of a number that Python reads and a C parser does not."""
    inner = text.strip(" \t\n\r\f\v")
    if "_" in inner or not inner.isascii() or not inner.isprintable():
        raise ValueError(text)
    return text
