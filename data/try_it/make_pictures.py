"""Make chapter 5's two towers small for "Words in, pictures out", and say what that costs.

    PYTHONPATH=. python data/try_it/make_pictures.py

The towers are those of `notebooks/05_two_tower_image.ipynb`, with its settings, and so is the test:
250 pictures by creators that nothing was trained on, three seeds. It is passed by the towers as
they are; by their student, which has a vector for each piece of a word; and by the student and the
pictures' vectors in int8. The penalty is chosen on the chapter's validation pictures. What the page
gets is trained on all pictures. What is printed is kept in `make_pictures.log`.
"""

from __future__ import annotations

import io
import json
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from recsys_tutorial.datasets import load_clipart
from recsys_tutorial.encoders import ImageEncoder, TextEncoder
from recsys_tutorial.evaluation import group_interval
from recsys_tutorial.losses import info_nce
from recsys_tutorial.models import TwoTower, unit_rows
from recsys_tutorial.models.towers import FeatureTower
from recsys_tutorial.ranking import rank
from recsys_tutorial.serving.export import (
    PagePictures,
    WordVectors,
    distilled,
    pictures_files,
    piece_vectors,
    read_bundle,
    short_vectors,
    small_vocabulary,
    word_pieces,
    write_bundle,
)
from recsys_tutorial.splits import hold_out_by_group
from recsys_tutorial.training import train

HERE = Path(__file__).parent
NOTEBOOK = HERE.parents[1] / "notebooks" / "05_two_tower_image.ipynb"
SIZE, SEEDS = 112, (0, 1, 2)  # pixels and seeds of the chapter
DIM = 48  # numbers of a vector; the towers' 128 have nearly all of their length in so many
N_PIECES, N_MADE = 8000, 10_000
JUDGED = ("title + keywords", "title")  # what the page would be asked
REGS = (0.3, 1.0, 3.0, 10.0)
SIDE, QUALITY = 72, 42  # of a thumbnail
say = partial(print, flush=True)


class Shop:
    """The pictures with their words, and what the frozen encoders make of both."""

    def __init__(self):
        self.clipart = load_clipart()
        self.items = self.clipart.items
        self.creators = self.items["creator"].to_numpy()
        self.able = (self.items["candidate"] & (self.items["keywords"] != "")).to_numpy()
        words = self.items["keywords"].str.replace("|", ", ", regex=False)
        title = self.items["title"]
        self.wordings = {
            "title + keywords": list(title + ". " + words),
            "title": list(title),
            "keywords": list(words.where(words != "", title)),
        }
        self.reader = TextEncoder(progress=False)
        self.texts = np.stack([self.reader.encode(of) for of in self.wordings.values()])
        encoder = ImageEncoder("vit_small_patch14_dinov2", SIZE, pooling="both", normalize=False)
        self.pictures = encoder.encode(self.clipart.paths())[None]  # (1, n, 768)
        vocabulary = self.reader.tokenizer.get_vocab()
        names = sorted(vocabulary, key=vocabulary.get)
        self.vocabulary = small_vocabulary(names, len(names))

    def parts(self, seed: int) -> dict[str, np.ndarray]:
        """The chapter's test, validation and training rows by creator."""
        stay = {"largest": 120, "stay": ("unknown",)}
        return hold_out_by_group(self.creators, self.able, 250, seed, **stay)

    def own_words(self, rows: np.ndarray) -> list[str]:
        """Title and keywords, title, keywords of pictures."""
        return [wording[row] for wording in self.wordings.values() for row in rows]

    def pieces(self, rows: np.ndarray) -> list[str]:
        """BERT's most frequent pieces, and those of the pictures' own words."""
        places = {piece: place for place, piece in enumerate(self.vocabulary)}
        own = {p for text in self.own_words(rows) for p in word_pieces(text, places)}
        return [self.vocabulary[p] for p in sorted(own | set(range(N_PIECES)))]

    def lesson(self, rows: np.ndarray, pieces: list[str], seed: int) -> list[str]:
        """What a student reads: the pictures' words, single words, and some drawn together."""
        rng, own = np.random.default_rng(seed), self.own_words(rows)
        mine = sorted({word for text in own for word in re.findall("[a-z]+", text.lower())})
        keywords = {word for row in rows for word in self.items["keywords"][row].split("|") if word}
        plain = [piece for piece in pieces if re.fullmatch("[a-z]{2,}", piece)]
        drawn = [
            " ".join(str(rng.choice(mine if rng.random() < 0.6 else plain)) for _ in range(n))
            for n in rng.integers(2, 5, N_MADE)
        ]
        return [*sorted(set(own)), *mine, *sorted(keywords), *plain, *drawn]


