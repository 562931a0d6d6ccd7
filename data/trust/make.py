"""Chapter 16's measurements, on one core; what is done is not done again.

    PYTHONPATH=. python data/trust/make.py fairness
    PYTHONPATH=. python data/trust/make.py              # says which parts there are

Every part is a row of PARTS and writes one table; a run that was broken off goes on with the next
unit. A number behind the part's name says after how many seconds no further unit begins. `hashes`
writes the manifest.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recsys_tutorial import course, feedback, splits
from recsys_tutorial.course import _features, _towers
from recsys_tutorial.datasets import load_clipart, load_movielens
from recsys_tutorial.evaluation import auc, evaluate, evaluate_rolling, mean_interval
from recsys_tutorial.models import EASE, ImplicitALS, ItemKNN, Popularity
from recsys_tutorial.ranking import rank
from recsys_tutorial.reranking import Candidates
from recsys_tutorial.trust import (
    KINDS,
    ForgettingEASE,
    PrivateTowers,
    calibrated,
    capped_lists,
    dpp_greedy,
    fake_profiles,
    forget_by_sweeps,
    hidden_score,
    holds_target,
    known_likes,
    laplace_counts,
    match_scores,
    mmr,
    neighbour_suspicion,
    noise_for,
    order_scores,
    pca_suspicion,
    sampled_gaussian_epsilon,
    singled_out,
    taste_divergence,
)

HERE = Path(__file__).parent
BEGAN = time.time()
LIMIT = float(sys.argv[2]) if len(sys.argv) > 2 else math.inf


# -- what all parts share


@cache
def rolling() -> splits.Rolling:
    return splits.rolling_split(*load_movielens())


def last() -> splits.Split:
    """The last window: the largest training part."""
    return rolling().test[-1]


def draw(n: int, among: int, seed: int = 16) -> list[int]:
    """Numbers below `among`, drawn once and for all; more of them begin with the same."""
    return np.random.default_rng(seed).permutation(among)[:n].tolist()


def table(name: str, index: list[str], units: Iterable, measure: Callable) -> None:
    """Write what `measure` finds of each unit, a list of rows, as soon as it is found."""
    path = HERE / name
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=index)
    done = set(map(tuple, rows[index].astype(str).to_numpy()))
    for unit in units:
        unit = unit if isinstance(unit, tuple) else (unit,)
        if tuple(map(str, unit)) in done:
            continue
        began = time.time()
        found = [dict(zip(index, unit, strict=True)) | row for row in measure(*unit)]
        rows = pd.concat([rows, pd.DataFrame(found)]) if len(rows) else pd.DataFrame(found)
        packed = {"method": "gzip", "mtime": 0} if path.suffix == ".gz" else None
        part = path.with_name(f"{path.name}.part")  # whole, or as it was
        rows.to_csv(part, index=False, float_format="%.6g", compression=packed)
        part.replace(path)
        said = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in found[-1].items()}
        said = dict(list(said.items())[:8])  # of a wide table the first columns
        print(name, said, f"{len(found)} rows, {time.time() - began:.0f} s", flush=True)
        if time.time() - BEGAN > LIMIT:
            sys.exit(3)


def in_common(scores: np.ndarray, others: np.ndarray, seen, k: int = 10) -> float:
    """Share of the k best films that two models' lists have in common, mean over users."""
    pairs = zip(rank(scores, seen, k), rank(others, seen, k), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in pairs]))


# -- a user is forgotten

COUNTS = (1, 10, 100)  # users at once


def clocked(run: Callable) -> tuple[object, float]:
    """A result, and the processor's seconds for it."""
    began = time.process_time()
    result = run()
    return result, time.process_time() - began


def unlearning_ease(draw_number: int) -> list[dict]:
    """Seconds of forgetting and of fitting anew, and how far the scores are apart."""
    train, test = last().train, last().test
    full = ForgettingEASE(200.0).fit(train)
    found = []
    for n in COUNTS:
        gone = np.array(draw(n, train.shape[0], seed=100 + draw_number))
        rest = without(train, gone)
        model = ForgettingEASE(200.0)
        vars(model).update(vars(full))
        _, forgetting = clocked(lambda m=model, g=gone: m.forget(train[g]))
        never, again = clocked(lambda r=rest: ForgettingEASE(200.0).fit(r))
        never, by_users = clocked(lambda r=rest: EASE(200.0).fit(r))
        scores, want = model.score(test.history), never.score(test.history)
        found.append(
            {
                "users": n,
                "forget_seconds": forgetting,
                "refit_by_items_seconds": again,
                "refit_by_users_seconds": by_users,
                "largest_difference": np.abs(scores - want).max(),
                "largest_score": np.abs(want).max(),
            }
        )
    return found


