"""Figures about codes, against counting pair by pair."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys_tutorial.semantic_ids import (
    codebook_usage,
    collision_rate,
    prefix_purity,
    with_extra_level,
)

CODES = hnp.arrays(
    np.int64,
    st.tuples(st.integers(1, 12), st.integers(1, 3)),
    elements=st.integers(0, 2),
)


@given(CODES)
def test_an_extra_level_tells_apart_and_counts_from_0(codes):
    found = with_extra_level(codes)
    assert np.array_equal(found[:, :-1], codes)
    assert len(np.unique(found, axis=0)) == len(codes) and collision_rate(found) == 0
    for code in np.unique(codes, axis=0):
        mine = (codes == code).all(1)
        assert found[mine, -1].tolist() == list(range(mine.sum()))  # in the items' own order


@given(CODES, st.data())
def test_against_counting(codes, data):
    n = len(codes)
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    depth = data.draw(st.integers(1, codes.shape[1]))
    shared = [any((codes[i] == codes[j]).all() for j in range(n) if j != i) for i in range(n)]
    assert collision_rate(codes) == np.mean(shared)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    alike = [labels[i] == labels[j] for i, j in pairs]
    begin = [labels[i] == labels[j] for i, j in pairs if (codes[i] == codes[j])[:depth].all()]
    for found, wanted in zip(prefix_purity(codes, labels, depth), (begin, alike), strict=True):
        assert math.isnan(found) if not wanted else found == pytest.approx(np.mean(wanted))


def test_usage():
    codes = np.array([[0, 4], [0, 4], [2, 4], [2, 0]])
    found = codebook_usage(codes, (3, 6))
    assert found.words.tolist() == [3, 6] and found.used.tolist() == [2, 2]
    uneven = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert found.perplexity.tolist() == pytest.approx([2, uneven])


def test_names_are_labels_as_well():
    assert prefix_purity([[0], [0], [1]], ["war", "noir", "war"]) == (0, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: collision_rate([0, 1]), r"got shape \(2,\)"),
        (lambda: collision_rate(np.zeros((0, 3), int)), r"got shape \(0, 3\)"),
        (lambda: with_extra_level([[0.0, 1.0]]), "whole numbers, got float64"),
        (lambda: collision_rate([[0, 1], [2, -1]]), r"item 1 has the code \[2, -1\]"),
        (lambda: codebook_usage([[0, 1]], (2,)), "2 levels need as many sizes, got 1"),
        (lambda: codebook_usage([[0, 2]], (2, 2)), "a word of level 1 must be 0 to 1, got 2"),
        (lambda: prefix_purity([[0, 2]], ["a"], 0), "depth must be 1 to 2"),
        (lambda: prefix_purity([[0, 2]], ["a"], 3), "depth must be 1 to 2"),
        (lambda: prefix_purity([[0, 2]], ["a", "b"]), "one for each of 1 items"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
