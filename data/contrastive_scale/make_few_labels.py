"""What pretraining without labels is worth when it costs steps: two worlds.

    python data/contrastive_scale/make_few_labels.py films
    python data/contrastive_scale/make_few_labels.py packages

Films: everybody's watched films are known, the likes of a share of the users. Packages: everybody's
lists of needs are known, the descriptions of a share of the projects. Every arm has the same number
of steps: all on labels, or half of them on the halves of a list that have to find each other.
Temperature and rate are chosen on the tuning users, six settings for each arm and number of steps,
with the labels of 30 %. Writes `few_NAME_tuning.csv` and `few_NAME_users.csv.gz`: each test user's
NDCG@10, mean of three seeds, columns `features|pretraining|steps|share`.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import worlds
from scipy import sparse
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from worlds import SEEDS

from recsys_tutorial import evaluation
from recsys_tutorial.losses import info_nce
from recsys_tutorial.training import train

HERE = Path(__file__).parent
SHARES, BATCH, PAIRS = (0.1, 0.3, 1.0), 512, 256
STEPS = {"films": (60, 240, 720), "packages": (100, 300, 900)}
TAUS = {"films": (0.2, 0.4), "packages": (0.06, 0.12)}
RATES = (3e-3, 1e-2, 3e-2)


def as_tensor(matrix: sparse.csr_matrix, dtype) -> torch.Tensor:
    """A sparse tensor that multiplies tables."""
    m = matrix.tocoo()
    index = torch.from_numpy(np.stack([m.row, m.col]).astype(np.int64))
    values = torch.from_numpy(m.data).to(dtype)
    return torch.sparse_coo_tensor(index, values, m.shape, check_invariants=False).coalesce()


def halves(lists: sparse.csr_matrix, rng, n: int):
    """Two random halves of the lists of n random rows."""
    some = lists[rng.choice(lists.shape[0], min(n, lists.shape[0]), replace=False)]
    first, second = some.copy(), some.copy()
    first.data = (rng.random(first.nnz) < 0.5).astype(float)
    second.data = 1 - first.data
    return first, second


class Tied(nn.Module):
    """Users and films start from one table: of ID vectors, or a head on the text's features."""

    def __init__(self, world, text: bool, seed: int, temperature: float):
        super().__init__()
        torch.manual_seed(seed)
        self.text, self.temperature, self.x = text, temperature, world.x
        start = 0.1 * torch.randn(world.x.shape[1] if text else len(world.x), world.dim)
        self.tables = nn.ParameterList([nn.Parameter(start.clone()) for _ in "ui"])
        self.prior = nn.Parameter(torch.tensor(1.0))

    def sums(self, lists: sparse.csr_matrix, which: int) -> torch.Tensor:
        """Sums of vectors over lists."""
        table = self.tables[which]
        if self.text:
            return torch.from_numpy(lists @ self.x.numpy()).float() @ table
        return torch.sparse.mm(as_tensor(lists, torch.float), table)

    def films(self, rows, which: int) -> torch.Tensor:
        """Vectors of films."""
        return self.x[rows] @ self.tables[which] if self.text else self.tables[which][rows]


