"""Chapter 6's ranking stage: models of a log of impressions, one objective and two, tuned alike.

    PYTHONPATH=. python data/interaction/make_ranking.py      # five minutes on one core, no GPU

The log is `datasets.impression_log` of MovieLens small, split in time: the first 60 % train, the
next 20 % choose the learning rate (six of them for each model) and calibrate, the last 20 % judge.
Same epochs for all, three seeds. Written beside this file: `ranking_tuning.csv`; `ranking.csv` (a
row per model, seed and objective: log loss, AUC, calibration error before and after Platt scaling);
`ranking_users.csv.gz` (AUC and NDCG@10 of each test user's rows, mean over seeds). The lines
printed are kept in `make_ranking.log`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from recsys_tutorial import evaluation
from recsys_tutorial.course import log_features
from recsys_tutorial.datasets import impression_log, load_movielens
from recsys_tutorial.models import DCN, MMoE, SharedBottom, fit_probabilities

HERE = Path(__file__).parent
RATES, SEEDS, EPOCHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1), (0, 1, 2), 3
LOSS = "log loss"
# Which features, and the model of so many; one objective: was it liked?
LIKED = {
    "user's share of likes alone": (["user_share"], lambda n: DCN(n, 0)),
    "logistic, without context": ("film", lambda n: DCN(n, 0)),
    "logistic": ("all", lambda n: DCN(n, 0)),
    "crosses, 1 layer": ("all", lambda n: DCN(n, 1)),
    "crosses, 2 layers": ("all", lambda n: DCN(n, 2)),
    "MLP": ("all", lambda n: DCN(n, 0, 64)),
    "DCN-v2": ("all", lambda n: DCN(n, 2, 64)),
}
# Two objectives, rated and liked if rated: models of which columns of the labels.
BOTH = {
    "two models": [
        (lambda n: SharedBottom(n, 32, 1), [0]),
        (lambda n: SharedBottom(n, 32, 1), [1]),
    ],
    "shared bottom": [(lambda n: SharedBottom(n, 64), [0, 1])],
    "MMoE": [(lambda n: MMoE(n, 16, 4), [0, 1])],
}


def logits_of(make, x: dict, labels: np.ndarray, rate: float, seed: int) -> dict:
    """Train on one part; logits (n, n_tasks) of the others."""
    torch.manual_seed(seed)
    model = make(x["train"].shape[1]).double()
    fit_probabilities(
        model, x["train"], labels, epochs=EPOCHS, learning_rate=rate, weight_decay=0.01, seed=seed
    )
    with torch.no_grad():
        parts = {part: model(torch.from_numpy(x[part])) for part in ("tuning", "test")}
    return {part: found.numpy().round(9) for part, found in parts.items()}


def log_loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean of log(1 + exp(-logit)) where 1, log(1 + exp(logit)) where 0."""
    return float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())


def judged(labels: dict, logits: dict) -> dict:
    """Of one objective's rows."""
    y, z = labels["test"], logits["test"]
    a, b = evaluation.platt_scaling(labels["tuning"], logits["tuning"])
    return {
        LOSS: log_loss(y, z),
        "auc": evaluation.auc(y, z),
        "ece": evaluation.calibration_error(y, expit(z)),
        "ece, Platt": evaluation.calibration_error(y, expit(a * z + b)),
    }


def tuned(name: str, make, x: dict, y: dict, rows: list) -> float:
    """The best rate by the log loss of the tuning rows, summed over objectives."""
    tried = {}
    for rate in RATES:
        z, own = logits_of(make, x, y["train"], rate, 0)["tuning"], y["tuning"]
        known = ~np.isnan(own)
        tried[rate] = sum(log_loss(own[k, t], z[k, t]) for t, k in enumerate(known.T))
        rows.append((name, rate, tried[rate]))
    print(name, {rate: round(v, 4) for rate, v in tried.items()}, flush=True)
    return min(tried, key=tried.get)


