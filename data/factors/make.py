"""How many passes BPR needs: tuned on the tuning windows, then judged on the test windows.

    PYTHONPATH=. python data/factors/make.py      # about ten minutes on one core, no GPU

Four penalties, three learning rates, and 8, 24 or 72 epochs in each window after the first, which
has sixty; and the best penalty with 216, to see whether more would help. Then three seeds on the
test windows, at the best setting and at the best one with 8 epochs. What the files have already is
left out, so a run that was stopped goes on. Written beside this file: `bpr_tuning.csv` (NDCG@10 of
the tuning users) and `bpr.csv.gz` (each test user's NDCG@10 and recall@20, mean over the seeds;
columns "epochs|metric"). Lines printed are kept in `make.log`.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from recsys_tutorial import splits
from recsys_tutorial._files import whole
from recsys_tutorial.course import bpr
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate_rolling
from recsys_tutorial.leaderboard import average

HERE = Path(__file__).parent
REGS, RATES, EPOCHS = (0.0003, 0.001, 0.003, 0.01), (0.05, 0.1, 0.2), (8, 24, 72)
MORE = 216
SEEDS, METRICS = (0, 1, 2), ("ndcg@10", "recall@20")
COLUMNS = ["epochs", "reg", "learning_rate"]
STARTED = time.time()


def say(*what) -> None:
    print(f"{time.time() - STARTED:5.0f} s", *what, flush=True)


def tune(windows, path: Path = HERE / "bpr_tuning.csv") -> pd.Series:
    """NDCG@10 of the tuning users for every setting, rounded to four digits."""
    known = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*COLUMNS, "ndcg@10"])
    tried = known.set_index(COLUMNS)["ndcg@10"].to_dict()

    def attempt(epochs: int, reg: float, rate: float) -> None:
        if (epochs, reg, rate) in tried:
            return
        value = evaluate_rolling(bpr(reg, rate, epochs)(0), windows)["ndcg@10"]
        tried[epochs, reg, rate] = round(value, 4)
        say("tuning", epochs, reg, rate, tried[epochs, reg, rate])
        rows = [(*setting, v) for setting, v in tried.items()]
        with whole(path) as temporary:
            pd.DataFrame(rows, columns=[*COLUMNS, "ndcg@10"]).to_csv(temporary, index=False)

    for setting in itertools.product(EPOCHS, REGS, RATES):
        attempt(*setting)
    best = max(tried, key=tried.get)
    for rate in RATES:
        attempt(MORE, best[1], rate)
    return pd.Series(tried).rename_axis(COLUMNS)


def judge(setting: tuple, windows, path: Path = HERE / "bpr.csv.gz") -> None:
    """Add a setting's values, mean over three seeds, unless the file has its number of epochs."""
    frame = pd.read_csv(path, index_col="user_id") if path.exists() else pd.DataFrame()
    epochs, reg, rate = setting
    if f"{epochs}|{METRICS[0]}" in frame:
        return
    runs = [evaluate_rolling(bpr(reg, rate, epochs)(seed), windows) for seed in SEEDS]
    say("test", *setting, [round(run["ndcg@10"], 4) for run in runs])
    for metric in METRICS:
        frame[f"{epochs}|{metric}"] = average(runs).values(metric).round(5)
    with whole(path) as temporary:
        frame.to_csv(temporary, index_label="user_id", compression={"method": "gzip", "mtime": 1})


def main() -> None:
    torch.set_num_threads(1)
    movielens = load_movielens()
    rolling = splits.rolling_split(movielens.ratings, movielens.items)
    tried = tune(rolling.tuning)
    for setting in (tried.idxmax(), (EPOCHS[0], *tried[EPOCHS[0]].idxmax())):
        judge(setting, rolling.test)


if __name__ == "__main__":
    sys.exit(main())
