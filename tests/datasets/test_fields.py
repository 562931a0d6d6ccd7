"""What a field of a table may hold, and what only looks like it."""

import pytest

from recsys_tutorial.datasets._fields import filled, one_of, plain, whole_number


@pytest.mark.parametrize(
    "text, number", [("0", 0), ("7", 7), (" 12\t", 12), (str(2**63 - 1), 2**63 - 1)]
)
def test_whole_numbers(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "text, message",
    [
        ("1.0", "'1.0' is not a whole number"),
        ("", "'' is not a whole number"),
        ("1_0", "'1_0' is not a whole number"),  # Python reads these three
        ("\u0663", "is not a whole number"),
        ("\x1f7", "is not a whole number"),
        ("-1", "-1 is negative"),
        (str(2**63), f"{2**63} does not fit into 64 bits .largest: {2**63 - 1}"),
    ],
)
def test_what_is_no_whole_number(text, message):
    with pytest.raises(ValueError, match=message):
        whole_number(text)


def test_blanks_around_a_number_are_plain_and_stay():
    assert plain(" 1.5\r") == " 1.5\r" and plain("1e3") == "1e3"


def test_a_text_and_a_flag():
    assert filled(" a ") == " a "
    flag = one_of(("no", "yes"))
    assert flag("yes") is True and flag("no") is False
    for call, message in ((lambda: filled(" \t"), "is empty"), (lambda: flag("1"), "no or yes")):
        with pytest.raises(ValueError, match=message):
            call()
