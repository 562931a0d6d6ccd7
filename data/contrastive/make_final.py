"""Blend the tower with fading EASE and neighbours; replace each part by something cheaper.

    PYTHONPATH=. python data/contrastive/make_final.py      # about fifteen minutes on one core

Weights are chosen on the tuning windows for every arm anew, from one grid: a setting is judged by
the mean over itself and its eight neighbours. The tower on counted words gets six temperatures, at
the epochs of the tower on BERT's vectors. Three seeds on the test windows. Written beside this
file: `final_tuning.csv` and `final.csv.gz` (each test user's values, mean over the seeds). Lines
printed are kept in `make_final.log`.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pandas as pd
import torch
from make_losses import LOSSES, SEEDS, TEMPERATURES, World, save, say

from recsys_tutorial import evaluation
from recsys_tutorial.course import bert_titles, contrastive_towers, counted_titles, fading_ease
from recsys_tutorial.course._features import bert_texts, counted_texts
from recsys_tutorial.course._fits import two_tower
from recsys_tutorial.models import EASE, ContentKernel, unit_rows
from recsys_tutorial.ranking import standardize

TAU, EPOCHS = 0.2, (16, 4)  # what make_losses.py chose for InfoNCE + logQ
KERNEL_WEIGHTS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
TOWER_WEIGHTS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
ARMS = {
    "all parts": ("fading EASE", "BERT kernel", "InfoNCE tower"),
    "no tower": ("fading EASE", "BERT kernel", "nothing"),
    "the prior for the tower": ("fading EASE", "BERT kernel", "prior"),
    "counted words in the tower": ("fading EASE", "BERT kernel", "TF-IDF tower"),
    "chapter 4's tower": ("fading EASE", "BERT kernel", "catalogue tower"),
    "counted words in the kernel": ("fading EASE", "TF-IDF kernel", "InfoNCE tower"),
    "EASE that does not fade": ("EASE", "BERT kernel", "InfoNCE tower"),
    "no EASE": ("nothing", "BERT kernel", "InfoNCE tower"),
    "no kernel": ("fading EASE", "nothing", "InfoNCE tower"),
}


def scores_of(fit, windows) -> list[np.ndarray]:
    """Each window's standardised scores."""
    return [standardize(fit(w).score(w.test.history)) for w in windows]


def judge(scores: list, windows) -> evaluation.Evaluation:
    queue = iter(scores)
    return evaluation.evaluate_rolling(lambda _: next(queue), windows)


def blend(parts: dict, arm: str, weights: tuple) -> list[np.ndarray]:
    """The weighted sum of an arm's three parts."""
    windows = zip(*(parts[name] for name in ARMS[arm]), strict=True)
    return [sum(w * z for w, z in zip((1.0, *weights), three, strict=True)) for three in windows]


def fixed(world: World, windows) -> dict:
    """What has no seed."""
    items = windows[0].items
    kernels = {
        "BERT kernel": ContentKernel(bert_titles(items), 1.0, center=False),
        "TF-IDF kernel": ContentKernel(counted_titles(items), 2.0, center=False),
    }
    parts = {n: scores_of(lambda w, k=k: k, windows) for n, k in kernels.items()}
    parts["EASE"] = scores_of(lambda w: EASE(200.0).fit(w.train), windows)
    parts["fading EASE"] = scores_of(fading_ease, windows)
    n_likes = [np.asarray(w.faded(2_000, "likes").sum(axis=0)) for w in windows]
    parts["prior"] = [standardize(np.tile(np.log1p(n), (len(w.test), 1)))
                      for n, w in zip(n_likes, windows, strict=True)]  # fmt: skip
    parts["nothing"] = [np.zeros_like(s) for s in parts["prior"]]
    return parts


def main() -> None:
    torch.set_num_threads(1)
    world, rows = World(), []
    items, loss = world.rolling.test[0].items, LOSSES["InfoNCE + logQ"]
    words = unit_rows(counted_texts(items), center=True)

    def tower(features, temperature):
        options = {"epochs": EPOCHS, "dtype": torch.float32}
        return lambda seed: contrastive_towers(features, loss, temperature, seed=seed, **options)

    tried = {}
    for temperature in TEMPERATURES[:6]:
        found = scores_of(tower(words, temperature)(0), world.rolling.tuning)
        tried[temperature] = judge(found, world.rolling.tuning)["ndcg@10"]
        say("counted words", temperature, round(tried[temperature], 4))
    temperature = max(tried, key=tried.get)
    begin = {"InfoNCE tower": tower(world.features, TAU), "TF-IDF tower": tower(words, temperature),
             "catalogue tower": two_tower(bert_texts, 20.0)}  # fmt: skip
    parts, chosen = fixed(world, world.rolling.tuning), {}
    for name, start in begin.items():
        parts[name] = scores_of(start(0), world.rolling.tuning)
        say(name, "tuning users", round(judge(parts[name], world.rolling.tuning)["ndcg@10"], 4))
    for arm in ARMS:
        table = pd.DataFrame(index=KERNEL_WEIGHTS, columns=TOWER_WEIGHTS, dtype=float)
        for b, a in itertools.product(KERNEL_WEIGHTS, TOWER_WEIGHTS):
            found = judge(blend(parts, arm, (b, a)), world.rolling.tuning)
            table.loc[b, a] = found["ndcg@10"]
        smooth = table.rolling(3, center=True).mean().T
        smooth = smooth.rolling(3, center=True).mean().T.stack().dropna()
        chosen[arm] = smooth.round(4).idxmax()
        rows.append((arm, *chosen[arm], smooth[chosen[arm]]))
        say(arm, chosen[arm], round(smooth[chosen[arm]], 4))
    columns = ["arm", "kernel", "tower", "ndcg@10"]
    save(pd.DataFrame(rows, columns=columns), "final_tuning.csv", index=False)
    parts, runs = fixed(world, world.rolling.test), {}
    for seed in SEEDS:
        for name, start in begin.items():
            parts[name] = scores_of(start(seed), world.rolling.test)
        for name in ("InfoNCE tower", "TF-IDF tower", "catalogue tower", "fading EASE", "prior"):
            runs.setdefault(name, []).append(judge(parts[name], world.rolling.test))
        for arm, weights in chosen.items():
            found = judge(blend(parts, arm, weights), world.rolling.test)
            runs.setdefault(arm, []).append(found)
        say("seed", seed, {n: round(r[-1]["ndcg@10"], 4) for n, r in runs.items()})
    values = {}
    for name, found in runs.items():
        for metric in ("ndcg@10", "recall@20"):
            values[f"{name}|{metric}"] = sum(e.values(metric) for e in found) / len(found)
    save(pd.DataFrame(values), "final.csv.gz", index_label="user_id")


if __name__ == "__main__":
    sys.exit(main())
