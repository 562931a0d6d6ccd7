"""Baselines that every later model must beat: popularity, item neighbours, and EASE."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from recsys_tutorial._likes import check_history, check_train
from recsys_tutorial.ranking import rank

_BLOCK_BYTES = 8 * 2**20  # of the dense item-item similarity at a time; 32 MB took twice as long


class Popularity:
    """Everybody gets the items that most users liked: score_i = number of likes of i in training.

    Examples
    --------
    >>> train = sparse.csr_matrix([[1, 1, 0], [0, 1, 0]])
    >>> Popularity().fit(train).score(train[:1])
    array([[1., 2., 0.]])
    """

    def fit(self, train: sparse.csr_matrix) -> Popularity:
        """Count likes. train : csr_matrix (n_users, n_items) of ones."""
        train = check_train(train)
        self.item_counts_ = np.asarray(train.sum(axis=0), dtype=np.float64).ravel()
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the same counts for everyone, as a read-only view of one row."""
        history = check_history(history, len(self.item_counts_))
        return np.broadcast_to(self.item_counts_, history.shape)


class ItemKNN:
    """Item-based nearest neighbours: score = history @ similarity.

    Two items are similar when the same users liked both (Sarwar et al. 2001,
    doi:10.1145/371920.372071). Per item only its `k` most similar others count.

    Parameters
    ----------
    k : neighbours kept per item
    weighting : "cosine" for |U_i & U_j| / (sqrt(|U_i| |U_j|) + shrink), U_i the users who liked i;
        "bm25" weighs a like by Okapi BM25, the user being the document and the item the term
        (a user who likes everything says less), and takes the inner product over users
    shrink : added to the cosine's denominator, so that a coincidence of two users does not look
        like a perfect match; not used by "bm25"
    k1, b : BM25's saturation and length normalisation
    """

    def __init__(
        self,
        k: int = 100,
        weighting: str = "cosine",
        shrink: float = 0.0,
        k1: float = 1.2,
        b: float = 0.75,
    ):
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if weighting not in ("cosine", "bm25"):
            raise ValueError(f'weighting must be "cosine" or "bm25", got {weighting!r}')
        if not shrink >= 0:
            raise ValueError(f"shrink must not be negative, got {shrink}")
        if not (k1 >= 0 and 0 <= b <= 1):
            raise ValueError(f"BM25 needs k1 >= 0 and b from 0 to 1, got k1={k1}, b={b}")
        self.k, self.weighting, self.shrink, self.k1, self.b = k, weighting, shrink, k1, b

    def fit(self, train: sparse.csr_matrix) -> ItemKNN:
        """Find neighbours, a block of items at a time. train : csr_matrix (n_users, n_items)."""
        train = check_train(train)
        active = np.unique(train.indices)  # columns somebody liked; the others have no neighbours
        x = train[:, active]
        weighted = sparse.csc_matrix(bm25(x, self.k1, self.b) if self.weighting == "bm25" else x)
        norm = np.sqrt(np.bincount(x.indices, weights=x.data**2))
        block = max(1, _BLOCK_BYTES // (8 * len(active)))
        rows, columns, values = [], [], []
        for start in range(0, len(active), block):
            stop = min(start + block, len(active))
            similarity = (weighted[:, start:stop].T @ weighted).tocsr()  # (block, n_active)
            here = np.repeat(np.arange(start, stop), np.diff(similarity.indptr))
            if self.weighting == "cosine":
                similarity.data /= norm[here] * norm[similarity.indices] + self.shrink
            similarity.data[here == similarity.indices] = 0.0  # an item does not recommend itself
            similarity = similarity.toarray()
            neighbours = rank(similarity, None, min(self.k, len(active)))  # (block, k)
            near = np.take_along_axis(similarity, neighbours, axis=1)
            rows.append(neighbours[near > 0])
            columns.append(np.repeat(np.arange(start, stop), np.count_nonzero(near > 0, axis=1)))
            values.append(near[near > 0])
        # Column i holds the neighbours of i: what was liked speaks for i if it is among them.
        rows, columns = active[np.concatenate(rows)], active[np.concatenate(columns)]
        shape = (train.shape[1], train.shape[1])
        self.similarity_ = sparse.csr_matrix((np.concatenate(values), (rows, columns)), shape=shape)
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): the summed similarity of each item to what the user liked."""
        history = check_history(history, self.similarity_.shape[0])
        return (history @ self.similarity_).toarray()


class EASE:
    """Embarrassingly shallow autoencoder: a linear model from all liked items to each item.

    Minimises |X - X B|^2 + reg |B|^2 with diag(B) = 0. With P = (X'X + reg I)^-1 the solution is
    B_ij = -P_ij / P_jj off the diagonal (Steck 2019, doi:10.1145/3308558.3313710, equation 8).

    Two ways to the same scores; `fit` takes the cheaper one:

    - more users than items: invert X'X + reg I (items that nobody liked apart);
    - fewer users than items: the matrix inversion lemma gives P = (I - X' M X) / reg with
      M = (X X' + reg I)^-1, which is only n_users wide. B is never formed: with
      d_j = x_j' M x_j for item j's column x_j, history h scores (h X' M x_j - h_j d_j) / (1 - d_j).
      (1 - d_j loses digits where reg is tiny: scores are good to 1e-10 for reg >= 1e-4.)

    With `user_weights` w_u the squared error of user u counts w_u times: the rows of X are scaled
    by sqrt(w_u). Weights that fade with a user's age let recent tastes decide.

    Parameters
    ----------
    reg : float > 0, the L2 penalty; larger means smoother and closer to co-counting

    Attributes
    ----------
    method_ : "items" or "users", the matrix that was inverted
    """

    def __init__(self, reg: float = 200.0):
        if not 0 < reg < np.inf:
            raise ValueError(f"reg must be positive, got {reg}: without it X'X is singular")
        self.reg = reg

    def fit(self, train: sparse.csr_matrix, user_weights: np.ndarray | None = None) -> EASE:
        """Solve. train : csr_matrix (n_users, n_items) of ones; user_weights : (n_users,) >= 0."""
        train = check_train(train)
        self.n_items_ = train.shape[1]
        if user_weights is not None:
            w = np.asarray(user_weights, dtype=float)
            if w.shape != train.shape[:1]:
                raise ValueError(f"{train.shape[0]} users need as many weights, got {w.shape}")
            if not np.all((w >= 0) & (w < np.inf)):
                raise ValueError("user_weights must be finite and not negative")
            train = check_train(sparse.diags(np.sqrt(w)) @ train)
        self.active_ = np.unique(train.indices)  # columns somebody liked; all others score 0
        x = train[np.diff(train.indptr) > 0][:, self.active_]
        if x.shape[0] < x.shape[1]:
            self.method_ = "users"
            inverse = _inverse((x @ x.T).toarray(), self.reg)  # (n_users, n_users)
            self._x = x
            self._map = inverse @ x  # M X, (n_users, n_active)
            self._d = np.asarray(x.multiply(self._map).sum(axis=0)).ravel()  # (n_active,)
            if not self._d.max() < 1:
                raise ValueError(f"reg = {self.reg} is lost in rounding: raise reg")
        else:
            self.method_ = "items"
            inverse = _inverse((x.T @ x).toarray(), self.reg)  # P, (n_active, n_active)
            inverse /= -np.diag(inverse)
            np.fill_diagonal(inverse, 0.0)
            self._weights = inverse  # B
        return self

    def score(self, history: sparse.csr_matrix) -> np.ndarray:
        """(n_users, n_items): history @ B; 0 for items that nobody liked in training."""
        history = check_history(history, self.n_items_)
        h = history[:, self.active_]
        if self.method_ == "users":
            common = (h @ self._x.T).toarray()  # (n_users, n_train_users), hardly sparse any more
            active = common @ self._map - h.multiply(self._d)  # (n_users, n_active)
            active = np.asarray(active) / (1.0 - self._d)
        else:
            active = h @ self._weights
        if len(self.active_) == self.n_items_:
            return active
        scores = np.zeros(history.shape)
        scores[:, self.active_] = active
        return scores


def bm25(train: sparse.csr_matrix, k1: float, b: float) -> sparse.csr_matrix:
    """Okapi BM25 weights of a user-item matrix: users are documents, items terms, counts the data.

    w_ui = idf_i * x_ui (k1 + 1) / (x_ui + k1 (1 - b + b n_u / mean n)), with
    idf_i = log(1 + (N - N_i + 0.5) / (N_i + 0.5)) (Robertson & Zaragoza 2009,
    doi:10.1561/1500000019; the 1 inside the log keeps it positive).
    """
    n_users, n_items = train.shape
    item_counts = np.bincount(train.indices, minlength=n_items)
    lengths = np.asarray(train.sum(axis=1)).ravel()
    idf = np.log1p((n_users - item_counts + 0.5) / (item_counts + 0.5))
    saturation = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-300))
    x = train.data
    weights = idf[train.indices] * x * (k1 + 1) / (x + np.repeat(saturation, np.diff(train.indptr)))
    return sparse.csr_matrix((weights, train.indices, train.indptr), shape=train.shape)


def _inverse(gram: np.ndarray, reg: float) -> np.ndarray:
    """(gram + reg I)^-1 of a positive semi-definite matrix, overwriting it.

    Cholesky factor, then LAPACK's potri, which inverts on one triangle: about n^3 operations,
    where solving for the identity takes 7/3 n^3.
    """
    n = len(gram)
    too_small = f"reg = {reg} is lost in rounding beside the likes' Gram matrix: raise reg"
    if reg < n * np.finfo(np.float64).eps * gram.diagonal().max():
        raise ValueError(too_small)
    # LAPACK takes Fortran order without a copy, and the transpose is the same matrix. OpenBLAS was
    # measured to factorise the upper triangle three times as fast as the lower one.
    gram = gram if gram.flags.f_contiguous else gram.T
    np.einsum("ii->i", gram)[:] += reg  # a view of the diagonal
    factor, info = linalg.lapack.dpotrf(gram, lower=False, overwrite_a=True, clean=False)
    if info == 0:
        inverse, info = linalg.lapack.dpotri(factor, lower=False, overwrite_c=True)
    if info:
        raise ValueError(too_small)
    inverse = inverse.T  # (n, n), C order, the lower triangle filled
    for start in range(0, n, 512):  # mirror it in blocks that fit the cache
        stop = min(start + 512, n)
        block = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = block + np.tril(block, -1).T
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
    return inverse
