"""SASRec.fit beside RecTools' SASRec: same films, width, blocks, events, batch, epochs, softmax.

Each user's last film is withheld, and its place among all films that the user has not rated is
looked for. Named beforehand: the mean NDCG@10 of ours over the seeds lies at most 0.01 below
theirs, and fitting is no slower. RecTools wants an older NumPy than this package promises, so it
goes into an environment of its own, in which this package is read from its folder:

    python -m venv .venv-peer
    .venv-peer/bin/pip install "rectools[torch]" "numpy<2" accelerate filelock numba peft pooch \
        psutil safetensors scikit-learn threadpoolctl timm transformers
    .venv-peer/bin/python -m benchmarks sequences --threads 1
"""

import logging
import warnings

import numpy as np
import pandas as pd
import torch

from benchmarks.harness import THREADS, Row, Timing, limited_threads
from recsys_tutorial import splits
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate

N_RATINGS, DIM, LENGTH, EPOCHS, BATCH, RATE = 20, 32, 50, 20, 16, 3e-3
SEEDS, MARGIN = (0, 1, 2), 0.01


def data() -> tuple[pd.DataFrame, splits.Split]:
    """What is learned, of films with 20 ratings, and the same as matrices with the last films."""
    movielens = load_movielens()
    ratings, items = movielens.ratings, movielens.items
    often = ratings["item_id"].map(ratings["item_id"].value_counts()) >= N_RATINGS
    ratings = splits.in_time(ratings[often])
    place = ratings.groupby(["user_id", "timestamp"]).cumcount()
    ratings = ratings.assign(timestamp=ratings["timestamp"] * 1000 + place)  # no ties
    learned, last = splits.leave_last_out(ratings)
    learned = learned.groupby("user_id").tail(LENGTH + 1)  # both read as much
    items = items[items["item_id"].isin(ratings["item_id"])]
    return learned, splits.to_split(learned, last, items, 0.0)


def fit_ours(split: splits.Split, seed: int):
    from recsys_tutorial.models import SASRec
    from recsys_tutorial.models.towers import IdTower

    torch.manual_seed(seed)
    tower = IdTower(split.train.shape[1], DIM)
    model = SASRec(tower, n_blocks=2, max_length=LENGTH, dropout=0.2, dtype=torch.float32)
    options = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE, "seed": seed}
    return model.fit(split.train, split.like_times, **options)


def fit_theirs(learned: pd.DataFrame, seed: int):
    from pytorch_lightning import Trainer, seed_everything
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    frame = learned.assign(weight=1.0, datetime=pd.to_datetime(learned["timestamp"], unit="ms"))
    frame = frame.rename(columns={"user_id": Columns.User, "item_id": Columns.Item})
    seed_everything(seed, workers=True)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}

    def trainer() -> Trainer:
        quiet["enable_checkpointing"] = False
        return Trainer(max_epochs=EPOCHS, min_epochs=EPOCHS, accelerator="cpu", **quiet)

    model = SASRecModel(
        n_factors=DIM, n_blocks=2, n_heads=1, session_max_len=LENGTH, dropout_rate=0.2,
        loss="softmax", lr=RATE, batch_size=BATCH, train_min_user_interactions=2,
        dataloader_num_workers=0, get_trainer_func=trainer,
    )  # fmt: skip
    data = Dataset.construct(frame[[Columns.User, Columns.Item, "weight", "datetime"]])
    return model.fit(data), data


def score_theirs(model, data, split: splits.Split) -> np.ndarray:
    """Its ten films as scores, so that one metric judges both."""
    seen = split.test.seen
    found = model.recommend(split.test.user_ids, data, k=10, filter_viewed=True)
    scores = np.zeros(seen.shape)
    rows = np.searchsorted(split.test.user_ids, found["user_id"])
    scores[rows, np.searchsorted(split.item_ids, found["item_id"])] = 11 - found["rank"]
    return scores


def run() -> list[Row]:
    import time

    import rectools  # noqa: F401  a missing peer is reported, not a crash

    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    learned, split = data()
    quality, seconds = {"ours": [], "RecTools": []}, {"ours": [], "RecTools": []}
    with limited_threads(THREADS):
        for seed in SEEDS:
            began = time.perf_counter()
            ours = fit_ours(split, seed)
            seconds["ours"].append(time.perf_counter() - began)
            began = time.perf_counter()
            theirs = fit_theirs(learned, seed)
            seconds["RecTools"].append(time.perf_counter() - began)
            quality["ours"].append(evaluate(ours, split.test)["ndcg@10"])
            found = evaluate(score_theirs(*theirs, split), split.test)["ndcg@10"]
            quality["RecTools"].append(found)
            print(seed, {k: round(v[-1], 4) for k, v in (quality | {}).items()}, flush=True)
    means = {name: float(np.mean(values)) for name, values in quality.items()}
    if means["ours"] < means["RecTools"] - MARGIN:
        raise AssertionError(f"below the peer by more than {MARGIN}: {means}")
    ndcg = f"NDCG@10 {means['ours']:.3f} against {means['RecTools']:.3f}"
    ours, theirs = (Timing(tuple(seconds[name])) for name in ("ours", "RecTools"))
    case = f"fit SASRec, {EPOCHS} epochs, {len(SEEDS)} seeds, {ndcg}"
    return [Row(case, ours, "RecTools", theirs, 1.0)]
