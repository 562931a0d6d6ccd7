"""Train BERT itself by InfoNCE on the films.

    PYTHONPATH=. python data/contrastive/make_bert_films.py      # about half an hour on one core

The towers, the loss and the heads' epochs are those of `make_losses.py`. When the heads have
learned in the first window on a frozen BERT, three arms take the same further steps there: frozen
as before, BERT's last block trained, too, and low-rank updates (LoRA) of its attention. At a step
BERT reads the films of the batch; what else a user liked counts as it was read last, every `EVERY`
steps. In later windows BERT's vectors stay, and the heads go on. Three rates each, on the tuning
users; two seeds on the test users. Besides the towers: each liked film speaks for its neighbours by
BERT's own vectors, with no head, alone and beside fading popularity. Written beside this file:
`bert_films_tuning.csv`, `bert_films.csv.gz` (each test user's NDCG@10, mean over seeds),
`bert_films_seeds.csv` and `bert_films_lora.safetensors` (the first seed's updates). Lines printed
are kept in `make_bert_films.log`. BERT computes in bfloat16.
"""

from __future__ import annotations

import copy
import sys

import numpy as np
import pandas as pd
import torch
from make_bert import BLOCKS, HERE, RANK, fresh_blocks
from make_losses import save, say
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize

from recsys_tutorial import evaluation, splits
from recsys_tutorial.course import LikePairs, PairBatch, contrastive_towers, corrected_info_nce
from recsys_tutorial.course._fits import fading_likes
from recsys_tutorial.datasets import film_texts, load_movielens
from recsys_tutorial.models import ContentKernel, TwoTower, towers
from recsys_tutorial.ranking import standardize
from recsys_tutorial.training import train

DIM, BATCH, TAU, HEAD_RATE, EVERY = 64, 512, 0.2, 3e-3, 40
HEADS = (16, 4)  # epochs in the first window, in each later one
STEPS, SEEDS = 160, (0, 1)
RATES = {"frozen": (1e-4, 3e-4, 1e-3), "last block": (1e-4, 3e-4, 1e-3),
         "LoRA": (1e-3, 3e-3, 1e-2)}  # fmt: skip
POWERS, PRIORS = (1.0, 2.0, 4.0), (0.25, 0.5, 1.0, 2.0)
CAME = "BERT as it came"


class Sums(towers.PooledTower):
    """A user tower that takes sums with gradients, too."""

    def embed(self, sums) -> Tensor:
        """From sums (n, width) to (n, DIM)."""
        return self.head(torch.as_tensor(sums))


class Reading(towers.FeatureTower):
    """A film's text -> BERT -> head; what BERT said last stands in `features`."""

    def __init__(self, blocks: towers.LastBlocksTower, mean: Tensor, features: np.ndarray):
        super().__init__(features, DIM)
        self.blocks, self.mean, self.reads, self.fresh = blocks, mean, False, None

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Of these rows, or of all as they were read last: (n, DIM)."""
        if self.reads and self.training:
            self.fresh = read(self.blocks, self.mean, rows)
        else:
            self.fresh = self.features if rows is None else self.features[rows]
        return self.head(self.fresh)


def read(blocks: towers.LastBlocksTower, mean: Tensor | float, rows: Tensor) -> Tensor:
    """BERT's vectors (n, width) of length 1, less `mean`, of length 1 again."""
    # For a dozen tokens the plain attention is the faster one.
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
        v = blocks.vectors(rows)
    return normalize(normalize(v.float(), dim=1) - mean, dim=1)


class World:
    """The windows, and what BERT says of the films."""

    def __init__(self):
        self.rolling = splits.rolling_split(*load_movielens())
        texts = film_texts(self.rolling.test[0].items)
        self.blocks = towers.LastBlocksTower(texts, DIM, n_blocks=BLOCKS)
        self.start = {k: v.clone() for k, v in self.blocks.encoder.state_dict().items()}
        self.all = torch.arange(len(texts))
        fresh_blocks(self)
        with torch.no_grad():
            self.mean = read(self.blocks, 0.0, self.all).mean(0)
            self.came = read(self.blocks, self.mean, self.all).numpy()

    def model(self, arm: str, seed: int, start: dict) -> TwoTower:
        """An arm whose heads have learned."""
        torch.manual_seed(seed)
        blocks = fresh_blocks(self)
        if arm == "last block":
            blocks.encoder.unfreeze(BLOCKS)
        elif arm == "LoRA":
            blocks.encoder.add_lora(RANK, blocks=BLOCKS)
        heads = Sums(self.came, DIM), Reading(blocks, self.mean, self.came)
        model = TwoTower(*heads, similarity="cosine", temperature=TAU, popularity_prior=True,
                         dtype=torch.float32)  # fmt: skip
        model.log_temperature.requires_grad_(False)
        model.bias = nn.Parameter(model.popularity_weight.new_zeros(()))
        model.load_state_dict(start, strict=False)
        return model


