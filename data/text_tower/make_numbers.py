"""Fine-tune a whole BERT that reads "user 17", beside the cheap rows of chapter 4.

    PYTHONPATH=. python data/text_tower/make_numbers.py      # minutes on one core, no GPU

A fifth of the likes that were known before the first test window is hidden, and the users are
judged on it. Fifty epochs, the number at which a free vector for each user learns (the chapter
shows it). Written: `numbers.csv`, each user's NDCG@10; the lines printed are in
`make_numbers.log`.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from recsys_tutorial import evaluation, splits
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models import Popularity, TwoTower
from recsys_tutorial.models.towers import EncoderTower, IdTower

DIM, EPOCHS, RATE, BERT_RATE = 64, 50, 3e-3, 1e-4


def main() -> None:
    torch.set_num_threads(1)
    movielens = load_movielens()
    split = splits.rolling_split(movielens.ratings, movielens.items).test[0]
    train, n_items = split.train, split.train.shape[1]
    hidden = np.random.default_rng(0).random(train.nnz) < 0.2
    rows = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    shown, wanted = (
        sparse.csr_matrix((np.ones(k.sum()), (rows[k], train.indices[k])), train.shape)
        for k in (~hidden, hidden)
    )
    users = splits.Holdout(split.train_user_ids, shown, shown, shown, wanted)
    known = np.bincount(shown.indices, minlength=n_items) > 0
    torch.manual_seed(0)
    encoder = TextEncoder("all-MiniLM-L6-v2", max_tokens=16)
    tower = EncoderTower(encoder, [f"user {n}" for n in split.train_user_ids], DIM)
    encoder.unfreeze()
    model = TwoTower(tower, IdTower(n_items, DIM, known=known), popularity_prior=True)
    rates, started = {"": RATE, "user_tower.encoder": BERT_RATE}, time.time()
    model.fit(shown, negatives="liked", epochs=EPOCHS, learning_rate=rates)
    found = evaluation.evaluate(model.score(np.arange(len(users))), users)
    popular = evaluation.evaluate(Popularity().fit(shown), users)
    print(f"{EPOCHS} epochs, {time.time() - started:.0f} s")
    print("BERT, fine-tuned, minus popularity:", evaluation.compare(found, popular))
    values = found.values("ndcg@10").round(5).rename("BERT, fine-tuned")
    values.to_csv(Path(__file__).with_name("numbers.csv"), index_label="user_id")


if __name__ == "__main__":
    main()
