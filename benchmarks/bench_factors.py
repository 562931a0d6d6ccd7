"""Fits of factors at settings that are given: equal ones for ImplicitALS and implicit.

`bench_matrix_factorization` tunes both sides, which takes long; here the settings stand, and what
both sides reach is checked before anything is timed.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.bench_matrix_factorization import (
    COLUMNS,
    SCALE,
    THEIR_ITERATIONS,
    cornac_rmse,
    hu_objective,
)
from benchmarks.harness import THREADS, Row, compare_speed
from recsys_tutorial import splits
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.metrics import rmse
from recsys_tutorial.models import BiasedMF, ImplicitALS

BIASED_MF = {"factors": 16, "reg": 12.0, "bias_reg": 3.0, "iterations": 5}  # amid the grid there


def run() -> list[Row]:
    ratings = load_movielens().ratings
    return implicit_feedback(ratings) + rating_prediction(ratings)


def implicit_feedback(ratings) -> list[Row]:
    """The same factors, penalty, confidence, iterations and precision on both sides."""
    from implicit.cpu.als import AlternatingLeastSquares

    users, items = (np.unique(ratings[column]) for column in ("user_id", "item_id"))
    every = splits.to_matrix(ratings, users, items, np.ones(len(ratings)))
    single, rows = every.astype(np.float32), []
    for factors in (32, 64):
        ours = ImplicitALS(factors, 10.0, 10.0, THEIR_ITERATIONS, solver="cg")

        def theirs(factors=factors):
            model = AlternatingLeastSquares(
                factors=factors,
                regularization=10.0,
                alpha=11.0,  # its confidence is alpha r, ours 1 + alpha r
                iterations=THEIR_ITERATIONS,
                num_threads=THREADS,
                random_state=0,
            )
            model.fit(single, show_progress=False)
            return model

        peer, ours = theirs(), ours.fit(every)
        reached = [
            hu_objective(every, x.astype(float), y.astype(float), 10.0, 10.0)
            for x, y in (
                (ours.user_factors_, ours.item_factors_),
                (peer.user_factors, peer.item_factors),
            )
        ]
        text = "  objective with {} factors: ImplicitALS {:.0f}, implicit {:.0f}"
        print(text.format(factors, *reached), file=sys.stderr)
        assert reached[0] <= reached[1], "ImplicitALS has converged less than implicit"
        rows += compare_speed(
            f"implicit feedback, {every.nnz:,} pairs, {factors} factors, {THEIR_ITERATIONS} "
            "iterations of conjugate gradients",
            {"ImplicitALS": lambda ours=ours: ours.fit(every), "implicit ALS": theirs},
            target=1.0,
            repeat=11,
        )
    return rows


def rating_prediction(ratings) -> list[Row]:
    """BiasedMF, Surprise's default, and cornac's 100 factors: ours has the lowest error."""
    import cornac
    from surprise import SVD, Dataset, Reader

    train, test = splits.random_split(ratings, 0.2, seed=42)
    data = Dataset.load_from_df(train[COLUMNS], Reader(rating_scale=SCALE)).build_full_trainset()
    triples = cornac.data.Dataset.from_uir(list(train[COLUMNS].itertuples(index=False)), seed=0)

    def cornac_fit():
        return cornac.models.MF(
            k=100, max_iter=20, seed=0, num_threads=THREADS, backend="cpu", verbose=False
        ).fit(triples)

    def ours():
        return BiasedMF(**BIASED_MF).fit(train)

    def surprise_fit():
        return SVD(random_state=0).fit(data)

    svd, pairs = surprise_fit(), zip(test["user_id"], test["item_id"], strict=True)
    errors = [
        rmse(test["rating"], ours().predict(test["user_id"], test["item_id"])),
        rmse(test["rating"], [svd.predict(u, i).est for u, i in pairs]),
        cornac_rmse(cornac_fit(), triples, test),
    ]
    print(
        "  test RMSE: ours {:.4f}, Surprise {:.4f}, cornac {:.4f}".format(*errors), file=sys.stderr
    )
    assert errors[0] < min(errors[1:]), "a peer has the lower error"
    return compare_speed(
        f"rating prediction, fit on {len(train):,}: BiasedMF ({BIASED_MF['factors']} factors)",
        {
            "BiasedMF": ours,
            "Surprise SVD, default": surprise_fit,
            "cornac MF, 100 factors": cornac_fit,
        },
        {"Surprise SVD, default": 2.0, "cornac MF, 100 factors": 1.0},
    )
