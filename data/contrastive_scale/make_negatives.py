"""Every source of negatives with the same small model, steps and settings, in two worlds.

    python data/contrastive_scale/make_negatives.py films
    python data/contrastive_scale/make_negatives.py packages

writes `NAME_tuning.csv` (NDCG@10 of the tuning users at each temperature, one seed),
`NAME_users.csv.gz` (each test user's NDCG@10, mean of three seeds) and `NAME_facts.csv` (per arm
and seed: quality, temperature, weight w of popularity, how many examples fell back to uniform
negatives, effective rank of the item vectors). Chapter 9 reads them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import worlds
from worlds import SEEDS, UNIFORM

from recsys_tutorial.geometry import effective_rank

HERE = Path(__file__).parent


def hard(share: float, depth: int, **more) -> dict:
    """A share of hard negatives from a window of ranks, the others uniform."""
    mine = {k: more.pop(k) for k in ("skip", "margin", "denoise") if k in more}
    shares = {"uniform": 1 - share, "hard": share} if share < 1 else {"hard": 1.0}
    return {"kind": "sampled", "from": shares, "mine": {"depth": depth, **mine}, **more}


def drawn(correct: str | None, **shares) -> dict:
    return {"kind": "sampled", "from": shares, "correct": correct}


def batch(correct: str, **more) -> dict:
    return {"kind": "in batch", "correct": correct, **more}


HALF = {"uniform": 0.5, "popular": 0.5}
ARMS = {
    "uniform": UNIFORM,
    "uniform, whole sum": drawn("sum", uniform=1.0),
    "half popular": drawn(None, **HALF),
    "half popular, log q": drawn("all", **HALF),
    "0.3 hard, ranks 1-10": hard(0.3, 10),
    "0.3 hard, ranks 1-100": hard(0.3, 100),
    "0.3 hard, ranks 101-1000": hard(0.3, 900, skip=100),
    "all hard, ranks 1-10": hard(1.0, 10),
    "all hard, ranks 1-100": hard(1.0, 100),
    "0.3 hard, margin 1": hard(0.3, 100, margin=1.0),
    "0.3 hard, w held": hard(0.3, 100, hold=True),
    "0.3 hard, mined once, untrained": hard(0.3, 100, miner="untrained"),
    "0.3 hard, mined once, trained": hard(0.3, 100, miner="trained"),
    "0.3 hard, teacher agrees": hard(0.3, 100, denoise=0.95),
    "weight, h = 0.5": UNIFORM | {"hardness": 0.5},
    "weight normalised and debiased": UNIFORM | {"tau_plus": 0.01, "beta": 0.5},
    "debiased, 0.01": UNIFORM | {"tau_plus": 0.01},
    "in batch": batch("none"),
    "in batch, log q": batch("q"),
    "in batch, inclusion": batch("inclusion"),
    "in batch, all positives": batch("inclusion", several=True),
    "batch 64": {"kind": "queue", "batch": 64, "memory": 0},
    "batch 64, memory": {"kind": "queue", "batch": 64, "memory": 448},
    "batch 64, slow memory": {"kind": "queue", "batch": 64, "memory": 448, "slow": 0.9},
    "batch 512": {"kind": "queue", "batch": 512, "memory": 0},
    "all items": {"kind": "all"},
    "alignment alone": {"kind": "no negatives", "apart": "nothing"},
    "alignment + uniformity": {"kind": "no negatives", "apart": "uniformity"},
    "VICReg": {"kind": "no negatives", "apart": "variance"},
}
ON_PACKAGES = ["uniform", "half popular, log q", "0.3 hard, ranks 1-100", "0.3 hard, margin 1",
               "0.3 hard, teacher agrees", "0.3 hard, mined once, trained", "debiased, 0.01",
               "in batch", "in batch, log q", "in batch, inclusion", "batch 64",
               "batch 64, memory", "batch 512", "all hard, ranks 1-100", "all items"]  # fmt: skip
LONGER = {"uniform": 2, "0.3 hard, ranks 1-100": 2, "batch 64": 4}
GRIDS = {"films": (0.1, 0.2, 0.4, 0.8), "packages": (0.03, 0.06, 0.12, 0.24)}


def tune(world, how: dict, cache: dict) -> dict:
    """NDCG@10 by temperature; beyond an edge that is best, one step more, twice at most."""
    found = {}

    def look(tau):
        values, *_ = worlds.run(world, "tuning", how, tau, 0, cache)
        found[tau] = round(values.mean(), 4)

    for tau in GRIDS[world.name]:
        look(tau)
    for _ in range(2):
        best = max(found, key=found.get)
        if best == max(found):
            look(round(2 * best, 4))
        elif best == min(found):
            look(round(best / 2, 4))
    return found


def main() -> None:
    name = sys.argv[1]
    world, cache = {"films": worlds.Films, "packages": worlds.Packages}[name](), {}
    tuning, users, facts = [], {}, []
    if (HERE / f"{name}_users.csv.gz").exists():  # what is there already is left out
        users = dict(pd.read_csv(HERE / f"{name}_users.csv.gz", index_col="user_id"))
        tuning = pd.read_csv(HERE / f"{name}_tuning.csv").to_dict("records")
        facts = pd.read_csv(HERE / f"{name}_facts.csv").to_dict("records")
    arms = ARMS if name == "films" else {a: ARMS[a] for a in ON_PACKAGES}
    arms = {a: h for a, h in arms.items() if a not in users}
    if name == "packages":  # chapter 1's fading list is that of the films
        part, wish = world.parts["test"][0], world.split.test.without_history()
        scores = np.tile(part.log_n, (len(wish), 1))
        wanted = wish.targets[:, world.columns]
        users["prior alone"] = pd.Series(worlds.ndcg(scores, wanted, wish.targets), wish.user_ids)
    for arm, how in arms.items():
        began = time.time()
        found = tune(world, how, cache)
        best = max(found, key=found.get)
        tuning += [{"arm": arm, "temperature": t, "ndcg@10": v} for t, v in sorted(found.items())]
        for scale in (1, *((LONGER[arm],) if arm in LONGER else ())):
            label, seeds = arm if scale == 1 else f"{arm}, {scale} x steps", []
            for seed in SEEDS:
                values, parts, model = worlds.run(world, "test", how, best, seed, cache, scale)
                seeds.append(values)
                with torch.no_grad():
                    rank = effective_rank(model.items()[:, :-1].numpy())
                facts.append({
                    "arm": label, "seed": seed, "ndcg@10": values.mean(), "temperature": best,
                    "steps": sum(p["steps"] for p in parts), "w": parts[-1]["w"], "rank": rank,
                    "fallback": np.mean([p["fallback"] for p in parts]),
                })  # fmt: skip
            users[label] = sum(seeds) / len(seeds)
            print(f"{label}: {best} {found[best]:.4f} test {users[label].mean():.4f}",
                  f"{time.time() - began:.0f} s", flush=True)  # fmt: skip
        save(name, tuning, facts, users)
    save(name, tuning, facts, users)


def save(name: str, tuning: list, facts: list, users: dict) -> None:
    """The three tables of a world."""
    pd.DataFrame(tuning).to_csv(HERE / f"{name}_tuning.csv", index=False)
    pd.DataFrame(facts).round(4).to_csv(HERE / f"{name}_facts.csv", index=False)
    packed = {"method": "gzip", "mtime": 1}
    table = pd.DataFrame(users).rename_axis("user_id").round(5)
    table.to_csv(HERE / f"{name}_users.csv.gz", compression=packed)


if __name__ == "__main__":
    main()
