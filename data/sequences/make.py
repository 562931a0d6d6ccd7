"""Chapter 12's longer measurements, on one core without a GPU; what is done is not done again.

    PYTHONPATH=. python data/sequences/make.py films     # windows in time
    PYTHONPATH=. python data/sequences/make.py hstu      # HSTU, and the clock by itself
    PYTHONPATH=. python data/sequences/make.py scaling   # width, blocks, training users
    PYTHONPATH=. python data/sequences/make.py losses    # each user's last film

A number behind it says how many seeds, by default three, and another one after how many seconds no
further arm begins. Every arm writes what it found when it is done; a run that was broken off goes
on with the next arm.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from recsys_tutorial import splits
from recsys_tutorial.course import _sequences as sequences
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.losses import bce_loss, gbce_loss, sampled_softmax_loss
from recsys_tutorial.models import HSTUBlock, SASRec
from recsys_tutorial.models.towers import IdTower
from recsys_tutorial.ranking import standardize

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from arms import save, say, table  # noqa: E402

SEEDS = (0, 1, 2)

# -- windows in time: the course's leaderboard

SETTINGS = [(dropout, decay) for dropout in (0.2, 0.5) for decay in (0.01, 10.0, 50.0)]
ARMS = {
    "both": {"items": "both"},
    "both, shuffled in training": {"items": "both", "shuffled": True},
    "ID": {},  # tuned only
}
WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4, 3.2)


def variants(test: splits.Holdout, seed: int) -> dict[str, sparse.csr_matrix]:
    """The times of the histories that are read: as they were, and shuffled within something."""
    within = ("history", "session", "second")
    dealt = {w: splits.shuffled_times(test.history_times, w, seed=seed) for w in within}
    return {"as it was": test.history_times} | dealt


def run_films(windows, first_stages, arm: str, seed: int, settings, weights):
    """Each user's metrics, for every variant of the history and every weight of a blend."""
    dropout, decay = settings
    fit = sequences.sasrec(**ARMS[arm], dropout=dropout, decay=decay)(seed)
    found: dict[str, list[pd.DataFrame]] = {}
    for split, first in zip(windows, first_stages, strict=True):
        model = fit(split)
        for name, times in variants(split.test, seed).items():
            scores = model.score(split.test.history, times)
            found.setdefault(name, []).append(evaluate(scores, split.test).per_user)
            if name == "as it was":
                said = standardize(scores)
                for weight in weights:
                    mixed = evaluate(first + weight * said, split.test).per_user
                    found.setdefault(f"blend {weight}", []).append(mixed)
    return {name: pd.concat(parts) for name, parts in found.items()}


def first_stages(windows) -> list[np.ndarray]:
    fit = sequences.first_stage()
    return [standardize(fit(split)) for split in windows]


def films(seeds: tuple[int, ...]) -> None:
    rolling = splits.rolling_split(*load_movielens())
    first = {}
    for arm in ARMS:
        settings, weight = tuned(arm, rolling.tuning, first)
        users = table(HERE / "films_users.csv.gz", ["user_id"])
        for seed in () if arm == "ID" else seeds:
            if f"{arm}|{seed}|as it was|ndcg@10" in users:
                continue
            began = time.time()
            first["test"] = first.get("test") or first_stages(rolling.test)
            found = run_films(rolling.test, first["test"], arm, seed, settings, [weight])
            columns = {
                f"{arm}|{seed}|{name.split()[0] if 'blend' in name else name}|{m}": v[m].round(6)
                for name, v in found.items()
                for m in ("ndcg@10", "recall@20")
            }
            columns = pd.DataFrame(columns)
            users = pd.concat([users, columns], axis=1) if len(users) else columns
            save(users, HERE / "films_users.csv.gz")
            shown = [f"{n} {v['ndcg@10'].mean():.4f}" for n, v in found.items()]
            say("test", arm, seed, settings, *shown, began)


