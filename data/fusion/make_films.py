"""Towers that read a film in several ways, alone and together, on the course's windows.

    python data/fusion/make_films.py

writes `films_tuning.csv` (NDCG@10 of the tuning users for every weight decay, mean of
three seeds) and `films.csv.gz` (per test user, at the decay chosen: NDCG@10 over all
films, and recall@20 where only films without a like compete; mean of three seeds).
About ten minutes on one core. `notebooks/10_multimodal_fusion.ipynb` reads both.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_tutorial import course, evaluation, splits
from recsys_tutorial.datasets import film_texts, load_movielens
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.models import TwoTower, towers

HERE = Path(__file__).parent
DIM, SEEDS = 32, (0, 1, 2)
DECAYS = (0.2, 0.6, 2.0, 6.0, 20.0, 60.0)
FOUR = ("title", "genres", "year", "ID")
WAYS = {  # name: (what is read, how it is brought together)
    **{name: ((name,), "sum") for name in FOUR},
    "sum of the four": (FOUR, "sum"),
    "side by side": (FOUR, "concat"),
    "content, side by side": (FOUR[:3], "concat"),
    "one text": (("text",), "sum"),
    "one text + ID": (("text", "ID"), "sum"),
}


def film_features(items: pd.DataFrame) -> dict[str, np.ndarray]:
    """Name -> (n_items, width): title, genres, decades, and all of them as one text."""
    reader = TextEncoder()
    bare = items["title"].str.replace(r" \(\d{4}\)$", "", regex=True)
    year = items["year"].astype(float).fillna(items["year"].median()).to_numpy()
    genres = items["genres"].replace("(no genres listed)", "").str.get_dummies("|")
    features = {
        "title": reader.encode(list(bare)),
        "genres": genres.to_numpy(),
        "year": np.abs(year[:, None] - np.arange(1930, 2020, 10)) <= 5,
        "text": reader.encode(film_texts(items)),
    }
    for name, x in features.items():
        x = x.astype(np.float64)
        features[name] = 0.1 * (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    return features


def film_tower(features: dict, n_items: int, names: tuple, how: str):
    """A tower over films that reads these."""
    parts = [
        towers.IdTower(n_items, DIM) if m == "ID" else towers.FeatureTower(features[m], DIM)
        for m in names
    ]
    return towers.ConcatTower(*parts) if how == "concat" else towers.SumTower(*parts)


def film_fit(features: dict, n_items: int, way: str, decay: float, seed: int):
    """fit(split) -> TwoTower, which goes on from window to window as in chapter 4."""
    torch.manual_seed(seed)
    users = towers.HistoryTower(film_tower(features, n_items, *WAYS[way]), pooling="sqrt")
    films = film_tower(features, n_items, *WAYS[way])
    model = TwoTower(users, films, popularity_prior=True, dtype=torch.float64)
    return course.in_windows(lambda split: model, decay, seed)


def scores_of(fit, windows) -> list[np.ndarray]:
    """Each window's scores (n_users, n_items); films of equal features tie on any processor."""
    return [fit(w).score(w.test.history).round(9) for w in windows]


def judge(scores: list, windows) -> pd.DataFrame:
    """Per user: NDCG@10 over all films, recall@20 over those without a like."""
    rows = []
    for window, s in zip(windows, scores, strict=True):
        never = np.bincount(window.train.indices, minlength=s.shape[1]) == 0
        everything = evaluation.evaluate(s, window.test).values("ndcg@10")
        cold = evaluation.evaluate(s, window.test, candidate_items=never).values("recall@20")
        rows.append(pd.DataFrame({"all": everything, "cold": cold}))
    return pd.concat(rows)


def main() -> None:
    movielens = load_movielens()
    rolling = splits.rolling_split(movielens.ratings, movielens.items)
    items = rolling.test[0].items
    features, tuning, found = film_features(items), {}, {}
    for way in WAYS:
        for decay in DECAYS:
            fits = [film_fit(features, len(items), way, decay, s) for s in SEEDS]
            values = [judge(scores_of(f, rolling.tuning), rolling.tuning)["all"] for f in fits]
            tuning[way, decay] = np.mean([v.mean() for v in values])
        chosen = max(DECAYS, key=lambda d: round(tuning[way, d], 4))
        fits = [film_fit(features, len(items), way, chosen, s) for s in SEEDS]
        seeds = [judge(scores_of(f, rolling.test), rolling.test) for f in fits]
        found[way] = sum(seeds) / len(seeds)
        print(way, chosen, found[way].mean().round(4).to_dict(), flush=True)
    tuning = pd.Series(tuning).unstack().loc[list(WAYS)].round(4)
    tuning.to_csv(HERE / "films_tuning.csv", index_label="way")
    table = pd.concat(found, axis=1)
    table.columns = ["|".join(column) for column in table]
    table.round(5).to_csv(HERE / "films.csv.gz", index_label="user_id")


if __name__ == "__main__":
    main()
