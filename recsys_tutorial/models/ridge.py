"""Many small ridge regressions at once: the half-step of every alternating least squares.

Half of an ALS iteration asks the same question of every row (a user, or an item): given the other
side's vectors, which vector of mine fits my own observations best? The rows do not depend on each
other, so they are solved together, without a Python loop over them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

from recsys_tutorial.models._ridge_blocks import SMALL, descend, narrow
from recsys_tutorial.models._row_blocks import Block, blocks_of
from recsys_tutorial.models._threads import one_blas_thread, usable_cores

_BLOCK_BYTES = 2**20  # of gathered features held at a time by a thread


class BatchedRidge:
    """One weighted ridge regression per row of a sparse matrix, over the row's stored columns.

    For row r, with f_j the feature vector of column j, `solve` finds

        x_r = argmin_x  sum_j w_rj (y_rj - f_j . x)^2 + sum_k d_rk x_k^2
            = (F' W F + D)^-1 F' W y                            n_r >= k: a k x k system,
            = D^-1 F' (F D^-1 F' + W^-1)^-1 y                   n_r <  k: an n_r x n_r system,

    the second by the push-through identity: most items have few ratings, and then it is the much
    smaller system. Rows with similar numbers of observations are padded to one rectangle and
    solved by batched BLAS and LAPACK calls. Blocks are cut so that each works on about a
    megabyte, whatever the number of rows, columns or observations (one k x k system at least);
    they are shared out among threads, and since each row's arithmetic stays the same, the result
    does not depend on the number of threads.

    Parameters
    ----------
    matrix : csr_matrix (n_rows, n_columns); only the pattern of its stored entries is used
    n_features : int, k, the length of a feature vector
    block_elements : int, gathered feature values that a thread holds at a time; None for 1 MB
    n_threads : int or None for all cores that this process may use
    dtype : float64, or float32, in which `solve` computes
    """

    def __init__(
        self,
        matrix: sparse.csr_matrix,
        n_features: int,
        *,
        block_elements: int | None = None,
        n_threads: int | None = None,
        dtype: type = np.float64,
    ):
        self.shape = matrix.shape
        self.n_features = n_features
        self.dtype = np.dtype(dtype)
        self.block_elements = block_elements or _BLOCK_BYTES // self.dtype.itemsize
        self.n_threads = usable_cores() if n_threads is None else n_threads
        self._blocks = list(blocks_of(matrix, n_features, self.block_elements))

    def solve(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        penalty: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        start: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve all rows.

        Parameters
        ----------
        features : ndarray (n_columns, k)
        targets : ndarray (nnz,), y in the order of matrix.data
        penalty : ndarray (k,) or (n_rows, k), d >= 0
        weights : ndarray (nnz,), w > 0, or None for ones
        start : ndarray (n_rows, k) or None
            Where two steps of conjugate gradients begin, which then stand for the exact
            solution of the longer rows; the penalty must be on everything.

        Returns
        -------
        x : ndarray (n_rows, k), of `dtype`; zeros for a row without observations
        explained : ndarray (n_rows,), (F' W y) . x: the minimum is sum_j w_j y_j^2 - explained,
            so the objective comes without another pass over the data

        Raises
        ------
        numpy.linalg.LinAlgError (a ValueError) when a row's system is singular.
        """
        if weights is not None and weights.size and weights.min() == weights.max():
            # Equal weights are a matter of the penalty: a product less for each observation.
            w = float(weights[0])
            x, explained = self.solve(features, targets, penalty / w, start=start)
            return x, w * explained
        x = np.zeros((self.shape[0], self.n_features), self.dtype)
        explained = np.zeros(self.shape[0])
        solve_block = self._block_solver(features, targets, penalty, weights, start)

        def write(block: Block) -> None:
            rows = block.rows
            try:
                x[rows], explained[rows] = solve_block(block)
            except np.linalg.LinAlgError as error:
                raise np.linalg.LinAlgError(
                    f"the normal equations of one of the rows {rows[:5].tolist()}... are "
                    "singular: raise the regularisation"
                ) from error

        self._share_out(write)
        bad = ~np.isfinite(x).all(axis=1)
        if bad.any():
            raise np.linalg.LinAlgError(
                f"the normal equations of row {int(bad.argmax())} are numerically singular: raise "
                "the regularisation"
            )
        return x, explained

    def _block_solver(self, features, targets, penalty, weights, start) -> Callable:
        """A function block -> x (b, k), explained (b,); all else as `solve` takes it."""
        # Padded places point at a last feature vector of zeros, which adds nothing to any sum. The
        # last column is where a block writes its targets, so that one product gives F'WF and F'Wy.
        dtype, room = self.dtype, int(start is None)
        features = np.pad(features.astype(dtype, copy=False), ((0, 1), (0, room)))
        penalty, targets = penalty.astype(dtype), np.append(targets, 0.0).astype(dtype)
        weights = None if weights is None else np.append(weights, 1.0).astype(dtype)
        start = None if start is None else start.astype(dtype, copy=False)
        # D^-1 needs a penalty on everything: not 0, and not next to nothing beside the others.
        invertible = penalty.size > 0 and penalty.min() > 1e-10 * penalty.max()

        def solve_block(block: Block) -> tuple[np.ndarray, np.ndarray]:
            rows, columns, places = block
            d = penalty if penalty.ndim == 1 else penalty[rows]  # (b, k)
            w = None if weights is None else weights[places]  # (b, w)
            way = self._fastest_solver(block, start, invertible)
            return way(features, columns, targets[places], w, d)

        return solve_block

    def _share_out(self, solve_block: Callable[[Block], None]) -> None:
        """Call it for each block, on as many threads as are wanted."""
        with one_blas_thread():
            gathered = self.n_features * sum(block.columns.size for block in self._blocks)
            if self.n_threads == 1 or gathered <= self.block_elements:  # no work for two
                list(map(solve_block, self._blocks))
            else:
                with ThreadPoolExecutor(self.n_threads) as pool:
                    list(pool.map(solve_block, self._blocks))

    def _fastest_solver(self, block: Block, start: np.ndarray | None, invertible: bool) -> Callable:
        """How a block is solved soonest: as small systems, by descent from `start`, or as it is."""
        n_rows, width = block.columns.shape
        if invertible and width < (self.n_features if start is None else SMALL):
            return narrow
        most = max(1, self.block_elements // self.n_features)  # vectors gathered at a time
        if start is not None and n_rows * width <= most:
            return functools.partial(descend, x=start[block.rows])
        return self._wide

    def _wide(self, features, columns, y, w, d):
        """Rows with many observations: (F' W F + D) x = F' W y, a k x k system each."""
        (b, width), k = columns.shape, self.n_features
        sums = np.zeros((b, k, k + 1), self.dtype)  # F' W [F, y]
        # One pass, except for a row so long that its features alone would burst the block.
        step = max(1, self.block_elements // (b * k))
        for start in range(0, width, step):
            part = slice(start, start + step)
            f = features.take(columns[:, part], axis=0)  # (b, w, k + 1)
            if f.shape[2] == k:
                f = np.pad(f, ((0, 0), (0, 0), (0, 1)))
            f[:, :, k] = y[:, part]
            wf = f if w is None else f * w[:, part, None]
            sums += f[:, :, :k].transpose(0, 2, 1) @ wf  # (b, k, w) @ (b, w, k + 1)
        gram, right = sums[:, :, :k], sums[:, :, k:]
        gram[:, range(k), range(k)] += d
        x = np.linalg.solve(gram, right)  # (b, k, 1)
        return x[..., 0], (x * right).sum(axis=(1, 2))