def films_run(world, which, text, pretrain, steps, share, tau, rate, seed):
    """Values per user; half of each window's steps are pretraining, or none."""
    model, values = Tied(world, text, seed, tau), []
    for number, split in enumerate(getattr(world.rolling, which)):
        chance = np.random.default_rng([seed, 9]).random(1 + split.train_user_ids.max())
        labelled = np.flatnonzero(chance[split.train_user_ids] < share)
        likes, part = split.train[labelled], world.parts[which][number]
        likes = likes[np.flatnonzero(np.diff(likes.indptr) > 1)]
        users = np.repeat(np.arange(likes.shape[0]), np.diff(likes.indptr))
        items, log_n = likes.indices.astype(np.int64), torch.from_numpy(part.log_n)[:, None].float()
        known = torch.from_numpy(likes.toarray() > 0)
        q = np.bincount(items, minlength=len(world.x)) / max(len(items), 1)
        inclusion = np.log(-np.expm1((BATCH - 1) * np.log1p(-np.maximum(q, 1e-9))))
        watched = split.train_ratings.copy()
        watched.data[:] = 1

        def pair(m, rows, rng, watched=watched):
            first, second = halves(watched, rng, PAIRS)
            z, v = normalize(m.sums(first, 0), dim=1), normalize(m.sums(second, 1), dim=1)
            return info_nce(z, v, temperature=m.temperature)

        def labels(m, rows, rng, likes=likes, users=users, items=items, known=known,
                   inclusion=inclusion, log_n=log_n):  # fmt: skip
            at = rng.choice(len(users), min(BATCH, len(users)), replace=False)
            u, i = users[at], items[at]
            some, place = np.unique(i, return_inverse=True)
            z = normalize(m.sums(likes, 0)[u] - m.films(i, 0), dim=1) / m.temperature
            v = normalize(m.films(some, 1), dim=1)
            s = z @ v.T + m.prior * log_n[some].T - torch.from_numpy(inclusion[some]).float()
            left_out, own = known[u][:, some], torch.from_numpy(place)
            left_out[torch.arange(len(u)), own] = False
            return cross_entropy(s.masked_fill(left_out, -1e30), own)

        total = steps if number == 0 else steps // 12
        for loss, n in (
            ((pair, total // 2), (labels, total - total // 2)) if pretrain else ((labels, total),)
        ):
            learn(model, loss, n, rate, seed + 100 * number)
        with torch.no_grad():
            z = normalize(model.sums(split.test.history, 0), dim=1) / tau
            v = normalize(model.films(slice(None), 1), dim=1)
            s = (z @ v.T + model.prior * log_n.T).numpy().round(5)
        values.append(evaluation.evaluate(s, split.test, (10,)).values("ndcg@10"))
    return pd.concat(values)


def packages_run(world, which, text, pretrain, steps, share, tau, rate, seed):
    """Values per user; the item side is learned from lists, then with descriptions."""
    model = worlds.Towers(world, seed, tau)
    rows = np.random.default_rng([seed, 9]).random(world.likes.shape[0]) < share
    whole = world.parts[which][0]
    model.log_n = torch.from_numpy(whole.log_n)[:, None].float()
    likes = world.likes[np.flatnonzero(rows)]
    lines = world.lines[world.split.train_user_ids[rows]]
    part = worlds.Part(likes, whole.log_n, lambda u, i: lines[u], lines, None, True, None)
    lists = world.likes[np.flatnonzero(np.diff(world.likes.indptr) > 1)]

    def pair(m, rows, rng):
        first, second = halves(lists, rng, PAIRS)
        some = np.unique(np.concatenate([first.indices, second.indices]))
        v = m.raw(some)
        z = [normalize(as_tensor(h[:, some], v.dtype) @ v, dim=1) for h in (first, second)]
        return info_nce(*z, temperature=m.temperature)

    labels = worlds.in_batch({"correct": "inclusion"}, part, model, {})
    both = ((pair, steps // 2), (labels, steps - steps // 2)) if pretrain else ((labels, steps),)
    for loss, n in both:
        learn(model, loss, n, rate, seed)
    with torch.no_grad():
        return whole.judge(model)


def learn(model, loss, n: int, rate: float, seed: int) -> None:
    """Some steps of a loss that draws its own examples."""
    train(model, loss, BATCH, epochs=1, batches=lambda rng: [np.arange(BATCH)] * n,
          learning_rate={"": rate, "prior": 0.06}, seed=seed)  # fmt: skip


def main() -> None:
    name = sys.argv[1]
    world = {"films": worlds.Films, "packages": worlds.Packages}[name]()
    run = {"films": films_run, "packages": packages_run}[name]
    kinds = ("IDs", "text") if name == "films" else ("IDs and text",)
    tuning, users = [], {}
    for kind, steps, pretrain in itertools.product(kinds, STEPS[name], (False, True)):
        if kind == "text" and steps == max(STEPS[name]):
            continue
        began, found, label = time.time(), {}, "halves" if pretrain else "none"
        for tau, rate in itertools.product(TAUS[name], RATES):
            values = run(world, "tuning", kind == "text", pretrain, steps, 0.3, tau, rate, 0)
            found[tau, rate] = round(values.mean(), 4)
            row = {"features": kind, "pretraining": label, "steps": steps, "temperature": tau}
            tuning.append(row | {"rate": rate, "ndcg@10": found[tau, rate]})
        best = max(found, key=found.get)
        for share in SHARES:
            seeds = [run(world, "test", kind == "text", pretrain, steps, share, *best, seed)
                     for seed in SEEDS]  # fmt: skip
            key = f"{kind}|{label}|{steps}|{share:g}"
            users[key] = sum(seeds) / len(seeds)
            print(key, best, found[best], f"test {users[key].mean():.4f}",
                  f"{time.time() - began:.0f} s", flush=True)  # fmt: skip
        pd.DataFrame(tuning).to_csv(HERE / f"few_{name}_tuning.csv", index=False)
        table = pd.DataFrame(users).rename_axis("user_id").round(5)
        packed = {"method": "gzip", "mtime": 1}
        table.to_csv(HERE / f"few_{name}_users.csv.gz", compression=packed)


if __name__ == "__main__":
    main()
