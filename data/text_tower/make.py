"""Train user towers that read text: pooled film vectors, frozen BERT, BERT with its last block.

    PYTHONPATH=. python data/text_tower/make.py      # about 20 minutes on one core, no GPU

Three towers see the same training pairs (ten titles of what a user liked, and the likes to be
found), take the same number of steps, try the same number of learning rates, and stand on the same
film tower and prior. All are trained once: for the rates on what was known before the first tuning
window, then, with three seeds, on what was known before the first test window. Written beside this
file: `curve.csv` (epoch by epoch), `users.csv` (each test user's NDCG@10, mean over the seeds) and
`wishes.csv` (each wish's NDCG@10). The lines printed are kept in `make.log`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch.nn import functional

from recsys_tutorial import evaluation, splits
from recsys_tutorial.datasets import film_texts, genre_queries, load_movielens
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.losses import multinomial_loss
from recsys_tutorial.models import TwoTower
from recsys_tutorial.models.pair_texts import short_titles
from recsys_tutorial.models.towers import FeatureTower, LastBlocksTower, TextHistoryTower
from recsys_tutorial.splits import Holdout
from recsys_tutorial.training import train

HERE = Path(__file__).parent
DIM, TITLES, DRAWS, EPOCHS, BATCH = 64, 10, 2, 6, 64
RATES, BERT_RATE = (1e-3, 3e-3, 1e-2), (2e-5, 1e-4, 3e-4)
SEEDS = (0, 1, 2)


class Texts(torch.nn.Module):
    """Row number -> text -> the last block of BERT, vectors of length 1 -> head."""

    def __init__(self, blocks: LastBlocksTower):
        super().__init__()
        self.blocks, self.n_rows, self.dim = blocks, blocks.n_rows, blocks.dim

    def forward(self, rows=None):
        """Vectors of these rows: (n, dim)."""
        vectors = functional.normalize(self.blocks.vectors(rows), dim=1)
        return self.blocks.head(vectors)


def pairs(likes: sparse.csr_matrix, seed: int = 0):
    """(shown, to be found), each csr (n, n_items): DRAWS random divisions of each user's likes."""
    rng, parts = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        lengths = np.diff(likes.indptr)
        share = np.repeat(rng.uniform(0.1, 0.9, len(lengths)), lengths)
        kept = rng.random(likes.nnz) < share
        both = []
        for mask in (kept, ~kept):
            part = likes.copy()
            part.data = mask.astype(float)
            part.eliminate_zeros()
            both.append(part)
        some = (np.diff(both[0].indptr) > 0) & (np.diff(both[1].indptr) > 0)
        parts.append([part[some] for part in both])
    return tuple(sparse.vstack(part).tocsr() for part in zip(*parts, strict=True))


class Study:
    """One training part, and the users who are judged."""

    def __init__(self, world, windows, wishes):
        self.world, self.windows = world, windows
        first = windows[0]
        self.shown, self.rest = pairs(first.train)
        self.liked = np.unique(first.train.indices)
        self.popularity = np.asarray(first.faded(2_000, "likes").sum(axis=0)).ravel()
        self.history = sparse.vstack([w.test.history for w in windows]).tocsr()
        reader = world["reader"]
        self.texts = [reader.texts(part) for part in (self.shown, self.history)]
        self.texts = [*self.texts[0], *self.texts[1], *wishes]
        n = len(self.texts) - len(wishes)
        self.train_rows = np.arange(self.shown.shape[0])
        self.user_rows = np.arange(self.shown.shape[0], n)
        self.wish_rows = np.arange(n, len(self.texts))
        self.blocks = None

    def features(self, how: str) -> np.ndarray:
        """Fixed features of every text: (n_texts, width)."""
        if how == "read":
            return self.world["encoder"].encode(self.texts).astype(np.float64)
        # The same ten titles, but each film's own vector, added up as in the pooled tower.
        places = {title: row for row, title in reversed(list(enumerate(self.world["titles"])))}
        vectors = self.world["x"]
        n = len(self.texts) - len(self.wish_rows)
        rows = [[places[t] for t in text.split("; ") if t in places] for text in self.texts[:n]]
        pooled = [vectors[r].sum(0) / np.sqrt(max(len(r), 1)) for r in rows]
        x = self.world["scale"](self.world["encoder"].encode(self.texts[n:]).astype(np.float64))
        return np.vstack([pooled, x])

    def model(self, how: str, seed: int) -> TwoTower:
        """Build one of the three, untrained."""
        torch.manual_seed(seed)
        items = FeatureTower(self.world["x"], DIM)
        if how == "last block":
            if self.blocks is None:
                self.blocks = LastBlocksTower(self.texts, DIM, n_blocks=1)
                self.start = {k: v.clone() for k, v in self.blocks.encoder.state_dict().items()}
            self.blocks.encoder.load_state_dict(self.start)
            torch.nn.init.xavier_uniform_(self.blocks.head[-1].weight, gain=0.5)
            torch.nn.init.zeros_(self.blocks.head[-1].bias)
            self.blocks.encoder.unfreeze(1)
            users = Texts(self.blocks)
        else:
            key = "read" if how == "frozen" else "pooled"
            users = FeatureTower(self.features(key), DIM)
        model = TwoTower(users, items, popularity_prior=True, dtype=torch.float64)
        model.log_popularity.copy_(torch.from_numpy(np.log1p(self.popularity)))
        return model

    def fit(self, how, rate, bert_rate, seed, epochs=EPOCHS):
        """Train one; return it and its history."""
        model = self.model(how, seed)
        prefix = "user_tower.blocks.encoder"
        rates = {"": rate, prefix: bert_rate} if how == "last block" else rate
        shown = (self.shown[:, self.liked] > 0).toarray()
        rest = self.rest[:, self.liked].toarray()

        def loss(model, rows, rng):
            scores = model(self.train_rows[rows], self.liked)
            mask = torch.from_numpy(shown[rows])
            return multinomial_loss(scores, torch.from_numpy(rest[rows]).to(scores), mask)

        def metrics(model):
            return {"ndcg@10": self.judge(model)["ndcg@10"]}

        settings = {"epochs": epochs, "batch_size": BATCH, "weight_decay": 0.1, "seed": seed}
        history = train(
            model, loss, len(self.train_rows), learning_rate=rates, metrics=metrics, **settings
        )
        return model, history

    def judge(self, model) -> evaluation.Evaluation:
        """NDCG and the rest, for this study's users."""
        scores = model.encode_users(self.user_rows) @ model.encode_items().T
        parts = iter(np.split(scores, np.cumsum([len(w.test) for w in self.windows])[:-1]))
        return evaluation.evaluate_rolling(lambda _: next(parts), self.windows)

    def wishes(self, model, relevant) -> pd.Series:
        """NDCG@10 of each wish, without the prior."""
        users, vectors = model.encode_users(self.wish_rows)[:, :-1], model.encode_items()[:, :-1]
        return judged(users @ vectors.T, relevant)