class Pairs(LikePairs):
    """The likes of a window; a user's sum follows what BERT makes of the batch's films."""

    def __init__(self, split, model: TwoTower):
        super().__init__(split.train, model.item_tower.features.numpy().copy())
        self.likes, self.films, self.step = split.train, np.unique(split.train.indices), 0

    def loss(self, model: TwoTower, rows: np.ndarray, rng) -> Tensor:
        """InfoNCE with logQ."""
        if model.item_tower.reads and self.step % EVERY == 0:
            self.read_again(model.item_tower)
        self.step += 1
        u, i = self.users[rows], self.items[rows]
        films, place = np.unique(i, return_inverse=True)
        v, x = model.item_vectors(films), model.item_tower.fresh
        known = torch.from_numpy(self.known[u][:, films])  # (batch, n_films)
        sums = torch.from_numpy(self.sums[u]) - x[place]  # what is to be found is hidden
        if model.item_tower.reads:
            sums = sums + known.float() @ (x - torch.from_numpy(self.features[films]))
        log_q = torch.from_numpy(self.log_q[i]).to(v)
        z = model.user_vectors(sums)
        return corrected_info_nce(
            PairBatch(z, v[place], known[:, place], log_q, None, model.bias, len(self.features))
        )

    def read_again(self, tower: Reading) -> None:
        """All films that somebody likes."""
        with torch.no_grad():
            x = read(tower.blocks, tower.mean, torch.from_numpy(self.films)).numpy()
        self.features[self.films] = x
        self.sums = self.likes @ self.features