class Retriever:
    """The chapter's two heads over standardised features."""

    def __init__(self, shop: Shop, rows: np.ndarray, seed: int):
        both = [x[:, rows].astype(np.float64) for x in (shop.texts, shop.pictures)]
        self.stats = [(x.mean((0, 1)), np.maximum(x.std((0, 1)), 1e-6)) for x in both]
        texts, pictures = self._scaled(shop.texts, 0), self._scaled(shop.pictures, 1)
        torch.manual_seed(seed)
        heads = {"hidden": 512, "dropout": 0.3}
        towers = [FeatureTower(x[0][rows], 128, **heads) for x in (texts, pictures)]
        self.model = TwoTower(*towers, similarity="cosine")

        def loss(model, batch, rng):
            views = (rng.integers(len(x), size=len(batch)) for x in (texts, pictures))
            a, b = (x[i, rows[batch]] for x, i in zip((texts, pictures), views, strict=True))
            z, v = model.user_vectors(a), model.item_vectors(b)
            return info_nce(z, v, temperature=1.0, symmetric=True)  # z has the learned one

        steps = {"epochs": 10, "batch_size": 256, "learning_rate": 3e-3}
        train(self.model, loss, len(rows), weight_decay=0.1, seed=seed, **steps)

    def _scaled(self, x: np.ndarray, which: int) -> np.ndarray:
        mean, deviation = self.stats[which]
        return (x - mean) / deviation

    def queries(self, texts: np.ndarray) -> np.ndarray:
        """(n, 384) -> (n, 128), of length 1."""
        return unit_rows(self.model.encode_users(self._scaled(texts, 0)))

    def vectors(self, pictures: np.ndarray) -> np.ndarray:
        """(n, 768) -> (n, 128), of length 1."""
        return unit_rows(self.model.encode_items(self._scaled(pictures, 1)))


class Fitted:
    """Towers that learned from some rows, and what their students learn from."""

    def __init__(self, shop: Shop, rows: np.ndarray, seed: int):
        self.shop, self.towers = shop, Retriever(shop, rows, seed)
        self.vectors = self.towers.vectors(shop.pictures[0])  # (n, 128), of all pictures
        _, lengths, axes = np.linalg.svd(self.vectors[rows], full_matrices=False)
        self.kept = (lengths[:DIM] ** 2).sum() / (lengths**2).sum()
        self.axes = axes[:DIM].T  # (128, DIM)
        self.pieces = shop.pieces(rows)
        self.lesson = shop.lesson(rows, self.pieces, seed)
        self.answers = self.towers.queries(shop.reader.encode(self.lesson)) @ self.axes

    @property
    def short(self) -> np.ndarray:
        """(n, DIM), the pictures' vectors along the axes."""
        return self.vectors @ self.axes

    def student(self, reg: float) -> WordVectors:
        """With vectors as they are, not rounded."""
        vectors = piece_vectors(self.lesson, self.answers, self.pieces, reg)
        return WordVectors(tuple(self.pieces), SimpleNamespace(vectors=vectors))

    def scores(self, asked: list[str], rows: np.ndarray, reg: float) -> dict[str, np.ndarray]:
        """What the towers, the student and its int8 say of pictures: {reader: (n, n_rows)}."""
        small = distilled(self.lesson, self.answers, self.pieces, reg)
        towers = self.towers.queries(self.shop.reader.encode(asked)) @ self.vectors[rows].T
        return {
            "towers": towers,
            "student": self.student(reg).encode(asked) @ self.short[rows].T,
            "student, int8": small.encode(asked) @ short_vectors(self.short[rows]).vectors.T,
        }


# -- the chapter's test


