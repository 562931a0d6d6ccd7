"""Chapter 13's codes and longer measurements, on one core; what is done is not done again.

    PYTHONPATH=. python data/semantic_ids/make.py codes     # films.csv, each film's code
    PYTHONPATH=. python data/semantic_ids/make.py pictures  # pictures.npz, clip art's vectors
    PYTHONPATH=. python data/semantic_ids/make.py films     # decoders, in windows in time
    PYTHONPATH=. python data/semantic_ids/make.py content   # cold films: models of content
    PYTHONPATH=. python data/semantic_ids/make.py features  # words as features of a two-tower

A number behind it says how many seeds, by default three, and another one after how many seconds no
further arm begins. Every arm writes what it found when it is done; a run that was broken off goes
on with the next arm.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_tutorial import splits
from recsys_tutorial.course import MODELS
from recsys_tutorial.course import _codes as codes
from recsys_tutorial.course._features import BERT
from recsys_tutorial.course._sequences import film_events, first_stage
from recsys_tutorial.course._towers import two_tower
from recsys_tutorial.datasets import film_texts, load_clipart, load_movielens
from recsys_tutorial.encoders import ImageEncoder, TextEncoder
from recsys_tutorial.evaluation import evaluate, evaluate_rolling
from recsys_tutorial.models import unit_rows
from recsys_tutorial.ranking import standardize
from recsys_tutorial.semantic_ids import residual_kmeans

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from arms import save, say, table  # noqa: E402

SEEDS = (0, 1, 2)
RATES, DROPOUTS, DECAYS = (0.003, 0.01), (0.0, 0.2), (0.6, 2.0, 6.0)
SETTINGS = list(itertools.product(RATES, DROPOUTS, DECAYS))
SETTINGS += itertools.product((0.01,), (0.4,), DECAYS[:2])  # the best lay at the edge
SETTINGS += itertools.product((0.03,), (0.2,), DECAYS[:2])
ARMS = {name: {"codes": name} for name in ("text", "random", "ALS")}
ARMS["text, all words"] = {"codes": "text", "constrained": False}
TUNED = ["arm", "events", "rate", "dropout", "decay"]
PRIORS = (0.0, 0.4, 0.8, 1.6, 2.4, 3.2, 4.8, 7.2, 10.8, 16.2, 24.3)
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


def film_words() -> None:
    """Write each film's words, with the hash of the texts they were made from."""
    items = load_movielens().items
    texts = "\n".join(film_texts(items))
    words = pd.DataFrame(codes.made_codes(items), columns=codes.WORDS)
    titles = TextEncoder(BERT).encode(list(items["title"])).astype(np.float64)
    words[codes.TITLE_WORDS] = residual_kmeans(unit_rows(titles, center=True), codes.SIZES)[0]
    words.insert(0, "item_id", items["item_id"].to_numpy())
    head = f"# {hashlib.sha256(texts.encode()).hexdigest()}, of the films' texts\n"
    (HERE / "films.csv").write_text(head + words.to_csv(index=False), encoding="utf-8")


def withheld(title: str, keywords: str, category: str) -> str:
    """What a picture is called, without the words of its category or their relatives."""
    banned = {word[:4] for word in re.findall(r"[^\W_]+", category.lower())}
    words = re.findall(r"[^\W_]+", f"{title} {keywords}".lower())
    return " ".join(word for word in words if word[:4] not in banned)


def pictures() -> None:
    """Write 32 numbers for each picture, of its text without the category and of its pixels."""
    clipart = load_clipart()
    items = clipart.items
    columns = (items[name] for name in ("title", "keywords", "category"))
    texts = [withheld(*row) or "picture" for row in zip(*columns, strict=True)]
    text = TextEncoder().encode(texts).astype(np.float64)
    vit = ImageEncoder(image_size=112, pooling="both", normalize=False)
    parts = text, vit.encode(clipart.paths()).astype(np.float64)
    parts = [(x - x.mean(0)) / np.maximum(x.std(0), 1e-6) / np.sqrt(x.shape[1]) for x in parts]
    u, s, vt = np.linalg.svd(np.hstack(parts), full_matrices=False)
    largest = vt[np.arange(32), np.abs(vt[:32]).argmax(axis=1)]
    numbers = u[:, :32] * s[:32] * np.sign(largest)  # (n_items, 32)
    scale = 1000 / np.sqrt((numbers**2).sum(1).mean())
    ids = items["item_id"].to_numpy()
    made = {"item_id": ids, "vectors": np.round(numbers * scale).astype(np.int16)}
    np.savez_compressed(HERE / "pictures.npz", **made)


def cold(split: splits.Split) -> np.ndarray:
    """Bool ndarray (n_items,): films that no decoder learned to write."""
    return ~film_events(split)[2]


