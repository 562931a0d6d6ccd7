"""Train BERT itself by InfoNCE: which packages does a project need, from one line of words.

    PYTHONPATH=. python data/contrastive/make_bert.py      # about 40 minutes on one core, no GPU

A project's description and a package's are read by one BERT, each side has a head, a package has a
free vector besides, and the other packages of a batch are the negatives, corrected for how often
they come (logQ). First the heads learn on a frozen BERT; from there three arms take the same
steps: frozen as before, BERT's last block trained, too, and low-rank updates (LoRA) of its
attention. Three rates each, chosen on the tuning maintainers, three seeds on the test maintainers.
Besides the tower's lists: the training projects whose vectors, as BERT gives them, are nearest
vote (no head, no free vector). Written beside this file: `bert_tuning.csv`, `bert.csv.gz` (each
test project's NDCG@10, mean over seeds), `bert_curve.csv` and `bert_lora.safetensors` (the first
seed's updates). Lines printed are kept in `make_bert.log`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from make_losses import SEEDS, save, say
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsys_tutorial.datasets import load_packages
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.losses import info_nce
from recsys_tutorial.models import NeighbourVotes, TwoTower, towers
from recsys_tutorial.splits import group_split
from recsys_tutorial.training import train

HERE = Path(__file__).parent
DIM, HIDDEN, DROPOUT, DECAY, BATCH, BLOCKS, RANK = 128, 1024, 0.5, 1.0, 128, 1, 8
HEADS, MORE = 20, 4  # epochs on the frozen BERT, and from there on
RATES = {"heads": (3e-4, 1e-3, 3e-3), "frozen": (1e-4, 3e-4, 1e-3),
         "last block": (3e-5, 1e-4, 3e-4), "LoRA": (3e-4, 1e-3, 3e-3)}  # fmt: skip
VOTES = [(k, p) for k in (50, 200) for p in (4.0, 8.0)]


class Reading(nn.Module):
    """Row number -> its text -> BERT, standardised as the untrained one's vectors are -> head."""

    def __init__(self, blocks: towers.LastBlocksTower, rows: np.ndarray, scale: tuple, **head):
        super().__init__()
        self.blocks, self.dim, self.n_rows = blocks, DIM, len(rows)
        self.rows, (self.mean, self.spread) = torch.from_numpy(rows), scale
        self.head = towers.ProjectionHead(blocks.encoder.dim, DIM, **head)
        self.known = None

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows, or of all: (n, DIM)."""
        rows = torch.arange(self.n_rows) if rows is None else rows
        if self.blocks.encoder.n_trainable:
            v = self.blocks.vectors(self.rows[rows])
        else:  # what is frozen is read once
            self.known = self.blocks.vectors(self.rows) if self.known is None else self.known
            v = self.known[rows]
        return self.head((normalize(v.float(), dim=1) - self.mean) / self.spread)


class World:
    """Projects, packages, and who is held out."""

    def __init__(self):
        sources, packages, needs = load_packages()
        self.split = group_split(needs, packages, sources["group"].to_numpy())
        counts = np.bincount(self.split.train.indices, minlength=len(packages))
        self.columns = np.flatnonzero(counts >= 3)
        likes = self.split.train[:, self.columns]
        self.rows = np.flatnonzero(np.diff(likes.indptr))  # projects that need one of these
        self.likes = likes[self.rows]
        each = 1 / np.diff(self.likes.indptr)  # a project counts once, however much it needs
        weight = np.repeat(each, np.diff(self.likes.indptr))
        share = np.bincount(self.likes.indices, weight, len(self.columns)) / len(self.rows)
        self.log_q = torch.from_numpy(np.log(share)).float()
        self.popularity = counts[self.columns]
        lines = sources["description"].tolist()
        texts = lines + packages["description"].to_numpy()[self.columns].tolist()
        self.n_sources = len(sources)
        self.blocks = towers.LastBlocksTower(texts, DIM, n_blocks=BLOCKS)
        self.start = {k: v.clone() for k, v in self.blocks.encoder.state_dict().items()}
        self.known = self.likes.toarray() > 0
        self.sources = self.split.train_user_ids[self.rows]
        self.both = self.sources, self.n_sources + np.arange(len(self.columns))
        self.scales = []
        for rows in self.both:
            v = torch.from_numpy(self.vectors(rows))
            self.scales.append((v.mean(0), v.std(0).clamp(min=1e-2)))

    def model(self, arm: str, seed: int) -> TwoTower:
        """Untrained."""
        torch.manual_seed(seed)
        texts = self.blocks = fresh_blocks(self)
        if arm == "last block":
            texts.encoder.unfreeze(BLOCKS)
        elif arm == "LoRA":
            texts.encoder.add_lora(RANK, blocks=BLOCKS)
        users = Reading(texts, self.both[0], self.scales[0], hidden=HIDDEN, dropout=DROPOUT)
        items = Reading(texts, self.both[1], self.scales[1])
        free = towers.IdTower(len(self.columns), DIM)
        model = TwoTower(users, towers.SumTower(items, free), popularity_prior=True,
                         dtype=torch.float32)  # fmt: skip
        model.log_popularity.copy_(torch.from_numpy(np.log1p(self.popularity)))
        return model

    def loss(self, model, rows, rng) -> Tensor:
        """One need of each project; the packages of the batch are the candidates."""
        starts, lengths = self.likes.indptr[rows], np.diff(self.likes.indptr)[rows]
        items = self.likes.indices[starts + (rng.random(len(rows)) * lengths).astype(int)]
        unique, place = np.unique(items, return_inverse=True)
        v = model.item_vectors(unique)[place]
        known = torch.from_numpy(self.known[rows[:, None], items])
        z = model.user_vectors(rows)
        return info_nce(z, v, temperature=1.0, log_q=self.log_q[items], mask=known)

    def scores(self, model, part) -> np.ndarray:
        """Of all packages for the held-out projects' words."""
        users = model.user_tower
        with torch.no_grad():
            v = normalize(users.blocks.vectors(torch.from_numpy(part.user_ids)), dim=1)
            z = users.head((v - users.mean) / users.spread).double().numpy()
        z = np.hstack([z, np.full((len(z), 1), model.popularity_weight.item())])
        s = z @ model.encode_items().T
        wide = np.repeat(s.min(1, keepdims=True), self.split.train.shape[1], 1).astype(np.float32)
        wide[:, self.columns] = s
        return wide

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """BERT's, before any head."""
        with torch.no_grad():
            return normalize(self.blocks.vectors(torch.from_numpy(rows)), dim=1).numpy()

    def votes(self, settings=VOTES) -> tuple[tuple, float, pd.Series]:
        """Neighbours in BERT's own space: setting, tuning NDCG@10, each test project's."""
        train, tuning, test = (
            self.vectors(r) for r in (self.split.train_user_ids, self.split.validation.user_ids,
                                      self.split.test.user_ids))  # fmt: skip
        wishes, tried = self.split.validation.without_history(), {}
        for k, power in settings:
            model = NeighbourVotes(train, k, power).fit(self.split.train)
            found = evaluate(model.score(tuning), wishes, (10,))
            tried[k, power] = found["ndcg@10"]
        best = max(tried, key=tried.get)
        model = NeighbourVotes(train, *best).fit(self.split.train)
        found = evaluate(model.score(test), self.split.test.without_history(), (10,))
        return best, tried[best], found.values("ndcg@10")


