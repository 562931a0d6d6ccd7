"""EASE against the usual dense solution and window after window; neighbours against implicit."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import linalg, sparse

from benchmarks.harness import THREADS, Row, compare_speed
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import Evaluation, evaluate, evaluate_rolling
from recsys_tutorial.models import EASE, ItemKNN
from recsys_tutorial.splits import Split, SteadyRows, new_user_split, rolling_split

REG = 200.0


def run() -> list[Row]:
    split = new_user_split(*load_movielens()).refit()
    return [
        *_ease("users", split.train, split.test.history),
        *_ease("items", _resampled(split.train, 6000), split.test.history),
        *_rolling(split),
        *_item_knn(split.train),
    ]


def _usual(train: sparse.csr_matrix) -> np.ndarray:
    """EASE as it is usually written: Cholesky, then a solve for the identity."""
    gram = (train.T @ train).toarray()
    gram[np.diag_indices_from(gram)] += REG
    inverse = linalg.cho_solve(linalg.cho_factor(gram), np.eye(len(gram)))
    weights = inverse / -np.diag(inverse)
    weights[np.diag_indices_from(weights)] = 0.0
    return weights


def _ease(method: str, train: sparse.csr_matrix, history: sparse.csr_matrix) -> list[Row]:
    # The items that nobody liked are left out for both sides: that helps the usual way, which would
    # otherwise invert a matrix of all 9,066 items.
    liked = np.unique(train.indices)
    train, history = train[:, liked], history[:, liked]
    model = EASE(REG).fit(train)
    assert model.method_ == method, f"this case was to invert the matrix of {method}"
    np.testing.assert_allclose(model.score(history), history @ _usual(train), rtol=0, atol=1e-10)
    n_users, n_items = train.shape
    what = "MovieLens small" if method == "users" else "resampled users"
    return compare_speed(
        f"EASE fit, {what}, {n_users:,} x {n_items:,} ({method})",
        {
            "recsys_tutorial": lambda: EASE(REG).fit(train),
            "scipy cho_solve": lambda: _usual(train),
        },
        target=2.0,
        repeat=5,
    )


def _rolling(frozen: Split) -> list[Row]:
    """What it costs to retrain before each window in time, and not once."""
    windows = rolling_split(*load_movielens()).test

    def warm() -> Evaluation:
        rows, model = SteadyRows(), EASE(REG, warm_start=True)
        return evaluate_rolling(lambda w: model.fit(w.train[rows(w)]), windows)

    def anew() -> Evaluation:
        return evaluate_rolling(lambda w: EASE(REG).fit(w.train), windows)

    assert abs(warm()["ndcg@10"] - anew()["ndcg@10"]) < 1e-8
    return compare_speed(
        f"EASE fit and evaluation, {len(windows)} windows in time, warm starts",
        {
            "recsys_tutorial": warm,
            "fitted once": lambda: evaluate(EASE(REG).fit(frozen.train), frozen.test),
            "anew each time": anew,
        },
        {"fitted once": 0.25},  # less than four times as long
        repeat=5,
    )


def _resampled(train: sparse.csr_matrix, n_users: int) -> sparse.csr_matrix:
    """More users than items: drawn from the real ones, each with a random fifth of the likes.

    That leaves 16 likes a user, so that what is timed is the inversion and not the co-counting,
    which both sides do alike.
    """
    rng = np.random.default_rng(0)
    drawn = train[rng.integers(train.shape[0], size=n_users)]
    drawn.data = (rng.random(drawn.nnz) < 0.2).astype(float)
    drawn.eliminate_zeros()
    return drawn


def _item_knn(train: sparse.csr_matrix) -> list[Row]:
    from implicit.nearest_neighbours import CosineRecommender

    k = 100
    # implicit counts an item among its own k neighbours.
    peer = CosineRecommender(K=k + 1, num_threads=THREADS)

    def theirs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it converts coo to csr inside, and says so
            peer.fit(train, show_progress=False)

    theirs()
    ours = ItemKNN(k).fit(train).similarity_
    # Row i holds the neighbours of i there, column i here; equally similar ones may differ at the
    # k-th place, so what is compared is how similar each item's neighbours are.
    similar = peer.similarity.tolil()
    similar.setdiag(0.0)
    similar = similar.tocsr()
    np.testing.assert_allclose(_rows(similar, k), _rows(ours.T.tocsr(), k), rtol=0, atol=1e-12)
    return compare_speed(
        f"ItemKNN(k={k}, cosine) fit, MovieLens small, {train.shape[0]} x {train.shape[1]:,}",
        {"recsys_tutorial": lambda: ItemKNN(k).fit(train), "implicit": theirs},
        target=1.0,
    )


def _rows(matrix: sparse.csr_matrix, k: int) -> np.ndarray:
    """The values of each row, largest first, padded with 0 to k."""
    values = np.zeros((matrix.shape[0], k))
    for row, padded in enumerate(values):
        own = np.sort(matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]])[::-1][:k]
        padded[: len(own)] = own
    return values
