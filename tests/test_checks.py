"""The checks that all rooms make of their arguments: what passes, and what the message says."""

import math

import numpy as np
import pytest
import torch

from recsys_tutorial import _checks as checks

ARRAY = np.zeros((2, 3))


def test_good_arguments_pass():
    checks.check_one_of(("a", "b"), how="b")
    checks.check_positive(reg=1e-9)
    checks.check_at_least(1, k=1, n=5)
    checks.check_within(0, 1, low=0, high=1.0)
    checks.check_shape("x", ARRAY, (5,), (2, 3))
    checks.check_pairs(torch.zeros(2, 3), ARRAY)
    checks.check_pairs(ARRAY, ARRAY, 3)
    assert checks.finite_vectors("x", [[1, 2]]).tolist() == [[1, 2]]
    assert checks.finite_vectors("x", ARRAY[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: checks.check_one_of("abc", a="a", how="d"),
            "how must be 'a', 'b' or 'c', got 'd'",
        ),
        (lambda: checks.check_positive(a=1, reg=0), "reg must be positive and finite, got 0"),
        (lambda: checks.check_positive(reg=math.inf), "got inf"),
        (lambda: checks.check_at_least(1, k=0), "k must be finite and at least 1, got 0"),
        (lambda: checks.check_at_least(1, k=math.inf), "got inf"),
        (lambda: checks.check_at_least(0, k=math.nan), "got nan"),
        (lambda: checks.check_within(2, 5, n=6), "n must be 2 to 5, got 6"),
        (lambda: checks.check_within(2, 5, n=1), "got 1"),
        (
            lambda: checks.check_shape("x", ARRAY, (2,), (3, 2), why="; turn it"),
            r"x must be \(2,\) or \(3, 2\), got \(2, 3\); turn it",
        ),
        (lambda: checks.check_pairs(ARRAY, ARRAY[:1]), r"\(n, dim\), got \(2, 3\) and \(1, 3\)"),
        (lambda: checks.check_pairs(ARRAY[0], ARRAY[0]), r"got \(3,\) and \(3,\)"),
        (lambda: checks.check_pairs(ARRAY, ARRAY, 4), r"must be \(n, 4\)"),
        (lambda: checks.finite_vectors("x", ARRAY[0]), r"x must be \(n, dim\), got shape \(3,\)"),
        (lambda: checks.finite_vectors("x", ARRAY[:, :0]), r"got shape \(2, 0\)"),
        (lambda: checks.finite_vectors("x", ARRAY, least=3), "with n >= 3"),
        (
            lambda: checks.finite_vectors("x", [[0, 1], [0, math.nan]]),
            "row 1 of x holds nan or infinity",
        ),
    ],
)
def test_the_message_names_what_was_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
