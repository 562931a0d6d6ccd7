"""The tree of codes against sets of tuples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.semantic_ids import CodeTree

UNIQUE = st.integers(1, 3).flatmap(
    lambda depth: st.lists(
        st.tuples(*[st.integers(0, 4)] * depth), min_size=1, max_size=20, unique=True
    )
).map(np.array)  # fmt: skip


@given(UNIQUE, st.randoms(use_true_random=False))
def test_nodes_are_the_beginnings_of_codes(codes, random):
    tree = CodeTree(codes)
    n, depth = codes.shape
    assert (tree.n_items, tree.n_levels, tree.sizes) == (n, depth, tuple(codes.max(0) + 1))
    beginnings = [[()]]
    for level in range(depth):
        beginnings.append(sorted({tuple(code[: level + 1]) for code in codes}))
        nodes = beginnings[-1]
        assert tree.words[level].tolist() == [node[-1] for node in nodes]
        assert [beginnings[level][p] for p in tree.parents[level]] == [node[:-1] for node in nodes]
        assert [nodes[i] for i in tree.node_of[level]] == [tuple(c[: level + 1]) for c in codes]
        children = tree.children(level)
        assert children.shape == (len(beginnings[level]), tree.sizes[level])
        for i, node in enumerate(beginnings[level]):
            for word, child in enumerate(children[i]):
                assert (nodes[child] if child >= 0 else None) == (
                    (*node, word) if (*node, word) in nodes else None
                )
    order = random.sample(range(n), n)
    assert tree.items(codes[order]).tolist() == order
    assert np.array_equal(tree.leaf_items[tree.node_of[-1]], np.arange(n))


@given(UNIQUE, st.integers(0, 2**20 - 1), st.integers(0, 2**20 - 1))
def test_open_nodes(codes, one, other):
    seen = np.array([[(user >> i) & 1 for i in range(len(codes))] for user in (one, other)])
    found = CodeTree(codes).open_nodes(sparse.csr_matrix(seen))
    for level, is_open in enumerate(found):
        nodes = sorted({tuple(code[: level + 1]) for code in codes})
        for user in range(2):
            left = {tuple(c[: level + 1]) for c, s in zip(codes, seen[user], strict=True) if not s}
            assert is_open[user].tolist() == [node in left for node in nodes]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: CodeTree([[0, 1], [2, 2], [0, 1]]), r"items 0 and 2 share the code \[0, 1\]"),
        (lambda: CodeTree([[0, -1]]), "below 0"),
        (lambda: CodeTree([[0, 1]]).items([[0]]), "a code has 2 words, got 1"),
        (lambda: CodeTree([[0, 1], [1, 0]]).items([[1, 0], [1, 1]]), r"the code \[1, 1\]"),
        (lambda: CodeTree([[0, 1]]).items([[7, 0]]), r"the code \[7, 0\]"),
    ],
)
def test_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
