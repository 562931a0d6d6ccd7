"""Chapter 7's queries by kind: the reranker, students of it and of the labels, full attention.

    PYTHONPATH=. python data/cross_encoder/make_queries.py full --out adapters
    PYTHONPATH=. python data/cross_encoder/make_queries.py full --seed 1 --out adapters
    PYTHONPATH=. python data/cross_encoder/make_queries.py prefix --seed 1 --out adapters
    PYTHONPATH=. python data/cross_encoder/make_students.py adapters  # 15 to 40 minutes, one core

The students are the two-tower, frozen, with a hidden layer beside each side. They learn from the
labels of 24 films for each training query, or from the cross-encoder's scores of the same films, or
from the same scores dealt at random within each list, or from the labels of 3 of the 24 (a right
one among them, where there is one); from labels listwise, pairwise or by margin MSE, in equal
steps. One student's own candidates are also reranked. Written beside this file:
`queries.csv.gz`, NDCG@10 of each test query, a column for each model and seed; what it has already
is left out of a run. Weights of a mix are chosen on the validation queries.
"""

from __future__ import annotations

import sys
from pathlib import Path

import make_queries as work
import numpy as np
import pandas as pd
import torch
from make import WEIGHTS, say
from scipy import sparse
from torch.nn.functional import softplus

from recsys_tutorial.datasets.genre_queries import genre_queries, learned_films
from recsys_tutorial.evaluation import evaluate, rank
from recsys_tutorial.losses import listwise_loss, margin_mse
from recsys_tutorial.models import CrossEncoder, TwoTower
from recsys_tutorial.models.towers import FeatureTower
from recsys_tutorial.reranking import Candidates
from recsys_tutorial.splits import Holdout
from recsys_tutorial.training import train

HERE = Path(__file__).parent
DEPTH, TAUGHT, SEEDS = 30, 24, (0, 1, 2)


class Exam:
    """Queries and films, the trained tower's vectors, and who is to be found."""

    def __init__(self):
        self.films, genres = work.catalogue()
        self.queries = genre_queries(genres)
        self.tower = work.query_tower(self.queries.texts, self.films)
        file = HERE / "queries.csv.gz"
        known = pd.read_csv(file, index_col="query") if file.exists() else pd.DataFrame()
        self.values = {name: known[name] for name in known.columns.drop("kind", errors="ignore")}
        self.first = None if self.values else self.vectors()
        self.tower.load(HERE / "queries_tower.safetensors")
        self.z, self.f = self.vectors()
        learned = learned_films(len(self.films))
        self.learned, self.searched = np.flatnonzero(learned), np.flatnonzero(~learned)
        self.holdouts = {part: self.holdout(part) for part in ("validation", "test")}

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """The tower's, of queries and films."""
        users = self.tower.encode_users(np.arange(len(self.queries.texts)))
        return users, self.tower.encode_items()

    def holdout(self, part: str) -> Holdout:
        """A query is a user, the searched films are the items."""
        rows = self.queries.rows(part)
        right = sparse.csr_matrix(self.queries.relevant[rows][:, self.searched].astype(float))
        none = sparse.csr_matrix(right.shape)
        return Holdout(rows, none, none, none, right)

    def own(self, part: str, z=None, f=None) -> np.ndarray:
        """The tower's scores of the searched films."""
        z, f = (self.z, self.f) if z is None else (z, f)
        return z[self.queries.rows(part)] @ f[self.searched].T

    def read(self, model: CrossEncoder, found: Candidates) -> np.ndarray:
        """Scores (n_queries, DEPTH) of all candidates."""
        who = np.repeat([self.queries.texts[r] for r in found.holdout.user_ids], DEPTH).tolist()
        what = [self.films[self.searched[c]] for c in found.ranked.ravel()]
        return model.score_pairs(who, what).reshape(found.ranked.shape).round(5)

    def keep(self, name: str, found) -> None:
        """A column of the file."""
        self.values[name] = found.values("ndcg@10")
        kind = pd.Series(self.queries.kind[found.per_user.index], found.per_user.index)
        by = self.values[name].groupby(kind).mean().round(3).to_dict()
        say(name, round(self.values[name].mean(), 4), by)
        frame = pd.DataFrame(self.values).round(5)
        frame.insert(0, "kind", kind)
        frame.to_csv(HERE / "queries.csv.gz", index_label="query")

    def rerank(self, name: str, model: CrossEncoder, scores: dict[str, np.ndarray]) -> None:
        """The 30 best films of a first stage, at the weight that validation queries choose."""
        found = {p: Candidates(s, self.holdouts[p], DEPTH) for p, s in scores.items()}
        said = {p: self.read(model, c) for p, c in found.items()}
        tried = {w: found["validation"].mix(said["validation"], w)["ndcg@10"] for w in WEIGHTS}
        best = max(WEIGHTS, key=tried.get)
        say(name, "weight", best)
        self.keep(name, found["test"].mix(said["test"], best))
        if "student" in name:
            oracle = found["test"].judge(found["test"].liked)
            self.keep(name.replace("|", ": oracle|"), oracle)


