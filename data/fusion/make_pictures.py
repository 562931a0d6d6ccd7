"""Tune chapter 10's ways to fuse, all with as many settings, on the validation items.

    python data/fusion/make_pictures.py tuning
    python data/fusion/make_pictures.py places

The first writes `pictures_tuning.csv`: recall@10 of each way at each setting, mean of three
draws; half an hour on one core. The second writes `pictures.csv.gz`: the place of each test
query's own item in ten draws, for every arm and state of the catalogue; about six minutes. The
functions are those of `notebooks/10_multimodal_fusion.ipynb`, cells tagged `shared` and `arms`.
"""

import itertools
import json
import re
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
NOTEBOOK = HERE.parents[1] / "notebooks" / "10_multimodal_fusion.ipynb"
SEEDS = (0, 1, 2)
HEADS = list(
    itertools.product((0, 256), (0.15, 0.3, 0.5, 0.7, 0.85))
)  # hidden (0: linear), dropout
FUSED = {
    "early": {"how": "early"},
    "concatenation": {"how": "concat"},
    "gate": {"how": "gate"},
    "cross-attention": {"how": "attention"},
    "mean": {},
    "shared space": {"own": 1.0},
}

CHAPTER_5 = {"hidden": 512, "dropout": 0.3}  # its towers, for everybody and untuned
UNTUNED = {
    "keywords alone, untuned": {"names": ["keywords"]} | CHAPTER_5,
    "shared space, untuned": {"own": 1.0, "drop": 0.3} | CHAPTER_5,
}


def chapter(*tags: str) -> dict:
    """What the notebook's cells with these tags define."""
    scope: dict = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if {"setup", "parameters", "shared", *tags} & set(cell["metadata"].get("tags", [])):
            source = re.sub(r"%pip.*", "pass", "".join(cell["source"]))
            exec(compile(source, NOTEBOOK.name, "exec"), scope)
    return scope


def tune() -> None:
    here, found = chapter(), []

    def score(model, rows):
        return (model.encode_users(rows) @ model.encode_items(rows).T).round(9)

    def note(way, hidden, dropout, drop, epochs, seed, scores):
        hits = here["places"](scores) < 10
        row = {"way": way, "hidden": hidden, "dropout": dropout, "drop": drop}
        found.append(row | {"epochs": epochs, "seed": seed, "recall@10": hits.mean()})

    for s in SEEDS:
        parts = here["draw_of"](s)
        rows, asked = parts["train"], parts["validation"]
        for (hidden, dropout), epochs in itertools.product(HEADS, (20, 40)):
            how = {"hidden": hidden or None, "dropout": dropout, "epochs": epochs}
            alone = {m: score(here["fit"](rows, s, [m], **how), asked) for m in here["features"]}
            for m, scores in alone.items():
                note(f"{m} alone", hidden, dropout, 0.0, epochs, s, scores)
            note("late", hidden, dropout, 0.0, epochs, s, sum(alone.values()))
        for way, (head, drop) in itertools.product(FUSED, itertools.product(HEADS, (0.0, 0.3))):
            how = {"hidden": head[0] or None, "dropout": head[1], "drop": drop}
            model = here["fit"](rows, s, **FUSED[way], **how)
            note(way, *head, drop, 20, s, score(model, asked))
        print("seed", s, flush=True)
    keys = ["way", "hidden", "dropout", "drop", "epochs"]
    table = pd.DataFrame(found).groupby(keys, sort=False)["recall@10"].mean().round(4)
    table.to_csv(HERE / "pictures_tuning.csv")


def measure() -> None:
    here, found = chapter("arms"), []
    for s in range(10):
        found.append(here["one_draw"](s, here["ARMS"] | UNTUNED))
        print("draw", s, (found[-1] < 10).mean().round(3).to_dict(), flush=True)
    pd.concat(found).to_csv(HERE / "pictures.csv.gz", float_format="%g")


if __name__ == "__main__":
    {"tuning": tune, "places": measure}[sys.argv[1]]()
