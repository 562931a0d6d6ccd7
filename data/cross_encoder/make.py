"""Train the cross-encoder's adapter that chapter 7 loads: on training users alone, hour-long.

    python data/cross_encoder/make.py

Lists are made as at serving time: a training user shows a random part of what they liked, and the
text tower proposes candidates; what the user liked of the rest is to be found among them. Tower,
EASE and the collaborative evidence in the texts know nothing of a user whose lists they serve:
they are fitted on the other folds of the training users. Validation users are never touched.

The adapters for queries are made by make_queries.py. A run that is killed goes on from
OUT.checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.evaluation import rank
from recsys_tutorial.models import EASE
from recsys_tutorial.models.content import standardize, unit_rows
from recsys_tutorial.models.cross_encoder import CrossEncoder
from recsys_tutorial.models.pair_layout import item_texts, liked_together, short_titles, user_texts
from recsys_tutorial.models.two_tower import FeatureTower, HistoryTower, TwoTower
from recsys_tutorial.splits import new_user_split

HERE = Path(__file__).parent
N_FOLDS = 4
BATCH = 2  # lists in a step
DEPTH = 60  # candidates that the tower proposes
log = logging.getLogger("make")


def fit_tower(features: np.ndarray, train: sparse.csr_matrix, seed: int = 0) -> TwoTower:
    """The retriever: frozen title vectors, two linear heads, a softmax over all items."""
    torch.manual_seed(seed)
    towers = [FeatureTower(features, 64, dropout=0.2) for _ in range(2)]
    model = TwoTower(HistoryTower(towers[0]), towers[1], popularity_prior=True)
    return model.fit(train, epochs=15, learning_rate=3e-3, seed=seed)


def make_lists(train: sparse.csr_matrix, features: np.ndarray, items, n_draws: int, size: int):
    """Users' texts, items' texts (one catalogue per fold), and lists that point into them."""
    rng = np.random.default_rng(0)
    titles, genres = items["title"].tolist(), items["genres"].tolist()
    short, fold = short_titles(titles), rng.permutation(train.shape[0]) % N_FOLDS
    users, texts, parts, owners = [], [], [], []
    for number in range(N_FOLDS):
        others, own = train[fold != number], np.flatnonzero(fold == number)
        tower, ease = fit_tower(features, others), EASE(500).fit(others)
        texts += item_texts(titles, genres, liked_together(others))
        for _ in range(n_draws):
            likes = train[own]
            share = np.repeat(rng.uniform(0.2, 0.8, len(own)), np.diff(likes.indptr))
            shown = likes.copy()
            shown.data = (rng.random(likes.nnz) < share).astype(float)
            shown.eliminate_zeros()
            base = tower.score(shown)
            teacher = 0.5 * standardize(base) + 0.5 * standardize(ease.score(shown))
            ranked = rank(base, shown, DEPTH)  # (n_own, DEPTH)
            rows = np.arange(len(own))[:, None]
            liked = (likes - shown).toarray()[rows, ranked] > 0
            # Some of the proposals, the liked ones with preference.
            place = np.argsort(rng.random(ranked.shape) - 0.7 * liked, axis=1)[:, :size]
            chosen = np.take_along_axis(ranked, place, axis=1)  # (n_own, size)
            keep = np.diff(shown.indptr) > 0
            parts.append((number * len(titles) + chosen, liked[rows, place], teacher[rows, chosen]))
            parts[-1] = tuple(values[keep] for values in parts[-1])
            users += user_texts(shown[np.flatnonzero(keep)], short)
            owners.append(own[keep])
    lists = [np.concatenate(values) for values in zip(*parts, strict=True)]
    return users, texts, lists, np.concatenate(owners)


def main() -> None:
    """Make the lists, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=HERE / "prefix.safetensors")
    parser.add_argument("--attention", choices=["full", "prefix"], default="prefix")
    parser.add_argument("--last-blocks", type=int, default=3)
    parser.add_argument("--lora-rank", type=int, default=8)
    parser.add_argument("--draws", type=int, default=6, help="lists per training user")
    parser.add_argument("--size", type=int, default=16, help="candidates in a list")
    parser.add_argument("--distill", type=float, default=0.5, help="weight of the teacher's loss")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    movielens = load_movielens()
    split = new_user_split(movielens.ratings, movielens.items)
    items = split.items
    plain = item_texts(items["title"], items["genres"])
    features = TextEncoder().encode(plain)
    features = unit_rows(features, center=True) * features.shape[1] ** 0.5
    log.info("features %s", features.shape)
    users, texts, (candidates, labels, teacher), owners = make_lists(
        split.train, features, items, arguments.draws, arguments.size
    )
    log.info("%d lists of %d, %.1f liked in each", *candidates.shape, labels.sum(1).mean())

    model = CrossEncoder(
        attention=arguments.attention,
        last_blocks=arguments.last_blocks,
        lora_rank=arguments.lora_rank,
    )
    began, n_pieces, n_steps = time.time(), 20, len(users) // (20 * BATCH)

    def piece(rng: np.random.Generator) -> list[np.ndarray]:
        return list(rng.permutation(len(users))[: n_steps * BATCH].reshape(n_steps, BATCH))

    def report(_) -> dict:
        log.info("%d steps more, %.0f s in this run", n_steps, time.time() - began)
        return {}

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    model.fit(
        users, texts, candidates, labels,
        loss="listwise", teacher=teacher, distill=arguments.distill,
        user_ids=split.train_user_ids[np.unique(owners)],
        # An "epoch" here is a random twentieth of the lists, so that the log shows progress.
        epochs=n_pieces, batches=piece, batch_size=BATCH, metrics=report,
        checkpoint=f"{arguments.out}.checkpoint", checkpoint_every=10,
    )  # fmt: skip
    notes = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()}
    model.save(arguments.out, notes | {"lists": len(users)})
    log.info("%.0f s in this run; saved %s, %d bytes", time.time() - began, arguments.out,
             arguments.out.stat().st_size)  # fmt: skip
    log.info("loss, by piece: %s", model.history_["loss"].round(3).tolist())


if __name__ == "__main__":
    main()