def adapter(attention: str, path: Path) -> CrossEncoder:
    model = CrossEncoder(attention=attention, last_blocks=work.BLOCKS, lora_rank=work.RANK,
                         max_user_tokens=64, dropout=0.0, device="cpu")  # fmt: skip
    return model.load(path) if path else model


def scaled(side: np.ndarray) -> np.ndarray:
    return (side - side.mean(0)) / np.maximum(side.std(0), 1e-6)


def student(exam: Exam, lists, loss, seed: int) -> dict[str, np.ndarray]:
    """Scores of the searched films; `loss` takes the scores of some lists and their rows."""
    rows = exam.queries.rows("train")
    torch.manual_seed(seed)
    sides = [FeatureTower(scaled(side), 256, hidden=512, dropout=0.2) for side in (exam.z, exam.f)]
    torch.nn.init.zeros_(sides[0].head[-1].weight)  # at first nothing is added
    model = TwoTower(*sides, dtype=torch.float64)
    frozen = torch.from_numpy(np.einsum("qd,qnd->qn", exam.z[rows], exam.f[lists]))

    def objective(model, batch, rng):
        u, w = model.user_vectors(rows[batch]), model.item_vectors(lists[batch].ravel())
        added = torch.einsum("bd,bnd->bn", u, w.reshape(len(batch), lists.shape[1], -1))
        return loss(frozen[batch] + added, batch)

    train(model, objective, len(rows), epochs=60, batch_size=32, learning_rate=1e-3,
          weight_decay=0.1, seed=seed)  # fmt: skip
    return {part: exam.own(part) + model.encode_users(exam.queries.rows(part))
            @ model.encode_items(exam.searched).T for part in exam.holdouts}  # fmt: skip


def of_teacher(exam: Exam, teacher: CrossEncoder, lists: np.ndarray, shuffled: bool = False):
    """Margin MSE to the teacher's scores, brought to the spread of the tower's."""
    rows = exam.queries.rows("train")
    who = np.repeat([exam.queries.texts[r] for r in rows], lists.shape[1]).tolist()
    said = teacher.score_pairs(who, [exam.films[c] for c in lists.ravel()]).reshape(lists.shape)
    if shuffled:
        said = np.random.default_rng(5).permuted(said, axis=1)
    frozen = np.einsum("qd,qnd->qn", exam.z[rows], exam.f[lists])
    wanted = torch.from_numpy(said * frozen.std(1).mean() / said.std(1).mean())
    truth = np.take_along_axis(exam.queries.relevant[rows], lists, 1).astype(float)
    agree = [np.corrcoef(t, a)[0, 1] for t, a in zip(said, truth, strict=True) if a.std()]
    say("teacher and truth, mean correlation within lists", np.mean(agree).round(3))
    return lambda scores, batch: margin_mse(scores, wanted[batch])


def of_margins(exam: Exam, lists: np.ndarray, labels: np.ndarray):
    """Margin MSE to the labels, brought to the spread of the tower's scores."""
    rows = exam.queries.rows("train")
    frozen = np.einsum("qd,qnd->qn", exam.z[rows], exam.f[lists])
    wanted = torch.from_numpy(labels * frozen.std(1).mean() / labels.std(1).mean())
    return lambda scores, batch: margin_mse(scores, wanted[batch])


