"""Train the models that chapter 7 compares on queries about genres ("comedy without romance").

    python data/cross_encoder/make_queries.py tower
    python data/cross_encoder/make_queries.py prefix
    python data/cross_encoder/make_queries.py full

`tower`: two towers, each a BERT of its own. `prefix` and `full`: cross-encoders, with the query
read once for all candidates, or again for each. All train low-rank updates of the last three
blocks. Learned are queries about pairs of genres in the part "train", on the films of
`learned_films`; the chapter asks for other pairs of genres, and searches the other films. The
cross-encoders' lists hold the tower's own best films, so `tower` comes first. The files go into
this folder; a run that is killed goes on from its checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.datasets.genre_queries import genre_queries, learned_films
from recsys_tutorial.evaluation import rank
from recsys_tutorial.losses import multinomial_loss
from recsys_tutorial.models.cross_encoder import CrossEncoder
from recsys_tutorial.models.pair_layout import item_texts
from recsys_tutorial.models.towers.last_blocks import LastBlocksTower
from recsys_tutorial.models.two_tower import TwoTower
from recsys_tutorial.training import train

BLOCKS, RANK = 3, 8
log = logging.getLogger("make_queries")


def catalogue() -> tuple[list[str], list[str]]:
    """Texts and genres of every second film that has a genre, so that the chapter stays short."""
    items = load_movielens().items
    items = items[items["genres"] != "(no genres listed)"].iloc[::2]
    return item_texts(items["title"].tolist(), items["genres"].tolist()), items["genres"].tolist()


def query_tower(queries: list[str], films: list[str]) -> TwoTower:
    """Two BERTs and heads that change nothing: training starts from MiniLM's cosine."""
    torch.manual_seed(0)
    towers = [LastBlocksTower(texts, 384, n_blocks=BLOCKS) for texts in (queries, films)]
    for tower in towers:
        tower.encoder.add_lora(rank=RANK, targets=["query", "key", "value", "dense"])
        torch.nn.init.eye_(tower.head[-1].weight)
        torch.nn.init.zeros_(tower.head[-1].bias)
        tower.head.requires_grad_(False)
    return TwoTower(*towers, similarity="cosine", temperature=0.05, dtype=torch.float32)


def train_tower(queries, films, checkpoint: Path, steps: int) -> TwoTower:
    """A softmax over films of the batch: random ones first, then the tower's own best, too."""
    model, learned = query_tower(queries.texts, films), np.flatnonzero(learned_films(len(films)))
    rows, size = queries.rows("train"), 32
    hard: list[np.ndarray] = []

    def loss(model: TwoTower, batch: np.ndarray, rng) -> torch.Tensor:
        query, film = rows[batch], rng.choice(learned, 64, replace=False)
        if hard:
            film = np.unique(np.append(film[:32], rng.choice(hard[0][batch].ravel(), 32)))
        scores = model.user_vectors(query) @ model.item_vectors(film).T  # (32, 64)
        return multinomial_loss(scores, torch.from_numpy(queries.relevant[query][:, film]))

    epochs = max(1, steps * size // len(rows) // 2)
    for phase in ("random", "hard"):
        history = train(model, loss, len(rows), epochs=epochs, batch_size=size, learning_rate=1e-3,
                        weight_decay=0.0, checkpoint=f"{checkpoint}.{phase}")  # fmt: skip
        log.info("%s negatives, loss by epoch: %s", phase, history["loss"].round(2).tolist())
        scores = model.encode_users(rows) @ model.encode_items(learned).T  # (n_rows, n_learned)
        hard[:] = [learned[rank(scores, None, 60)]]
    return model


def make_lists(queries, films, tower: TwoTower, n_draws: int):
    """Lists of eight: two answers and six other films, the tower's best among both."""
    rng, learned = np.random.default_rng(0), np.flatnonzero(learned_films(len(films)))
    rows = queries.rows("train")
    best = learned[rank(tower.encode_users(rows) @ tower.encode_items(learned).T, None, 60)]
    texts, candidates = [], []
    for row, proposed in zip(rows, best, strict=True):
        right = queries.relevant[row]
        for _ in range(n_draws):
            parts = []
            for answers, n in ((True, 2), (False, 6)):
                hard = rng.permutation(proposed[right[proposed] == answers])[: n // 2]
                other = learned[right[learned] == answers]
                other = rng.choice(np.setdiff1d(other, hard), n - len(hard), replace=False)
                parts += [hard, other]
            texts.append(queries.texts[row])
            candidates.append(np.concatenate(parts))
    labels = np.tile([1.0] * 2 + [0.0] * 6, (len(texts), 1))
    return texts, np.array(candidates), labels


def main() -> None:
    """Train one of them, save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["tower", "prefix", "full"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--draws", type=int, default=10, help="lists per training query")
    parser.add_argument("--steps", type=int, default=160, help="of the tower")
    parser.add_argument("--seed", type=int, default=0, help="of a cross-encoder's start and order")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    films, genres = catalogue()
    name = arguments.what + (f"_{arguments.seed}" if arguments.seed else "")
    queries, out = genre_queries(genres), arguments.out / f"queries_{name}.safetensors"
    began = time.time()
    if arguments.what == "tower":
        model = train_tower(queries, films, out.with_suffix(".checkpoint"), arguments.steps)
        model.save(out)
    else:
        tower = query_tower(queries.texts, films)
        tower.load(Path(__file__).parent / "queries_tower.safetensors")
        texts, candidates, labels = make_lists(queries, films, tower, arguments.draws)
        log.info("%d lists of %d", *candidates.shape)
        model = CrossEncoder(
            attention=arguments.what, last_blocks=BLOCKS, lora_rank=RANK, dropout=0.0,
            max_user_tokens=64, device="cpu", seed=arguments.seed,
        )  # fmt: skip
        steps = len(texts) // 20

        def piece(rng: np.random.Generator) -> list[np.ndarray]:
            return list(rng.permutation(len(texts))[: steps * 2].reshape(steps, 2))

        def report(_) -> dict:
            log.info("a tenth of the lists more, %.0f s in this run", time.time() - began)
            return {}

        model.fit(
            texts, films, candidates, labels, user_ids=queries.rows("train"), epochs=10,
            batches=piece, batch_size=2, learning_rate=1e-3, metrics=report, seed=arguments.seed,
            checkpoint=out.with_suffix(".checkpoint"), checkpoint_every=10,
        )  # fmt: skip
        model.save(out, {"queries": "part train of genre_queries, films of learned_films"})
        log.info("loss, by tenth: %s", model.history_["loss"].round(3).tolist())
    log.info("%.0f s in this run; saved %s, %d bytes", time.time() - began, out.name,
             out.stat().st_size)  # fmt: skip


if __name__ == "__main__":
    main()
