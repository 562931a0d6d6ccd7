"""Rows of a sparse matrix in blocks: those with about as many observations side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import sparse

_PADDING = 1.25  # in a block, the longest row has at most this many times the shortest one's


class Block(NamedTuple):
    """b rows, padded to the w observations of the longest one."""

    rows: np.ndarray  # (b,) rows of the matrix
    columns: np.ndarray  # (b, w) their column indices; n_columns where padded
    places: np.ndarray  # (b, w) where their values stand in matrix.data; nnz where padded


def blocks_of(matrix: sparse.csr_matrix, n_features: int, block_elements: int) -> Iterator[Block]:
    """Cut the rows, sorted by their number of observations, into blocks of so many features."""
    counts = np.diff(matrix.indptr)
    order = np.argsort(counts, kind="stable")
    order = order[np.searchsorted(counts[order], 1) :]  # rows without observations stay 0
    counts = counts[order]
    n_columns, nnz = matrix.shape[1], matrix.nnz
    columns_or_pad = np.append(matrix.indices, n_columns)
    start = 0
    while start < len(order):
        stop = np.searchsorted(counts, int(counts[start] * _PADDING), side="right")
        width = counts[stop - 1]
        # A row needs its features and, at worst, its k x k system.
        values_per_row = n_features * max(width, min(width, n_features))
        stop = min(stop, start + max(1, block_elements // values_per_row))
        width = counts[stop - 1]
        rows = order[start:stop]
        places = matrix.indptr[rows][:, None] + np.arange(width)  # (b, w)
        places[np.arange(width) >= counts[start:stop, None]] = nnz
        yield Block(rows, columns_or_pad[places], places)
        start = stop
