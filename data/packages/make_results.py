"""What needs minutes: settings for models of packages, both splits, and towers that read.

    python data/packages/make_results.py neighbours   # tuning.csv, probe.csv: some minutes
    python data/packages/make_results.py towers       # towers.csv.gz and more: twenty minutes

Settings are chosen on the tuning maintainers (`Split.validation`) alone; test users are scored with
what was chosen. Two splits: whole maintainers held out, and users drawn at random. `towers` takes
the first split and reads what `neighbours` wrote. Every tower, BERT's and that of word counts, has
the same steps, the same three learning rates and three seeds.
"""

from __future__ import annotations

import argparse
import ast
import functools
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scipy.special import softmax
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_tutorial._files import whole
from recsys_tutorial.datasets import load_packages
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.leaderboard import METRICS, PACKAGES
from recsys_tutorial.models import EASE, NeighbourVotes, TwoTower, towers
from recsys_tutorial.ranking import standardize
from recsys_tutorial.splits import Holdout, Split, group_split

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)
BEST_WORDS = "MiniLM + words"  # the reading that is best on the tuning maintainers
VOTES = [(k, p) for k in (20, 50, 100, 200) for p in (1.0, 2.0, 4.0, 8.0)]
REGS = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
RATES = (1.5e-3, 3e-3, 6e-3)
MIN_USERS = 3  # an item that fewer training users need has no row in EASE and in the towers
DIM, HIDDEN, DROPOUT, DECAY, EPOCHS, BATCH = 128, 1024, 0.5, 1.0, 10, 256

sources, packages, needs = load_packages()
texts = sources["description"].to_numpy()
groups = sources["group"].to_numpy()


def split_of(name: str) -> Split:
    """Return whole maintainers held out, or users at random."""
    return group_split(needs, packages, groups if name == "maintainers" else None)


@functools.cache
def encoded(layer: int = -1) -> np.ndarray:
    """Return the sources' vectors (n_sources, 384) after so many blocks of MiniLM."""
    return TextEncoder(layer=layer).encode(texts.tolist())


