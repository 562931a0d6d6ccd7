"""Chapter 7's films: a cross-encoder that reranks, its control, and what else could rerank.

    PYTHONPATH=. python data/cross_encoder/make.py      # half an hour on one core, no GPU

The first stage is fading EASE + BERT kernel (chapter 3, `course.FirstStage`); its 30 best films of
each user are put into another order. The adapter for the tuning users learns on the lists of the
134 users known before the first tuning window; the one for the test users goes on from there on
those of the 302 known before the first test window. A list is made as at serving time: a user shows
a random part of their likes, and a first stage that was fitted on the other folds of the users
proposes; the "liked with" in the films' texts comes from those folds, too. The control learns with
the films' texts permuted. Beside both stand fading EASE, counted words, popularity and a random
order. Weights of the mix: the best of six on the tuning users. A second table has the text tower of
chapter 4 as the first stage.

Written beside this file: `tuning.safetensors` and `prefix.safetensors` (adapters), `films.csv.gz`
(each test user's NDCG@10 and recall@20), `films_tuning.csv` (every weight), `films_curve.csv` (loss
and seconds by step), `films_scores.csv.gz` (the adapter's scores of the test users' candidates).
Training goes on from a checkpoint when it was stopped. It computes in bfloat16, so another
processor's numbers differ in the third digit.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from recsys_tutorial.course import MODELS, FirstStage, counted_titles, fading_ease
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.models import (
    ContentKernel,
    CrossEncoder,
    item_texts,
    liked_together,
    short_titles,
    user_texts,
)
from recsys_tutorial.models._histories import divide_likes
from recsys_tutorial.ranking import rank
from recsys_tutorial.reranking import Candidates
from recsys_tutorial.splits import Split, rolling_split

HERE = Path(__file__).parent
N_FOLDS, DEPTH, SIZE, LIKED = 3, 30, 8, 3  # a list to learn from: 8 of the 30, at most 3 liked
TITLES, NEIGHBOURS, TOKENS = 10, 3, 64  # a user's films, a film's neighbours; the user is cut there
BLOCKS, RANK, BATCH = 3, 8, 2
DRAWS = {"tuning": 8, "test": 4}  # lists per user
PASSES, RATE = 2, 1e-3  # over all lists; the rate of the low-rank updates and of the head
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
METRICS = ["ndcg@10", "recall@20"]
STARTED = time.time()


def say(*what) -> None:
    print(f"{time.time() - STARTED:6.0f} s", *what, flush=True)


class World:
    """Windows, films, and the first stage."""

    def __init__(self):
        rolling = rolling_split(*load_movielens())
        self.windows = {"tuning": rolling.tuning, "test": rolling.test}
        self.items, last = rolling.test[0].items, rolling.test[-1]
        everybody = [w.test.history.indices for w in (*rolling.tuning, *rolling.test)]
        liked = np.unique(np.concatenate([last.train.indices, *everybody]))
        self.first = FirstStage(self.items, liked)
        self.titles, self.genres = self.items["title"].tolist(), self.items["genres"].tolist()
        self.short = short_titles(self.titles)
        # The control: every film is told by the text of another one.
        self.others = np.random.default_rng(7).permutation(len(self.titles))

    def texts(self, train, control: bool) -> list[str]:
        """Of all films, with those liked together with them in `train`."""
        texts = item_texts(self.titles, self.genres, liked_together(train, NEIGHBOURS))
        return [texts[n] for n in self.others] if control else texts

    def lists(self, split: Split, n_draws: int, control: bool):
        """Users' texts, films' texts (a catalogue per fold), candidates and labels."""
        rng, train = np.random.default_rng(0), split.train
        fold = rng.permutation(train.shape[0]) % N_FOLDS
        users, texts, candidates, labels = [], [], [], []
        for number in range(N_FOLDS):
            own, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            score = self.first.fit(split, others)
            texts += self.texts(train[others], control)
            for _ in range(n_draws):
                shown, hidden = divide_likes(train[own], (0.2, 0.8), rng)
                some = (np.diff(shown.indptr) > 0) & (np.diff(hidden.indptr) > 0)
                shown, hidden = shown[some], hidden[some]
                ranked = rank(score(shown), shown, DEPTH)  # (n, DEPTH)
                liked = np.take_along_axis(hidden.toarray(), ranked, 1) > 0
                key = rng.random(ranked.shape)
                order = np.argsort(np.where(liked, key - 2, key), axis=1)  # liked ones first
                told = user_texts(shown, self.short, TITLES)
                for text, row, y, o in zip(told, ranked, liked, order, strict=True):
                    n = min(int(y.sum()), LIKED)
                    place = np.append(o[:n], o[int(y.sum()) :])[:SIZE]
                    if n and len(place) == SIZE:
                        users.append(text)
                        candidates.append(number * len(self.titles) + row[place])
                        labels.append(y[place])
        return users, texts, np.array(candidates), np.array(labels, float)


def train_adapter(world: World, part: str, control: bool, curve: list, start=None) -> CrossEncoder:
    """On the users known before the part's first window."""
    split, name = world.windows[part][0], "permuted texts" if control else "cross-encoder"
    users, texts, candidates, labels = world.lists(split, DRAWS[part], control)
    say(name, part, len(users), "lists of", SIZE, "liked in each", labels.sum(1).mean().round(2))
    model = CrossEncoder(attention="prefix", last_blocks=BLOCKS, lora_rank=RANK, dropout=0.0,
                         max_user_tokens=TOKENS)  # fmt: skip
    if start is not None:
        model.load_state_dict(start.state_dict())
    steps = len(users) // (4 * BATCH)

    def piece(rng: np.random.Generator) -> list[np.ndarray]:
        return list(rng.permutation(len(users))[: steps * BATCH].reshape(steps, BATCH))

    began, passed = time.time(), []

    def look(_) -> dict:
        passed.append(round(time.time() - began))  # of this run, where it went on from a checkpoint
        say(name, part, "a quarter more")
        return {}

    model.fit(
        users, texts, candidates, labels, user_ids=split.train_user_ids, epochs=4 * PASSES,
        batches=piece, batch_size=BATCH, learning_rate=RATE, metrics=look, precision="bf16",
        checkpoint_every=20,
        checkpoint=HERE / f"films_{part}{'_permuted' if control else ''}.checkpoint",
    )  # fmt: skip
    say(name, part, model.history_["loss"].round(3).tolist())
    passed = [None] * (len(model.history_) - len(passed)) + passed
    for n, (loss, seconds) in enumerate(zip(model.history_["loss"], passed, strict=True), 1):
        curve.append((name, part, n * steps, loss, seconds))
    return model


