"""Compare losses on the same towers: settings on the tuning windows, then the test users.

    PYTHONPATH=. python data/contrastive/make_losses.py      # about an hour on one core, no GPU

Every loss has the same two heads, batches and grid: each temperature with few and with more
epochs; whose best has the most (the fewest) epochs, gets twice (half) as many at that temperature
and its neighbours, until that no longer helps, up to 32 and down to 1. Then three seeds on the test
windows. What the files have already is left out, so a run that was stopped goes on. Written beside
this file: `losses_tuning.csv`, `losses.csv.gz` (each test user's values, mean over the seeds),
`losses_seeds.csv` (each seed's mean), `tail.csv.gz` (recall in the long tail, with log q
added or taken away after training) and `numbers.csv`
(numbers and kinds of negatives, tuning windows). Lines printed are kept in `make_losses.log`.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import softplus

from recsys_tutorial import evaluation, splits
from recsys_tutorial._files import whole
from recsys_tutorial.course import LikePairs, PairBatch, contrastive_towers
from recsys_tutorial.datasets import film_texts, load_movielens
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.losses import bce_loss, info_nce
from recsys_tutorial.models import Popularity, unit_rows

HERE = Path(__file__).parent
TEMPERATURES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 6.4, 25.6)
EPOCHS = ((4, 1), (16, 4))
SEEDS = (0, 1, 2)
STARTED = time.time()


def soft(b: PairBatch, log_q=None, mask=True) -> torch.Tensor:
    """InfoNCE with the batch's other films as negatives."""
    left_out = b.known if mask else None
    return info_nce(b.users, b.items, temperature=1.0, mask=left_out, log_q=log_q)


def sampled(b: PairBatch) -> torch.Tensor:
    """Correct the negatives for how they were drawn, but not the positive."""
    s, n = b.scores - b.log_q, (~b.known).sum(1, keepdim=True).clamp(min=1)
    others = (s - n.log()).masked_fill(b.known, -1e30).logsumexp(1)
    own = b.scores.diagonal()
    return (torch.logaddexp(own, others) - own).mean()


def yes_or_no(b: PairBatch, log_q=None) -> torch.Tensor:
    """Binary cross-entropy of all pairs of the batch: with a bias that is learned, SigLIP's."""
    s = b.scores + b.bias - np.log(len(b.users)) - (0 if log_q is None else log_q)
    return bce_loss(s.diagonal(), s, b.known) * len(s)


def pairwise(b: PairBatch, log_q=None) -> torch.Tensor:
    """BPR with every other film of the batch."""
    s = b.scores - (0 if log_q is None else log_q)
    return softplus(s - s.diagonal()[:, None])[~b.known].mean()


def uniform_yes_or_no(b: PairBatch, one: bool) -> torch.Tensor:
    """Binary cross-entropy with films drawn evenly: one for each user, or all for everybody."""
    n = 1 if one else len(b.users)
    bias = b.bias - np.log(n / b.n_items)  # an item is expected n / n_items times
    other, own = b.drawn(len(b.users)), (b.users * b.items).sum(1) + bias
    if one:
        return bce_loss(own, (b.users * other).sum(1) + bias)
    return bce_loss(own, b.users @ other.T + bias) * len(own)


def uniform_pairwise(b: PairBatch) -> torch.Tensor:
    """BPR as it was written: one film drawn evenly for each like."""
    other = b.drawn(len(b.users))
    return softplus((b.users * other).sum(1) - b.scores.diagonal()).mean()


LOSSES = {
    "InfoNCE + logQ": lambda b: soft(b, b.log_q),
    "InfoNCE": soft,
    "InfoNCE + logQ, nothing masked": lambda b: soft(b, b.log_q, mask=False),
    "InfoNCE + logQ, not on the positive": sampled,
    "BCE + logQ": lambda b: yes_or_no(b, b.log_q),
    "BCE": yes_or_no,
    "BPR + logQ": lambda b: pairwise(b, b.log_q),
    "BPR": pairwise,
    "uniform InfoNCE": lambda b: info_nce(b.users, b.items, b.drawn(len(b.users)), temperature=1.0),
    "uniform BCE": lambda b: uniform_yes_or_no(b, one=False),
    "uniform BCE, one negative": lambda b: uniform_yes_or_no(b, one=True),
    "uniform BPR, one negative": uniform_pairwise,
}


def save(frame: pd.DataFrame, name: str, **more) -> None:
    """Write a table, whole or not at all."""
    packed = {"method": "gzip", "mtime": 1} if name.endswith(".gz") else None
    with whole(HERE / name) as temporary:
        frame.round(5).to_csv(temporary, compression=packed, **more)