def found(scores: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Of each query: is its own picture among ten, and the NDCG@10 of its one place: (n, 2)."""
    own, scores = np.arange(len(scores)) if own is None else own, np.round(scores, 9)
    place = (scores > scores[np.arange(len(own)), own][:, None]).sum(axis=1)
    return np.column_stack([place < 10, np.where(place < 10, 1 / np.log2(place + 2.0), 0.0)])


def choose(shop: Shop) -> float:
    """The penalty with the best NDCG@10 on the validation pictures, asked for in two wordings."""
    path = {reg: [] for reg in REGS}
    for seed in SEEDS:
        parts = shop.parts(seed)
        fitted, rows = Fitted(shop, parts["train"], seed), parts["validation"]
        for reg in REGS:
            student = fitted.student(reg)
            for wording in JUDGED:
                z = student.encode([shop.wordings[wording][row] for row in rows])
                path[reg].append(found(z @ fitted.short[rows].T)[:, 1].mean())
        say(f"validation, seed {seed}: {len(fitted.pieces)} pieces, {len(fitted.lesson)} texts; "
            f"{DIM} of 128 axes have {fitted.kept:.1%} of the squared length")  # fmt: skip
    means = {reg: round(float(np.mean(values)), 4) for reg, values in path.items()}
    say("penalties, NDCG@10 of validation:", means)
    return max(means, key=means.get)


def other_words(items) -> dict[int, str]:
    """The chapter's descriptions of pictures of the first test in words of our own."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells)
    text = next(re.finditer(r'seen_as = """(.*?)"""', "\n".join(sources), re.DOTALL))[1]
    pairs = (line.split(maxsplit=1) for line in text.split("|"))
    return {int(number): " ".join(words.split()) for number, words in pairs}


def judge(shop: Shop, reg: float):
    """Print recall and NDCG of the test pictures, and the differences to the towers."""
    values: dict = {}
    groups: dict = {}
    for seed in SEEDS:
        parts = shop.parts(seed)
        fitted, rows = Fitted(shop, parts["train+"], seed), parts["test"]
        asked = {name: [shop.wordings[name][row] for row in rows] for name in JUDGED}
        own = dict.fromkeys(asked, np.arange(len(rows)))
        if seed == SEEDS[0]:
            said, ids = other_words(shop.items), shop.items["item_id"].to_numpy()[rows]
            name = "other words"
            asked[name] = list(said.values())
            own[name] = np.array([np.flatnonzero(ids == number)[0] for number in said])
        three = sum(fitted.towers.queries(texts[rows]) for texts in shop.texts)
        values.setdefault(("three wordings", "towers"), []).append(
            found(three @ fitted.vectors[rows].T)
        )
        groups.setdefault("three wordings", []).append(shop.creators[rows])
        for name, texts in asked.items():
            groups.setdefault(name, []).append(shop.creators[rows[own[name]]])
            for reader, scores in fitted.scores(texts, rows, reg).items():
                values.setdefault((name, reader), []).append(found(scores, own[name]))
        say(f"test, seed {seed}")
    for (name, reader), parts in values.items():
        whose = np.concatenate(groups[name])
        base = np.concatenate(values[name, "towers"])
        report(name, reader, np.concatenate(parts), base, whose)


def report(name: str, reader: str, values: np.ndarray, base: np.ndarray, whose: np.ndarray):
    """A line for each measure; intervals over creators, as the chapter's."""
    for column, measure in enumerate(("recall@10", "NDCG@10")):
        low, high = group_interval(values[:, column], whose)
        line = f"{name}, {reader}: {measure} {values[:, column].mean():.3f} [{low:.3f}, {high:.3f}]"
        if reader != "towers":
            gap = values[:, column] - base[:, column]
            low, high = group_interval(gap, whose)
            line += f", minus towers {gap.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        print(f"{line}, {len(values)} queries")


# -- what the page gets


def thumbnail(picture: Image.Image) -> bytes:
    """A small WebP; the drawings are on white."""
    small, data = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), io.BytesIO()
    small.save(data, "WEBP", quality=QUALITY, method=6)
    return data.getvalue()


def write(shop: Shop, reg: float):
    """Towers of all pictures, made small; the page shows one picture of each series."""
    items = shop.items
    fitted = Fitted(shop, np.arange(len(items)), SEEDS[0])
    shown = np.flatnonzero(shop.able & (items["item_id"] == items["series"]).to_numpy())
    words = distilled(fitted.lesson, fitted.answers, fitted.pieces, reg)
    small = [thumbnail(picture) for picture in shop.clipart.images(items["item_id"][shown])]
    named = (list(items[name][shown]) for name in ("title", "creator"))
    files = pictures_files(*named, fitted.short[shown], words, small)
    info = {"n_pictures": len(shown), "dim": DIM, "side": SIDE}
    manifest = write_bundle(HERE / "pictures", files, info)
    page = PagePictures(read_bundle(HERE / "pictures")[0])
    asked = sorted({word for row in shown for word in items["keywords"][row].split("|") if word})
    towers = fitted.towers.queries(shop.reader.encode(asked)) @ fitted.vectors[shown].T
    lists = zip(rank(np.round(towers, 9), None, 10), map(page.search, asked), strict=True)
    same = np.mean([len(set(a) & set(b)) for a, b in lists])
    say(f"{len(shown)} pictures; of ten for each of {len(asked)} keywords, {same:.1f} are the "
        "towers' own")  # fmt: skip
    for name, entry in manifest["files"].items():
        raw = sum(int(np.prod(a["shape"])) * np.dtype(a["dtype"]).itemsize for a in entry["arrays"])
        print(f"pictures/{name}: {raw:,} bytes, gzipped {entry['bytes']:,}")
    print("all:", sum(entry["bytes"] for entry in manifest["files"].values()))


def main():
    shop = Shop()
    reg = choose(shop)
    judge(shop, reg)
    write(shop, reg)


if __name__ == "__main__":
    main()