def decoder(arm: str, settings, **options):
    rate, dropout, decay = settings
    fitted = ARMS[arm] | {"learning_rate": rate, "dropout": dropout, "decay": decay}
    return codes.code_decoder(**fitted, **options)


def run_films(windows, first_stages, arm: str, seed: int, settings, priors, weights):
    """Each user's metrics: alone, with each prior and each weight of a blend, for cold films."""
    fit = decoder(arm, settings)(seed)
    found: dict[str, list[pd.DataFrame]] = {}
    for split, first in zip(windows, first_stages, strict=True):
        model = fit(split)
        said = model.score(split.test.history, split.test.history_times)
        steady, popular = standardize(said), codes.fading_log(split)
        scores = {f"prior {w}": said + w * popular for w in priors}
        scores |= {f"blend {w}": first + w * steady for w in weights}
        for name, values in scores.items():
            found.setdefault(name, []).append(evaluate(values, split.test).per_user)
        rare = cold(split)
        only = evaluate(said, split.test, candidate_items=rare).per_user
        held = split.test
        lists, _ = model.generate(held.history, held.history_times, 10, 20, held.seen)
        only["in lists"] = (rare[lists] & (lists >= 0)).mean(1)
        found.setdefault("cold", []).append(only)
        best = model.history_["validation"].idxmax()
        found.setdefault("epochs", []).append(only.assign(epochs=best)[["epochs"]])
    return {name: pd.concat(parts) for name, parts in found.items()}


def films(seeds: tuple[int, ...]) -> None:
    rolling = splits.rolling_split(*load_movielens())
    first = {}
    chosen = {arm: tuned(arm, rolling.tuning, first) for arm in ARMS}
    for seed in seeds:
        for arm in ARMS:
            users = table(HERE / "films_users.csv.gz", ["user_id"])
            if f"{arm}|{seed}|alone|ndcg@10" in users:
                continue
            began = time.time()
            first["test"] = first.get("test") or first_stages(rolling.test)
            settings, prior, weight = chosen[arm]
            named = {f"prior {0.0}": "alone", f"prior {prior}": "prior", f"blend {weight}": "blend"}
            priors = list(dict.fromkeys([0.0, prior]))
            found = run_films(rolling.test, first["test"], arm, seed, settings, priors, [weight])
            if prior == 0.0:
                found["prior"] = found["prior 0.0"]
            found = {named.get(name, name): values for name, values in found.items()}
            if prior == 0.0:
                found["alone"] = found["prior"]
            columns = {
                f"{arm}|{seed}|{name}|{metric}": values[metric].round(6)
                for name, values in found.items()
                if name != "epochs"
                for metric in ("ndcg@10", "recall@20", "in lists")
                if metric in values
            }
            columns = pd.DataFrame(columns)
            users = pd.concat([users, columns], axis=1) if len(users) else columns
            save(users, HERE / "films_users.csv.gz")
            shown = [f"{n} {v['ndcg@10'].mean():.4f}" for n, v in found.items() if n != "epochs"]
            epochs = found["epochs"]["epochs"].unique().tolist()
            say("test", arm, seed, *chosen[arm], *shown, "epochs", epochs, began)


def content(seeds: tuple[int, ...]) -> None:
    """How chapter 3's and 4's models of content, and chapter 12's SASRec, rank cold films."""
    windows = splits.rolling_split(*load_movielens()).test
    for name in ("BERT content", "TF-IDF content", "text two-tower", "SASRec"):
        for seed in seeds[: MODELS[name].n_seeds]:
            add_model(name, seed, MODELS[name].fit(seed), windows)


def code_words(items: pd.DataFrame, dealt: int | None) -> np.ndarray:
    """A 1 for each of a film's three words, (n_items, 192); dealt: by seed, so that none means
    anything.
    """
    words = codes.film_codes(items)[:, : len(codes.SIZES)]
    if dealt is not None:  # each level by itself: what three hash functions do to an ID
        rng = np.random.default_rng(dealt)
        words = np.column_stack([rng.integers(size, size=len(words)) for size in codes.SIZES])
    return np.hstack([np.eye(n)[w] for n, w in zip(codes.SIZES, words.T, strict=True)])


FEATURES = {
    "semantic IDs": lambda seed: partial(code_words, dealt=None),
    "hashed IDs": lambda seed: partial(code_words, dealt=seed),
}
FEATURE_DECAYS = (2.0, 6.0, 20.0, 60.0, 200.0)


