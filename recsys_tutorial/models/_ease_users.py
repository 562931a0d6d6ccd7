"""EASE by the matrix of users: solved once, or brought up to date where few users changed."""

from __future__ import annotations

import contextlib

import numpy as np
from scipy import linalg, sparse

from recsys_tutorial.models._threads import one_blas_thread

_MAP_VALUES = 2**21  # of X' M that are held at a time: 16 MB
_SMALL = 2048  # users: on fewer, BLAS's own threads take longer to wake than the work takes
_MOST_CHANGED = 0.3  # share of the users above which solving anew is as fast


class UserSolution:
    """M = (X X' + reg I)^-1 and d_j = x_j' M x_j: what `EASE` needs to score.

    Parameters
    ----------
    x : csr_matrix (n_users, n_items), float64
    reg : float > 0
    inverse : ndarray (n_users, n_users), M
    d : ndarray (n_items,) or None to compute it
    """

    def __init__(
        self,
        x: sparse.csr_matrix,
        reg: float,
        inverse: np.ndarray,
        d: np.ndarray | None = None,
    ):
        self.x, self.reg, self.inverse = x, reg, inverse
        self._by_item = x.T.tocsr()  # (n_items, n_users)
        self.d = self._diagonal() if d is None else d

    def _diagonal(self) -> np.ndarray:
        """d, without ever holding X' M as a whole."""
        by_item = self._by_item
        d, step = np.zeros(by_item.shape[0]), max(1, _MAP_VALUES // by_item.shape[1])
        for start in range(0, len(d), step):
            part = by_item[start : start + step]
            item = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
            map_ = part @ self.inverse  # X' M, (step, n_users)
            products = part.data * map_[item, part.indices]
            d[start : start + step] = np.bincount(item, products, part.shape[0])
        return d

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(h X' M x_j - h_j d_j) / (1 - d_j) for each history and item, (n, n_items)."""
        common = (history @ self._by_item).toarray()  # (n, n_users), hardly sparse any more
        with one_blas_thread() if len(self.inverse) < _SMALL else contextlib.nullcontext():
            common = self.inverse @ common.T  # (n_users, n)
        scores = np.ascontiguousarray((self._by_item @ common).T)
        rows = np.repeat(np.arange(len(scores)), np.diff(history.indptr))
        scores[rows, history.indices] -= history.data * self.d[history.indices]
        scores /= 1.0 - self.d
        return scores

    def updated(self, x: sparse.csr_matrix) -> UserSolution | None:
        """The solution for more users, the first of whom are these, with other likes or the same.

        With C the users who are new or changed, and U the others, the inverse of their part of
        X X' + reg I follows from M, A = M_UU - M_UP M_PP^-1 M_PU, where P are the users of C who
        were there before; bordering A by C's rows gives the new M. Both take about
        n_users^2 |C| operations. With B = -M_UP M_PP^-1 and z = x_P - B' x_U it is
        d_j = x_U' A x_U + z' M_PP z before, and likewise after.

        Parameters
        ----------
        x : csr_matrix (n_users or more, n_items)

        Returns
        -------
        UserSolution, or None where so many users changed that solving anew is as fast

        Raises
        ------
        ValueError for fewer users, or other items.
        """
        (n_before, n_items), n = self.x.shape, x.shape[0]
        if x.shape[1] != n_items or n < n_before:
            raise ValueError(
                f"warm_start: the last fit was of {self.x.shape}, this one is of {x.shape}: "
                "the same items, and the same users in the same rows, are needed"
            )
        indptr = np.append(self.x.indptr, np.full(n - n_before, self.x.nnz))
        before = sparse.csr_matrix((self.x.data, self.x.indices, indptr), x.shape)
        new = np.diff((x - before).indptr) > 0
        new[n_before:] = True
        changed = np.flatnonzero(new)  # C
        gone = changed[changed < n_before]  # P
        if len(changed) > _MOST_CHANGED * n:
            return None
        with one_blas_thread() if n < _SMALL else contextlib.nullcontext():
            return self._bordered(x, changed, np.flatnonzero(~new), gone)

    def _bordered(
        self, x: sparse.csr_matrix, changed: np.ndarray, same: np.ndarray, gone: np.ndarray
    ) -> UserSolution:
        """`updated`, with C, U and P as row numbers."""
        n = len(changed) + len(same)
        m, x_same, x_changed = self.inverse, x[same], x[changed]
        m_gone = m[np.ix_(gone, gone)]
        m_cross = m[np.ix_(same, gone)]
        b_before = -linalg.solve(m_gone, m_cross.T, assume_a="pos").T if len(gone) else m_cross
        a = m[np.ix_(same, same)]
        a += b_before @ m_cross.T  # ((X X')_UU + reg I)^-1; in place, as new memory costs as much
        cross = (x_same @ x_changed.T).toarray()  # (|U|, |C|)
        b = a @ cross
        own = (x_changed @ x_changed.T).toarray() + self.reg * np.eye(len(changed))
        m_changed = linalg.inv(own - cross.T @ b)
        b_changed = b @ m_changed  # (|U|, |C|)
        a += b_changed @ b.T
        inverse = np.empty((n, n))
        inverse[np.ix_(same, same)] = a
        inverse[np.ix_(same, changed)] = -b_changed
        inverse[np.ix_(changed, same)] = -b_changed.T
        inverse[np.ix_(changed, changed)] = m_changed
        both = x_same.T.tocsr() @ np.hstack([b_before, b])  # (n_items, |P| + |C|)
        z_before = self.x[gone].toarray().T - both[:, : len(gone)]
        z = x_changed.toarray().T - both[:, len(gone) :]
        d = self.d - _quadratic(z_before, m_gone) + _quadratic(z, m_changed)
        return UserSolution(x, self.reg, inverse, d)


def _quadratic(z: np.ndarray, m: np.ndarray) -> np.ndarray:
    """z_j' M z_j for each row."""
    return np.einsum("jc,jc->j", z @ m, z)