def of_labels(labels: np.ndarray, known: np.ndarray | None = None):
    """Listwise on the films whose label is known."""
    labels = torch.from_numpy(labels)
    known = torch.ones_like(labels) if known is None else torch.from_numpy(known.astype(float))

    def loss(scores, batch):
        y, seen = labels[batch] * known[batch], known[batch] > 0
        some = (y.sum(1) > 0).nonzero()[:, 0]
        return listwise_loss(torch.where(seen, scores, -1e4)[some], y[some])

    return loss


def of_pairs(labels: np.ndarray, known: np.ndarray | None = None):
    """Each right film against each wrong one of its list, as far as both have their label."""
    y = torch.from_numpy(labels) > 0
    known = torch.ones_like(y) if known is None else torch.from_numpy(known)

    def loss(scores, batch):
        right, wrong = y[batch] & known[batch], ~y[batch] & known[batch]
        pairs = right[:, :, None] & wrong[:, None, :]
        return softplus(scores[:, None, :] - scores[:, :, None])[pairs].mean()

    return loss


def main(adapters: Path) -> None:
    torch.set_num_threads(1)
    exam = Exam()
    wishes = exam.holdouts["test"]
    if exam.first is not None:
        exam.keep("two-tower, untrained", evaluate(exam.own("test", *exam.first), wishes))
        exam.keep("two-tower", evaluate(exam.own("test"), wishes))
    tower = {part: exam.own(part) for part in exam.holdouts}
    found = Candidates(tower["test"], exam.holdouts["test"], DEPTH)
    exam.keep("oracle", found.judge(found.liked))
    teacher = adapter("prefix", HERE / "queries_prefix.safetensors")
    if "reranked|0" not in exam.values:
        exam.rerank("reranked|0", teacher, tower)

    rows, rng = exam.queries.rows("train"), np.random.default_rng(0)
    near = rank(exam.z[rows] @ exam.f[exam.learned].T, None, 60)
    lists = np.stack([rng.permutation(row)[: TAUGHT // 2] for row in near])
    rest = rng.integers(len(exam.learned), size=(len(rows), TAUGHT - TAUGHT // 2))
    lists = exam.learned[np.hstack([lists, rest])]  # (n_rows, TAUGHT)
    labels = np.take_along_axis(exam.queries.relevant[rows], lists, 1).astype(float)
    key = rng.random(labels.shape)
    key[np.arange(len(rows)), np.where(labels > 0, key + 1, key).argmax(1)] = 2  # a right one
    known = np.argsort(np.argsort(-key, 1), 1) < 3
    arms = {
        "student of the cross-encoder": lambda: of_teacher(exam, teacher, lists),
        "student of the labels": lambda: of_labels(labels),
        "student of 3 labels": lambda: of_labels(labels, known),
        "student of the labels, pairwise": lambda: of_pairs(labels),
        "student of 3 labels, pairwise": lambda: of_pairs(labels, known),
        "student of the labels, margin MSE": lambda: of_margins(exam, lists, labels),
        "student of a shuffled teacher": lambda: of_teacher(exam, teacher, lists, True),
    }
    for name, make in arms.items():
        left = [seed for seed in SEEDS if f"{name}|{seed}" not in exam.values]
        loss = make() if left else None
        for seed in left:
            scores = student(exam, lists, loss, seed)
            exam.keep(f"{name}|{seed}", evaluate(scores["test"], exam.holdouts["test"]))
            if name == "student of the labels" and seed == 0:
                exam.rerank(f"{name}, reranked|{seed}", teacher, scores)
    for attention, seed in (("full", 0), ("full", 1), ("prefix", 1)):
        name = f"queries_{attention}{f'_{seed}' if seed else ''}.safetensors"
        label = "reranked" if attention == "prefix" else "reranked, full attention"
        if not (adapters / name).exists() or f"{label}|{seed}" in exam.values:
            continue
        exam.rerank(f"{label}|{seed}", adapter(attention, adapters / name), tower)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
