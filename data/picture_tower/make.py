"""Train the last block of the picture tower with its head, and the head alone.

    python data/picture_tower/make.py

writes unfreezing.csv beside itself: recall@10 on the validation and test pictures of
unseen creators (``notebooks/05_two_tower_image.ipynb`` draws the same parts) along
the training, for every rate and seed, and which pictures were found, a bit for each
in the order of the rows. About twenty minutes on one CPU core.
"""

import copy
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_tutorial.datasets import load_clipart
from recsys_tutorial.encoders import ImageEncoder, TextEncoder
from recsys_tutorial.losses import info_nce
from recsys_tutorial.models.towers import FeatureTower
from recsys_tutorial.splits import hold_out_by_group

HERE = Path(__file__).parent
SIZE, BATCH, STEPS, EVERY, SEEDS = 56, 128, 200, 40, (0, 1, 2)
HEAD_RATE = 5e-4
ARMS = {  # name: (the block learns, it is reset first, rates to try)
    "head": (False, False, (1.5e-4, 5e-4, 1.5e-3)),
    "head and last block": (True, False, (2e-5, 1e-4, 5e-4)),
    "head and a block reset to random": (True, True, (1e-4, 5e-4, 2e-3)),
    "head and a block left at random": (True, True, (0.0,)),
}


def hold_out(items: pd.DataFrame, seed: int, n: int = 250) -> tuple:
    """Rows of training, validation and test, no creator in two of them."""
    able = (items["candidate"] & (items["keywords"] != "")).to_numpy()
    stay = {"largest": 120, "stay": ("unknown",)}
    parts = hold_out_by_group(items["creator"].to_numpy(), able, n, seed, **stay)
    return parts["train"], parts["validation"], parts["test"]


class Pictures(torch.nn.Module):
    """The last block, the final norm and a head: tokens -> vectors (n, 128)."""

    def __init__(self, block, norm, features, reset: bool):
        super().__init__()
        self.block, self.norm = copy.deepcopy(block), copy.deepcopy(norm)
        if reset:
            for part in self.block.modules():
                if isinstance(part, torch.nn.Linear):
                    torch.nn.init.trunc_normal_(part.weight, std=0.02)
                    torch.nn.init.zeros_(part.bias)
        self.mean, self.std = features.mean(0), features.std(0).clamp_min(1e-6)
        self.head = FeatureTower(features.numpy(), 128, hidden=512, dropout=0.3).head

    def features(self, tokens):
        """Class token and mean of the patches (n, 2 * width)."""
        x = self.norm(self.block(tokens))
        return torch.cat([x[:, 0], x[:, 1:].mean(1)], 1)  # (n, 2 * width)

    def forward(self, tokens):
        """Vectors (n, 128), not yet of length 1."""
        return self.head((self.features(tokens) - self.mean) / self.std)


def hits(text_head, picture_head, texts, tokens, rows) -> np.ndarray:
    """Is each row's picture among the first ten of the rows, asked for by three wordings?"""
    text_head.eval(), picture_head.eval()
    with torch.no_grad():
        z = sum(torch.nn.functional.normalize(text_head(t[rows])) for t in texts)
        v = torch.nn.functional.normalize(picture_head(tokens[rows]))
        scores = z @ v.T
    text_head.train(), picture_head.train()
    return ((scores > scores.diag()[:, None]).sum(1) < 10).numpy()