class Lists:
    """A first stage's candidates of all windows of a part, and what others say of them."""

    def __init__(self, world: World, part: str, fit):
        self.world, self.windows = world, world.windows[part]
        self.found = []
        for split in self.windows:
            self.found.append(Candidates(fit(split), split.test, DEPTH))

    def read(self, model: CrossEncoder, control: bool = False) -> list[np.ndarray]:
        """A reading of each pair, window by window."""
        said = []
        for split, found in zip(self.windows, self.found, strict=True):
            texts = self.world.texts(split.train, control)
            users = user_texts(split.test.history, self.world.short, TITLES)
            who = np.repeat(users, DEPTH).tolist()
            with torch.autocast("cpu", torch.bfloat16):
                scores = model.score_pairs(who, [texts[c] for c in found.ranked.ravel()])
            said.append(scores.reshape(found.ranked.shape).round(4))
        return said

    def take(self, fit) -> list[np.ndarray]:
        """Another model's scores of the candidates."""
        return [found.take(fit(split)).round(9)
                for split, found in zip(self.windows, self.found, strict=True)]  # fmt: skip

    def mixed(self, said: list[np.ndarray], weight: float) -> pd.DataFrame:
        """Each user's metrics."""
        pairs = zip(self.found, said, strict=True)
        return pd.concat([found.mix(s, weight).per_user[METRICS] for found, s in pairs])


