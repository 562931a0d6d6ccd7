"""The tree of the codes that exist: what may be written next, and whose code a code is."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recsys_tutorial.semantic_ids.measures import checked_codes

__all__ = ["CodeTree"]


class CodeTree:
    """All beginnings of the items' codes, level by level (a trie); a leaf is an item.

    The nodes of a level are numbered in the order of their words from the root, so that the
    children of a node have numbers in a row. The root is node 0 of level 0.

    Parameters
    ----------
    codes : int ndarray (n_items, n_levels), no two rows alike, see `with_extra_level`

    Attributes
    ----------
    codes : int64 ndarray (n_items, n_levels)
    sizes : tuple of int, how many words each level has: the largest and those below it
    words, parents : for each level but the root's int64 ndarray (n_nodes,): the last word of a
        node, and its parent's number in the level before
    node_of : for each level but the root's int64 ndarray (n_items,), the node above each item

    Raises
    ------
    ValueError
        Where two items share a code; see also `semantic_ids.collision_rate`.

    Examples
    --------
    >>> tree = CodeTree([[1, 0], [0, 2], [1, 3]])
    >>> [words.tolist() for words in tree.words], tree.items([[0, 2], [1, 3]]).tolist()
    ([[0, 1], [2, 0, 3]], [1, 2])
    """

    def __init__(self, codes: np.ndarray):
        self.codes = codes = checked_codes(codes)
        self.n_items, self.n_levels = codes.shape
        self.sizes = tuple(int(size) for size in codes.max(axis=0) + 1)
        order = np.lexsort(codes.T[::-1])
        new = np.zeros(len(codes), bool)
        new[0] = True
        self.words, self.parents, self.node_of = [], [], []
        above = np.zeros(len(codes), np.int64)
        for words in codes[order].T:
            new[1:] |= words[1:] != words[:-1]
            node = np.cumsum(new) - 1
            self.words.append(words[new])
            self.parents.append(above[new])
            self.node_of.append(np.empty_like(node))
            self.node_of[-1][order] = node
            above = node
        if not new.all():
            row, other = order[np.flatnonzero(~new)[0] + np.array([0, -1])]
            raise ValueError(
                f"items {min(row, other)} and {max(row, other)} share the code "
                f"{codes[row].tolist()}: add a level that tells them apart (with_extra_level)"
            )
        self.leaf_items = order  # the item of each node of the last level

    def children(self, level: int) -> np.ndarray:
        """Where each word leads from each node of a level.

        Parameters
        ----------
        level : int, 0 for the root's

        Returns
        -------
        int64 ndarray (n_nodes, sizes[level]), numbers of the next level's nodes, -1 where no code
        goes on with that word
        """
        n = 1 if level == 0 else len(self.words[level - 1])
        table = np.full((n, self.sizes[level]), -1, np.int64)
        table[self.parents[level], self.words[level]] = np.arange(len(self.words[level]))
        return table

    def items(self, codes: np.ndarray) -> np.ndarray:
        """Whose codes these are.

        Parameters
        ----------
        codes : int ndarray (n, n_levels)

        Returns
        -------
        int64 ndarray (n,), columns of the catalogue

        Raises
        ------
        ValueError
            For a code that no item has.
        """
        codes = checked_codes(codes)
        if codes.shape[1] != self.n_levels:
            raise ValueError(f"a code has {self.n_levels} words, got {codes.shape[1]}")
        node = np.zeros(len(codes), np.int64)
        for level, words in enumerate(codes.T):
            known = words < self.sizes[level]
            node = np.where(known, self.children(level)[node, np.where(known, words, 0)], -1)
            if (node < 0).any():
                raise ValueError(f"no item has the code {codes[int((node < 0).argmax())].tolist()}")
        return self.leaf_items[node]

    def open_nodes(self, seen: sparse.csr_matrix) -> list[np.ndarray]:
        """Below which nodes each user still has an item that they have not seen.

        Parameters
        ----------
        seen : csr_matrix (n_users, n_items), stored where seen

        Returns
        -------
        for each level but the root's a bool ndarray (n_users, n_nodes)
        """
        rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
        result = []
        for node_of in self.node_of:
            n = np.bincount(node_of)
            done = np.zeros((seen.shape[0], len(n)), np.int64)
            np.add.at(done, (rows, node_of[seen.indices]), 1)
            result.append(done < n)
        return result
