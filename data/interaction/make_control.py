"""Chapter 6's positive control: the same lists and rankers, without the first stage's score.

    PYTHONPATH=. python data/interaction/make_control.py   # about four minutes on one core, no GPU

What a ranker cannot add to a first stage's score it may well have learned: here the score is 0, so
that order and likes must come from popularity and the interaction. Same rates, steps and seeds as
`make.py`. Written beside this file: `control.csv.gz`, each test user's NDCG@10, mean over seeds;
and `order.csv`: a dot product trained so, its vectors frozen, ConvNCF trained on their maps with
the dimensions in the order of training, in another one, or in a different one on either side, on
the last tuning window.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pandas as pd
import torch
from make import BATCH, DECAY, DIM, FIRST, HERE, RATES, SEEDS, Study, films, say

ORDERS = ("as trained", "same on both sides", "different on the sides")


def blind(study: Study) -> Study:
    """The same lists, the first stage's score left out."""
    pairs = [[dataclasses.replace(part, retriever=np.zeros(part.retriever.shape)) for part in pair]
             for pair in study.lists]  # fmt: skip
    return Study(study.parts, study.windows, pairs)


def conv(study: Study, start, kind: str, draw: int, rate: float) -> tuple[float, float]:
    """NDCG@10 and last loss of ConvNCF on the maps of frozen vectors, in one kind of order."""
    rng, kept = np.random.default_rng(draw), np.arange(DIM)
    users = kept if kind == "as trained" else rng.permutation(DIM)
    items = rng.permutation(DIM) if kind == "different on the sides" else users
    ranker = study.ranker("ConvNCF", draw)
    for head, own, new in (
        (ranker.user_head, start.user_head, users),
        (ranker.item_head, start.item_head, items),
    ):
        head.weight.data.copy_(own.weight.data[new])
        head.requires_grad_(False)
    ranker.fit(study.lists[0][0], learning_rate=rate, epochs=FIRST, batch_size=BATCH,
               weight_decay=DECAY, seed=draw)  # fmt: skip
    return study.of_scores(ranker.score).mean(), ranker.history_["loss"].iloc[-3:].mean()


def order(study: Study, rate: float, n_draws: int = 3) -> None:
    """Three kinds of order, several draws of each; the rate chosen for the order of training."""
    study = Study(study.parts, study.windows[-1:], study.lists[-1:])
    start = study.ranker("dot product", 0)
    start.fit(study.lists[0][0], learning_rate=rate, epochs=FIRST, batch_size=BATCH,
              weight_decay=DECAY, seed=0)  # fmt: skip
    rows = [("the dot product itself", 0, study.of_scores(start.score).mean(),
             start.history_["loss"].iloc[-3:].mean())]  # fmt: skip
    losses = {r: conv(study, start, ORDERS[0], 9, r)[1] for r in (0.001, 0.003, 0.01, 0.03, 0.1)}
    rate = min(losses, key=lambda r: np.nan_to_num(losses[r], nan=np.inf))
    say("ConvNCF's loss by rate", losses)
    for kind in ORDERS:
        rows += [(kind, draw, *conv(study, start, kind, draw, rate)) for draw in range(n_draws)]
        say(*rows[-1])
    frame = pd.DataFrame(rows, columns=["order", "draw", "ndcg@10", "loss"])
    frame.round(5).to_csv(HERE / "order.csv", index=False)


def main() -> None:
    torch.set_num_threads(1)
    (tuning, test), _ = films()
    tuning, test, users = blind(tuning), blind(test), {}
    for name in ("two weights alone", "dot product", "target attention"):
        tried = {rate: tuning.judge(name, rate).mean() for rate in RATES}
        rate = max(tried, key=lambda r: np.nan_to_num(tried[r]))
        runs = [test.judge(name, rate, seed=seed) for seed in SEEDS]
        users[name] = sum(runs) / len(runs)
        say(name, {r: round(v, 4) for r, v in tried.items()}, [round(r.mean(), 4) for r in runs])
        pd.DataFrame(users).round(5).to_csv(HERE / "control.csv.gz", index_label="user_id")
        if name == "dot product":
            order(tuning, rate)


if __name__ == "__main__":
    sys.exit(main())