def say(*what) -> None:
    print(f"{time.time() - STARTED:5.0f} s", *what, flush=True)


def read(name: str, columns: list) -> pd.DataFrame:
    """A table of this folder, or an empty one."""
    path = HERE / name
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)


class World:
    """The films, and the windows."""

    def __init__(self):
        movielens = load_movielens()
        self.rolling = splits.rolling_split(movielens.ratings, movielens.items)
        texts = film_texts(self.rolling.test[0].items)
        self.features = unit_rows(TextEncoder().encode(texts).astype(float), center=True)

    def fit(self, loss, temperature, epochs, seed=0):
        """fit(split) -> TwoTower."""
        options = {"epochs": epochs, "seed": seed, "dtype": torch.float32}
        return contrastive_towers(self.features, loss, temperature, **options)

    def tuned(self, loss, temperature, epochs, seed=0) -> float:
        """NDCG@10 of the tuning users."""
        fit = self.fit(loss, temperature, epochs, seed)
        return evaluation.evaluate_rolling(fit, self.rolling.tuning)["ndcg@10"]


def choose(world: World, name: str, tried: dict) -> tuple:
    """The best setting of a loss; all that were tried are put into `tried`."""

    def attempt(temperature, epochs):
        if (temperature, epochs) not in tried:
            value = round(world.tuned(LOSSES[name], temperature, epochs), 5)
            tried[temperature, epochs] = value
            say(name, temperature, epochs, value)

    for temperature in TEMPERATURES:
        for epochs in EPOCHS:
            attempt(temperature, epochs)
    while True:
        best = max(tried, key=tried.get)
        all_epochs = [epochs for _, epochs in tried]
        if best[1] == max(all_epochs) and best[1][0] < 32:
            more = 2 * best[1][0], 2 * best[1][1]
        elif best[1] == min(all_epochs) and best[1][0] > 1:
            more = best[1][0] // 2, 1
        else:
            return best
        at = TEMPERATURES.index(best[0])
        for temperature in TEMPERATURES[max(at - 1, 0) : at + 2]:
            attempt(temperature, more)


def tail_of(split) -> np.ndarray:
    """Films outside the most liked ones that have half of the likes together."""
    counts = np.bincount(split.train.indices, minlength=split.train.shape[1])
    order = np.argsort(-counts, kind="stable")
    head = np.searchsorted(np.cumsum(counts[order]) / counts.sum(), 0.5) + 1
    tail = np.ones(len(counts), dtype=bool)
    tail[order[:head]] = False
    return tail


def recall_of_tail(scores, split) -> pd.DataFrame:
    """recall@20 of the tail's targets: all films compete, or the tail alone; and NDCG@10."""
    tail = tail_of(split)
    targets = split.test.targets.multiply(tail).tocsr()
    targets.eliminate_zeros()
    asked = dataclasses.replace(split.test, targets=targets)
    found = {
        "NDCG@10": evaluation.evaluate(scores, split.test).values("ndcg@10"),
        "all compete": evaluation.evaluate(scores, asked).values("recall@20"),
        "tail alone": evaluation.evaluate(scores, asked, candidate_items=tail).values("recall@20"),
    }
    return pd.DataFrame(found)


def judge_tail(world: World, best: dict) -> None:
    """Who finds the tail; and with log q added to, or taken from, the scores after training."""
    logq, plain = best["InfoNCE + logQ"], best["InfoNCE"]
    arms = {
        "with logQ": ("InfoNCE + logQ", logq, {"": 0, ", minus log q": -1}),
        "without": ("InfoNCE", plain, {"": 0}),
        "without, same settings": ("InfoNCE", logq, {"": 0, ", plus log q": 1}),
    }
    columns = {}
    for arm, (name, settings, more) in arms.items():
        for seed in SEEDS:
            fit, parts = world.fit(LOSSES[name], *settings, seed), {m: [] for m in more}
            for window in world.rolling.test:
                scores = fit(window).score(window.test.history)
                log_q = LikePairs(window.train, world.features).log_q
                for m, sign in more.items():
                    parts[m].append(recall_of_tail(scores + sign * log_q, window))
            for m, found in parts.items():
                for metric, values in pd.concat(found).items():
                    columns[arm + m, metric, seed] = values
                say("tail", arm + m, seed, pd.concat(found).mean().round(4).to_dict())
    frame = pd.DataFrame(columns).T.groupby(level=[0, 1], sort=False).mean().T
    frame.columns = [f"{row}|{metric}" for row, metric in frame.columns]
    save(frame, "tail.csv.gz", index_label="user_id")