def on(model: TwoTower, split, steps: int, rates: tuple, seed: int) -> None:
    """More steps in a window: of the heads alone, or of BERT as well, if it has a rate."""
    rate, tower = rates[0], model.item_tower
    pairs, tower.reads = Pairs(split, model), rates[1] is not None
    rates = {"": rate, "popularity_weight": 20 * rate, "bias": 20 * rate,
             "item_tower.blocks": rates[1] or 0.0}  # fmt: skip
    epochs = round(steps / -(-len(pairs) // BATCH))
    train(model, pairs.loss, len(pairs), epochs=epochs, batch_size=BATCH, learning_rate=rates,
          seed=seed)  # fmt: skip
    if tower.reads:
        with torch.no_grad():
            tower.features = read(tower.blocks, tower.mean, torch.arange(tower.n_rows))
        model.user_tower.features, tower.reads = tower.features, False


def run(world: World, windows, arm: str, rates: tuple, seed: int, start: dict):
    """The towers' scores window by window, BERT's vectors of all films, and its updates."""
    model, scores = world.model(arm, seed, start), []
    for number, split in enumerate(windows):
        model.log_popularity.copy_(torch.from_numpy(np.log1p(fading_likes(split))))
        per_epoch = -(-len(LikePairs(split.train, world.came)) // BATCH)
        if number:
            on(model, split, HEADS[1] * per_epoch, (HEAD_RATE, None), seed)
        else:
            on(model, split, STEPS, rates, seed)
        scores.append(model.score(split.test.history))
    state = world.blocks.encoder.state_dict()
    lora = {k: v.half().contiguous() for k, v in state.items() if "lora_" in k}
    return scores, model.item_tower.features.numpy().copy(), lora


def judge(scores: list, windows) -> pd.Series:
    """Each user's NDCG@10."""
    queue = iter(scores)
    return evaluation.evaluate_rolling(lambda _: next(queue), windows).values("ndcg@10")


def heads(world: World, windows, seed: int) -> tuple[dict, pd.Series]:
    """Chapter 8's towers: what they know after the first window, and how good they are."""
    fit = contrastive_towers(world.came, corrected_info_nce, TAU, epochs=HEADS, seed=seed,
                             dtype=torch.float32)  # fmt: skip
    start, scores = None, []
    for split in windows:
        model = fit(split)
        start = start or copy.deepcopy(model.state_dict())
        scores.append(model.score(split.test.history))
    return start, judge(scores, windows)


def neighbours(vectors: np.ndarray, windows, power: float) -> dict[float, pd.Series]:
    """Each liked film speaks for its neighbours: alone (0), and beside fading popularity."""
    kernel = ContentKernel(vectors, power, center=False)
    said = [standardize(kernel.score(w.test.history)) for w in windows]
    prior = [standardize(np.log1p(fading_likes(w))[None]) for w in windows]
    return {weight: judge([s + weight * p for s, p in zip(said, prior, strict=True)], windows)
            for weight in (0.0, *PRIORS)}  # fmt: skip


class Record:
    """What is written."""

    def __init__(self, world: World):
        self.world, self.rows, self.seeds, self.users = world, [], [], {}

    def tried(self, arm: str, rates: tuple, steps: int, value: float) -> None:
        """On the tuning users."""
        self.rows.append((arm, *rates, steps, value))
        say("tuning", arm, rates, steps, round(value, 4))
        columns = ["arm", "rate", "BERT's rate", "steps", "ndcg@10"]
        save(pd.DataFrame(self.rows, columns=columns), "bert_films_tuning.csv", index=False)

    def tested(self, arm: str, seed: int, values: pd.Series) -> None:
        """On the test users."""
        self.users.setdefault(arm, []).append(values)
        self.seeds.append((arm, seed, values.mean()))
        say("test", arm, seed, round(values.mean(), 4))
        frame = pd.DataFrame({name: sum(found) / len(found) for name, found in self.users.items()})
        save(frame, "bert_films.csv.gz", index_label="user_id")
        frame = pd.DataFrame(self.seeds, columns=["arm", "seed", "ndcg@10"])
        save(frame, "bert_films_seeds.csv", index=False)


def choose(record: Record) -> tuple[dict, dict]:
    """On the tuning users: each arm's rates, and the kernel's power and prior."""
    world, windows = record.world, record.world.rolling.tuning
    start, found = heads(world, windows, 0)
    record.tried("heads", (HEAD_RATE, None), 0, found.mean())
    chosen, vectors, head = {}, {CAME: world.came}, None
    for arm, grid in RATES.items():
        runs = {}
        for rate in grid:
            rates = (rate, None) if arm == "frozen" else (head, rate)
            scores, read_last, _ = run(world, windows, arm, rates, 0, start)
            runs[rates] = judge(scores, windows).mean(), read_last
            record.tried(arm, rates, STEPS, runs[rates][0])
        chosen[arm] = max(runs, key=lambda rates: runs[rates][0])
        head = chosen[arm][0]
        vectors[arm] = runs[chosen[arm]][1]
    del vectors["frozen"]
    kernels = {}
    for arm, own in vectors.items():
        found = {(power, weight): values.mean() for power in POWERS
                 for weight, values in neighbours(own, windows, power).items()}  # fmt: skip
        alone = max((key for key in found if key[1] == 0), key=found.get)
        beside = max((key for key in found if key[1] > 0), key=found.get)
        kernels[arm] = alone, beside
        say("neighbours", arm, [(key, round(found[key], 4)) for key in kernels[arm]])
    return chosen, kernels


def test(record: Record, chosen: dict, kernels: dict) -> None:
    """Each arm from the same heads."""
    world, windows = record.world, record.world.rolling.test

    def by_neighbours(arm: str, seed: int, vectors: np.ndarray) -> None:
        for kind, (power, weight) in zip(("", " + prior"), kernels[arm], strict=True):
            values = neighbours(vectors, windows, power)[weight]
            record.tested(f"neighbours{kind}, {arm}", seed, values)

    by_neighbours(CAME, 0, world.came)
    for seed in SEEDS:
        start, values = heads(world, windows, seed)
        record.tested("heads", seed, values)
        for arm, rates in chosen.items():
            scores, vectors, lora = run(world, windows, arm, rates, seed, start)
            record.tested(arm, seed, judge(scores, windows))
            if arm != "frozen":
                by_neighbours(arm, seed, vectors)
            if lora and seed == 0:
                save_file(lora, HERE / "bert_films_lora.safetensors")


def main() -> None:
    torch.set_num_threads(1)
    record = Record(World())
    say(len(record.world.came), "films read")
    chosen, kernels = choose(record)
    say("chosen", chosen, kernels)
    test(record, chosen, kernels)


if __name__ == "__main__":
    sys.exit(main())