def train(text_head, picture_head, log_tau, texts, tokens, rows, rates, steps, rng):
    """Take steps of AdamW on InfoNCE in both directions, yielding the loss."""
    groups = [{"params": list(p), "lr": lr} for p, lr in rates]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    full = [group["lr"] for group in groups]
    order = rng.permutation(rows)
    for step in range(steps):
        if len(order) < BATCH:
            order = rng.permutation(rows)
        batch, order = order[:BATCH], order[BATCH:]
        for group, lr in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = lr * min(1, (step + 1) / 20)  # a short warm-up
        z = text_head(texts[rng.integers(len(texts), size=len(batch)), batch])
        z, v = (torch.nn.functional.normalize(x) for x in (z, picture_head(tokens[batch])))
        loss = info_nce(z, v, temperature=log_tau.exp(), symmetric=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def look(lines: list, about: dict, parts: dict, model: tuple, step: int, loss: float) -> None:
    """Add a line of recalls and hits to the table, and print it."""
    found = {part: hits(*model, rows) for part, rows in parts.items()}
    line = about | {"step": step, "loss": loss} | {p: hit.mean() for p, hit in found.items()}
    print(*about.values(), step, *(f"{line[part]:.3f}" for part in parts), flush=True)
    for part in ("validation", "test"):
        line[f"{part} hits"] = np.packbits(found[part]).tobytes().hex()
    lines.append(line)


def main() -> None:
    """Run every arm, rate and seed."""
    clipart = load_clipart()
    items = clipart.items
    words = items["keywords"].str.replace("|", ", ", regex=False)
    wordings = [items["title"] + ". " + words, items["title"]]
    wordings += [words.where(words != "", items["title"])]
    reader = TextEncoder()
    raw = torch.tensor(np.stack([reader.encode(list(w)) for w in wordings]))
    encoder = ImageEncoder(image_size=SIZE, pooling="both", normalize=False)
    lower = ImageEncoder(image_size=SIZE, pooling="both", layer=encoder.n_layers - 1)
    paths = clipart.paths()
    with torch.no_grad():
        tokens = [lower.hidden_states(lower.prepare(paths[i : i + 64]))
                  for i in range(0, len(paths), 64)]  # fmt: skip
    tokens, lines = torch.cat(tokens), []
    block, norm = encoder.blocks[-1], encoder.model.norm
    block.requires_grad_(True), norm.requires_grad_(True)
    for seed in SEEDS:
        rows, *held_out = hold_out(items, seed)
        parts = dict(zip(("validation", "test"), held_out, strict=True))
        parts["training"] = np.random.default_rng(seed).permutation(rows)[:250]
        mean, std = raw[:, rows].mean((0, 1)), raw[:, rows].std((0, 1)).clamp_min(1e-6)
        texts = (raw - mean) / std
        torch.manual_seed(seed)
        text_start = FeatureTower(texts[0].numpy(), 128, hidden=512, dropout=0.3).head
        with torch.no_grad():
            features = Pictures.features(
                torch.nn.ModuleDict({"block": block, "norm": norm}), tokens
            )
        for arm, (learns, reset, rates) in ARMS.items():
            start = Pictures(block, norm, features[rows], reset)
            if arm == "head":
                log_tau = torch.nn.Parameter(torch.tensor(np.log(0.1), dtype=torch.float32))
                ready = (features - start.mean) / start.std
                fitted = [*text_start.parameters(), *start.head.parameters(), log_tau]
                for _ in train(text_start, start.head, log_tau, texts, ready, rows,
                               [(fitted, 3e-3)], 140, np.random.default_rng(seed)):  # fmt: skip
                    pass
                head = start.head
            start.head = head
            for rate in rates:
                text_head, pictures = copy.deepcopy(text_start), copy.deepcopy(start)
                log_temperature = copy.deepcopy(log_tau)
                heads = [*text_head.parameters(), *pictures.head.parameters(), log_temperature]
                groups = [(heads, HEAD_RATE if learns else rate)]
                # The frozen block gives the same features at each step: computed once.
                tower, x = (pictures, tokens) if learns else (pictures.head, ready)
                if learns:
                    own = [*pictures.block.parameters(), *pictures.norm.parameters()]
                    groups.append((own, rate))

                about = {"arm": arm, "rate": rate, "seed": seed}
                note = partial(look, lines, about, parts, (text_head, tower, texts, x))
                note(0, np.nan)
                steps = train(text_head, tower, log_temperature, texts, x, rows, groups, STEPS,
                              np.random.default_rng(100 + seed))  # fmt: skip
                for step, loss in enumerate(steps, 1):
                    if step % EVERY == 0:
                        note(step, loss)
        frame = pd.DataFrame(lines).round({"loss": 3, "validation": 3, "test": 3, "training": 3})
        frame.to_csv(HERE / "unfreezing.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