def tuned(arm: str, windows, first: dict) -> tuple[tuple[float, float], float]:
    """Dropout and decay that are best on the tuning users, and with them a blend's best weight."""
    names = ["arm", "dropout", "decay"]
    tuning = table(HERE / "films_tuning.csv", names)
    for settings in SETTINGS:
        if (arm, *settings) in tuning.index:
            continue
        began = time.time()
        first["tuning"] = first.get("tuning") or first_stages(windows)
        found = run_films(windows, first["tuning"], arm, 0, settings, WEIGHTS)
        row = {name: values["ndcg@10"].mean() for name, values in found.items()}
        row = pd.DataFrame(row, index=[0]).round(5)
        row.index = pd.MultiIndex.from_tuples([(arm, *settings)], names=names)
        tuning = pd.concat([tuning, row]) if len(tuning) else row
        save(tuning, HERE / "films_tuning.csv")
        say("tuning", arm, settings, f"{row['as it was'].iloc[0]:.4f}", began)
    best = tuning.loc[arm]["as it was"].idxmax()
    blends = tuning.loc[(arm, *best)].filter(like="blend ")
    return best, float(blends.idxmax().removeprefix("blend "))


# -- other networks in the same windows: HSTU, and how quality grows with size

BLOCKS = {
    "attention, clock": {"clock": True},
    "HSTU, clock": {"block": HSTUBlock, "clock": True},
}
SIZES = {
    "width 32, 2 blocks": {},
    "width 8": {"dim": 8},
    "width 128": {"dim": 128},
    "width 16": {"dim": 16},
    "width 64": {"dim": 64},
    "1 block": {"n_blocks": 1},
    "4 blocks": {"n_blocks": 4},
    "1/2 of the users": {"share": 1 / 2},
    "1/4 of the users": {"share": 1 / 4},
    "1/8 of the users": {"share": 1 / 8},
}
SIZE_SETTINGS = [(0.2, decay) for decay in (0.01, 10.0, 50.0)]
TESTED = ("width 8", "1/4 of the users")


