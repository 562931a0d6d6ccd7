"""Chapter 6's longer measurements: tuning on validation users, and the order of dimensions.

    python data/interaction/make.py            # both tables
    python data/interaction/make.py tuning     # one of them

`tuning`: every design with the same five settings, on the three windows of chapter 4 together, one
seed; designs that the file has already are left out. `order`: a dot product is trained, its vectors
are frozen, and ConvNCF is trained on their maps: as they are, with the same permutation of the
dimensions on both sides, and with another one on either side. No test user is looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_tutorial.datasets import film_texts, load_movielens
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.models import interaction
from recsys_tutorial.models.interaction_ranker import InteractionRanker
from recsys_tutorial.models.two_tower import FeatureTower, HistoryTower, TwoTower
from recsys_tutorial.recency import fading_popularity
from recsys_tutorial.splits import Split, new_user_split

DIM, EPOCHS = 16, 20
GRID = [(0.003, 0.3), (0.01, 0.3), (0.03, 0.3), (0.01, 3.0), (0.03, 3.0)]
DESIGNS = {
    "dot product": lambda: dot,
    "GMF": lambda: interaction.GMF(DIM),
    "crossed features": lambda: interaction.FeatureCrosses(28),
    "factorization machine": lambda: interaction.FactorizationMachine(DIM, 8),
    "MLP": lambda: interaction.MLP(DIM, 32),
    "NeuMF": lambda: interaction.NeuMF(DIM, 32),
    "ConvNCF": lambda: interaction.ConvNCF(DIM, 8),
    "target attention": lambda: interaction.TargetAttention(DIM, 16),
    "target attention, softmax": lambda: interaction.TargetAttention(DIM, 16, softmax=True),
    "pair attention": lambda: interaction.PairAttention(DIM, 16),
}


def dot(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Multiply row by row: u . v."""
    return (users * items).sum(1)


def film_features(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """BERT's vectors of title and genres, standardised (n, 384); genres and decade (n, 28)."""
    films = TextEncoder("all-MiniLM-L6-v2").encode(film_texts(items)).astype(np.float64)
    genres = items["genres"].replace("(no genres listed)", "")
    names = sorted(set("|".join(genres).split("|")) - {""})
    tags = np.array([[g in row.split("|") for g in names] for row in genres], dtype=float)
    year = items["year"].astype(float).fillna(items["year"].median()).to_numpy()
    tags = np.hstack([tags, np.abs(year[:, None] - np.arange(1930, 2020, 10)) <= 5])
    return 0.1 * (films - films.mean(0)) / np.maximum(films.std(0), 1e-6), tags


def fit_tower(x: np.ndarray, part: Split, fresh: np.ndarray, dim: int = 64, seed=0) -> TwoTower:
    """Chapter 4's text tower."""
    torch.manual_seed(seed)
    towers = HistoryTower(FeatureTower(x, dim)), FeatureTower(x, dim)
    model = TwoTower(*towers, popularity_prior=True, dtype=torch.float64)
    return model.fit(
        part.train, popularity=fresh, epochs=15, learning_rate=1e-2, weight_decay=3.0, seed=seed
    )


def fit_ranker(name, x, tags, part, fresh, retriever, rate, decay, seed=0) -> InteractionRanker:
    """One design, one setting."""
    torch.manual_seed(seed)
    design, crossed = DESIGNS[name](), name == "crossed features"
    model = InteractionRanker(
        tags if crossed else x, design, None if crossed else DIM, retriever=retriever
    )
    return model.fit(part.train, popularity=fresh, epochs=EPOCHS, learning_rate=rate,
                     weight_decay=decay, seed=seed)  # fmt: skip


def tuning(x, tags, windows, ratings, out: Path) -> None:
    """NDCG@10 over the users of all windows, a row per design and setting."""
    fresh = [fading_popularity(w, ratings) for w in windows]
    towers = [fit_tower(x, w, n) for w, n in zip(windows, fresh, strict=True)]

    def judge(models) -> float:
        pairs = zip(models, windows, strict=True)
        judged = [evaluate(m, w.validation).per_user["ndcg@10"] for m, w in pairs]
        return round(float(pd.concat(judged).mean()), 5)

    rows = pd.read_csv(out).to_dict("records") if out.exists() else []
    rows = rows or [{"model": "the retriever", "learning_rate": 0.01, "weight_decay": 3.0,
                     "ndcg@10": judge(towers)}]  # fmt: skip
    for name in DESIGNS:
        if name in {row["model"] for row in rows}:
            continue
        for rate, decay in GRID:
            found = judge(
                fit_ranker(name, x, tags, w, n, t, rate, decay)
                for w, n, t in zip(windows, fresh, towers, strict=True)
            )
            rows.append({"model": name, "learning_rate": rate, "weight_decay": decay,
                         "ndcg@10": found})  # fmt: skip
            print(rows[-1], flush=True)
        pd.DataFrame(rows).to_csv(out, index=False)


def permuted(model: InteractionRanker, users: np.ndarray, items: np.ndarray) -> InteractionRanker:
    """The trained heads, frozen, their dimensions in another order; a fresh ConvNCF on top."""
    ranker = InteractionRanker(
        model.features.numpy(), interaction.ConvNCF(DIM, 8), DIM, retriever=model._retriever[0]
    )
    for head, own, order in (
        (ranker.user_head, model.user_head, users),
        (ranker.item_head, model.item_head, items),
    ):
        head.load_state_dict({name: value[order] for name, value in own.state_dict().items()})
        head.requires_grad_(False)
    return ranker


def order(x, tags, windows, ratings, out: Path, n_draws: int = 4) -> None:
    """ConvNCF on frozen vectors, three kinds of order, several draws or seeds of each."""
    part = windows[0]
    fresh = fading_popularity(part, ratings)
    tower = fit_tower(x, part, fresh)
    start = fit_ranker("dot product", x, tags, part, fresh, tower, 0.01, 3.0)
    found = evaluate(start, part.validation)["ndcg@10"]
    rows = [{"order": "the dot product itself", "draw": 0, "ndcg@10": found}]
    kept = np.arange(DIM)
    for kind in ("as trained", "same on both sides", "different on the sides"):
        for draw in range(n_draws):
            rng = np.random.default_rng(draw)
            users = kept if kind == "as trained" else rng.permutation(DIM)
            items = rng.permutation(DIM) if kind == "different on the sides" else users
            torch.manual_seed(draw)
            ranker = permuted(start, users, items)
            ranker.fit(part.train, popularity=fresh, epochs=EPOCHS, learning_rate=0.01,
                       weight_decay=0.3, seed=draw)  # fmt: skip
            found = evaluate(ranker, part.validation)["ndcg@10"]
            rows.append({"order": kind, "draw": draw, "ndcg@10": found,
                         "loss": ranker.history_["loss"].iloc[-5:].mean()})  # fmt: skip
            print(rows[-1], flush=True)
    pd.DataFrame(rows).round(5).to_csv(out, index=False)


TABLES = {"tuning": tuning, "order": order}


def main() -> None:
    """Read the command line, measure, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; default: all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder")
    options = parser.parse_args()
    unknown = sorted(set(options.tables) - set(TABLES))
    if unknown:
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(TABLES)}")
    movielens = load_movielens("small")
    windows = [
        new_user_split(movielens.ratings, movielens.items, test_fraction=f) for f in (0.3, 0.4, 0.5)
    ]
    features = film_features(windows[0].items)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.tables or TABLES:
        TABLES[name](*features, windows, movielens.ratings, options.out / f"{name}.csv")


if __name__ == "__main__":
    main()
