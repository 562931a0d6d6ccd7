"""Train the page's models, make them small, and say what that costs: the tables of "Try it".

    PYTHONPATH=. python data/try_it/make.py           # everything
    PYTHONPATH=. python data/try_it/make.py words     # the encoder of wishes alone, made anew
    PYTHONPATH=. python data/try_it/make.py packages  # that encoder on texts of another world

Each model is fitted at the start of each of the last test windows, on what was known by then, and
judged on the window's own users twice: as it is, and from its exported tables. The tables of the
last window are what the page gets. What is printed is kept in `make.log`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial import datasets
from recsys_tutorial.course import MODELS, bert_titles
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.evaluation import compare, evaluate_rolling, group_interval
from recsys_tutorial.metrics import ndcg_at_k
from recsys_tutorial.models import Blend, ContentKernel, NeighbourVotes, Popularity, unit_rows
from recsys_tutorial.ranking import rank
from recsys_tutorial.serving.export import (
    NeighbourScores,
    PageModels,
    ShortVectors,
    distilled,
    films_files,
    item_weights,
    read_bundle,
    short_vectors,
    small_vocabulary,
    strongest,
    write_bundle,
)
from recsys_tutorial.serving.export.films import BLEND
from recsys_tutorial.splits import group_split, rolling_split

HERE = Path(__file__).parent
DIM = 64  # numbers that say what a film is about
N_PIECES, N_TEXTS, STUDENT_REG = 8000, 20_000, 1.0
N_WINDOWS = 4  # the last of the twelve
N_KNN, N_EASE = 20, 50
CUTS = {"item-kNN": (10, 20, 50), "EASE": (20, 50, 100)}  # neighbours that are tried
TEACHER_REGS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
START = time.time()


def say(*parts):
    print(*parts, f"({time.time() - START:.0f} s)", flush=True)


# -- wishes: a teacher, MiniLM, and its student, a table


def made_up(wishes: list[str], films: list[str], words: list[str]) -> list[str]:
    """Texts for the teacher to read: pieces of wishes and of films, and words drawn at random.

    Nobody labels them, and they need not make sense: they show words in company.
    """
    rng = np.random.default_rng(0)
    share = 1 / np.arange(100, 100 + len(words)) ** 0.5  # frequent words are first
    share /= share.sum()
    wishes, films = ([text.split() for text in texts] for texts in (wishes, films))

    def fragment(words: list[str]) -> str:
        n = rng.integers(2, 9)
        start = rng.integers(0, max(1, len(words) - n + 1))
        return " ".join(words[start : start + n])

    made = []
    for _ in range(N_TEXTS):
        parts = []
        for _ in range(rng.integers(1, 5)):
            kind = rng.random()
            if kind < 0.55:
                source = wishes if kind < 0.35 else films
                parts.append(fragment(source[rng.integers(len(source))]))
            else:
                parts.append(" ".join(rng.choice(words, rng.integers(1, 4), p=share)))
        made.append(" ".join(parts))
    return made


class Teacher:
    """MiniLM, and a ridge regression from its film texts to what the kernel reads of films."""

    def __init__(self, encoder: TextEncoder, texts: list[str], content: np.ndarray, reg: float):
        films = encoder.encode(texts).astype(float)
        self.encoder, self.middle = encoder, films.mean(axis=0)
        films -= self.middle
        gram = films.T @ films + reg * np.eye(films.shape[1])
        self.map = np.linalg.solve(gram, films.T @ (content - content.mean(axis=0)))

    def encode(self, texts: list[str]) -> np.ndarray:
        """Where texts stand among films: (n_texts, DIM)."""
        return (self.encoder.encode(texts).astype(float) - self.middle) @ self.map


class Wishes:
    """The labelled wishes, judged over all films."""

    def __init__(self, items: pd.DataFrame, ratings: pd.DataFrame):
        self.table = datasets.load_wishes().texts
        self.relevant = datasets.relevant_films(self.table, items, ratings).astype(float)

    def rows(self, part: str) -> np.ndarray:
        """Of the tuning or the test texts."""
        return np.flatnonzero(self.table["split"] == part)

    def ndcg(self, scores: np.ndarray, part: str) -> np.ndarray:
        """Each text's NDCG@10: (n_texts,)."""
        rows = self.rows(part)
        relevant = sparse.csr_matrix(self.relevant[rows])
        return ndcg_at_k(rank(np.round(scores[rows], 9), None, 10), relevant, 10)