def some_negatives(kind: str, n: int):
    """InfoNCE's relatives with n negatives that the whole batch shares."""

    def loss(b: PairBatch) -> torch.Tensor:
        own = b.scores.diagonal()[:, None]  # (batch, 1)
        if kind == "uniform":
            s = torch.cat([own, b.users @ b.drawn(n).T], 1)
            return (s.logsumexp(1) - own[:, 0]).mean()
        q = torch.zeros_like(b.log_q) if kind == "in batch" else b.log_q
        other = (b.scores[:, :n] - q[:n]).masked_fill(b.known[:, :n], -1e30)
        own = own - q[:, None]
        return (torch.cat([own, other], 1).logsumexp(1) - own[:, 0]).mean()

    return loss


def judge_numbers(world: World, best: dict) -> None:
    """How many negatives, and which; each at the temperature best for its many relatives."""
    rows, (_, epochs) = [], best["InfoNCE + logQ"]
    kinds = {"in batch": "InfoNCE", "in batch + logQ": "InfoNCE + logQ",
             "uniform": "uniform InfoNCE"}  # fmt: skip
    for kind, name in kinds.items():
        at = TEMPERATURES.index(best[name][0])
        for n in (4, 32, 256):
            grid = TEMPERATURES[max(at - 1, 0) : at + 2]
            loss = some_negatives(kind, n)
            tried = {t: world.tuned(loss, t, epochs) for t in grid}
            temperature = max(tried, key=tried.get)
            values = [tried[temperature]]
            values += [world.tuned(loss, temperature, epochs, seed) for seed in SEEDS[1:]]
            rows += [(kind, n, temperature, s, v) for s, v in zip(SEEDS, values, strict=True)]
            say("numbers", kind, n, temperature, np.round(values, 4).tolist())
    columns = ["negatives", "number", "temperature", "seed", "ndcg@10"]
    save(pd.DataFrame(rows, columns=columns), "numbers.csv", index=False)


def main() -> None:
    torch.set_num_threads(1)
    world, best, rows = World(), {}, []
    prior = evaluation.evaluate_rolling(
        lambda w: Popularity().fit(w.faded(2_000, "likes")), world.rolling.tuning
    )
    say("prior alone, tuning users", round(prior["ndcg@10"], 4))
    rows.append(("prior alone", np.nan, 0, 0, prior["ndcg@10"]))
    columns = ["loss", "temperature", "epochs", "later", "ndcg@10"]
    done = read("losses_tuning.csv", columns)
    for name in LOSSES:
        known = done[done["loss"] == name].itertuples(index=False, name=None)
        tried = {(t, (int(e), int(later))): value for _, t, e, later, value in known}
        best[name] = choose(world, name, tried)
        rows += [(name, t, *epochs, value) for (t, epochs), value in tried.items()]
        say("chosen for", name, best[name])
        save(pd.DataFrame(rows, columns=columns), "losses_tuning.csv", index=False)
    prior = evaluation.evaluate_rolling(
        lambda w: Popularity().fit(w.faded(2_000, "likes")), world.rolling.test
    )
    values, seeds = {"prior alone": prior.values("ndcg@10")}, []
    columns = ["loss", "temperature", "epochs", "seed", "ndcg@10"]
    done, known = read("losses_seeds.csv", columns), read("losses.csv.gz", ["user_id"])
    known = known.set_index("user_id")
    for name in LOSSES:
        (temperature, epochs), runs = best[name], []
        own = done[(done["loss"] == name) & (done["temperature"] == temperature)]
        own = own[own["epochs"] == epochs[0]]
        if len(own) == len(SEEDS):
            seeds += own.itertuples(index=False, name=None)
            values[name] = known[name].reindex(prior.per_user.index)
        else:
            for seed in SEEDS:
                fit = world.fit(LOSSES[name], temperature, epochs, seed)
                found = evaluation.evaluate_rolling(fit, world.rolling.test)
                runs.append(found.values("ndcg@10"))
                seeds.append((name, temperature, epochs[0], seed, runs[-1].mean()))
            values[name] = sum(runs) / len(runs)
        say("test", name, [round(float(v), 4) for *_, v in seeds[-len(SEEDS) :]])
        save(pd.DataFrame(values), "losses.csv.gz", index_label="user_id")
        save(pd.DataFrame(seeds, columns=columns), "losses_seeds.csv", index=False)
    for name, judge in (("tail.csv.gz", judge_tail), ("numbers.csv", judge_numbers)):
        if not (HERE / name).exists():
            judge(world, best)


if __name__ == "__main__":
    sys.exit(main())
