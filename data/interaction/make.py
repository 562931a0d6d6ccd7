"""Chapter 6's comparison: every design tuned alike, then judged with three seeds.

    PYTHONPATH=. python data/interaction/make.py      # about half an hour on one core, no GPU

All designs reorder the same lists of 200 films of the same first stage, which the training users
get from a first stage that was fitted without them. Each takes the same number of steps, the same
two weights for the first stage's score and fading popularity, and the best of seven learning rates
by NDCG@10 on the tuning users; an eighth, higher one is only looked at, to see whether the rows go
on rising. Then three seeds on the test windows, warm-started from window to window. Written beside
this file: `tuning.csv` and `users.csv.gz` (each test user's NDCG@10, mean over seeds). The lines
printed are kept in `make.log`.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_tutorial import models, splits
from recsys_tutorial.course import FirstStage, film_parts, window_lists
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate_rolling
from recsys_tutorial.models import InteractionRanker

HERE = Path(__file__).parent
DIM, FIRST, LATER, BATCH = 16, 20, 4, 64
RATES, DECAY = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3), 3.0
SEEDS = (0, 1, 2)


def dot(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Multiply row by row: u . v."""
    return (users * items).sum(1)


# Of k times the width.
DESIGNS = {
    "two weights alone": lambda k: None,
    "dot product": lambda k: dot,
    "GMF": lambda k: models.GMF(k * DIM),
    "crossed features": lambda k: models.FeatureCrosses(28),
    "factorization machine": lambda k: models.FactorizationMachine(k * DIM, k * 8),
    "MLP": lambda k: models.MLP(k * DIM, k * 32),
    "NeuMF": lambda k: models.NeuMF(k * DIM, k * 32),
    "ConvNCF": lambda k: models.ConvNCF(k * DIM, k * 8),
    "target attention": lambda k: models.TargetAttention(k * DIM, k * 16),
    "DIN": lambda k: models.TargetAttention(k * DIM, k * 16, mlp=k * 32),
    "pair attention, 3 vectors": lambda k: models.PairAttention(k * DIM, k * 8),
    "MaxSim, 3 vectors": lambda k: models.BestPartners(),
}


class Study:
    """Windows with their lists, and the films' features."""

    def __init__(self, parts: list[np.ndarray], windows, lists):
        self.parts, self.windows, self.lists = parts, windows, lists

    def ranker(self, name: str, seed: int, wide: int = 1) -> InteractionRanker:
        """Build a design, untrained. Crossed features read genres and decades as they are."""
        torch.manual_seed(seed)
        design, crossed = DESIGNS[name](wide), name == "crossed features"
        parts = [np.hstack(self.parts[1:])] if crossed else self.parts
        return InteractionRanker(parts, design, None if crossed else wide * DIM)

    def judge(
        self, name: str, rate: float, seed: int = 0, decay: float = DECAY, times: int = 1
    ) -> pd.Series:
        """Each user's NDCG@10, the ranker trained on from window to window.

        `times` as many steps and as wide.
        """
        ranker, places = self.ranker(name, seed, times), iter(range(len(self.lists)))

        def fit(split) -> np.ndarray:
            number = next(places)
            learned, judged = self.lists[number]
            ranker.fit(learned, epochs=times * (LATER if number else FIRST), learning_rate=rate,
                       weight_decay=decay, seed=seed, batch_size=BATCH)  # fmt: skip
            return judged.full(ranker.score(judged).round(9))

        try:
            return evaluate_rolling(fit, self.windows).values("ndcg@10")
        except FloatingPointError:  # it diverged
            return pd.Series(np.nan, evaluate_rolling(self._zeros, self.windows).per_user.index)

    @staticmethod
    def _zeros(split) -> np.ndarray:
        return np.zeros(split.test.targets.shape)

    def of_scores(self, score) -> pd.Series:
        """Each user's NDCG@10 for a function of a window's lists."""
        full = iter([judged.full(score(judged)) for _, judged in self.lists])
        return evaluate_rolling(lambda _: next(full), self.windows).values("ndcg@10")


def say(*what) -> None:
    print(*what, f"{time.process_time():.0f} s", flush=True)


def tune(study: Study, path: Path = HERE / "tuning.csv") -> pd.DataFrame:
    """Eight learning rates for each design, but those that the file has; nan where one diverged."""
    columns, rows = ["model", "learning_rate", "ndcg@10"], []
    known = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)
    known = known.set_index(columns[:2])["ndcg@10"]
    for name in DESIGNS:
        for rate in RATES:
            there = (name, rate) in known.index
            value = known[name, rate] if there else study.judge(name, rate).mean()
            rows.append((name, rate, value))
        say(name, [round(float(row[-1]), 4) for row in rows[-len(RATES) :]])
        pd.DataFrame(rows, columns=columns).round(5).to_csv(path, index=False)
    return pd.read_csv(path)


def films():
    """The tuning and test windows of MovieLens small as studies, and the films."""
    rolling = splits.rolling_split(*load_movielens())
    items, last = rolling.test[0].items, rolling.test[-1]
    everybody = [w.test.history.indices for w in (*rolling.tuning, *rolling.test)]
    liked = np.unique(np.concatenate([last.train.indices, *everybody]))
    first, parts = FirstStage(items, liked), film_parts(items)
    make = partial(window_lists, first)
    return [Study(parts, w, make(w)) for w in (rolling.tuning, rolling.test)], items


def main() -> None:
    torch.set_num_threads(1)
    (tuning, test), _ = films()
    say("lists", [len(learned) for learned, _ in (*tuning.lists, *test.lists)])
    users = {"first stage": test.of_scores(lambda lists: lists.retriever)}
    users["fading popularity, same lists"] = test.of_scores(lambda lists: lists.log_popularity)
    say("first stage", tuning.of_scores(lambda lists: lists.retriever).mean(),
        users["first stage"].mean())  # fmt: skip
    frame = tune(tuning)
    frame = frame[frame["learning_rate"] < RATES[-1]]
    frame = frame.loc[frame.groupby("model", sort=False)["ndcg@10"].idxmax()]
    best = dict(zip(frame["model"], frame["learning_rate"], strict=True))
    for name, rate in best.items():
        runs = [test.judge(name, rate, seed=seed) for seed in SEEDS]
        users[name] = sum(runs) / len(runs)
        say("test", name, rate, [round(run.mean(), 4) for run in runs])
        pd.DataFrame(users).round(5).to_csv(HERE / "users.csv.gz", index_label="user_id")


if __name__ == "__main__":
    sys.exit(main())