def judged(scores, relevant) -> pd.Series:
    """NDCG@10 of each wish."""
    nothing = sparse.csr_matrix(relevant.shape)
    asked = Holdout(np.arange(len(relevant)), nothing, nothing, nothing,
                    sparse.csr_matrix(relevant.astype(float)))  # fmt: skip
    return evaluation.evaluate(scores, asked).values("ndcg@10")


def say(*what):
    print(*what, flush=True)


def main() -> None:
    torch.set_num_threads(1)
    movielens = load_movielens()
    rolling = splits.rolling_split(movielens.ratings, movielens.items)
    items = rolling.test[0].items
    encoder = TextEncoder("all-MiniLM-L6-v2", max_tokens=128)
    films = encoder.encode(film_texts(items)).astype(np.float64)
    mean, spread = films.mean(0), np.maximum(films.std(0), 1e-6)
    titles = short_titles(items["title"].tolist())
    world = {
        "encoder": encoder, "titles": titles, "x": 0.1 * (films - mean) / spread,
        "scale": lambda v: 0.1 * (v - mean) / spread,
        "reader": TextHistoryTower(encoder, titles, DIM, max_titles=TITLES),
    }  # fmt: skip
    queries = genre_queries(items["genres"].replace("(no genres listed)", "").tolist())
    chosen = queries.rows("test")
    wishes, relevant = [queries.texts[q] for q in chosen], queries.relevant[chosen]
    say(len(wishes), "wishes")
    started, best, curves, users, answers = time.time(), {}, [], {}, {}
    tuning = Study(world, rolling.tuning, wishes)
    say(len(tuning.train_rows), "pairs to tune with")
    for how in ("pooled", "frozen", "last block"):
        tried = {}
        grid = [(r, None) for r in RATES]
        if how == "last block":
            grid = [(best["frozen"][0], b) for b in BERT_RATE]
        for rates in grid:
            _, history = tuning.fit(how, *rates, seed=0)
            tried[rates] = history["ndcg@10"].iloc[-1]
            say(how, rates, history["ndcg@10"].round(4).tolist(), f"{time.time() - started:.0f} s")
        best[how] = max(tried, key=tried.get)
    say("chosen", best)
    test = Study(world, rolling.test, wishes)
    prior = np.tile(test.popularity, (len(test.user_rows), 1))
    parts = iter(np.split(prior, np.cumsum([len(w.test) for w in rolling.test])[:-1]))
    prior = evaluation.evaluate_rolling(lambda _: next(parts), rolling.test)
    users["prior alone"] = prior.values("ndcg@10")
    asked = encoder.encode(wishes).astype(np.float64)
    answers["BERT as it came"] = judged(asked @ films.T, relevant)
    # What the pooled tower's heads are given, without the heads.
    answers["standardised"] = judged(world["scale"](asked) @ world["x"].T, relevant)
    say("prior", round(prior["ndcg@10"], 4), "pairs", len(test.train_rows))
    for how in ("pooled", "frozen", "last block"):
        runs, asked = [], []
        for seed in SEEDS:
            model, history = test.fit(how, *best[how], seed=seed)
            curves.append(
                history.reset_index(names="epoch")[["epoch", "loss", "ndcg@10"]].assign(
                    tower=how, seed=seed
                )
            )
            runs.append(test.judge(model).values("ndcg@10"))
            asked.append(test.wishes(model, relevant))
            say(how, seed, history["ndcg@10"].round(4).tolist(), "wishes",
                round(asked[-1].mean(), 4), f"{time.time() - started:.0f} s")  # fmt: skip
        users[how], answers[how] = sum(runs) / len(SEEDS), sum(asked) / len(SEEDS)
        pd.concat(curves).round(5).to_csv(HERE / "curve.csv", index=False)
        pd.DataFrame(users).round(5).to_csv(HERE / "users.csv", index_label="user_id")
        frame = pd.DataFrame(answers).round(5)
        frame.insert(0, "wish", wishes)
        frame.insert(1, "kind", queries.kind[chosen])
        frame.to_csv(HERE / "wishes.csv", index=False)


if __name__ == "__main__":
    sys.exit(main())
