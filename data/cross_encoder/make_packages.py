"""Rerank packages by reading: a cross-encoder, a bi-encoder, cheap features of the pair.

    PYTHONPATH=. python data/cross_encoder/make_packages.py      # half an hour on one core, no GPU

A project comes with one line of words and no history. The first stage lets the projects nearest in
BERT's space vote (chapter 8's "neighbours, BERT as it came"); its 30 best packages are put into
another order by what each reranker says of them, mixed with the votes. Training projects get their
lists from votes of the other three folds, and a fold is made of whole maintainers. Cross-encoder
and bi-encoder start from the same BERT, train low-rank updates of the same blocks, on the same
lists, as many steps. Weights of the mix: the best of six on the 1,000 tuning projects. Written
beside this file: `packages.safetensors` (the cross-encoder), `packages.csv.gz` (each test project's
NDCG@10), `packages_tuning.csv` (every weight) and `packages_curve.csv` (loss and NDCG@10 of some
tuning projects by training step). Where the adapter is there already it is read, not trained
again; training goes on from a checkpoint when it was stopped. It computes in bfloat16, so another
processor's numbers differ in the third digit.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from make import WEIGHTS, say
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import normalize

from recsys_tutorial.datasets import load_packages
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.losses import listwise_loss
from recsys_tutorial.models import CrossEncoder, NeighbourVotes, hash_of_users
from recsys_tutorial.models.towers import LastBlocksTower
from recsys_tutorial.ranking import standardize
from recsys_tutorial.reranking import Candidates
from recsys_tutorial.splits import group_split
from recsys_tutorial.training import train

HERE = Path(__file__).parent
N_FOLDS, DEPTH, SIZE, LIKED = 4, 30, 8, 3  # a list to learn from: 8 of the 30, at most 3 needed
BLOCKS, RANK, BATCH, PIECES, STEPS = 3, 8, 4, 5, 160  # lists in a step; steps in a piece
N_CURVE = 100  # tuning projects in the learning curve


class World:
    """Projects, packages, their texts and vectors, and the first stage's candidates."""

    def __init__(self):
        sources, packages, needs = load_packages()
        self.split = group_split(needs, packages, sources["group"].to_numpy())
        self.lines = sources["description"].tolist()
        self.texts = packages["description"].tolist()
        self.ids = self.split.train_user_ids
        encoder = TextEncoder()
        self.bert = [encoder.encode(texts) for texts in (self.lines, self.texts)]
        counter = TfidfVectorizer(sublinear_tf=True).fit(self.lines + self.texts)
        self.words = [counter.transform(texts) for texts in (self.lines, self.texts)]
        self.votes = NeighbourVotes(self.bert[0][self.ids], 50, 4.0).fit(self.split.train)
        self.word_votes = NeighbourVotes(self.words[0][self.ids], 50, 4.0).fit(self.split.train)
        counts = np.asarray(self.split.train.sum(axis=0)).ravel()
        self.popularity = np.log1p(counts)
        groups = sources["group"].to_numpy()[self.ids]
        names, number = np.unique(groups, return_inverse=True)
        rng = np.random.default_rng(0)
        self.fold = (rng.permutation(len(names)) % N_FOLDS)[number]  # of each training project

    def proposed(self, part: str) -> Candidates:
        """The first stage's lists of the tuning or the test projects."""
        holdout = getattr(self.split, part).without_history()
        return Candidates(self.votes.score(self.bert[0][holdout.user_ids]), holdout, DEPTH)

    def learned(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Training projects' rows, candidates, which are needed, and their features."""
        rows, ranked, found, features = [], [], [], []
        for number in range(N_FOLDS):
            own, others = np.flatnonzero(self.fold == number), self.fold != number
            train = self.split.train[others]
            voters = [NeighbourVotes(x[0][self.ids[others]], 50, 4.0).fit(train)
                      for x in (self.bert, self.words)]  # fmt: skip
            scores = [v.score(x[0][self.ids[own]])
                      for v, x in zip(voters, (self.bert, self.words), strict=True)]  # fmt: skip
            top = np.argsort(-scores[0], axis=1, kind="stable")[:, :DEPTH]
            needed = np.take_along_axis(self.split.train[own].toarray(), top, 1) > 0
            popularity = np.log1p(np.asarray(train.sum(axis=0)).ravel())
            rows.append(own), ranked.append(top), found.append(needed)
            features.append(self.features(self.ids[own], top, scores, popularity))
        return tuple(np.concatenate(x) for x in (rows, ranked, found, features))

    def features(self, users, ranked, scores, popularity) -> np.ndarray:
        """Of each pair (n_users, DEPTH, 5): what costs no reading together."""
        pairs = np.repeat(users, ranked.shape[1]), ranked.ravel()
        both = [(x[0][pairs[0]], x[1][pairs[1]]) for x in (self.bert, self.words)]
        cosines = [(both[0][0] * both[0][1]).sum(1),
                   np.asarray(both[1][0].multiply(both[1][1]).sum(1)).ravel()]  # fmt: skip
        votes = [standardize(np.take_along_axis(s, ranked, 1)) for s in scores]
        cosines = [c.reshape(ranked.shape) for c in cosines]
        return np.stack([*votes, popularity[ranked], *cosines], axis=2)

    def features_of(self, found: Candidates) -> np.ndarray:
        """`features` of judged projects."""
        users = found.holdout.user_ids
        scores = [v.score(x[0][users]) for v, x in
                  ((self.votes, self.bert), (self.word_votes, self.words))]  # fmt: skip
        return self.features(users, found.ranked, scores, self.popularity)


def lists_of(needed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that have something to find, and SIZE places of each one's candidates."""
    rng = np.random.default_rng(1)
    rows = np.flatnonzero(needed.any(axis=1))
    key = rng.random((len(rows), DEPTH))
    order = np.argsort(np.where(needed[rows], key - 2, key), axis=1)  # the needed ones first
    n = np.minimum(needed[rows].sum(axis=1), LIKED)
    places = [np.append(o[:k], rng.permutation(o[needed[r].sum() :])[: SIZE - k])
              for o, k, r in zip(order, n, rows, strict=True)]  # fmt: skip
    full = np.array([len(p) == SIZE for p in places])
    return rows[full], np.stack([p for p, f in zip(places, full, strict=True) if f])


def read(model: CrossEncoder, world: World, found: Candidates) -> np.ndarray:
    """The cross-encoder's scores of all candidates."""
    who = np.repeat([world.lines[u] for u in found.holdout.user_ids], DEPTH).tolist()
    with torch.autocast("cpu", torch.bfloat16):
        scores = model.score_pairs(who, [world.texts[c] for c in found.ranked.ravel()])
    return scores.reshape(found.ranked.shape).round(4)


def quality(found: Candidates, scores: np.ndarray, weight: float) -> pd.Series:
    return found.mix(scores, weight).values("ndcg@10")


def part_of(found: Candidates, rows: slice) -> Candidates:
    """Some of its users."""
    some, h = copy.copy(found), found.holdout
    some.holdout = type(h)(h.user_ids[rows], *(m[rows] for m in
                           (h.history, h.history, h.seen, h.targets)))  # fmt: skip
    some.ranked, some.scores = found.ranked[rows], found.scores[rows]
    some.liked = found.liked[rows]
    return some


def pieces(n_lists: int):
    """The batches of a piece: the same for both models, since drawn from the same generator."""

    def batches(rng: np.random.Generator) -> list[np.ndarray]:
        return list(rng.permutation(n_lists)[: STEPS * BATCH].reshape(STEPS, BATCH))

    return batches


def fit_cross(world: World, rows, candidates, labels, curve: list, few: Candidates):
    """Train the cross-encoder, with a look at some tuning projects after each piece."""
    model = CrossEncoder(attention="prefix", last_blocks=BLOCKS, lora_rank=RANK, dropout=0.0,
                         max_user_tokens=64)  # fmt: skip
    kept = HERE / "packages.safetensors"
    if kept.exists():
        before = pd.read_csv(HERE / "packages_curve.csv")
        curve += before[before["model"] == "cross-encoder"].itertuples(index=False, name=None)
        return model.load(kept)

    def look(model) -> dict:
        scores = read(model, world, few)
        values = [quality(few, scores, w).mean() for w in (1.0, 0.5)]
        say("cross-encoder", np.round(values, 4))
        return dict(zip(("alone", "half"), values, strict=True))

    model.fit(
        [world.lines[u] for u in world.ids[rows]], world.texts, candidates, labels,
        user_ids=world.ids, epochs=PIECES, batch_size=BATCH, batches=pieces(len(rows)),
        learning_rate=1e-3, metrics=look, precision="bf16",
        checkpoint=HERE / "packages.checkpoint", checkpoint_every=100,
    )  # fmt: skip
    for n, row in enumerate(model.history_.itertuples(), 1):
        curve.append(("cross-encoder", n * STEPS, row.loss, row.alone, row.half))
    model.save(kept, {"projects": "training projects of group_split"})
    return model


class BiEncoder(torch.nn.Module):
    """One BERT reads each line by itself: scale * cosine."""

    def __init__(self, world: World, users: np.ndarray, packages: np.ndarray, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.users, self.packages = np.unique(users), np.unique(packages)  # those it will read
        texts = [world.lines[u] for u in self.users] + [world.texts[c] for c in self.packages]
        self.tower = LastBlocksTower(texts, 384, n_blocks=BLOCKS)
        self.tower.head.requires_grad_(False)
        self.tower.encoder.add_lora(RANK, ["query", "key", "value", "dense"])
        self.scale = torch.nn.Parameter(torch.tensor(10.0))

    def vectors(self, rows: np.ndarray) -> torch.Tensor:
        """Of these rows of the tower, length 1."""
        unique, place = np.unique(rows, return_inverse=True)
        return normalize(self.tower.vectors(torch.from_numpy(unique)), dim=1)[place.ravel()]

    def forward(self, users: np.ndarray, candidates: np.ndarray) -> torch.Tensor:
        """Scores (n, k)."""
        z = self.vectors(np.searchsorted(self.users, users))  # (n, dim)
        columns = len(self.users) + np.searchsorted(self.packages, candidates.ravel())
        v = self.vectors(columns).reshape(*candidates.shape, -1)  # (n, k, dim)
        return self.scale * torch.einsum("nd,nkd->nk", z.float(), v.float())

    def score(self, found: Candidates) -> np.ndarray:
        """Of all candidates."""
        with torch.no_grad():
            self.eval()
            scores = [self(found.holdout.user_ids[i : i + 100], found.ranked[i : i + 100])
                      for i in range(0, len(found.ranked), 100)]  # fmt: skip
        return torch.cat(scores).double().numpy().round(4)


def fit_bi(world: World, rows, candidates, labels, curve: list, few: Candidates, judged):
    """The same lists, steps, batches, rate and loss."""
    labels, users = torch.from_numpy(labels.astype(np.float32)), world.ids[rows]
    own = np.concatenate([users, *(f.holdout.user_ids for f in judged)])
    what = np.concatenate([candidates.ravel(), *(f.ranked.ravel() for f in judged)])
    model = BiEncoder(world, own, what)

    def loss(model, batch, rng):
        return listwise_loss(model(users[batch], candidates[batch]), labels[batch])

    def look(model) -> dict:
        scores = model.score(few)
        values = {k: quality(few, scores, w).mean() for k, w in (("alone", 1.0), ("half", 0.5))}
        say("bi-encoder", values)
        return values

    history = train(model, loss, len(rows), epochs=PIECES, batch_size=BATCH,
                    batches=pieces(len(rows)), learning_rate={"": 1e-3, "scale": 0.01},
                    weight_decay=0.01, metrics=look, precision="bf16")  # fmt: skip
    for n, row in enumerate(history.itertuples(), 1):
        curve.append(("bi-encoder", n * STEPS, row.loss, row.alone, row.half))
    return model


def main() -> None:
    torch.set_num_threads(1)
    world = World()
    tuning, test = (world.proposed(part) for part in ("validation", "test"))
    test = part_of(test, slice(None, None, 3))  # every third project: reading takes its time
    few = part_of(tuning, slice(N_CURVE))
    say(len(world.ids), "training projects,", len(tuning.ranked), "tuning,", len(test.ranked))
    say("first stage", [round(f.judge(f.scores)["ndcg@10"], 4) for f in (tuning, test, few)],
        "oracle", [round(f.judge(f.liked)["ndcg@10"], 4) for f in (tuning, test)])  # fmt: skip
    own, ranked, needed, features = world.learned()
    rows, places = lists_of(needed)
    candidates = np.take_along_axis(ranked[rows], places, 1)
    labels = np.take_along_axis(needed[rows], places, 1).astype(float)
    say(len(rows), "lists of", SIZE, "needed in each", labels.sum(1).mean().round(2))
    said = {}

    # Cheap features of the same pairs, a logistic regression on all candidates of all lists.
    names = ["votes", "TF-IDF votes", "popularity", "BERT cosine", "TF-IDF cosine"]
    x, y = features[rows].reshape(-1, len(names)), needed[rows].ravel()
    mean, spread = x.mean(0), x.std(0)
    for arm, kept in (("cheap features", [0, 1, 2, 3, 4]), ("TF-IDF cosine", [4]),
                      ("BERT cosine, untrained", [3]), ("popularity", [2])):  # fmt: skip
        fit = LogisticRegression(max_iter=1000).fit(((x - mean) / spread)[:, kept], y)
        said[arm] = []
        for f in (tuning, test):
            own_x = (world.features_of(f).reshape(-1, len(names)) - mean) / spread
            scores = fit.decision_function(own_x[:, kept])
            said[arm].append(scores.reshape(f.ranked.shape).round(9))
        say(arm, dict(zip(np.array(names)[kept], fit.coef_[0].round(3), strict=True)))
    curve: list = []
    order, judged = own[rows], (tuning, test)
    model = fit_cross(world, order, candidates, labels, curve, few)
    assert model.train_users_ == hash_of_users(world.ids)
    said["cross-encoder"] = [read(model, world, f) for f in judged]
    bi = fit_bi(world, order, candidates, labels, curve, few, judged)
    said["bi-encoder"] = [bi.score(f) for f in judged]
    for arm in ("cross-encoder", "bi-encoder"):
        said[f"cheap features + {arm}"] = said[arm]
    save_curve(curve)
    judge(said, tuning, test)


def save_curve(curve: list) -> None:
    columns = ["model", "step", "loss", "alone", "half"]
    pd.DataFrame(curve, columns=columns).round(5).to_csv(HERE / "packages_curve.csv", index=False)


def judge(said: dict, tuning: Candidates, test: Candidates) -> None:
    """Choose each arm's weight on the tuning projects, and judge it on the test projects."""
    trials, values = [], {}
    values["first stage"] = test.judge(test.scores).values("ndcg@10")
    values["oracle"] = test.judge(test.liked).values("ndcg@10")
    for arm, (a, b) in said.items():
        first = (tuning, test)
        if arm.startswith("cheap features +"):
            first = tuple(after(f, s, trials) for f, s in zip(first, said["cheap features"],
                                                              strict=True))  # fmt: skip
        tried = {w: quality(first[0], a, w).mean() for w in WEIGHTS}
        best = max(tried, key=tried.get)
        trials += [(arm, w, v) for w, v in tried.items()]
        values[arm] = quality(first[1], b, best)
        values[f"{arm}, alone"] = quality(test, b, 1.0)
        say(arm, best, {w: round(v, 4) for w, v in tried.items()}, values[arm].mean().round(4))
    pd.DataFrame(values).round(5).to_csv(HERE / "packages.csv.gz", index_label="user_id")
    frame = pd.DataFrame(trials, columns=["arm", "weight", "ndcg@10"])
    frame.round(5).to_csv(HERE / "packages_tuning.csv", index=False)


def after(found: Candidates, scores: np.ndarray, trials: list) -> Candidates:
    """The same candidates, but the cheap features' mix, at its weight, is the first stage."""
    rows = [(v, w) for arm, w, v in trials if arm == "cheap features"]
    weight = max(rows)[1]
    again = copy.copy(found)
    again.scores = (1 - weight) * standardize(found.scores) + weight * standardize(scores)
    return again


if __name__ == "__main__":
    sys.exit(main())