SWEEPS = (0, 1, 2, 4, 8, 16)
NEVER = 5  # models that never saw the user, alike but for their seeds


def als(train, seed: int = 0, iterations: int = 8) -> ImplicitALS:
    """Chapter 2's, in its first window."""
    return ImplicitALS(32, 10.0, 3.0, iterations, seed=seed).fit(train)


def without(train, users) -> sparse.csr_matrix:
    """Everybody else."""
    return train[np.setdiff1d(np.arange(train.shape[0]), users)]


def touched_alone(model: ImplicitALS, train, users) -> ImplicitALS:
    """A sweep without some users, of which only the vectors of films that they liked are kept."""
    swept = forget_by_sweeps(model, without(train, users), 1)
    untouched = np.setdiff1d(np.arange(train.shape[1]), train[users].indices)
    swept.item_factors_[untouched] = model.item_factors_[untouched]
    return swept


def forgetting(full: ImplicitALS, train, users) -> dict[str, Callable]:
    """Ways to come to a model without some users."""
    rest = without(train, users)
    ways = {"not at all": lambda: full, "liked films": lambda: touched_alone(full, train, users)}
    ways |= {f"{n} sweeps": lambda n=n: forget_by_sweeps(full, rest, n) for n in SWEEPS}
    ways["8 sweeps, with the user"] = lambda: forget_by_sweeps(full, train, 8)
    for seed in range(NEVER):
        ways[f"never seen, seed {seed}"] = lambda seed=seed: als(rest, seed)
    return ways


def unlearning_als(user: int) -> list[dict]:
    """How well a model still knows a user, and how far it is from one that never saw them.

    Of the user a half of the likes is shown, and the other half is scored; how far is measured on
    the new users' scores and lists, from the never-model of the same seed.
    """
    train, history = last().train, last().test.history
    shown, hidden = halves(train[[user]])
    made = {k: clocked(way) for k, way in forgetting(als(train), train, [user]).items()}
    want = made["never seen, seed 0"][0].score(history)
    found = []
    for how, (model, seconds) in made.items():
        scores = model.score(history)
        row = {"how": how, "known": hidden_score(model.score(shown), shown, hidden)[0]}
        row["distance"] = np.linalg.norm(scores - want) / np.linalg.norm(want)
        row["in_common"] = in_common(scores, want, history)
        found.append(row | {"likes": train[[user]].nnz, "seconds": seconds})
    return found


JUDGED_WAYS = ("not at all", "liked films", "1 sweeps", "8 sweeps")
JUDGED_WAYS += ("never seen, seed 0", "never seen, seed 1")


def unlearning_als_lists(n_forgotten: int, draw_number: int) -> list[dict]:
    """Each test user's NDCG@10, all windows, where users of the first one are forgotten in all."""
    gone = rolling().test[0].train_user_ids
    gone = gone[draw(n_forgotten, len(gone), seed=200 + draw_number)]
    found = []
    for split in rolling().test:
        rows = np.flatnonzero(np.isin(split.train_user_ids, gone))
        ways = forgetting(als(split.train), split.train, rows)
        for how in JUDGED_WAYS:
            values = evaluate(ways[how](), split.test).values("ndcg@10")
            found += [{"how": how, "user_id": u, "ndcg": v} for u, v in values.items()]
    return found


TOWER_DRAWS, LATER = 8, (6, 24)  # epochs without who is to be forgotten
DECAYS = {"text two-tower": 20.0, "without weight decay": 0.0}