def standard(vectors: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return each number minus its mean, over its standard deviation, of the rows `like`.

    Two of MiniLM's 384 numbers are next to constant: they stay small.
    """
    spread = np.maximum(like.std(axis=0), 1e-2)
    return ((vectors - like.mean(axis=0)) / spread).astype(np.float32)


def readings(split: Split) -> dict:
    """Return what knows a source by its description: name -> a row for each source."""
    rows = split.train_user_ids
    words = TfidfVectorizer(sublinear_tf=True).fit(texts[rows]).transform(texts)
    both = np.hstack([encoded(), encoded(0)])  # what the words are, and what they say together
    return {"TF-IDF": words, "MiniLM": encoded(), "MiniLM + words": standard(both, both[rows])}


def frequent(split: Split) -> np.ndarray:
    """Return the columns that enough training users need."""
    counts = np.bincount(split.train.indices, minlength=split.train.shape[1])
    return np.flatnonzero(counts >= MIN_USERS)


def wide(scores: np.ndarray, columns: np.ndarray, n_items: int, fill=None) -> np.ndarray:
    """Return scores of some columns among all; the others get each row's lowest, or `fill`."""
    fill = scores.min(axis=1, keepdims=True) if fill is None else fill
    result = np.broadcast_to(fill, (len(scores), n_items)).astype(np.float32)
    result[:, columns] = scores
    return result


def ndcg(scores: np.ndarray, part: Holdout) -> float:
    """Return the mean NDCG@10."""
    return evaluate(scores, part, (10,))["ndcg@10"]


def mix(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Return (1 - weight) first + weight second, both in standard deviations of their row."""
    mixed = (1 - weight) * standardize(first) + weight * standardize(second)
    return mixed.astype(np.float32)


def believed(scores: np.ndarray) -> np.ndarray:
    """Return what the softmax makes of a tower's scores: like votes, next to 0 for most items."""
    return softmax(scores.astype(np.float64), axis=1)


def choose(name: str, settings, score, split: Split, rows: list) -> tuple:
    """Return the setting that is best on the tuning users, after writing all into `rows`."""
    values = [ndcg(score(setting), split.validation) for setting in settings]
    rows += [(name, str(s), round(v, 5)) for s, v in zip(settings, values, strict=True)]
    best = int(np.argmax(values))
    print(f"{name}: {settings[best]} {values[best]:.4f}", flush=True)
    return settings[best]


def save(frame: pd.DataFrame, name: str) -> None:
    """Write a table, whole or not at all."""
    packed = {"method": "gzip", "mtime": 1} if name.endswith(".gz") else None
    with whole(HERE / name) as temporary:
        frame.to_csv(temporary, index=False, compression=packed)


def neighbours(name: str) -> tuple[list, list]:
    """Return (tuning rows, test rows) of one split."""
    split, tuning, scores = split_of(name), [], {}
    train, n_items, columns = split.train, split.train.shape[1], frequent(split)
    popular = np.asarray(train.sum(axis=0)).ravel()
    scores["popularity"] = lambda part: np.tile(popular, (len(part), 1))

    @functools.cache
    def ease(reg: float) -> EASE:
        return EASE(reg).fit(train[:, columns])

    def by_ease(reg: float, part: Holdout) -> np.ndarray:
        return wide(ease(reg).score(part.history[:, columns]), columns, n_items, 0.0)

    def votes(vectors, setting: tuple, part: Holdout) -> np.ndarray:
        model = NeighbourVotes(vectors[split.train_user_ids], *setting).fit(train)
        return model.score(vectors[part.user_ids]).astype(np.float32)

    reg = choose("EASE", REGS, lambda r: by_ease(r, split.validation), split, tuning)
    scores["EASE"] = functools.partial(by_ease, reg)
    for reading, vectors in readings(split).items():
        model = f"{reading} neighbours"
        vote = functools.partial(votes, vectors)
        setting = choose(model, VOTES, lambda s, v=vote: v(s, split.validation), split, tuning)
        scores[model] = functools.partial(vote, setting)
        parts = [scores[m](split.validation) for m in ("EASE", model)]
        weight = choose(f"EASE + {reading}", WEIGHTS, lambda w, p=parts: mix(*p, w), split, tuning)
        scores[f"EASE + {reading}"] = lambda part, m=model, w=weight: mix(
            scores["EASE"](part), scores[m](part), w
        )
    test, values = [], {}
    for model, score in scores.items():
        values[model] = evaluate(score(split.test), split.test, (10,)).values("ndcg@10")
    cold = np.bincount(train.indices, minlength=n_items)[split.test.targets.indices] == 0
    for model, of in values.items():
        row = {"split": name, "model": model, "cold share": cold.mean()}
        compared = {"": of}
        for other in ("EASE", "TF-IDF neighbours", "EASE + TF-IDF"):
            compared[f" minus {other}"] = of - values[other]
        for what, difference in compared.items():
            row[f"mean{what}"] = difference.mean()
            # Projects by one hand are no independent witnesses, however users were held out.
            row[f"low{what}"], row[f"high{what}"] = PACKAGES.interval(difference)
        test.append(row)
    return [(name, *row) for row in tuning], test


def fit_tower(
    split: Split, users: np.ndarray, items: np.ndarray, rate: float, seed: int
) -> TwoTower:
    """Return a tower that was trained on rows of `users` and `items`."""
    torch.manual_seed(seed)
    columns = frequent(split)
    reads = towers.FeatureTower(items, DIM), towers.IdTower(len(items), DIM)
    model = TwoTower(
        towers.FeatureTower(users[split.train_user_ids], DIM, hidden=HIDDEN, dropout=DROPOUT),
        towers.SumTower(*reads), popularity_prior=True, dtype=torch.float32,
    )  # fmt: skip
    likes = split.train[:, columns]
    # Each user counts the same, as in the metric: a source of 200 needs is one source.
    likes = sparse.csr_matrix(sparse.diags(10 / np.maximum(likes.sum(axis=1).A1, 1)) @ likes)
    model.fit(
        likes, negatives="liked", epochs=EPOCHS, learning_rate=rate, batch_size=BATCH,
        weight_decay=DECAY, seed=seed, precision="full",
    )  # fmt: skip
    print(f"rate {rate}, seed {seed}:", *model.history_["loss"].round(3).tolist(), flush=True)
    return model


def scorer(model: TwoTower, split: Split, users: np.ndarray):
    """Return a function Holdout -> scores of all items by a tower."""
    columns, n_items = frequent(split), split.train.shape[1]
    vectors = model.encode_items()  # (n_columns, DIM + 1)
    return lambda part: wide(model.encode_users(users[part.user_ids]) @ vectors.T, columns, n_items)


def tower(split: Split, users: np.ndarray, items: np.ndarray, rate: float, seed: int):
    """Return the scores of a tower that was trained: `fit_tower`, then `scorer`."""
    return scorer(fit_tower(split, users, items, rate, seed), split, users)


def run_towers() -> None:
    """Tune, then three seeds of each tower; write each test user's values."""
    split, tuned = split_of("maintainers"), pd.read_csv(HERE / "tuning.csv")
    tuned = tuned[tuned["split"] == "maintainers"]
    best = tuned.loc[tuned.groupby("model")["ndcg@10"].idxmax()].set_index("model")["setting"]
    rows, columns, reading, validation = [], frequent(split), readings(split), split.validation
    known = packages["description"].to_numpy()[columns].tolist()
    read = TextEncoder().encode(known)
    words = TfidfVectorizer(sublinear_tf=True).fit_transform(known)
    trained = split.train_user_ids
    cut = TruncatedSVD(768, n_iter=2, random_state=0).fit(reading["TF-IDF"][trained])
    counted = cut.transform(reading["TF-IDF"])
    words = TruncatedSVD(384, n_iter=2, random_state=0).fit_transform(words)
    shuffled = reading["MiniLM + words"].copy()
    shuffled[trained] = shuffled[np.random.default_rng(0).permutation(trained)]
    inputs = {
        "BERT tower": (reading["MiniLM + words"], standard(read, read)),
        "TF-IDF tower": (standard(counted, counted[trained]), standard(words, words)),
        "shuffled tower": (shuffled, standard(read, read)),
    }
    votes = {}
    for name in ("TF-IDF", "MiniLM", "MiniLM + words"):
        k, power = ast.literal_eval(best[f"{name} neighbours"])
        votes[name] = NeighbourVotes(reading[name][trained], k, power).fit(split.train)
    ease = EASE(float(best["EASE"])).fit(split.train[:, columns])

    def voted(name: str, part: Holdout) -> np.ndarray:
        return votes[name].score(reading[name][part.user_ids])

    def by_ease(part: Holdout) -> np.ndarray:
        return wide(ease.score(part.history[:, columns]), columns, split.train.shape[1], 0.0)

    values, rates, weights = {}, {}, {}
    wish = split.test.without_history()

    def keep(model: str, seed: int, scores: np.ndarray, part: Holdout, task: str) -> None:
        found = evaluate(scores, part)
        for metric in METRICS:
            values[f"{model}|{task}|{seed}|{metric}"] = found.values(metric).round(5)
        print(f"test {task} {model} {seed}: {found['ndcg@10']:.4f}", flush=True)

    def mixtures(seed: int, score) -> None:
        """Evaluate one tower with each partner, weights chosen with the first seed."""
        mixed = {"tower": lambda part: believed(score(part))}
        pairs = [("tower", f"{n} neighbours", functools.partial(voted, n)) for n in votes]
        pairs += [("tower", "EASE", by_ease)]
        pairs += [(f"tower + {BEST_WORDS} neighbours", "EASE", by_ease)]
        for first, second, partner in pairs:
            name, base = f"{first} + {second}", mixed[first]
            if seed == 0:
                both = base(validation), partner(validation)
                weights[name] = choose(name, WEIGHTS, lambda w, p=both: mix(*p, w), split, rows)
            mixed[name] = lambda part, f=base, p=partner, w=weights[name]: mix(f(part), p(part), w)
            keep(name, seed, mixed[name](split.test), split.test, "half")
            if second != "EASE":
                keep(name, seed, mixed[name](wish), wish, "wish")

    for model, (users, items) in inputs.items():
        if model == "shuffled tower":
            rates[model] = rates["BERT tower"]
        else:
            rates[model] = choose(
                model, RATES, lambda r, f=(users, items): tower(split, *f, r, 0)(validation),
                split, rows,
            )  # fmt: skip
        for seed in SEEDS:
            score = tower(split, users, items, rates[model], seed)
            test = score(split.test)
            keep(model, seed, test, split.test, "half")
            keep(model, seed, score(wish), wish, "wish")
            if model != "BERT tower":
                continue
            mixtures(seed, score)
        save(pd.DataFrame(values).rename_axis("user_id").reset_index(), "towers.csv.gz")
        save(pd.DataFrame(rows, columns=["model", "setting", "ndcg@10"]), "tower_tuning.csv")


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("neighbours", "towers"))
    if parser.parse_args().part == "towers":
        return run_towers()
    tuning, test = [], []
    for name in ("maintainers", "random"):
        of_split = neighbours(name)
        tuning, test = tuning + of_split[0], test + of_split[1]
    save(pd.DataFrame(tuning, columns=["split", "model", "setting", "ndcg@10"]), "tuning.csv")
    save(pd.DataFrame(test).round(5), "probe.csv")
    return None


if __name__ == "__main__":
    main()