def make_words(items: pd.DataFrame, ratings: pd.DataFrame, content: np.ndarray):
    """The student, after its comparison with the teacher."""
    encoder = TextEncoder(progress=False)
    films, wishes = datasets.film_texts(items), Wishes(items, ratings)
    said = list(wishes.table["text"])
    units = unit_rows(content)
    teachers = [Teacher(encoder, films, content, reg) for reg in TEACHER_REGS]
    tuned = [wishes.ndcg(t.encode(said) @ units.T, "tuning").mean() for t in teachers]
    teacher = teachers[int(np.argmax(np.round(tuned, 4)))]
    say("teacher's penalties", TEACHER_REGS, "NDCG@10 of tuning wishes", np.round(tuned, 3))
    vocabulary = encoder.tokenizer.get_vocab()
    pieces = small_vocabulary(sorted(vocabulary, key=vocabulary.get), N_PIECES)
    words = [piece for piece in pieces if not piece.startswith("##")]
    tuning = [said[row] for row in wishes.rows("tuning")]
    made = made_up(tuning, films, words)
    texts = [*made, *films, *tuning, *words]
    student = distilled(texts, teacher.encode(texts), pieces, STUDENT_REG)
    say(f"student of {len(texts)} texts")
    compare_readers(encoder, films, wishes, teacher, student, units)
    return student


def agreement(student, texts: list[str], targets: np.ndarray) -> float:
    """The mean cosine of what student and teacher make of texts."""
    return float((student.encode(texts) * unit_rows(targets)).sum(axis=1).mean())


def compare_readers(encoder, films, wishes, teacher, student, units):
    """Print the test wishes' NDCG@10, and the student's cosine with its teacher on them."""
    said = list(wishes.table["text"])
    scores = {
        "MiniLM, 384 numbers": encoder.encode(said).astype(float) @ encoder.encode(films).T,
        "teacher, 64 numbers": teacher.encode(said) @ units.T,
        "student": student.encode(said) @ units.T,
    }
    rows, first = wishes.rows("test"), None
    themes = wishes.table["theme"].to_numpy()[rows]
    for name, score in scores.items():
        found = wishes.ndcg(score, "test")
        first = found if first is None else first
        low, high = group_interval(found - first, themes)
        say(f"wishes, {len(rows)} test texts: {name} NDCG@10 {found.mean():.3f}, minus MiniLM "
            f"{(found - first).mean():+.3f} [{low:+.3f}, {high:+.3f}]")  # fmt: skip
    test = [said[row] for row in rows]
    say(f"student's cosine with the teacher: {agreement(student, test, teacher.encode(test)):.3f}")


def compare_on_packages(encoder, student):
    """Student and MiniLM on texts that neither was made for: projects' descriptions."""
    sources, packages, needs = datasets.load_packages()
    split = group_split(needs, packages, sources["group"].to_numpy())
    texts, test = list(sources["description"]), split.test.without_history()
    found = {}
    for name, vectors in (("MiniLM", encoder.encode(texts)), ("student", student.encode(texts))):
        votes = NeighbourVotes(vectors[split.train_user_ids], 50, 4.0).fit(split.train)
        scores = votes.score(vectors[test.user_ids])
        found[name] = ndcg_at_k(rank(scores, None, 10), test.targets, 10)
    groups = sources["group"].to_numpy()[test.user_ids]
    low, high = group_interval(found["student"] - found["MiniLM"], groups)
    say(f"packages, {len(test)} projects: NDCG@10 MiniLM {found['MiniLM'].mean():.3f}, student "
        f"{found['student'].mean():.3f}, difference [{low:+.3f}, {high:+.3f}]")  # fmt: skip


# -- likes