def main() -> None:
    torch.set_num_threads(1)
    world = World()
    trials, values = known()
    curve: list = []
    models = {}
    for name, control in (("cross-encoder", False), ("permuted texts", True)):
        if f"fading EASE + BERT|{name}|ndcg@10" in values:
            continue
        tuned = train_adapter(world, "tuning", control, curve)
        later = train_adapter(world, "test", control, curve, tuned)
        models[name] = {"tuning": tuned, "test": later}
        if not control:
            tuned.save(HERE / "tuning.safetensors", {"split": "rolling, before the tuning windows"})
            later.save(HERE / "prefix.safetensors",
                                      {"split": "rolling, before the test windows"})  # fmt: skip
    if curve:
        columns = ["model", "part", "step", "loss", "seconds"]
        pd.DataFrame(curve, columns=columns).round(4).to_csv(HERE / "films_curve.csv", index=False)
    kernel = ContentKernel(counted_titles(world.items), 2.0, center=False)
    rng = np.random.default_rng(0)
    linear = {"fading EASE": lambda split: fading_ease(split).score(split.test.history),
              "TF-IDF": lambda split: kernel.score(split.test.history),
              "popularity": lambda split: MODELS["fading popularity"].fit(0)(split).score(
                  split.test.history),
              "random order": lambda split: rng.random(split.test.history.shape)}  # fmt: skip
    for stage in ("fading EASE + BERT", "text two-tower"):
        missing = {name for name in (*linear, *(models if stage != "text two-tower" else ()))
                   if f"{stage}|{name}|ndcg@10" not in values}  # fmt: skip
        if not missing:
            continue
        lists = {}
        for part in ("tuning", "test"):
            if stage == "text two-tower":
                tower = MODELS["text two-tower"].fit(0)  # trained on from window to window
                fit = lambda split, tower=tower: tower(split).score(split.test.history)  # noqa: E731
            else:
                fit = lambda split: world.first.fit(split)(split.test.history)  # noqa: E731
            lists[part] = Lists(world, part, fit)
            say(stage, part, "candidates")
        said = {name: {p: lists[p].take(fit) for p in lists}
                for name, fit in linear.items() if name in missing}  # fmt: skip
        for name, model in models.items():
            if name not in missing:  # with the tower the question is what a linear model can do
                continue
            said[name] = {p: lists[p].read(model[p], name != "cross-encoder") for p in lists}
            say(stage, name, "read")
        if "cross-encoder" in said:
            keep_scores(lists["test"], said["cross-encoder"]["test"])
        nothing = [found.scores for found in lists["test"].found]
        oracle = [found.liked for found in lists["test"].found]
        for name, s, w in (("first stage", nothing, 0.0), ("oracle", oracle, 1.0)):
            values |= columns_of(stage, name, lists["test"].mixed(s, w))
        for name, parts in said.items():
            tried = {w: lists["tuning"].mixed(parts["tuning"], w)["ndcg@10"].mean()
                     for w in WEIGHTS}  # fmt: skip
            best = max(tried, key=tried.get)
            trials += [(stage, name, w, v) for w, v in tried.items()]
            found = lists["test"].mixed(parts["test"], best)
            values |= columns_of(stage, name, found)
            values |= columns_of(stage, f"{name}, alone", lists["test"].mixed(parts["test"], 1.0))
            say(stage, name, best, {w: round(float(v), 4) for w, v in tried.items()},
                found.mean().round(4).to_dict())  # fmt: skip
        pd.DataFrame(values).round(6).to_csv(HERE / "films.csv.gz", index_label="user_id")
        frame = pd.DataFrame(trials, columns=["first stage", "reranker", "weight", "ndcg@10"])
        frame.round(5).to_csv(HERE / "films_tuning.csv", index=False)


def known() -> tuple[list, dict]:
    """What an earlier run, which was stopped, has written."""
    if not (HERE / "films.csv.gz").exists():
        return [], {}
    tuning = pd.read_csv(HERE / "films_tuning.csv").itertuples(index=False, name=None)
    return list(tuning), dict(pd.read_csv(HERE / "films.csv.gz", index_col="user_id").items())


def columns_of(stage: str, name: str, found: pd.DataFrame) -> dict[str, pd.Series]:
    return {f"{stage}|{name}|{metric}": found[metric] for metric in METRICS}


def keep_scores(lists: Lists, said: list[np.ndarray]) -> None:
    """What the adapter says of each test user's candidates, in the first stage's order."""
    ids = np.concatenate([split.test.user_ids for split in lists.windows])
    frame = pd.DataFrame(np.vstack(said), pd.Index(ids, name="user_id")).round(3)
    frame.to_csv(HERE / "films_scores.csv.gz")


if __name__ == "__main__":
    sys.exit(main())
