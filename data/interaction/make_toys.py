"""Chapter 6's planted tasks, where the answer is known: which design can say it, and at what price.

    PYTHONPATH=. python data/interaction/make_toys.py      # about ten minutes on one core, no GPU

`planted.csv`: the share of new users whose best of 100 items is in the first ten, three seeds.
"nearest": users and items are points, the nearest item is the best, linear heads to 8 numbers.
"two tastes": a user is two points, and an item is as good as its nearer one; heads with a hidden
layer. `multiply.csv`: MLPs learn the dot product of vectors of 8 numbers; relative error on new
pairs by training pairs (0: new ones at each step), hidden width, steps and seed, the learning rate
chosen for each width. The lines printed are kept in `make_toys.log`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from recsys_tutorial import models
from recsys_tutorial.models.towers import ProjectionHead

HERE = Path(__file__).parent
STEPS, SIZE, HIDDEN = 1000, 8, 32


def dot(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Multiply row by row: u . v."""
    return (users * items).sum(1)


# Size of the vectors, hidden layer of the heads, and the design.
NEAREST = {
    "dot product": (SIZE, None, lambda: dot),
    "GMF": (SIZE, None, lambda: models.GMF(SIZE)),
    "crossed features": (SIZE, None, lambda: models.FeatureCrosses(SIZE)),
    "factorization machine": (SIZE, None, lambda: models.FactorizationMachine(SIZE, SIZE)),
    "MLP": (SIZE, None, lambda: models.MLP(SIZE, HIDDEN)),
    "NeuMF": (SIZE, None, lambda: models.NeuMF(SIZE, HIDDEN)),
    "ConvNCF, 8 x 8 map": (SIZE, None, lambda: models.ConvNCF(SIZE, 8)),
    "dot product of 2, hidden layers": (2, HIDDEN, lambda: dot),
    "dot product of 3, hidden layers": (3, HIDDEN, lambda: dot),
}
TASTES = {
    "dot product": lambda: dot,
    "MLP": lambda: models.MLP(SIZE, HIDDEN),
    "target attention": lambda: models.TargetAttention(SIZE, 16),
    "target attention, softmax": lambda: models.TargetAttention(SIZE, 16, softmax=True),
    "DIN": lambda: models.TargetAttention(SIZE, 16, mlp=HIDDEN),
    "pair attention": lambda: models.PairAttention(SIZE, 16),
}


def learn(score, parts: nn.Module, draw, steps: int, rate: float = 0.01) -> None:
    """Least squares between score(u, v) and the truth; draw() gives a batch u, v, truth."""
    optimizer = torch.optim.Adam(parts.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        u, v, truth = draw()
        optimizer.zero_grad()
        (score(u, v) - truth).square().mean().backward()
        optimizer.step(), schedule.step()


def planted(make, seed: int, n_tastes: int = 1, dim: int = SIZE, hidden: int | None = None):
    """Share of 500 new users whose best of 100 items is in the first ten."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    heads, meet = [ProjectionHead(2, dim, hidden=hidden).double() for _ in range(2)], make()
    parts = nn.ModuleList([*heads, *([meet.double()] if isinstance(meet, nn.Module) else [])])
    point = lambda *shape: torch.from_numpy(rng.uniform(-1, 1, (*shape, 2)))  # noqa: E731

    def near(u, v):  # (n, n_tastes, 2), (n, 2)
        return -((u - v[:, None]) ** 2).sum(2).amin(1)

    def score(u, v):
        own = heads[0](u)  # (n, n_tastes, dim)
        if getattr(meet, "reads_history", False):
            return meet(own, torch.ones(own.shape[:2], dtype=torch.bool), heads[1](v))
        return meet(own.sum(1), heads[1](v))

    def draw():
        u, v = point(256, n_tastes), point(2, 256)
        return u, v, near(u, v[0]) - near(u, v[1])

    learn(lambda u, v: score(u, v[0]) - score(u, v[1]), parts, draw, STEPS)
    users, items = point(500, n_tastes).repeat_interleave(100, 0), point(50_000)
    with torch.no_grad():
        found = score(users, items).view(500, 100)
    best = near(users, items).view(500, 100).argmax(1, keepdim=True)
    return (found.topk(10).indices == best).any(1).double().mean().item()


def imitate(width: int, n: int, steps: int, rate: float, seed: int) -> float:
    """Relative error of an MLP on new pairs, after training on n; 0 for new ones at each step."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = models.MLP(8, width)
    pairs = torch.randn(2, max(n, 1), 8, generator=generator)

    def draw():
        u, v = torch.randn(2, 256, 8, generator=generator)
        if n:
            u, v = pairs[:, torch.randint(n, (256,), generator=generator)]
        return u, v, dot(u, v)

    learn(model, model, draw, steps, rate)
    u, v = torch.randn(2, 10_000, 8, generator=generator)
    with torch.no_grad():
        return ((model(u, v) - dot(u, v)).square().mean() / 8).sqrt().item()


def main() -> None:
    torch.set_num_threads(1)
    started, rows = time.time(), []
    for seed in range(3):
        for name, (dim, hidden, make) in NEAREST.items():
            rows.append(("nearest", name, seed, planted(make, seed, 1, dim, hidden)))
        for name, make in TASTES.items():
            rows.append(("two tastes", name, seed, planted(make, seed, 2, SIZE, HIDDEN)))
        print("planted", seed, f"{time.time() - started:.0f} s", flush=True)
    frame = pd.DataFrame(rows, columns=["task", "model", "seed", "found"])
    frame.round(4).to_csv(HERE / "planted.csv", index=False)
    print(frame.groupby(["task", "model"], sort=False)["found"].agg(["mean", "min", "max"]))
    rows = []
    for width in (32, 128, 512):
        tried = {
            rate: imitate(width, 0, 2000, rate, 9) for rate in (3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
        }
        rate = min(tried, key=tried.get)
        print(width, {r: round(e, 3) for r, e in tried.items()}, f"{time.time() - started:.0f} s")
        for n in (1000, 8000, 0):
            for steps in (500, 2000, 8000):
                for seed in range(3):
                    rows.append((n, width, steps, seed, imitate(width, n, steps, rate, seed)))
            print(n, width, f"{rows[-1][-1]:.3f}", f"{time.time() - started:.0f} s", flush=True)
        frame = pd.DataFrame(rows, columns=["pairs", "width", "steps", "seed", "error"])
        frame.round(4).to_csv(HERE / "multiply.csv", index=False)


if __name__ == "__main__":
    sys.exit(main())
