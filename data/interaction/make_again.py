"""Chapter 6 once more: more seeds for close calls, and twice the steps and the width.

    PYTHONPATH=. python data/interaction/make_again.py   # about three minutes on one core, no GPU
    PYTHONPATH=. python data/interaction/make_again.py seeds "dot product"   # a part

`make_decay.py` chose a pair of weight decay and learning rate for each design by one seed on the
tuning users. Here the three best pairs of two designs get two more seeds, and the best mean of
three chooses; where that is another pair, it goes to the test windows, three seeds. And designs get
twice the epochs and twice the width (vectors of 32 numbers, hidden layers twice as wide), one seed,
at the pair that they had and its neighbours in rate, and on from there while the best lies at the
end; on the tuning users alone. Written beside this file: `again.csv`, NDCG@10 on the tuning users,
and `again_users.csv.gz`, each test user's NDCG@10, mean over three seeds. What the files have
already is left out. The lines printed are kept in `make_again.log`.
"""

from __future__ import annotations

import sys

import pandas as pd
import torch
from make import DECAY, HERE, SEEDS, Study, films, say
from make_decay import KEYS, RATES, Pair, best, read

CLOSE = ("dot product", "crossed features")
TWICE = ("MLP", "NeuMF", "dot product")
COLUMNS = ["arm", "model", "weight_decay", "learning_rate", "seed", "ndcg@10"]


class Notes:
    """What was measured, kept after each step."""

    def __init__(self, tuning: Study, test: Study):
        self.tuning, self.test = tuning, test
        path = HERE / "again.csv"
        old = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
        self.tried = {tuple(row[:-1]): row[-1] for row in old.itertuples(index=False)}
        path = HERE / "again_users.csv.gz"
        self.users = dict(pd.read_csv(path, index_col="user_id")) if path.exists() else {}

    def tune(self, arm: str, name: str, pair: Pair, seed: int, times: int = 1) -> float:
        """NDCG@10 on the tuning users; 0 where training diverged."""
        key = (arm, name, *pair, seed)
        if key not in self.tried:
            found = self.tuning.judge(name, pair[1], seed, pair[0], times).mean()
            self.tried[key] = 0.0 if pd.isna(found) else round(found, 5)
            say(*key, self.tried[key])
            rows = [(*key, value) for key, value in self.tried.items()]
            pd.DataFrame(rows, columns=COLUMNS).to_csv(HERE / "again.csv", index=False)
        return self.tried[key]

    def judge(self, arm: str, name: str, pair: Pair, known: dict[Pair, float]) -> None:
        """The test windows, three seeds; from the file of `make.py` where it chose this pair."""
        column = "|".join([arm, name, *map(str, pair)])
        if column in self.users:
            return
        if pair == best({(DECAY, rate): known[DECAY, rate] for rate in RATES[:-2]}):
            self.users[column] = pd.read_csv(HERE / "users.csv.gz", index_col="user_id")[name]
        else:
            runs = [self.test.judge(name, pair[1], seed, pair[0]) for seed in SEEDS]
            say("test", column, [round(float(run.mean()), 4) for run in runs])
            self.users[column] = sum(runs) / len(runs)
        frame = pd.DataFrame(self.users).round(5)
        frame.to_csv(HERE / "again_users.csv.gz", index_label="user_id")


def more_seeds(notes: Notes, known: dict[str, dict[Pair, float]], names) -> None:
    """The three best pairs of each design, by three seeds."""
    for name in names:
        pairs = sorted(known[name], key=lambda pair: -known[name][pair])[:3]
        mean = {}
        for pair in pairs:
            found = [notes.tune("more seeds", name, pair, seed) for seed in SEEDS[1:]]
            mean[pair] = (known[name][pair] + sum(found)) / len(SEEDS)
        say(name, {pair: round(value, 5) for pair, value in mean.items()})
        if best(mean) != pairs[0]:
            notes.judge("more seeds", name, best(mean), known[name])


def twice(notes: Notes, known: dict[str, dict[Pair, float]], names) -> None:
    """Twice the epochs and the width."""
    for name in names:
        decay, rate = best(known[name])
        at, tried = RATES.index(rate), {}
        wanted = [at - 1, at, at + 1]
        while left := [n for n in wanted if 0 <= n < len(RATES) and (decay, RATES[n]) not in tried]:
            for n in left:
                pair = decay, RATES[n]
                tried[pair] = notes.tune("twice", name, pair, 0, times=2)
            at = RATES.index(best(tried)[1])
            wanted = [at - 1, at + 1]


def main(part: str = "", *names: str) -> None:
    torch.set_num_threads(1)
    (tuning, test), _ = films()
    frame, notes = read(), Notes(tuning, test)
    frame = frame[frame["first stage"] == "given"]
    known = {name: own.set_index(KEYS[2:])["ndcg@10"].to_dict()
             for name, own in frame.groupby("model")}  # fmt: skip
    if part != "twice":
        more_seeds(notes, known, names or CLOSE)
    if part != "seeds":
        twice(notes, known, names or TWICE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