def main() -> None:
    torch.set_num_threads(1)
    movielens, started = load_movielens(), time.time()
    log = impression_log(*movielens)
    parts = np.array_split(np.arange(len(log)), [int(0.6 * len(log)), int(0.8 * len(log))])
    parts = dict(zip(("train", "tuning", "test"), parts, strict=True))
    print(len(log), "rows", {p: len(np.unique(log["user_id"].iloc[r])) for p, r in parts.items()},
          f"{time.time() - started:.0f} s")  # fmt: skip
    every = log_features(log, movielens.items, parts["train"])
    columns = {"all": list(every), "film": [c for c in every if c not in
               ("age", "hour_sin", "hour_cos", "log_activity", "user_share")]}  # fmt: skip
    liked = (log["liked"] == 1).to_numpy()
    users, rows, trials = {}, [], []
    test, who = parts["test"], log["user_id"].to_numpy()[parts["test"]]

    def keep(name, scores):
        quality = evaluation.group_quality(liked[test], scores, who)
        users[name] = users.get(name, 0) + quality / len(SEEDS)

    for name, (chosen, make) in LIKED.items():
        chosen = columns.get(chosen, chosen) if isinstance(chosen, str) else chosen
        x = {p: every[chosen].to_numpy()[r] for p, r in parts.items()}
        y = {p: liked[r].astype(float)[:, None] for p, r in parts.items()}
        rate = tuned(name, make, x, y, trials)
        for seed in SEEDS:
            z = logits_of(make, x, y["train"], rate, seed)
            z = {p: found[:, 0] for p, found in z.items()}
            rows.append({"model": name, "objective": "liked", "seed": seed}
                        | judged({p: y[p][:, 0] for p in z}, z))  # fmt: skip
            keep(name, z["test"])
        print(rows[-1], f"{time.time() - started:.0f} s", flush=True)
    x = {p: every.to_numpy()[r] for p, r in parts.items()}
    both = log[["rated", "liked"]].to_numpy(float)
    for name, models in BOTH.items():
        rates = []
        for make, tasks in models:
            y = {p: both[r][:, tasks] for p, r in parts.items()}
            rated = ~np.isnan(y["train"]).all(axis=1)  # a model of likes alone sees rated rows
            x_own = x | {"train": x["train"][rated]}
            y["train"] = y["train"][rated]
            rates.append((make, tasks, x_own, y, tuned(f"{name} {tasks}", make, x_own, y, trials)))
        for seed in SEEDS:
            z = {p: np.zeros((len(parts[p]), 2)) for p in ("tuning", "test")}
            for make, tasks, x_own, y, rate in rates:
                found = logits_of(make, x_own, y["train"], rate, seed)
                for p in z:
                    z[p][:, tasks] = found[p]
            for task, objective in enumerate(("rated", "liked if rated")):
                known = {p: ~np.isnan(both[parts[p], task]) for p in z}
                rows.append({"model": name, "objective": objective, "seed": seed} | judged(
                    {p: both[parts[p], task][known[p]] for p in z},
                    {p: z[p][known[p], task] for p in z}))  # fmt: skip
            product = -np.logaddexp(0, -z["test"]).sum(axis=1)  # log P(rated) P(liked | rated)
            rows.append({"model": name, "objective": "liked", "seed": seed, LOSS: np.nan,
                         "auc": evaluation.auc(liked[test], product)})  # fmt: skip
            keep(name, product.round(9))
        print(rows[-3:], f"{time.time() - started:.0f} s", flush=True)
    pd.DataFrame(trials, columns=["model", "learning_rate", LOSS]).round(5).to_csv(
        HERE / "ranking_tuning.csv", index=False)  # fmt: skip
    pd.DataFrame(rows).round(5).to_csv(HERE / "ranking.csv", index=False)
    found = pd.concat(users, names=["model", "user_id"]).round(5)
    found.to_csv(HERE / "ranking_users.csv.gz")


if __name__ == "__main__":
    sys.exit(main())
