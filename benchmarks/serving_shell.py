"""The service, or the same service around implicit's model: what `bench_serving` asks.

    python -m benchmarks.serving_shell ours serve FOLDER --port 0
    python -m benchmarks.serving_shell implicit serve FOLDER --port 0

Everything but the step from likes to a list is the same code.
"""

import sys

import numpy as np

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.serving.service import Engine, running
from recsys_tutorial.serving.service.__main__ import main
from recsys_tutorial.splits import rolling_split


def peer_engine(artefact, index="exact", search=None) -> Engine:
    """An engine whose lists are made by implicit: the same likes, factors and settings."""
    from implicit.cpu.als import AlternatingLeastSquares

    split = rolling_split(*load_movielens()).test[-1]
    model = AlternatingLeastSquares(32, regularization=10.0, alpha=3.0, iterations=15,
                                    num_threads=1, random_state=0)  # fmt: skip
    model.fit(split.faded(64000, "likes").astype(np.float32), show_progress=False)

    class Peer(Engine):
        def _by_model(self, history, seen, k):
            # implicit leaves out what is liked; the benchmark hides nothing beside
            return model.recommend(
                np.arange(history.shape[0]), history.astype(np.float32), N=k,
                filter_already_liked_items=True, recalculate_user=True,
            )  # fmt: skip

    return Peer(artefact, index, search)


if __name__ == "__main__":
    if sys.argv[1] == "implicit":
        running.Engine = peer_engine
    sys.exit(main(sys.argv[2:]))
