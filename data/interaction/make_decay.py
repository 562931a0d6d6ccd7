"""Chapter 6's weight decay: does a ranker gain from another one?

    PYTHONPATH=. python data/interaction/make_decay.py   # about ten minutes on one core, no GPU

`make.py` shrinks every matrix by the learning rate times 3 at each step. Here seven of its designs
choose again on the tuning users, one seed, among twenty pairs of weight decay and learning rate,
the eight of `make.py` among them; while the best pair has a neighbour that was not tried, its
neighbours follow, so that it never lies at an edge. The pair chosen goes to the test windows, three
seeds. The dot product is also tuned without the first stage's score, as in `make_control.py`.
Written beside this file: `decay.csv`, NDCG@10 on the tuning users, and `decay_users.csv.gz`, each
test user's NDCG@10, mean over seeds, a column for each design and its pair. What the files have
already is left out, and a pair that `make.py` or `make_control.py` chose is read from their files.
The lines printed are kept in `make_decay.log`.
"""

from __future__ import annotations

import sys

import pandas as pd
import torch
from make import DECAY, HERE, SEEDS, Study, films, say
from make_control import blind

RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DECAYS = (0.0, 0.1, 0.3, 1.0, DECAY, 10.0, 30.0, 100.0)
GRID = [(DECAY, rate) for rate in RATES[:-1]]
GRID += [(decay, rate) for decay in (0.3, 1.0, 10.0) for rate in RATES[3:7]]
GIVEN = (
    "dot product", "GMF", "crossed features", "factorization machine", "MLP", "NeuMF",
    "target attention",
)  # fmt: skip
KEYS = ["first stage", "model", "weight_decay", "learning_rate"]
Pair = tuple[float, float]


def best(known: dict[Pair, float]) -> Pair:
    """The decay and rate with the highest NDCG@10."""
    return max(known, key=lambda pair: known[pair])


def neighbours(pair: Pair) -> list[Pair]:
    """One step in the decay, or one in the rate."""
    d, r = DECAYS.index(pair[0]), RATES.index(pair[1])
    near = [(d - 1, r), (d + 1, r), (d, r - 1), (d, r + 1)]
    return [(DECAYS[i], RATES[j]) for i, j in near if 0 <= i < len(DECAYS) and 0 <= j < len(RATES)]


def tune(study: Study, name: str, known: dict[Pair, float]) -> dict[Pair, float]:
    """The grid, but what is known, and on until the best pair's neighbours are known, too."""
    known, wanted = dict(known), GRID
    while left := [pair for pair in wanted if pair not in known]:
        for decay, rate in left:
            value = study.judge(name, rate, decay=decay).mean()  # nan where it diverged
            known[decay, rate] = 0.0 if pd.isna(value) else value
            say(name, decay, rate, round(known[decay, rate], 5))
        wanted = neighbours(best(known))
    return known


def tested(study: Study, name: str, pair: Pair) -> pd.Series:
    """Each test user's NDCG@10, mean over seeds."""
    runs = [study.judge(name, pair[1], seed=seed, decay=pair[0]) for seed in SEEDS]
    say("test", name, *pair, [round(float(run.mean()), 4) for run in runs])
    return sum(runs) / len(runs)


def earlier(first: str, name: str, known: dict[Pair, float]) -> pd.Series | None:
    """Each test user's NDCG@10 where the best pair is the one chosen before, among rates alone."""
    rates = RATES[:-2] if first == "given" else RATES[:-1]
    if best(known) != best({(DECAY, rate): known[DECAY, rate] for rate in rates}):
        return None
    path = HERE / ("users.csv.gz" if first == "given" else "control.csv.gz")
    return pd.read_csv(path, index_col="user_id")[name]


def read() -> pd.DataFrame:
    """What is known: the file, and the rates of `make.py`."""
    old = pd.read_csv(HERE / "tuning.csv").assign(weight_decay=DECAY, **{KEYS[0]: "given"})
    old, path = old[old["model"].isin(GIVEN)], HERE / "decay.csv"
    found = [pd.read_csv(path), old] if path.exists() else [old]
    return pd.concat(found)[[*KEYS, "ndcg@10"]].drop_duplicates(KEYS)


def main() -> None:
    torch.set_num_threads(1)
    (tuning, test), _ = films()
    frame, path = read(), HERE / "decay_users.csv.gz"
    stored = dict(pd.read_csv(path, index_col="user_id")) if path.exists() else {}
    users = {}
    arms = [("given", name, tuning, test) for name in GIVEN]
    arms.append(("left out", "dot product", blind(tuning), blind(test)))
    for first, name, own, windows in arms:
        is_own = (frame["first stage"] == first) & (frame["model"] == name)
        known = frame[is_own].set_index(KEYS[2:])["ndcg@10"].to_dict()
        known = tune(own, name, known)
        rows = [(first, name, *pair, value) for pair, value in sorted(known.items())]
        frame = pd.concat([frame[~is_own], pd.DataFrame(rows, columns=frame.columns)]).round(5)
        frame.to_csv(HERE / "decay.csv", index=False)
        column = "|".join([first, name, *map(str, best(known))])
        if column not in stored:
            found = earlier(first, name, known)
            stored[column] = tested(windows, name, best(known)) if found is None else found
        users[column] = stored[column]
        pd.DataFrame(users | stored).round(5).to_csv(path, index_label="user_id")
    pd.DataFrame(users).round(5).to_csv(path, index_label="user_id")


if __name__ == "__main__":
    sys.exit(main())