def fresh_blocks(world: World) -> towers.LastBlocksTower:
    """The same cached states, the untrained last blocks."""
    texts = world.blocks
    encoder = texts.encoder
    if hasattr(encoder.model, "unload"):
        encoder.model = encoder.model.unload()
    encoder.load_state_dict(world.start)
    encoder.requires_grad_(False)
    return texts


def fit(world: World, arm: str, rates: tuple, seed: int, epochs: int, start: dict | None = None):
    """Train one, from a state if there is one; return it and its loss and NDCG@10 by epoch."""
    model = world.model(arm, seed)
    if start is not None:
        heads = {k: v for k, v in start.items() if ".blocks." not in k}
        model.load_state_dict(heads, strict=False)
    rates = {"": rates[0]} if rates[1] is None else {"": rates[0], "user_tower.blocks": rates[1]}
    wishes = world.split.validation.without_history()

    def metrics(model):
        metrics.epoch += 1
        if metrics.epoch % 4:
            return {"ndcg@10": np.nan}
        return {"ndcg@10": evaluate(world.scores(model, wishes), wishes, (10,))["ndcg@10"]}

    metrics.epoch = 0
    history = train(
        model, world.loss, len(world.rows), epochs=epochs, batch_size=BATCH, learning_rate=rates,
        weight_decay=DECAY, seed=seed, metrics=metrics, precision="bf16",
    )  # fmt: skip
    return model, history