def features(seeds: tuple[int, ...]) -> None:
    """A two-tower whose films are three rows of 192: of words by text, or of a hash."""
    rolling = splits.rolling_split(*load_movielens())
    names = ["features", "decay"]
    for name, made in FEATURES.items():
        for decay in FEATURE_DECAYS:
            tuning = table(HERE / "features_tuning.csv", names)
            if (name, decay) in tuning.index:
                continue
            began = time.time()
            result = evaluate_rolling(two_tower(made(0), decay)(0), rolling.tuning)
            row = pd.DataFrame({"ndcg@10": [round(result["ndcg@10"], 5)]})
            row.index = pd.MultiIndex.from_tuples([(name, decay)], names=names)
            tuning = pd.concat([tuning, row]) if len(tuning) else row
            save(tuning, HERE / "features_tuning.csv")
            say("tuning", name, decay, f"{result['ndcg@10']:.4f}", began)
        best = table(HERE / "features_tuning.csv", names).loc[name]["ndcg@10"].idxmax()
        for seed in seeds:
            add_model(name, seed, two_tower(made(seed), best)(seed), rolling.test)


def add_model(name: str, seed: int, fit, windows) -> None:
    """Each test user's metrics, over all films and over the cold ones."""
    users = table(HERE / "features_users.csv.gz", ["user_id"])
    if f"{name}|{seed}|cold|ndcg@10" in users:
        return
    began, parts = time.time(), {"all": [], "cold": []}
    for split in windows:
        model, rare = fit(split), cold(split)
        whole = evaluate(model, split.test)
        only = evaluate(model, split.test, candidate_items=rare).per_user
        parts["all"].append(whole.per_user)
        parts["cold"].append(only.assign(**{"in lists": rare[whole.ranked[:, :10]].mean(1)}))
    found = {kind: pd.concat(tables) for kind, tables in parts.items()}
    columns = {
        f"{name}|{seed}|{kind}|{metric}": values[metric].round(6)
        for kind, values in found.items()
        for metric in ("ndcg@10", "recall@20", "in lists")
        if metric in values
    }
    columns = pd.DataFrame(columns)
    users = pd.concat([users, columns], axis=1) if len(users) else columns
    save(users, HERE / "features_users.csv.gz")
    shown = [f"{n} {v['ndcg@10'].mean():.4f}" for n, v in found.items()]
    say("test", name, seed, *shown, began)


def first_stages(windows) -> list[np.ndarray]:
    fit = first_stage()
    return [standardize(fit(split)) for split in windows]


def tuned(arm: str, windows, first: dict) -> tuple[tuple[float, ...], float, float]:
    """The settings under which kept-back users of the last tuning window are likeliest; the prior's
    and a blend's weight that are best for the tuning users then.
    """
    for settings in SETTINGS:
        likelihood(arm, 20, settings, windows[-1])
    best = table(HERE / "films_tuning.csv", TUNED).loc[arm, 20]["log p"].idxmax()
    best = tuple(map(float, best))
    likelihood(arm, 50, best, windows[-1])  # to see what longer histories would change
    blends = table(HERE / "films_blends.csv", ["arm"])
    if arm not in blends.index:
        began = time.time()
        first["tuning"] = first.get("tuning") or first_stages(windows)
        found = run_films(windows, first["tuning"], arm, 0, best, PRIORS, WEIGHTS)
        row = {n: v["ndcg@10"].mean() for n, v in found.items() if "prior" in n or "blend" in n}
        row = pd.DataFrame(row, index=pd.Index([arm], name="arm")).round(5)
        blends = pd.concat([blends, row]) if len(blends) else row
        save(blends, HERE / "films_blends.csv")
        say("tuning", arm, best, *(f"{n} {v:.4f}" for n, v in row.iloc[0].items()), began)
    own = blends.loc[arm]
    weights = (own.filter(like=kind).idxmax().removeprefix(kind) for kind in ("prior ", "blend "))
    return best, *map(float, weights)


def likelihood(arm: str, n_events: int, settings: tuple[float, ...], split) -> None:
    """The log-probability of kept-back users' events after training, where it is not known yet."""
    tuning = table(HERE / "films_tuning.csv", TUNED)
    if (arm, n_events, *settings) in tuning.index:
        return
    began, begin = time.time(), decoder(arm, settings, max_length=n_events)
    row = begin(0)(split).history_["validation"].agg(["max", "idxmax"]).round(4)
    row = pd.DataFrame({"log p": [row["max"]], "epoch": [row["idxmax"]]})
    row.index = pd.MultiIndex.from_tuples([(arm, n_events, *settings)], names=TUNED)
    save(pd.concat([tuning, row]) if len(tuning) else row, HERE / "films_tuning.csv")
    say("tuning", arm, n_events, settings, *row.iloc[0], began)


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs = {"films": films, "content": content, "features": features}
    what, *number = sys.argv[1:] or [""]
    if what in ("codes", "pictures"):
        {"codes": film_words, "pictures": pictures}[what]()
    elif what in runs:
        runs[what](seeds=SEEDS[: int(number[0]) if number else len(SEEDS)])
    else:
        sys.exit(__doc__)