def unlearning_towers(kind: str, draw_number: int) -> list[dict]:
    """What towers say of everybody's hidden likes before and after a third of theirs is forgotten.

    They learn from half of the users, and go on without a third of these. The first row has who was
    out (0), stays (1), and is forgotten (2).
    """
    split, rows = last(), judged()
    n = split.train.shape[0]
    members = np.sort(draw(n // 2, n, seed=1000 + draw_number))
    gone = members[draw(len(members) // 3, len(members), seed=3000 + draw_number)]
    parts = halves(split.train[rows])
    everyone, rest = take(split, members), take(split, np.setdiff1d(members, gone))
    full = course.two_tower(_features.bert_texts, DECAYS[kind])(0)(everyone)
    ways = {"not at all": full}
    for epochs in LATER:
        ways[f"{epochs} epochs"] = more_epochs(rest, full, epochs, DECAYS[kind])
        ways[f"{epochs} epochs, with them"] = more_epochs(everyone, full, epochs, DECAYS[kind])
    status = np.isin(rows, members).astype(int) + np.isin(rows, gone)
    found = [{"way": "who"} | {f"r{row}": s for row, s in zip(rows, status, strict=True)}]
    for way, model in ways.items():
        known = hidden_score(model.score(parts[0]), *parts).round(3)
        found.append({"way": way} | {f"r{row}": k for row, k in zip(rows, known, strict=True)})
    return found


# -- fake accounts

FAKES, N_LIKES = (1, 3, 10, 30, 100), 30
FEW = 1, 3  # likes of a film that is worth a lift


def with_fakes(fakes) -> splits.Split:
    """The last window, with accounts whose likes came last."""
    split = last()
    train = sparse.vstack([split.train, fakes]).tocsr() if fakes is not None else split.train
    extra = train.nnz - split.train.nnz
    times = np.concatenate([split.like_times, np.full(extra, split.start - 1)])
    return replace(split, train=train, like_times=times)


@cache
def towers():
    """Chapter 4's text towers, trained without fakes."""
    return course.MODELS["text two-tower"].fit(0)(last())


def more_epochs(split, model=None, epochs: int = 6, decay: float = 20.0):
    """What a service does with a window's new likes: go on from the weights there are."""
    clean = copy.deepcopy(model or towers())
    likes = np.asarray(split.faded(2000, "likes").sum(axis=0)).ravel()
    return clean.fit(
        split.train, popularity=likes, epochs=epochs, negatives="liked", learning_rate=0.01,
        weight_decay=decay, batch_size=256, seed=1,
    )  # fmt: skip


@cache
def gone_on():
    """The text towers after the window's likes, without fakes."""
    return more_epochs(last())


def counts_alone(split):
    """Towers that have not learned from the fakes, and a prior that has counted them."""
    model = copy.deepcopy(gone_on())
    counted = torch.from_numpy(np.log1p(course.fading_likes(split)))
    model.log_popularity.copy_(counted)
    return model


ATTACKED = {
    "EASE": lambda split: EASE(200.0).fit(split.train),
    "ImplicitALS": lambda split: als(split.train),
    "item-kNN": lambda split: ItemKNN(100, shrink=20).fit(split.train),
    "fading popularity": course.MODELS["fading popularity"].fit(0),
    "text two-tower, counts alone": counts_alone,
    "text two-tower": more_epochs,
}


def targets() -> list[int]:
    """Films that few like, in an order drawn once."""
    counts = np.bincount(last().train.indices, minlength=len(last().items))
    few = np.flatnonzero((counts >= FEW[0]) & (counts <= FEW[1]))
    return few[draw(len(few), len(few), seed=3)].tolist()


def fakes_of(target: int, kind: str) -> sparse.csr_matrix:
    """The accounts of an attack, the same in all tables; a smaller attack is its first rows."""
    rng = np.random.default_rng([16, target, KINDS.index(kind)])
    return fake_profiles(kind, max(FAKES), target, last().train, N_LIKES, rng)


def real_users() -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Likes of the users known before and then of the new ones, and what they have seen."""
    known, new = last().train, last().test
    return tuple(sparse.vstack([known, part]).tocsr() for part in (new.history, new.seen))


def shilling(model: str, target: int, kind: str) -> list[dict]:
    """In how many of the real users' lists a film stands, without fakes and with them."""
    all_fakes = fakes_of(target, kind)
    histories, seen = real_users()
    n_known = last().train.shape[0]
    found = []
    for n in (0, *FAKES) if kind == KINDS[0] else FAKES:
        fitted = ATTACKED[model](with_fakes(all_fakes[:n] if n else None))
        held = holds_target(fitted.score(histories), seen, target)
        row = {"fakes": n, "lists": int(held.sum()), "users": len(held)}
        found.append(row | {"new_users_lists": int(held[n_known:].sum())})
    return found


def detection(target: int, kind: str) -> list[dict]:
    """How well accounts are told: AUC, and real users who are suspected before 90 % are found."""
    genuine, all_fakes = last().train, fakes_of(target, kind)
    found = []
    for n in FAKES[1:]:
        both = sparse.vstack([genuine, all_fakes[:n]]).tocsr()
        fake = np.arange(both.shape[0]) >= genuine.shape[0]
        for name, suspicion in (
            ("components", pca_suspicion(both)),
            ("neighbours", neighbour_suspicion(both)),
            ("neighbours, k = fakes", neighbour_suspicion(both, max(1, n - 1))),
        ):
            suspicion = np.maximum(suspicion, -1e9)
            border = np.quantile(suspicion[fake], 0.1, method="lower")
            alarms = (suspicion[~fake] >= border).mean()
            row = {"fakes": n, "detector": name, "auc": auc(fake, suspicion)}
            found.append(row | {"false_alarms": alarms})
    return found


DROPPED = 0.15  # of all accounts; a hundred fakes beside the real users are a little less


def defence(model: str, target: int, kind: str) -> list[dict]:
    """What a hundred fakes reach with all accounts, and without the most suspected ones."""
    genuine, fakes = last().train, fakes_of(target, kind)
    everyone = with_fakes(fakes)
    everyone = replace(everyone, train_user_ids=np.arange(everyone.train.shape[0]))
    suspicion = neighbour_suspicion(everyone.train)
    trusted = suspicion < np.quantile(suspicion, 1 - DROPPED)
    row = {"fakes": fakes.shape[0], "fakes_dropped": int((~trusted[genuine.shape[0] :]).sum())}
    row["users_dropped"] = int((~trusted[: genuine.shape[0]]).sum())
    histories, seen = real_users()
    kept = take(everyone, np.flatnonzero(trusted))
    for name, part in (("lists", everyone), ("lists_without_suspects", kept)):
        scores = ATTACKED[model](part).score(histories)
        row[name] = int(holds_target(scores, seen, target).sum())
    return [row | {"users": histories.shape[0]}]


def attacks(n_targets: int) -> list[tuple[int, str]]:
    return [(target, kind) for target in targets()[:n_targets] for kind in KINDS[::-1]]


# -- who was learned from

SHADOWS = {
    "popularity": (16, lambda split: Popularity().fit(split.train)),
    "EASE, penalty 20": (16, lambda split: EASE(20.0).fit(split.train)),
    "EASE, penalty 200": (16, lambda split: EASE(200.0).fit(split.train)),
    "EASE, penalty 2000": (16, lambda split: EASE(2000.0).fit(split.train)),
    "item-kNN": (16, ATTACKED["item-kNN"]),
    "ImplicitALS, 8 factors": (16, lambda split: ImplicitALS(8, 10.0, 3.0, 8).fit(split.train)),
    "ImplicitALS, 32 factors": (16, lambda split: als(split.train)),
    "ImplicitALS, penalty 100": (16, lambda split: ImplicitALS(32, 100.0, 3.0, 8).fit(split.train)),
    "ImplicitALS, 1 sweep of 8": (16, lambda split: als(split.train, iterations=1)),
    "ImplicitALS, 2 sweeps of 8": (16, lambda split: als(split.train, iterations=2)),
    "text two-tower": (8, lambda split: course.MODELS["text two-tower"].fit(0)(split)),
    "text two-tower, 10 epochs of 40": (8, lambda split: more_epochs(split, untrained(split), 10)),
    "towers, clipped only": (16, lambda split: noisy_towers(split, "no noise")),
    "towers, epsilon 256": (16, lambda split: noisy_towers(split, "256")),
    "towers, epsilon 16": (16, lambda split: noisy_towers(split, "16")),
    "towers, epsilon 1": (16, lambda split: noisy_towers(split, "1")),
}


def untrained(split: splits.Split):
    """Chapter 4's text towers before their first epoch."""
    return _towers._untrained_towers(_features.bert_texts(split.items), 0, False)


def noisy_towers(split: splits.Split, epsilon: str) -> PrivateTowers:
    """Of those in the split; the noise is another one for other users."""
    return private_towers(split, epsilon, [16, int(split.train_user_ids.sum())])[0]


def judged() -> np.ndarray:
    """Rows of users with ten likes and more."""
    return np.flatnonzero(np.diff(last().train.indptr) >= 10)


def halves(likes) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Of each user, likes that are shown and likes that are not, the same each time."""
    shown = np.random.default_rng(7).random(likes.nnz) < 0.5
    parts = likes.copy(), likes.copy()
    parts[0].data, parts[1].data = likes.data * shown, likes.data * ~shown
    for part in parts:
        part.eliminate_zeros()
    return parts


def membership(model: str, draw_number: int) -> list[dict]:
    """What a model that learned from half of the users says of everybody's hidden likes."""
    split, rows = last(), judged()
    n = split.train.shape[0]
    inside = np.isin(np.arange(n), draw(n // 2, n, seed=1000 + draw_number))
    half = take(split, np.flatnonzero(inside))
    likes = split.train[rows]
    parts = halves(likes)
    known = hidden_score(SHADOWS[model][1](half).score(parts[0]), *parts)
    return [
        {"row": int(row), "inside": int(inside[row]), "known": value}
        for row, value in zip(rows, known, strict=True)
    ]


def take(split: splits.Split, rows: np.ndarray) -> splits.Split:
    """A part of the training users."""
    number = split.train.astype(float)
    number.data[:] = np.arange(1, split.train.nnz + 1)
    places = number[rows].data.astype(int) - 1
    ids = split.train_user_ids[rows]
    return replace(
        split, train=split.train[rows], train_user_ids=ids, like_times=split.like_times[places]
    )


# -- how much of a history singles a person out


def days() -> sparse.csr_matrix:
    """When each like of the whole release was given."""
    ratings, _ = load_movielens()
    liked = ratings[ratings["rating"] >= 4]
    rows, columns = liked["user_id"].factorize()[0], liked["item_id"].factorize()[0]
    return sparse.csr_matrix((liked["timestamp"] / 86400, (rows, columns)))


BORDERS = (1.5, 4.0, 6.0)


def histories(n_known: int, n_wrong: int, date_error: float) -> list[dict]:
    """One draw of what is known of each user; a date error below 0: no dates are known."""
    released = days()
    enough = np.flatnonzero(np.diff(released.indptr) >= 10)
    rng = np.random.default_rng([n_known, n_wrong, int(date_error) + 1])
    options = {"n_wrong": n_wrong, "date_error": max(date_error, 0.0)}
    counts = np.zeros((len(BORDERS), 3, len(enough)))  # right, another, and another when absent
    for place, user in enumerate(enough):
        items, when = known_likes(released, user, n_known, rng, **options)
        when = None if date_error < 0 else when
        scores = match_scores(items, when, released, max(date_error, 1.0))
        # Not the row alone: without the user their items are rarer.
        others = released[:, items].tocsr()[np.delete(np.arange(len(scores)), user)]
        without = match_scores(np.arange(len(items)), when, others, max(date_error, 1.0))
        for count, border in zip(counts, BORDERS, strict=True):
            said = singled_out(scores, border)
            count[:, place] = (
                said == user,
                said not in (-1, user),
                singled_out(without, border) >= 0,
            )
    rows = []
    for count, border in zip(counts, BORDERS, strict=True):
        low, high = mean_interval(count[0])
        row = {"border": border, "users": len(enough), "right": count[0].mean(), "low": low}
        row |= {"high": high, "wrong": count[1].mean(), "named_though_absent": count[2].mean()}
        rows.append(row)
    return rows


KNOWN = [
    (n, wrong, error)
    for n in (1, 2, 4, 6, 8)
    for wrong, error in sorted({(w, e) for w in (0, n // 4) for e in (0.0, 14.0, -1.0)})
]


# -- for whom a model works

SERVED = ("popularity", "fading popularity", "EASE", "fading EASE", "ImplicitALS", "text two-tower")


def fairness(model: str) -> list[dict]:
    """Each test user's NDCG@10, with what they showed."""
    windows = rolling().test
    values = evaluate_rolling(course.MODELS[model].fit(0), windows).values("ndcg@10")
    found = []
    for split in windows:
        counts = np.bincount(split.train.indices, minlength=len(split.items))
        for row, user in enumerate(split.test.user_ids):
            part = slice(*split.test.history.indptr[row : row + 2])
            items = split.test.history.indices[part]
            times = split.test.history_times[[row]].data
            shown = {
                "user_id": user,
                "likes": len(items),
                "log_popularity": np.log1p(counts[items]).mean(),
                "days": np.ptp(times) / 86400,
            }
            found.append(shown | {"ndcg": values[user]})
    return found


# -- other lists, and what they cost

N_CANDIDATES = 50
WAYS = [("as it was", 0.0)]
WAYS += [("mmr", weight) for weight in (0.95, 0.9, 0.8, 0.7, 0.5)]
WAYS += [("dpp", power) for power in (16.0, 8.0, 4.0, 2.0)]
WAYS += [("calibrated", weight) for weight in (0.1, 0.2, 0.4, 0.6, 0.8)]
WAYS += [("capped", most) for most in (16.0, 8.0, 4.0, 2.0)]


def to_one(scores: np.ndarray) -> np.ndarray:
    """From 0 to 1 within the candidates."""
    return (scores - scores.min()) / max(np.ptp(scores), 1e-12)


def orders(way: str, setting: float, found: Candidates, vectors, shares, tastes) -> list:
    """Of each user, the first ten places of another list."""
    if way == "capped":
        return capped_lists(found.ranked, 10, int(setting))
    lists = []
    for columns, scores, taste in zip(found.ranked, map(to_one, found.scores), tastes, strict=True):
        near = vectors[columns] @ vectors[columns].T
        if way == "mmr":
            lists.append(mmr(scores, near, setting, 10))
        elif way == "dpp":
            good = np.exp(0.5 * setting * scores)
            # A little of each film's own, or no more films than genres could be chosen.
            kernel = good[:, None] * (0.9 * near + 0.1 * np.eye(len(near))) * good
            lists.append(dpp_greedy(kernel, 10))
        elif way == "calibrated":
            lists.append(calibrated(scores, shares[columns], taste, setting, 10))
        else:
            lists.append(np.arange(10))
    return lists


@cache
def candidates() -> list[Candidates]:
    """Fading EASE's fifty best of each window."""
    return [
        Candidates(course.fading_ease(s).score(s.test.history), s.test, N_CANDIDATES)
        for s in rolling().test
    ]


def lists(way: str, setting: float) -> list[dict]:
    """Each user's NDCG@10 in another order, how calibrated and how diverse the list is."""
    found = []
    for split, first in zip(rolling().test, candidates(), strict=True):
        genres = _features.genre_columns(split.items["genres"]).to_numpy(float)
        shares = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1)
        vectors = _features.rare_genres(split.items).toarray()
        tastes = split.test.history @ shares
        tastes = tastes / np.maximum(tastes.sum(axis=1, keepdims=True), 1e-12)
        chosen = orders(way, setting, first, vectors, shares, tastes)
        judged = first.judge(order_scores(chosen, N_CANDIDATES))
        for row, user in enumerate(split.test.user_ids):
            shown = first.ranked[row][chosen[row]]
            near = vectors[shown] @ vectors[shown].T
            unlike = 1 - near[np.triu_indices(len(shown), 1)].mean()
            apart = taste_divergence(tastes[row], shares[shown].mean(axis=0))
            found.append(
                {
                    "user_id": user,
                    "ndcg": judged.values("ndcg@10")[user],
                    "divergence": apart,
                    "unlike": unlike,
                    "list": " ".join(map(str, shown)),
                }
            )
    return found


# -- learning with noise

DELTA, FITS = 1e-5, 12
COUNT_SHARE = 0.2  # of epsilon goes into the counts
ARMS = ("no clipping", "no noise", "1.0", "4.0", "16.0", "64.0", "256.0", "1024.0")
DP = {"dim": 16, "rate": 0.25, "steps": 100, "learning_rate": 0.005}
NORM = 1.0


@cache
def few_features() -> np.ndarray:
    """The texts' vectors in their 32 leading directions: public, as titles are."""
    x = _features.bert_texts(last().items).astype(float)
    x -= x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, :32] * s[:32] / np.sqrt((s[:32] ** 2).sum() / len(x))


def private_towers(split, epsilon: str, seed: list[int]) -> tuple[PrivateTowers, np.ndarray]:
    """Towers for what one fit may spend, and the counts that are their prior.

    Counts and towers have random numbers of their own: the account takes them to be independent.
    """
    options = DP | {"seed": [*seed, 1], "max_norm": NORM, "noise": 0.0}
    counts = np.bincount(split.train.indices, minlength=len(split.items)).astype(float)
    if epsilon == "no clipping":
        options["max_norm"] = np.inf
    elif epsilon != "no noise":
        value = float(epsilon)
        options["noise"] = noise_for((1 - COUNT_SHARE) * value, DP["rate"], DP["steps"], DELTA)
        rng = np.random.default_rng([*seed, 0])
        counts = laplace_counts(split.train, COUNT_SHARE * value, 20, rng)
    counts = np.maximum(counts, 0.0)
    return PrivateTowers(few_features(), **options).fit(split.train, counts), counts


def private(epsilon: str, seed: int) -> list[dict]:
    """Each test user's NDCG@10 in every third window, for what one fit spends.

    Each arm has random numbers of its own: what is the same in two arms is the users alone.
    """
    arm = ARMS.index(epsilon)
    found = []
    for number, split in enumerate(rolling().test[::3]):
        model, counts = private_towers(split, epsilon, [seed, number, arm])
        values = evaluate(model, split.test).values("ndcg@10")
        alone = evaluate(np.tile(counts, (len(split.test), 1)), split.test).values("ndcg@10")
        both = zip(values, alone, strict=True)
        for user, (value, count) in zip(values.index, both, strict=True):
            row = {"user_id": user, "ndcg": value, "counts_alone": count}
            found.append(row | {"noise": model.noise} | spent(epsilon, model.noise))
    return found


def spent(epsilon: str, noise: float) -> dict[str, float]:
    """What one fit and its counts give away, and all windows' fits with fresh counts each."""
    names = {f"epsilon_of_{n}_fits": n for n in (FITS, 1)}
    if not noise:
        return dict.fromkeys(names, np.inf)
    return {
        name: sampled_gaussian_epsilon(DP["rate"], noise, DP["steps"] * n, DELTA)
        + n * COUNT_SHARE * float(epsilon)
        for name, n in names.items()
    }


# -- what lists alone give away

TOLD = {
    "popularity": lambda split: Popularity().fit(split.train),
    "EASE": ATTACKED["EASE"],
    "ImplicitALS": ATTACKED["ImplicitALS"],
    "item-kNN": ATTACKED["item-kNN"],
    "EASE, lists of another user": ATTACKED["EASE"],
    "number of likes": None,  # no list at all
}


def hidden_attributes(split: splits.Split, likes) -> dict[str, np.ndarray]:
    """What is true of each user's likes, and stands nowhere in what is shown."""
    horror = split.items["genres"].str.contains("Horror").to_numpy(float)
    old = (split.items["year"] < 1990).to_numpy(float)
    n_likes = np.diff(likes.indptr)
    return {
        "likes a horror film": likes @ horror > 0,
        "half the likes older than 1990": likes @ old > 0.5 * n_likes,
    }


def attributes(model: str) -> list[dict]:
    """AUC of attributes told from the twenty films recommended, by users one has not learned from.

    A logistic regression on the genres' and decades' shares of the list, in five folds. For
    `number of likes` nothing is read and nothing learned: who likes more comes first.
    """
    split = last()
    likes = split.train[judged()]
    make = TOLD[model]
    if make is not None:
        ranked = rank(make(split).score(likes), likes, 20)
        if model.endswith("another user"):
            ranked = np.roll(ranked, 1, axis=0)
        of_film = np.hstack(
            [
                _features.genre_columns(split.items["genres"]),
                _features.decade_columns(split.items["year"]),
            ]
        ).astype(float)
        read = of_film[ranked].mean(axis=1)  # (n_users, n_genres + n_decades)
    learner = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    found = []
    for name, label in hidden_attributes(split, likes).items():
        if make is None:
            said = np.diff(likes.indptr).astype(float)
        else:
            folds = StratifiedKFold(5, shuffle=True, random_state=0)
            said = cross_val_predict(learner, read, label, cv=folds, method="decision_function")
        rng, draws = np.random.default_rng(0), []
        for _ in range(500):
            drawn = rng.integers(len(label), size=len(label))
            draws.append(auc(label[drawn], said[drawn]))
        low, high = np.percentile(draws, [2.5, 97.5])
        row = {"attribute": name, "users": len(label), "share": label.mean()}
        found.append(row | {"auc": auc(label, said), "low": low, "high": high})
    return found


# -- who is shown in the picture shop

SHOP_SEEDS, SHOP_DAYS, COUNTED_DAYS = range(400, 410), 30, 10  # the last ten days count
LIMITS = (4.0, 2.0, 1.0)  # times a creator's share of the pictures


class Limited:
    """A greedy policy whose lists hold so many times a creator's share of pictures at most."""

    def __init__(self, policy, owner: np.ndarray, factor: float):
        self.policy, self.owner, self.factor = policy, owner, factor

    def choose(self, stock: np.ndarray) -> np.ndarray:
        """The best that creators have left; random lists as long as the policy's are."""
        shown = self.policy.choose(stock)
        if self.policy.day < self.policy.random_days:
            return shown
        ranked = stock[np.argsort(-self.policy.scores(stock), axis=1, kind="stable")]
        pictures = np.bincount(self.owner[stock], minlength=self.owner.max() + 1)
        most = np.ceil(self.factor * shown.size * pictures / len(stock)).astype(int)
        places = capped_lists(ranked, shown.shape[1], most, seed=self.policy.day, owner=self.owner)
        return np.take_along_axis(ranked, np.array(places), axis=1)

    def learn(self, shown: np.ndarray, clicks: np.ndarray) -> None:
        """As the policy does."""
        self.policy.learn(shown, clicks)


def exposure(seed: int) -> list[dict]:
    """Expected clicks a shopper, and each creator's places, of policies in the last days."""
    shop = feedback.Shop(feedback.load_pictures(), 1000, seed)
    items = load_clipart().items.set_index("item_id").loc[shop.pictures.item_id]
    owner, creators = pd.factorize(items["creator"], sort=True)
    names = ["oracle", "random", "popularity", "ID model", "greedy", "Thompson"]
    policies = feedback.make_policies(shop, seed, names)
    for factor in LIMITS:
        greedy = feedback.make_policies(shop, seed, ["greedy"])["greedy"]
        policies[f"greedy, limit {factor:g}"] = Limited(greedy, owner, factor)
    clicks = dict.fromkeys(policies, 0.0)
    places = {name: np.zeros(len(creators), dtype=int) for name in policies}
    for day in range(SHOP_DAYS):
        if day:
            shop.next_day()
        for name, policy in policies.items():
            shown = policy.choose(np.flatnonzero(shop.stock))
            policy.learn(shown, shop.clicks(shown))
            if day >= SHOP_DAYS - COUNTED_DAYS:
                clicks[name] += shop.expected_clicks(shown).mean() / COUNTED_DAYS
                places[name] += np.bincount(owner[shown.ravel()], minlength=len(creators))
    return [
        {"policy": name, "clicks": clicks[name]} | dict(zip(creators, places[name], strict=True))
        for name in policies
    ]


PARTS = {
    "attributes": lambda: table("attributes.csv", ["model"], TOLD, attributes),
    "histories": lambda: table(
        "histories.csv", ["known", "wrong_likes", "date_error"], KNOWN, histories
    ),
    "fairness": lambda: table("fairness.csv.gz", ["model"], SERVED, fairness),
    "lists": lambda: table("lists.csv.gz", ["way", "setting"], WAYS, lists),
    "membership": lambda: table(
        "membership.csv.gz",
        ["model", "draw"],
        [(name, k) for name, (n, _) in SHADOWS.items() for k in range(n)],
        membership,
    ),
    "private": lambda: table(
        "private.csv.gz",
        ["epsilon", "seed"],
        [(epsilon, seed) for seed in range(3) for epsilon in ARMS],
        private,
    ),
    "shilling": lambda: table(
        "shilling.csv",
        ["model", "target", "kind"],
        [  # four films under all models first, the slow towers last
            (model, *attack)
            for films in (attacks(4), attacks(8)[12:])
            for models in (tuple(ATTACKED)[:-1], tuple(ATTACKED)[-1:])
            for attack in films
            for model in models
        ],
        shilling,
    ),
    "detection": lambda: table("detection.csv", ["target", "kind"], attacks(8), detection),
    "defence": lambda: table(
        "defence.csv",
        ["model", "target", "kind"],
        [(m, *attack) for m in ATTACKED if "alone" not in m for attack in attacks(8)],
        defence,
    ),
    "unlearning-ease": lambda: table("unlearning_ease.csv", ["draw"], range(3), unlearning_ease),
    "unlearning-als": lambda: table(
        "unlearning_als.csv", ["user"], judged()[draw(48, len(judged()))].tolist(), unlearning_als
    ),
    "exposure": lambda: table("exposure.csv.gz", ["seed"], SHOP_SEEDS, exposure),
    "unlearning-towers": lambda: table(
        "unlearning_towers.csv.gz",
        ["model", "draw"],
        [(kind, k) for k in range(TOWER_DRAWS) for kind in DECAYS],
        unlearning_towers,
    ),
    "unlearning-als-lists": lambda: table(
        "unlearning_als_lists.csv.gz",
        ["forgotten", "draw"],
        [(n, k) for n in (10, 100) for k in range(3)],
        unlearning_als_lists,
    ),
}


def hashes() -> None:
    """The manifest: sha256 of every table."""
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(HERE.glob("*.csv*"))
    }
    (HERE / "manifest.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    runs = PARTS | {"hashes": hashes}
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    if part not in runs:
        sys.exit(f"{__doc__}\nParts: {', '.join(runs)}")
    runs[part]()