class Record:
    """What is written: settings, curves, each test project's values."""

    def __init__(self, world: World):
        self.world, self.rows, self.curves, self.runs, self.votes = world, [], [], {}, {}
        self.wishes = world.split.test.without_history()

    def attempt(self, arm: str, rates: tuple, seed: int, epochs: int, start=None):
        """Train one and keep its curve; return its state and tuning NDCG@10."""
        model, history = fit(self.world, arm, rates, seed, epochs, start)
        losses, values = history["loss"], history["ndcg@10"]
        for epoch, row in enumerate(zip(losses, values, strict=True), 1):
            self.curves.append((arm, *rates, seed, epoch, *row))
        say(arm, rates, "seed", seed, losses.round(2).tolist(), values.dropna().round(4).tolist())
        if seed == 0:
            self.rows.append((arm, *rates, values.iloc[-1]))
        return model, values.iloc[-1]

    def judge(self, arm: str, model, seed: int) -> None:
        """The test projects."""
        found = evaluate(self.world.scores(model, self.wishes), self.wishes, (10,))
        self.runs.setdefault(arm, []).append(found.values("ndcg@10"))
        say("test", arm, seed, round(found["ndcg@10"], 4))
        if arm in ("last block", "LoRA"):
            settings = [self.votes[arm]] if arm in self.votes else VOTES
            self.votes[arm], tuned, votes = self.world.votes(settings)
            self.runs.setdefault(f"neighbours, {arm}", []).append(votes)
            say("neighbours", arm, seed, self.votes[arm], round(tuned, 4), round(votes.mean(), 4))
        if arm == "LoRA" and seed == 0:
            state = self.world.blocks.encoder.state_dict()
            state = {k: v.half().contiguous() for k, v in state.items() if "lora_" in k}
            save_file(state, HERE / "bert_lora.safetensors")
        self.write()

    def write(self) -> None:
        """The files."""
        values = {name: sum(found) / len(found) for name, found in self.runs.items()}
        save(pd.DataFrame(values), "bert.csv.gz", index_label="user_id")
        columns = ["arm", "rate", "BERT's rate"]
        frame = pd.DataFrame(self.rows, columns=[*columns, "ndcg@10"])
        save(frame, "bert_tuning.csv", index=False)
        frame = pd.DataFrame(self.curves, columns=[*columns, "seed", "epoch", "loss", "ndcg@10"])
        save(frame, "bert_curve.csv", index=False)


def state_of(model) -> dict:
    """A copy of what it has learned."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def main() -> None:
    torch.set_num_threads(1)
    world = World()
    record, starts, head = Record(world), {}, None
    say(len(world.rows), "projects,", len(world.columns), "packages")
    setting, tuned, values = world.votes()
    record.runs["neighbours, BERT as it came"] = [values]
    say("neighbours as it came", setting, round(tuned, 4), round(values.mean(), 4))
    for arm, grid in RATES.items():
        tried, kept = {}, {}
        for rate in grid:
            rates = (rate, None) if arm in ("heads", "frozen") else (head, rate)
            epochs, start = (HEADS, None) if arm == "heads" else (MORE, starts[0])
            model, tried[rates] = record.attempt(arm, rates, 0, epochs, start)
            kept[rates] = state_of(model)
        best = max(tried, key=tried.get)
        head = best[0] if arm == "frozen" else head
        say("chosen", arm, best)
        model = world.model(arm, 0)
        model.load_state_dict(kept[best])
        record.judge(arm, model.eval(), 0)
        starts[0] = kept[best] if arm == "heads" else starts[0]
        for seed in SEEDS[1:]:
            epochs, start = (HEADS, None) if arm == "heads" else (MORE, starts[seed])
            model, _ = record.attempt(arm, best, seed, epochs, start)
            if arm == "heads":
                starts[seed] = state_of(model)
            record.judge(arm, model, seed)


if __name__ == "__main__":
    sys.exit(main())