def film_content(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What the kernel reads of films, whole and in DIM numbers that keep most of its products."""
    whole = bert_titles(items)
    _, _, directions = np.linalg.svd(whole, full_matrices=False)
    directions *= np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])[
        :, None
    ]
    return whole, whole @ directions[:DIM].T


class Trained:
    """The page's models of one window, as they are and from their tables."""

    def __init__(self, split, fits, whole, content, words):
        self.split = split
        knn, ease, tower, sasrec = (fit(split) for fit in fits)
        kernel = ContentKernel(whole, 1.0, center=False)
        popularity = Popularity().fit(split.faded(2000, "likes"))
        parts = {"EASE": ease, "content": kernel, "text tower": tower}
        self.whole = {
            "popularity": popularity,
            "item-kNN": knn,
            "EASE": ease,
            "text tower": tower,
            "SASRec": sasrec,
            "blend": Blend([parts[name] for name in BLEND], list(BLEND.values())),
        }
        self.liked = np.unique(split.train.indices)
        self.parts = {"knn": knn, "ease": ease, "tower": tower, "sasrec": sasrec}
        self.rest = {"likes": popularity.item_counts_, "content": content, "words": words}

    def files(self) -> dict:
        """What the page would be given."""
        numbers = {"n_knn": N_KNN, "n_ease": N_EASE}
        items = self.split.items
        return films_files(items, liked=self.liked, **self.rest, **self.parts, **numbers)

    def cut(self, name: str, ks: tuple[int, ...]) -> list[np.ndarray]:
        """The scores with other numbers of neighbours, for the window's own users."""
        n = len(self.split.items)
        weights = item_weights(self.whole[name], self.liked, n)
        kept = [NeighbourScores(strongest(weights, self.liked, n, k)) for k in ks]
        return [model.score(self.split.test.history) for model in kept]

    def scores(self, model, name: str) -> np.ndarray:
        """Of the window's own users."""
        test = self.split.test
        if isinstance(model, PageModels):
            return model.score(name, test.history, test.history_times)
        if name == "SASRec":
            return model.score(test.history, test.history_times)
        return model.score(test.history)


def begin() -> list:
    names = ("fading item-kNN", "fading EASE", "text two-tower", "SASRec")
    return [MODELS[name].fit(0) for name in names]


def make_likes(windows, content: tuple[np.ndarray, np.ndarray], words):
    """Fit in every window, compare, and write the last window's tables."""
    fits, whole, short, last = begin(), {}, {}, None
    cut: dict = {(name, k): [] for name, ks in CUTS.items() for k in ks}
    for number, split in enumerate(windows):
        last = Trained(split, fits, *content, words)
        page = PageModels(last.files())
        for name, model in last.whole.items():
            whole.setdefault(name, []).append(last.scores(model, name))
            short.setdefault(name, []).append(last.scores(page, name))
        for name, ks in CUTS.items():
            for k, scores in zip(ks, last.cut(name, ks), strict=True):
                cut[name, k].append(scores)
        say(f"window {number + 1} of {len(windows)}")
    report(windows, whole, short, cut)
    return last


def judged(windows, scores: list[np.ndarray]):
    """The evaluation of what was said in each window."""
    scores = iter(np.round(s, 9) for s in scores)
    return evaluate_rolling(lambda split: next(scores), windows)


def report(windows, whole, short, cut):
    """Print NDCG@10 before and after, with the interval of the difference over users."""
    rows = []
    before = {name: judged(windows, scores) for name, scores in whole.items()}
    for name, scores in short.items():
        after = judged(windows, scores)
        lost = compare(after, before[name])
        lists = zip(after.ranked[:, :10], before[name].ranked[:, :10], strict=True)
        same = np.mean([len(set(a) & set(b)) / 10 for a, b in lists])
        rows.append([name, before[name]["ndcg@10"], after["ndcg@10"], lost.difference, lost.low,
                     lost.high, same])  # fmt: skip
    columns = ["model", "whole", "tables", "difference", "low", "high", "same of 10"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.round(4).to_string(index=False))
    table.round(6).to_csv(HERE / "compression.csv", index=False)
    for (name, k), scores in cut.items():
        after = judged(windows, scores)
        print(
            f"{name}, {k} neighbours: NDCG@10 {after['ndcg@10']:.4f},", compare(after, before[name])
        )


def write(last):
    split = last.split
    info = {
        "n_items": len(split.item_ids),
        "dim": DIM,
        "blend": BLEND,
        "known_until": pd.Timestamp(split.start, unit="s").strftime("%Y-%m-%d"),
        "n_users": int(np.count_nonzero(np.diff(split.train.indptr))),
        "n_likes": int(split.train.nnz),
    }
    manifest = write_bundle(HERE, last.files(), info)
    read_bundle(HERE)
    for name, entry in manifest["files"].items():
        raw = sum(int(np.prod(a["shape"])) * np.dtype(a["dtype"]).itemsize for a in entry["arrays"])
        print(f"{name}: {raw:,} bytes, gzipped {entry['bytes']:,}")
    print("all:", sum(entry["bytes"] for entry in manifest["files"].values()))


def main(part: str = "all"):
    ratings, items = datasets.load_movielens()
    windows = rolling_split(ratings, items).test[-N_WINDOWS:]
    items = windows[-1].items
    if part == "all":
        whole, content = film_content(items)
        content = short_vectors(content).vectors  # the student's room is that of the page
        words = make_words(items, ratings, content)
        write(make_likes(windows, (whole, content), words))
        return
    files, info = read_bundle(HERE)
    if part == "words":
        words = make_words(items, ratings, ShortVectors(**files["content"]).vectors)
        table = {"pieces": "\n".join(words.pieces), **vars(words.short)}
        write_bundle(HERE, files | {"words": table}, info)
    elif part == "packages":
        compare_on_packages(TextEncoder(progress=False), PageModels(files).words)


if __name__ == "__main__":
    main(*sys.argv[1:])