def run_windows(windows, options: dict, seed: int, settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each user's metrics; and of each window what its next films cost, and how long it took."""
    dropout, decay = settings
    fit = sequences.sasrec("both", **options, dropout=dropout, decay=decay)(seed)
    users, rows = [], []
    for split in windows:
        began = time.time()
        model, held = fit(split), split.test
        found = evaluate(model.score(held.history, held.history_times), held).per_user
        dealt = splits.shuffled_times(held.history_times, seed=seed)
        dealt = evaluate(model.score(held.history, dealt), held).per_user
        users.append(found.assign(**{"shuffled ndcg@10": dealt["ndcg@10"]}))
        held_back = -model.history_["validation"]
        learned = sequences.drawn_users(split, options.get("share", 1.0), seed)
        learned = sequences.film_events(split)[0][learned & ~sequences.latest(split)]
        rows.append({
            "nats": held_back.min(), "epoch": held_back.idxmin(), "events": learned.nnz,
            "network": sum(p.numel() for p in model.blocks.parameters()),
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": time.time() - began,
        })  # fmt: skip
    return pd.concat(users), pd.DataFrame(rows).rename_axis("window")


def part(name: str, arms: dict, grid, tested, seeds: tuple[int, ...]) -> None:
    """Tune every arm over the grid, then run those tested with every seed; files begin with name.

    The setting is the one that is best for the tuning users' NDCG@10, as in `films`. Where that is
    the largest decay, one beyond it is tried.
    """
    rolling, chosen = splits.rolling_split(*load_movielens()), {}
    for arm, options in arms.items():
        for settings in grid:
            tune_part(name, arm, options, settings, rolling.tuning)
        best = best_of(name, arm)
        if best[1] == max(decay for _, decay in grid):
            tune_part(name, arm, options, (best[0], 4 * best[1]), rolling.tuning)
        chosen[arm] = best_of(name, arm)
    for arm in tested:
        for seed in seeds:
            test_part(name, arm, arms[arm], seed, chosen[arm], rolling.test)


def tune_part(name: str, arm: str, options: dict, settings, windows) -> None:
    """One arm at one setting in the tuning windows, where it is not known yet."""
    names = ["arm", "dropout", "decay"]
    tuning = table(HERE / f"{name}_tuning.csv", names)
    if (arm, *settings) in tuning.index:
        return
    began = time.time()
    users, rows = run_windows(windows, options, 0, settings)
    row = {"ndcg@10": [users["ndcg@10"].mean()], "nats": rows["nats"].mean()}
    row |= {"first epoch": rows["epoch"].iloc[0], "network": rows["network"].iloc[0]}
    row |= {"events": rows["events"].mean().round()}
    row = pd.DataFrame(row).round(5)
    row.index = pd.MultiIndex.from_tuples([(arm, *settings)], names=names)
    save(pd.concat([tuning, row]) if len(tuning) else row, HERE / f"{name}_tuning.csv")
    say("tuning", arm, settings, *row.iloc[0].round(4).tolist(), began)


def best_of(name: str, arm: str) -> tuple[float, float]:
    """The setting that is best for the tuning users."""
    tuning = table(HERE / f"{name}_tuning.csv", ["arm", "dropout", "decay"])
    return tuple(map(float, tuning.loc[arm]["ndcg@10"].idxmax()))


def test_part(name: str, arm: str, options: dict, seed: int, settings, windows) -> None:
    """One arm with one seed in the test windows, where it is not known yet."""
    users = table(HERE / f"{name}_users.csv.gz", ["user_id"])
    if f"{arm}|{seed}|ndcg@10" in users:
        return
    began = time.time()
    found, rows = run_windows(windows, options, seed, settings)
    kept = found[["ndcg@10", "recall@20", "shuffled ndcg@10"]].round(6)
    columns = kept.add_prefix(f"{arm}|{seed}|")
    users = pd.concat([users, columns], axis=1) if len(users) else columns
    save(users, HERE / f"{name}_users.csv.gz")
    names = ["arm", "seed", "window"]
    known = table(HERE / f"{name}_windows.csv", names)
    rows = rows.round({"nats": 5, "seconds": 1}).reset_index().assign(arm=arm, seed=seed)
    rows = rows.set_index(names)
    save(pd.concat([known, rows]) if len(known) else rows, HERE / f"{name}_windows.csv")
    shown = [f"{name} {value:.4f}" for name, value in kept.mean().items()]
    shown.append(f"nats {rows['nats'].mean():.4f}")
    say("test", arm, seed, settings, *shown, rows["epoch"].tolist(), began)


def hstu(seeds: tuple[int, ...]) -> None:
    beyond = [(0.2, 200.0)]  # HSTU's best of the six lay at the edge: one more for both
    part("hstu", BLOCKS, SETTINGS + beyond, BLOCKS, seeds)
    windows = splits.rolling_split(*load_movielens()).test
    blind = {"attention, clock, shuffled in training": {"clock": True, "shuffled": True}}
    at = {"attention, clock": 50.0, "HSTU, clock": 10.0} | dict.fromkeys(blind, 50.0)
    for arm, decay in at.items():  # each at the other one's
        for seed in seeds:
            options = (BLOCKS | blind)[arm]
            test_part("hstu", f"{arm}, decay {decay:g}", options, seed, (0.2, decay), windows)


def scaling(seeds: tuple[int, ...]) -> None:
    part("scaling", SIZES, SIZE_SETTINGS, TESTED, seeds)


# -- each user's last film, as most papers measure

N_RATINGS, READ, DIM, EPOCHS, EVERY = 20, 51, 32, 20, 4
RATES, N_NEGATIVES = (3e-3, 1e-2, 3e-2, 1e-1), 16


def last_films(ties: str = "shuffled") -> tuple[splits.Split, splits.Split]:
    """To validate, and to test: each user's last film but one, and the last.

    A rating's time is in thousandths of a second, so that ties have an order: by a hash
    ("shuffled"), or by the number of the film ("by number"), as the file has them.
    """
    movielens = load_movielens()
    ratings, items = movielens.ratings, movielens.items
    often = ratings["item_id"].map(ratings["item_id"].value_counts()) >= N_RATINGS
    ratings = splits.in_time(ratings[often])
    if ties == "by number":
        ratings = ratings.sort_values(["user_id", "timestamp", "item_id"])
    place = ratings.groupby(["user_id", "timestamp"]).cumcount()
    ratings = ratings.assign(timestamp=ratings["timestamp"] * 1000 + place)
    items = items[items["item_id"].isin(ratings["item_id"])]
    rest, test = splits.leave_last_out(ratings)
    learned, validation = splits.leave_last_out(rest)
    return tuple(splits.to_split(*p, items, 0.0) for p in ((learned, validation), (rest, test)))


def training(split: splits.Split) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Each user's last events, with their times."""
    times = split.train.astype(np.float64, copy=True)
    times.data[:] = split.like_times
    times.data[~sequences.last_of_each(times, READ)] = 0
    times.eliminate_zeros()
    return times.sign(), times


def places(scores: np.ndarray, test: splits.Holdout, n_sampled: int | None = None) -> np.ndarray:
    """Where the one target stands among what was not seen, from 0; of `n_sampled` drawn, or all."""
    target = scores[np.arange(len(test)), test.targets.indices][:, None]
    others = np.ones(scores.shape, bool)
    others[(test.seen + test.targets).nonzero()] = False
    if n_sampled:
        key = np.where(others, np.random.default_rng(0).random(scores.shape), -1.0)
        others &= key >= -np.sort(-key, axis=1)[:, [n_sampled - 1]]
    above = ((scores > target) & others).sum(1) + 0.5 * ((scores == target) & others).sum(1)
    return above.astype(int)


def ndcg(place: np.ndarray) -> float:
    """NDCG@10 of one target each."""
    return float(np.where(place < 10, 1 / np.log2(place + 2), 0.0).mean())


def objective(name: str, n_items: int) -> dict:
    """What `SASRec.fit` takes for a loss."""
    even = torch.full((N_NEGATIVES,), -math.log(n_items - 1))
    return {
        "BCE, 1 negative": {"n_negatives": 1, "loss": bce_loss},
        "gBCE, 16 negatives": {
            "n_negatives": N_NEGATIVES,
            "loss": partial(gbce_loss, n_items=n_items, calibration=0.75),
        },
        "sampled softmax, 16": {
            "n_negatives": N_NEGATIVES,
            "loss": partial(sampled_softmax_loss, negative_log_q=even),
        },
    }.get(name, {})


def run_losses(
    loss: str, seed: int, rate: float, validation, test, *, dim: int = DIM, epochs: int = EPOCHS,
    dealt: Callable = lambda times: times, **options,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:  # fmt: skip
    """Train; the curve over epochs, and the places of the test films."""
    likes, times = training(validation)
    torch.manual_seed(seed)
    settings = {"max_length": READ - 1, "dropout": 0.2, "dtype": torch.float32} | options
    model, epoch = SASRec(IdTower(likes.shape[1], dim), **settings), iter(range(1, epochs + 1))

    def judge(model) -> dict[str, float]:
        if next(epoch) % EVERY:
            return {"validation": math.nan, "test": math.nan}
        return {
            name: ndcg(places(model.score(s.test.history, s.test.history_times), s.test))
            for name, s in (("validation", validation), ("test", test))
        }

    began = time.time()
    model.fit(
        likes, dealt(times), epochs=epochs, batch_size=16, learning_rate=rate, seed=seed,
        metrics=judge, **objective(loss, likes.shape[1]),
    )  # fmt: skip
    curve, holdout = model.history_.reset_index(names="epoch"), test.test
    curve["seconds"] = time.time() - began
    read = {
        w: splits.shuffled_times(holdout.history_times, w, gap=1.8e6, seed=seed)
        for w in ("history", "session")
    }
    found = {}
    for name, when in ({"as it was": holdout.history_times} | read).items():
        scores = model.score(holdout.history, when)
        found[name] = places(scores, holdout)
        if name == "as it was":
            found["100 sampled"] = places(scores, holdout, 100)
    return curve, found


# What is trained: a loss, and what is otherwise than in the others.
LOSSES = {
    "BCE, 1 negative": ("BCE, 1 negative", {}),
    "cross-entropy": ("cross-entropy", {}),
    "cross-entropy, shuffled in training": ("cross-entropy", {"dealt": splits.shuffled_times}),
    "gBCE, 16 negatives": ("gBCE, 16 negatives", {}),
    "sampled softmax, 16": ("sampled softmax, 16", {}),
    "cross-entropy, ties by number": ("cross-entropy", {"ties": "by number"}),
    "BCE, 3 times as long": ("BCE, 1 negative", {"epochs": 3 * EPOCHS}),
}


def best_rates(validation, test) -> dict[str, float]:
    """Each loss's learning rate: the one that is best on the last film but one, one seed."""
    names = ["loss", "learning_rate"]
    tuning = table(HERE / "losses_tuning.csv", names)
    for loss in dict.fromkeys(loss for loss, _ in LOSSES.values()):
        for rate in RATES:
            if (loss, rate) in tuning.index:
                continue
            began = time.time()
            curve, _ = run_losses(loss, 0, rate, validation, test)
            row = curve.iloc[[-1]][["validation"]].round(5)
            row.index = pd.MultiIndex.from_tuples([(loss, rate)], names=names)
            tuning = pd.concat([tuning, row]) if len(tuning) else row
            save(tuning, HERE / "losses_tuning.csv")
            say("tuning", loss, rate, f"{row['validation'].iloc[0]:.4f}", began)
    return {loss: float(own.idxmax()[1]) for loss, own in tuning["validation"].groupby("loss")}


def losses(seeds: tuple[int, ...]) -> None:
    """Every arm with every seed."""
    data = {ties: last_films(ties) for ties in ("shuffled", "by number")}
    rates = best_rates(*data["shuffled"])
    curves = table(HERE / "losses_curves.csv", ["arm", "seed", "epoch"])
    users = table(HERE / "losses_places.csv.gz", ["user_id"])
    for seed in seeds:
        for arm, (loss, given) in LOSSES.items():
            options = dict(given)
            validation, test = data[options.pop("ties", "shuffled")]
            if f"{arm}|{seed}|as it was" in users:
                continue
            began = time.time()
            curve, found = run_losses(loss, seed, rates[loss], validation, test, **options)
            curve = curve.assign(arm=arm, seed=seed)
            curve = curve.set_index(["arm", "seed", "epoch"]).round(5)
            curves = pd.concat([curves, curve]) if len(curves) else curve
            columns = {f"{arm}|{seed}|{name}": v for name, v in found.items()}
            columns = pd.DataFrame(columns, index=test.test.user_ids)
            columns.index.name = "user_id"
            users = pd.concat([users, columns], axis=1) if len(users) else columns
            save(curves, HERE / "losses_curves.csv")
            save(users, HERE / "losses_places.csv.gz")
            shown = [f"{n} {ndcg(v):.4f}" for n, v in found.items()]
            say(arm, seed, rates[loss], *shown, began)


if __name__ == "__main__":
    runs = {"films": films, "hstu": hstu, "scaling": scaling, "losses": losses}
    what, *number = sys.argv[1:] or [""]
    if what not in runs:
        sys.exit(__doc__)
    runs[what](seeds=SEEDS[: int(number[0]) if number else len(SEEDS)])
