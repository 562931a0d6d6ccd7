"""Chapter 15's measurements: a language model taught by likes, on one core; broken off, it goes on.

    PYTHONPATH=. python data/teaching/make.py rates           # three learning rates, a short run
    PYTHONPATH=. python data/teaching/make.py answers         # the adapter
    PYTHONPATH=. python data/teaching/make.py judge           # every adapter on the kept-back users
    PYTHONPATH=. python data/teaching/make.py taught 60 1200  # 60 users more, at most 1,200 s

The parts are the functions named in PARTS. Adapters of every stage and checkpoints lie in the cache
folder of the package; the end of `answers` is put beside this script by `commit`. How users are
ordered, how prompts are read and rows are written is in chapter 14's script, `data/language`, which
is used here with this folder and with the model that a part asks for. `hashes` writes the manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import re
import shutil
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_tutorial import datasets
from recsys_tutorial._files import cache_dir
from recsys_tutorial._files.tensors import load_tensors
from recsys_tutorial.course import fading_ease, list_ndcg, means, rank_agreement, right_order
from recsys_tutorial.language import (
    LanguageModel,
    add_adapter,
    fill,
    lesson_log_likelihoods,
    load_adapter,
    next_title_lessons,
    save_adapter,
    teach,
)
from recsys_tutorial.language.prompts import LEAD, one_line
from recsys_tutorial.models import unit_rows
from recsys_tutorial.models._events import in_order
from recsys_tutorial.ranking import rank

HERE = Path(__file__).parent
STAGES = cache_dir() / "teaching"
BASE = "SmolLM2-135M-Instruct"
RANK, ALPHA, TARGETS = 8, 16.0, ("q_proj", "v_proj")
EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RATES = (3e-4, 1e-3, 3e-3)
RATE = 3e-3  # the best of `rates`
N_KEPT = 40  # tuning users who teach nothing, and are asked
EPOCH = 128  # lessons, about 24,000 tokens
N_EPOCHS = 5
KEEP = (1, 2, 4, N_EPOCHS)
BUDGET, LONGER, LATER_RATE = 12_000, 30_000, 1e-3  # tokens of `dpo`


def chapter_14():
    """Its script as a module, which writes here."""
    spec = importlib.util.spec_from_file_location("chapter_14", HERE.parent / "language/make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HERE = HERE
    return module


before = chapter_14()


# -- models and lessons


def language_model() -> LanguageModel:
    return LanguageModel(BASE, device="cpu", progress=False)


@cache
def untaught_model() -> LanguageModel:
    return language_model()


@cache
def taught_model() -> LanguageModel:
    one = language_model()
    load_adapter(one, HERE / "adapter")
    return one


@cache
def kept_back() -> list[int]:
    """Tuning users who teach nothing: the first in the order of chapter 14."""
    return list(before.users(before.world()[2].tuning))[:N_KEPT]


@cache
def lessons(kept: bool = False, n_rejected: int = 0) -> list:
    """Of all who liked something before the first test window; or of those kept back."""
    _, _, rolling, titles, _, _ = before.world()
    found = next_title_lessons(rolling.test[0], titles, n_rejected=n_rejected)
    return [x for x in found if (x.user_id in set(kept_back())) == kept]


@cache
def questions() -> list:
    """One lesson of each user kept back, drawn; 4 answers at most, and 4 films rejected."""
    rng = np.random.default_rng(15)
    found = lessons(kept=True, n_rejected=4)
    of = {u: [x for x in found if x.user_id == u and len(x.answers) > 2] for u in kept_back()}
    drawn = [own[rng.integers(len(own))] for own in of.values() if own]
    return [dataclasses.replace(x, answers=x.answers[:4]) for x in drawn]


def n_tokens(lesson, rejected: bool = False) -> int:
    """Tokens that are read for a lesson: the prompt once."""
    count = untaught_model().tokens
    ends = [*lesson.answers, *(lesson.rejected if rejected else ())]
    return len(count(lesson.prompt)) + sum(len(count(end)) for end in ends)


# -- teaching


def half(one: LanguageModel) -> None:
    """Weights that are not learned become bfloat16; the adapter stays float32."""
    for parameter in one.model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()


def keep(one: LanguageModel, folder: Path, users, settings: dict, adapter: dict) -> None:
    """Save an adapter from a model whose base is float32, which the file names by its hash."""
    twin = untaught_twin(**adapter)
    theirs = {n: p for n, p in one.model.named_parameters() if ".lora_" in n}
    with torch.no_grad():
        for name, parameter in twin.model.named_parameters():
            if name in theirs:
                parameter.copy_(theirs[name])
    save_adapter(twin, folder, name=BASE, users=users, settings=settings)


def sized(rank: int = RANK, alpha: float = ALPHA, targets: tuple = TARGETS) -> dict:
    return {"rank": rank, "alpha": alpha, "targets": targets}


@cache
def untaught_twin(**adapter) -> LanguageModel:
    one = language_model()
    add_adapter(one, **adapter)
    return one


def schooled(
    name: str, taught: list, *, stages=(1,), start: Path | None = None, adapter=None, **settings
):
    """Teach by lessons; adapters after the epochs `stages`, and a row for each epoch.

    `adapter` is the size of a new one; one that goes on from `start` has the usual size.
    """
    one, adapter = language_model(), adapter or sized()
    if start is None:
        add_adapter(one, **adapter)
    else:
        load_adapter(one, start, trainable=True)
    half(one)
    folder = STAGES / name
    folder.mkdir(parents=True, exist_ok=True)
    state, clock = folder / "checkpoint.safetensors", folder / "seconds.json"
    n_done = 0
    if state.exists():
        n_done = len(load_tensors(state, "a training checkpoint")[1]["monitor"]["rows"])
    seconds = json.loads(clock.read_text())[:n_done] if clock.exists() else []
    users = {lesson.user_id for lesson in taught}
    began = [time.time()]

    def after_epoch(_):
        seconds.append(time.time() - began[0])
        epoch = len(seconds)
        clock.write_text(json.dumps(seconds))
        if epoch in stages:
            kept = {k: v for k, v in settings.items() if k != "reference"}
            kept |= {"run": name, "epoch": epoch, "lessons": len(taught), "precision": "bf16"}
            keep(one, folder / f"{epoch:02d}", users, kept, adapter)
        print(f"{name}: epoch {epoch}, {seconds[-1]:.0f} s", flush=True)
        began[0] = time.time()
        return {}

    history = teach(
        one, taught, batch_size=4, precision="bf16", checkpoint=state, checkpoint_every=9,
        metrics=after_epoch, **settings,
    )  # fmt: skip
    history = history.reset_index(names="epoch").assign(run=name, seconds=seconds)
    columns = ["run", "epoch", "tokens", "loss", "learning_rate", "seconds"]
    rows = before.table("runs")
    rows = rows[rows["run"] != name] if len(rows) else rows
    before.save(pd.concat([rows, history[columns]]), "runs")
    last = history.iloc[-1]
    line = f"{name}: {len(taught)} lessons of {len(users)} users; {last['tokens']} tokens"
    print(line, f"in {sum(seconds):.0f} s, loss {last['loss']:.4f}", flush=True)


def precision() -> None:
    """The same first batches in float32 and in bfloat16: losses beside each other."""
    for narrow in (False, True):
        one = language_model()
        add_adapter(one, rank=RANK, alpha=ALPHA, targets=TARGETS)
        if narrow:
            half(one)
        began = time.time()
        history = teach(
            one, lessons()[::200], epochs=2, batch_size=4, learning_rate=1e-3,
            precision="bf16" if narrow else "full",
        )  # fmt: skip
        rate = history["tokens"].iloc[-1] / (time.time() - began)
        print("bf16" if narrow else "full", np.round(history["loss"], 4).tolist(), f"{rate:.0f}/s")


def rates() -> None:
    """A short run with each of three learning rates."""
    for rate in RATES:
        schooled(
            f"rate {rate:g}", lessons(), epochs=1, lessons_per_epoch=EPOCH // 2, learning_rate=rate
        )


def answers() -> None:
    """The adapter: answers' tokens only."""
    schooled(
        "answers", lessons(), stages=KEEP, epochs=N_EPOCHS, lessons_per_epoch=EPOCH,
        learning_rate=RATE,
    )  # fmt: skip


def others_prompts() -> list:
    """Each lesson behind another lesson's prompt."""
    own = lessons()
    order = np.random.default_rng(3).permutation(len(own))
    return [dataclasses.replace(x, prompt=own[k].prompt) for x, k in zip(own, order, strict=True)]


def swapped() -> None:
    """The control of `rates`: the same answers and steps, behind other prompts."""
    schooled(
        "swapped", others_prompts(), epochs=1, lessons_per_epoch=EPOCH // 2, learning_rate=RATE
    )


def swapped_longer() -> None:
    """The control of `answers`: the same answers and steps, behind other prompts."""
    schooled(
        "swapped, longer", others_prompts(), stages=KEEP, epochs=N_EPOCHS,
        lessons_per_epoch=EPOCH, learning_rate=RATE,
    )  # fmt: skip


def preference_lessons() -> list:
    """Of each lesson 8 films rejected: up to 4 that the user rated and did not like, and others."""
    _, _, rolling, titles, _, _ = before.world()
    split, rng = rolling.test[0], np.random.default_rng(4)
    row_of = {int(user): row for row, user in enumerate(split.train_user_ids)}
    found = []
    for lesson in lessons(n_rejected=8):
        row = row_of[lesson.user_id]
        rated = set(split.train_ratings[[row]].indices) - set(split.train[[row]].indices)
        some = rng.permutation(sorted(rated))[:4]
        worse = [f"{LEAD}{titles[c]}\n" for c in some]
        rejected = (*worse, *lesson.rejected)[:8]
        found.append(dataclasses.replace(lesson, rejected=rejected))
    return [found[k] for k in rng.permutation(len(found))]


def first_of(found: list, budget: int, rejected: bool) -> list:
    """The first lessons, up to so many tokens."""
    read = np.cumsum([n_tokens(x, rejected) for x in found[:400]])
    return found[: int(np.searchsorted(read, budget, "right"))]


def hard_lessons(n: int = 400) -> list:
    """As for `more`, in its order; rejected are the films that fading EASE would have shown.

    It is fitted on the same training part; the likes before the answers go in, and its 8 best that
    the user has not rated come out.
    """
    _, _, rolling, titles, _, _ = before.world()
    split, theirs = rolling.test[0], lessons()
    place = {lesson: k for k, lesson in enumerate(next_title_lessons(split, titles))}
    ease, cut_of, found = fading_ease(split), cuts(split), []
    for k in np.random.default_rng(4).permutation(len(theirs))[:n]:
        row, liked, _ = cut_of[place[theirs[k]]]
        history = sparse.csr_matrix(
            (np.ones(len(liked)), (np.zeros(len(liked), int), liked)), (1, split.train.shape[1])
        )
        top = rank(ease.score(history), split.train_ratings[[row]], 8)[0]
        worse = tuple(f"{LEAD}{titles[c]}\n" for c in top)
        found.append(dataclasses.replace(theirs[k], rejected=worse))
    return found


END = STAGES / "answers" / f"{N_EPOCHS:02d}"


def dpo(name: str = "dpo", budget: int = BUDGET, found: list | None = None) -> None:
    """From the end of `answers` on: each answer against 8 rejected films."""
    taught = first_of(found or preference_lessons(), budget, True)
    one = language_model()
    load_adapter(one, END)
    reference = lesson_log_likelihoods(one, taught)
    schooled(
        name, taught, start=END, objective="preferences", reference=reference, beta=1.0,
        learning_rate=LATER_RATE,
    )  # fmt: skip


def more(name: str = "more", budget: int = BUDGET) -> None:
    """From the end of `answers` on: answers alone. To read a reference costs a third of a step."""
    own = lessons()
    order = np.random.default_rng(4).permutation(len(own))
    taught = first_of([own[k] for k in order], budget * 4 // 3, False)
    schooled(name, taught, start=END, learning_rate=LATER_RATE)


def dpo_longer() -> None:
    dpo("dpo, longer", LONGER)


def more_longer() -> None:
    more("more, longer", LONGER)


def hard() -> None:
    """As `dpo`, against films that fading EASE would have shown."""
    dpo("hard", found=hard_lessons())


SHORT = {
    "text": {"objective": "text"},
    "rank 2": {"adapter": sized(rank=2, alpha=4.0)},
    "rank 32": {"adapter": sized(rank=32, alpha=64.0)},
    "all layers": {"adapter": sized(targets=EVERY)},
}  # alpha / rank is always 2


def arms(names=tuple(SHORT), rate: float = RATE) -> None:
    """The short run of `rates`, the same lessons in the same order, with one thing changed."""
    for name in names:
        schooled(
            f"{name}, {rate:g}", lessons(), epochs=1, lessons_per_epoch=EPOCH // 2,
            learning_rate=rate, **SHORT[name],
        )  # fmt: skip


def arms_slower() -> None:
    """The size with the lowest loss at the next lower rate."""
    arms(("all layers",), RATES[1])


# -- taught on as time passes

FRESH, SAMPLED, FADE = 32, 16, 16_000  # lessons a window; fading EASE's scale, in likes


def cuts(split) -> list[tuple[int, np.ndarray, float]]:
    """Of each of `next_title_lessons`: the user's row, columns liked before, when it was over."""
    _, items, times = in_order(split.train, split.like_times)
    ends = split.train.indptr[1:-1]
    n_answers = 8  # next_title_lessons' own
    return [
        (row, own[:cut], when[min(cut + n_answers, len(own)) - 1])
        for row, (own, when) in enumerate(
            zip(np.split(items, ends), np.split(times, ends), strict=True)
        )
        for cut in range(1, len(own), n_answers)
    ]


@cache
def dated_lessons(window: int) -> tuple[list, np.ndarray, int]:
    """All lessons known at a window's start; how many likes came since each one's last answer.

    And how many came since the window before began. Users kept back teach nothing here, either.
    """
    _, _, rolling, titles, _, _ = before.world()
    split = rolling.test[window]
    found = next_title_lessons(split, titles)
    times, last = np.sort(split.like_times), [when for _, _, when in cuts(split)]
    if len(last) != len(found):
        raise ValueError(f"{len(found)} lessons, and dates of {len(last)}")
    age = len(times) - np.searchsorted(times, last, side="right")
    theirs = np.array([x.user_id not in set(kept_back()) for x in found])
    since = int((times >= rolling.test[window - 1].start).sum()) if window else 0
    return [x for x, own in zip(found, theirs, strict=True) if own], age[theirs], since


@cache
def rolling_lessons(window: int) -> list:
    """Mostly answers given since the window before; the others drawn, older ones more seldom."""
    found, age, since = dated_lessons(window)
    rng = np.random.default_rng([15, window])
    fresh = rng.permutation(np.flatnonzero(age < since))[: FRESH if window else 0]
    rest = np.setdiff1d(np.arange(len(found)), fresh)
    chances = np.exp(-age[rest] / FADE)
    n = FRESH + SAMPLED - len(fresh)
    drawn = rng.choice(rest, n, replace=False, p=chances / chances.sum())
    return [found[k] for k in (*fresh, *drawn)]


def of_window(window: int) -> Path:
    return STAGES / f"rolling {window}" / "01"


def taught_windows() -> list[int]:
    """Windows whose adapter is there."""
    every = range(len(before.world()[2].test))
    return [w for w in every if (of_window(w) / "adapter_config.json").exists()]


def rolling() -> None:
    """At each window's start the adapter goes on from the one before; its users are noted."""
    for window in range(len(before.world()[2].test)):
        taught, name = rolling_lessons(window), f"rolling {window}"
        start = of_window(window - 1) if window else END
        schooled(name, taught, start=start, learning_rate=LATER_RATE)
    rows = [
        {"window": window, "user_id": user, "lessons": n}
        for window in range(len(before.world()[2].test))
        for user, n in sorted(Counter(x.user_id for x in rolling_lessons(window)).items())
    ]
    before.save(pd.DataFrame(rows), "rolling_users")


@cache
def model_of_window(window: int) -> LanguageModel:
    one = language_model()
    load_adapter(one, of_window(window))
    return one


def rolling_read() -> None:
    """Each window's users, by the adapter as it was at the window's start: those that are there."""
    every, windows = before.users, before.world()[2].test
    try:
        for w in taught_windows():
            before.users = lambda _, w=w: {u: of for u, of in every(windows).items() if of[0] == w}
            read_by(lambda w=w: model_of_window(w), "test", "rolling")
            model_of_window.cache_clear()
    finally:
        before.users = every


def rolling_prior() -> None:
    """Log p of each window's candidates behind "A film:", by its adapter."""
    _, items, _, titles, _, _ = before.world()
    place = pd.Series(np.arange(len(items)), index=items["item_id"])
    there = before.table("taught")  # the candidates are the same

    def work(window):
        before.model = lambda: model_of_window(window)
        wanted = sorted(there["item_id"][there["window"] == window].unique())
        ends = [f"{LEAD}{titles[place[item]]}\n" for item in wanted]
        values = before.read([fill("title")] * len(ends), ends)
        model_of_window.cache_clear()
        return [
            {"item_id": item, "log_p": v.sum(), "n_tokens": len(v)}
            for item, v in zip(wanted, values, strict=True)
        ]

    before.run("rolling_prior", "window", taught_windows(), work, 1)


# -- judging


def stages() -> dict[str, Path | None]:
    """What there is to judge: name -> adapter, None for the model as it was."""
    found = {"untaught": None}
    later = {of_window(w) for w in range(1, len(before.world()[2].test))}
    for folder in sorted(STAGES.glob("*/*/")):
        if (folder / "adapter_config.json").exists() and folder not in later:
            found[f"{folder.parent.name}/{int(folder.name)}"] = folder
    return found


def judge() -> None:
    """Log p of answers and of rejected films for the users kept back, by every adapter there is."""
    asked = questions()

    def work(stage):
        one = untaught_model() if stages()[stage] is None else language_model()
        if one is not untaught_model():
            load_adapter(one, stages()[stage])
        values = lesson_log_likelihoods(one, asked)
        before.COUNT.append(sum(n_tokens(x, rejected=True) for x in asked))
        count = untaught_model().tokens
        found = [
            {"user_id": x.user_id, "film": k, "answer": int(k < len(x.answers)), "log_p": v,
             "n_tokens": len(count(end))}
            for x, own in zip(asked, values, strict=True)
            for k, (v, end) in enumerate(zip(own, (*x.answers, *x.rejected), strict=True))
        ]  # fmt: skip
        print(stage, said(pd.DataFrame(found)), flush=True)
        return found

    before.run("curve", "stage", list(stages()), work, 1)


def said(rows: pd.DataFrame) -> str:
    """An adapter's log p of an answer's token, and its share of pairs in the right order."""
    right = rows[rows["answer"] == 1]
    per_token = right["log_p"].sum() / right["n_tokens"].sum()
    shares = [
        (part["log_p"][part["answer"] == 1].to_numpy()[:, None]
         > part["log_p"][part["answer"] == 0].to_numpy()).mean()
        for _, part in rows.groupby("user_id")
    ]  # fmt: skip
    return f"log p a token {per_token:.4f}, right order {np.mean(shares):.4f}"


# -- test users


def read_by(one, which: str, name: str) -> None:
    before.model = one
    before.rerank(which, name)


def untaught() -> None:
    """The model as it was on all test users; those whom chapter 14 has are not read again."""
    if not len(before.table("untaught")):
        shutil.copyfile(HERE.parent / "language/rerank.csv.gz", HERE / "untaught.csv.gz")
    read_by(untaught_model, "test", "untaught")


def taught() -> None:
    """The taught model on all test users."""
    read_by(taught_model, "test", "taught")


def taught_tuning() -> None:
    """As on test users, in tuning windows: those kept back whom chapter 14 has read."""
    every = before.users
    read_before = set(before_tuning()["user_id"])
    before.users = lambda windows: {u: of for u, of in every(windows).items() if u in read_before}
    try:
        read_by(taught_model, "tuning", "taught_tuning")
    finally:
        before.users = every


def before_tuning() -> pd.DataFrame:
    """Chapter 14's tuning users, of whom none may have been taught with."""
    found = pd.read_csv(HERE.parent / "language/tuning.csv.gz")
    if extra := set(found["user_id"]) - set(kept_back()):
        raise ValueError(f"tuning users {sorted(extra)} were taught with: raise N_KEPT")
    return found


def prior_by(one, name: str) -> None:
    """Log p of the candidates' titles behind "A film:"."""
    before.model = one
    _, items, _, titles, _, _ = before.world()
    ids = items["item_id"].to_numpy()
    place = pd.Series(np.arange(len(items)), index=items["item_id"])
    wanted = pd.concat([before.table("untaught"), before_tuning()])["item_id"]
    columns = {int(place[item]) for item in wanted.unique()}
    done = set(before.table(name)["item_id"]) if len(before.table(name)) else set()
    left = [c for c in sorted(columns) if ids[c] not in done]
    batches = {int(ids[left[k]]): left[k : k + 24] for k in range(0, len(left), 24)}

    def work(batch):
        of = batches[batch]
        values = before.read([fill("title")] * len(of), [f"{LEAD}{titles[c]}\n" for c in of])
        return [
            {"item_id": ids[c], "log_p": v.sum(), "n_tokens": len(v)}
            for c, v in zip(of, values, strict=True)
        ]

    before.run(name, "batch", list(batches), work, 4)


def taught_prior() -> None:
    prior_by(taught_model, "taught_prior")


def untaught_prior() -> None:
    """Chapter 14 has most of these films."""
    if not len(before.table("untaught_prior")):
        shutil.copyfile(HERE.parent / "language/prior.csv.gz", HERE / "untaught_prior.csv.gz")
    prior_by(untaught_model, "untaught_prior")


# -- tuning users' candidates by other adapters; a line of neighbours


def read_again(rows: pd.DataFrame, windows, prompt_of=None) -> pd.Series:
    """Log p of a table's films behind each user's last likes; prompt_of(prompt, user's rows)."""
    _, items, _, titles, _, _ = before.world()
    place = pd.Series(np.arange(len(items)), index=items["item_id"])
    found = pd.Series(0.0, index=rows.index)
    for user, part in rows.groupby("user_id", sort=False):
        split = windows[part["window"].iloc[0]]
        row = split.test.user_ids.tolist().index(user)
        prompt = before.likes_prompt(before.last_likes(split, row, before.N_LIKES))
        prompt = prompt_of(prompt, part) if prompt_of else prompt
        ends = [f"{LEAD}{titles[c]}\n" for c in place[part["item_id"]]]
        found[part.index] = before.scores(prompt, ends)
    return found


N_NAMED, N_ASKED = 5, 60


def with_neighbours(prompt: str, films: list[str]) -> str:
    """A line before the last one: what others liked."""
    head, _, end = prompt.rpartition("\n")
    return f"{head}\nPeople who love these also love: {'; '.join(films)}\n{end}"


def neighbours() -> None:
    """The candidates again, behind a line with 5 of them: fading EASE's first ones, or any."""
    _, _, rolling, titles, _, _ = before.world()
    title_of = dict(zip(before.world()[1]["item_id"], titles, strict=True))
    there, before.model = before.table("untaught"), untaught_model

    def work(user):
        rows = there[there["user_id"] == user].sort_values("place")
        films = [title_of[item] for item in rows["item_id"]]
        some = np.random.default_rng(int(user)).permutation(len(films))[:N_NAMED]
        found = []
        for line, shown in (("EASE's first", range(N_NAMED)), ("any", some)):
            named = [films[k] for k in shown]
            log_p = read_again(
                rows, rolling.test, lambda prompt, _, named=named: with_neighbours(prompt, named)
            )
            keys = rows[["window", "item_id", "place", "ease", "liked", "n_targets"]]
            of = keys.assign(log_p=log_p, line=line, shown=rows["place"].isin(shown).astype(int))
            found += of.to_dict("records")
        return found

    before.run("neighbours", "user_id", list(before.users(rolling.test))[:N_ASKED], work, 2)


def judged_neighbours() -> None:
    """NDCG@10 of the untaught model's orders, with a line of films and without it."""
    read, keys = before.table("neighbours"), ["user_id", "item_id"]
    without = before.table("untaught").rename(columns={"log_p": "without"})
    orders = {}
    for line, of in read.groupby("line"):
        of = of.merge(without[[*keys, "without"]], on=keys)
        of = of.sort_values(["user_id", "place"], ignore_index=True)
        orders |= {"no line": list_ndcg(of, of["without"]), line: list_ndcg(of, of["log_p"])}
        orders["fading EASE"] = list_ndcg(of, of["ease"])
        orders |= {f"EASE + 0.3 {name}": blend(of, column, 0.3)
                   for name, column in (("no line", "without"), (line, "log_p"))}  # fmt: skip
        rise = of["log_p"] - of["without"]
        print(line, "log p of films in the line rises by", round(rise[of["shown"] == 1].mean(), 2),
              "of others by", round(rise[of["shown"] == 0].mean(), 2))  # fmt: skip
    print(means(orders).round(4).to_string())
    gaps = {
        f"{a} - {b}": orders[a] - orders[b]
        for a, b in [("EASE's first", "no line"), ("any", "no line"), ("EASE's first", "any"),
                     ("EASE's first", "fading EASE"),
                     ("EASE + 0.3 EASE's first", "EASE + 0.3 no line"),
                     ("EASE + 0.3 EASE's first", "fading EASE")]
    }  # fmt: skip
    print(means(gaps).round(4).to_string())


ON_TUNING = ("more/1", "dpo/1", "hard/1", "rolling 0/1")


def stages_tuning() -> None:
    """What `taught_tuning` has, for adapters that went on from there."""
    rows = before_tuning()[["user_id", "window", "item_id", "place", "ease", "liked", "n_targets"]]

    def work(stage):
        one = language_model()
        load_adapter(one, stages()[stage])
        before.model = lambda: one
        log_p = read_again(rows, before.world()[2].tuning)
        return rows.assign(log_p=log_p).to_dict("records")

    before.run("stages_tuning", "stage", [x for x in ON_TUNING if x in stages()], work, 1)


def judged_tuning() -> None:
    """NDCG@10 of tuning users' candidates, by adapter, beside the untaught and EASE's."""
    read = before.table("stages_tuning")
    arms = {"untaught": before_tuning(), "taught": before.table("taught_tuning")}
    arms |= dict(list(read.groupby("stage")))
    arms = {a: of.sort_values(["user_id", "place"], ignore_index=True) for a, of in arms.items()}
    found = {"fading EASE": list_ndcg(arms["untaught"], arms["untaught"]["ease"])}
    for arm, of in arms.items():
        found[f"{arm}: log p"] = list_ndcg(of, of["log_p"])
        found[f"{arm}: EASE + 0.3 log p"] = blend(of, "log_p", 0.3)
    print(means(found).round(4).to_string())
    gaps = {
        f"{name} - {other}": found[name] - found[f"{other}: {name.partition(': ')[2]}"]
        for name in found if ": " in name
        for other in ("untaught", "taught") if not name.startswith(f"{other}: ")
    }  # fmt: skip
    print(means(gaps).round(4).to_string())


# -- a tower that repeats the language model

HALF = 6  # users of the windows before it teach the tower, by what was read of them; others judge
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def pair_vectors(rows: pd.DataFrame, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row: the mean vector of the user's last likes, of length 1; and the film's."""
    _, items, rolling, _, _, _ = before.world()
    place = pd.Series(np.arange(len(items)), index=items["item_id"])
    user_of = {}
    for (window, user), _ in rows.groupby(["window", "user_id"]):
        test = rolling.test[window].test
        one = test.history[[(row := test.user_ids.tolist().index(user))]]
        liked = in_order(one, test.history_times[[row]])[1][-before.N_LIKES :]
        user_of[user] = vectors[liked].mean(0)
    users = np.stack([user_of[user] for user in rows["user_id"]])
    return unit_rows(users), vectors[place[rows["item_id"]].to_numpy()]


def tower(learn: tuple, y: np.ndarray, reg: float, ask: tuple, history: bool) -> np.ndarray:
    """Ridge regression of y on b . v + u' A v, in its dual form; without `history`, A is 0."""

    def kernel(one, other):
        (u, v), (u_, v_) = one, other
        return (v @ v_.T) * (1 + (u @ u_.T if history else 0))

    dual = np.linalg.solve(kernel(learn, learn) + reg * np.eye(len(y)), y)
    return kernel(ask, learn) @ dual


def of_rows(pair: tuple, there: np.ndarray) -> tuple:
    return tuple(part[there] for part in pair)


def distilled() -> None:
    """What a tower on MiniLM's vectors makes of log p: learned on earlier users, asked on later."""
    from recsys_tutorial.encoders import TextEncoder

    vectors = TextEncoder(device="cpu", progress=False).encode(before.world()[4])
    vectors = unit_rows(vectors.astype(np.float64) - vectors.mean(0))
    found = []
    for teacher in ("untaught", "taught", "rolling"):
        rows = before.table(teacher).sort_values(["user_id", "place"], ignore_index=True)
        y, pair = z(rows, rows["log_p"]).to_numpy(), pair_vectors(rows, vectors)
        early = (rows["window"] < HALF).to_numpy()
        fold = rows["user_id"].to_numpy() % 3
        for history in (True, False):
            quality = {}
            for reg in PENALTIES:
                a, b = early & (fold != 0), early & (fold == 0)
                said = tower(of_rows(pair, a), y[a], reg, of_rows(pair, b), history)
                asked = rows[b].assign(said=said)
                quality[reg] = rank_agreement(asked, "user_id", "said", "log_p").mean()
            reg = chosen(quality)
            said = tower(of_rows(pair, early), y[early], reg, of_rows(pair, ~early), history)
            keys = rows.loc[~early, ["user_id", "window", "item_id", "place"]]
            kind = "likes and film" if history else "film alone"
            print(teacher, kind, {k: round(float(v), 3) for k, v in quality.items()}, flush=True)
            found.append(keys.assign(teacher=teacher, tower=kind, score=said))
    before.save(pd.concat(found), "distilled")


def judged_distilled() -> None:
    """How far a tower agrees with its teacher, and NDCG@10 of both, for later users."""
    read, keys, orders, pairs = before.table("distilled"), ["user_id", "item_id"], {}, {}
    for (teacher, kind), part in read.groupby(["teacher", "tower"]):
        of = before.table(teacher).merge(part[[*keys, "score"]], on=keys)
        of = of.sort_values(["user_id", "place"], ignore_index=True)
        name = f"tower of {teacher}, {kind}"
        pairs[name] = rank_agreement(of, "user_id", "score", "log_p")
        orders["fading EASE"] = list_ndcg(of, of["ease"])
        orders[teacher] = list_ndcg(of, of["log_p"])
        orders[name] = list_ndcg(of, of["score"])
        orders[f"EASE + 0.3 {teacher}"] = blend(of, "log_p", 0.3)
        orders[f"EASE + 0.3 {name}"] = blend(of, "score", 0.3)
    print("rank agreement with its teacher", means(pairs).round(3).to_string(), sep="\n")
    print(means(orders).round(4).to_string())
    gaps = {}
    for name in [name for name in orders if name.startswith("tower")]:
        teacher = name.removeprefix("tower of ").partition(",")[0]
        gaps[f"{name} - {teacher}"] = orders[name] - orders[teacher]
        both = orders[f"EASE + 0.3 {name}"]
        gaps[f"EASE + 0.3 {name} - with {teacher}"] = both - orders[f"EASE + 0.3 {teacher}"]
        gaps[f"EASE + 0.3 {name} - fading EASE"] = both - orders["fading EASE"]
    print(means(gaps).round(4).to_string())


# -- reasons

N_REASONS = 60


def reason_prompt(likes: list[str], film: str) -> str:
    """Likes, the film recommended, and the beginning of a sentence."""
    head = fill("likes", likes=likes).rpartition("\n")[0]
    return f"{head}\nA film that was recommended: {one_line(film)}\nThe reason: Because you liked"


def explanations() -> None:
    """Why the first film of fading EASE's list: by both models, and by EASE's own weights."""
    _, items, rolling, titles, _, _ = before.world()
    ids, of = items["item_id"].to_numpy(), before.users(rolling.test)
    models = {"untaught": untaught_model, "taught": taught_model}

    def work(user):
        window, row = of[user]
        split, ease, _, top = before.first_stage("test", window)
        film, liked = top[row][0], split.test.history[[row]].indices
        best = liked[np.argmax(single_scores(ease, liked, len(ids))[:, film])]
        wrote = {"EASE's weights": f"{titles[best]}."}
        for arm, one in models.items():
            before.model = one
            prompt = reason_prompt(before.last_likes(split, row, before.N_LIKES), titles[film])
            text = one().generate([prompt], max_tokens=30)[0]
            before.COUNT.append(len(one().tokens(prompt + text)))
            wrote[arm] = one_line(text) if text.strip() else "-"
        return [
            {"window": window, "item_id": ids[film], "arm": arm, "wrote": text}
            for arm, text in wrote.items()
        ]

    before.run("explanations", "user_id", list(of)[:N_REASONS], work, 4)
    before.save(with_names(before.table("explanations")), "explanations")


def with_names(found: pd.DataFrame) -> pd.DataFrame:
    """Beside each reason the films that it names."""
    _, items, rolling, _, _, _ = before.world()
    place = {item: c for c, item in enumerate(items["item_id"])}
    of, rows = before.users(rolling.test), []
    for row in found.itertuples():
        window, r = of[row.user_id]
        liked = rolling.test[window].test.history[[r]].indices
        rows.append(named(row.wrote, liked, place[row.item_id]))
    first = found[["user_id", "window", "item_id", "arm", "wrote"]].reset_index(drop=True)
    return pd.concat([first, pd.DataFrame(rows)], axis=1)


def single_scores(ease, columns: np.ndarray, n: int) -> np.ndarray:
    """EASE's scores behind each like alone: those of a history are their sum."""
    ones = (np.ones(len(columns)), (np.arange(len(columns)), columns))
    return ease.score(sparse.csr_matrix(ones, (len(columns), n)))


@cache
def name_pattern() -> tuple[re.Pattern, dict[str, list[int]]]:
    """Titles without their years, the longest first, as whole words."""
    columns: dict[str, list[int]] = {}
    for c, title in enumerate(before.world()[3]):
        name = re.sub(r" \(\d{4}\)$", "", title)
        for alias in {name, re.sub(r"( \([^()]*\))+$", "", name)}:  # without "(a.k.a. ...)"
            columns.setdefault(alias, []).append(c)
    names = "|".join(re.escape(name) for name in sorted(columns, key=len, reverse=True))
    names = re.sub(r"(?<=\|)The\\ ", r"[Tt]he\\ ", names)
    return re.compile(rf"(?<!\w)({names})(?!\w)(?: \((\d{{4}})\))?"), columns


def named(text: str, liked, film: int) -> dict:
    """Films that a reason names, by their ids: liked, others; the one recommended; made up.

    A name of one word is one of a film that was not liked only where a year follows: "It" and "Her"
    are words, too. A name that no film has is known by the year behind it.
    """
    _, items, _, titles, _, _ = before.world()
    ids, (pattern, columns) = items["item_id"], name_pattern()
    found = {"liked": [], "other": [], "itself": 0, "wrong_year": 0}
    matches = list(pattern.finditer(text))
    invented = invented_spans(text, [match.end() for match in matches if match[2]])
    for match in matches:
        name, year = re.sub("^the ", "The ", match[1]), match[2]
        if any(start <= match.start() < end for start, end in invented):
            continue
        same = [c for c in columns[name] if not year or titles[c].endswith(f"({year})")]
        found["wrong_year"] += not same
        same = same or columns[name]
        theirs = [c for c in same if c in set(liked)]
        if film in same:
            found["itself"] = 1
        elif theirs:
            found["liked"].append(ids[theirs[0]])
        elif year or " " in name:
            found["other"].append(ids[same[0]])
    shown = {k: " ".join(map(str, dict.fromkeys(found[k]))) for k in ("liked", "other")}
    said = "; ".join(text[start:end] for start, end in invented)
    return found | shown | {"invented": said}


def invented_spans(text: str, known: list[int]) -> list[tuple[int, int]]:
    """Where something with a year behind it stands that is no film's name."""
    found, start = [], 0
    for year in re.finditer(r" \(\d{4}\)", text):
        if year.end() not in known and (name := re.search(r"[A-Z0-9].*", text[start : year.end()])):
            found.append((start + name.start(), year.end()))
        start = year.end()
    return found


def reasons() -> None:
    """What the explanations name, by who wrote them."""
    found = before.table("explanations").set_index("user_id")
    there = {
        "a liked film": found["liked"].notna(),
        "the film recommended itself": found["itself"] == 1,
        "a film that was not liked": found["other"].notna() | found["invented"].notna(),
        "one in no catalogue": found["invented"].notna(),
        "a wrong year": found["wrong_year"] > 0,
    }
    first, itself, other, *_ = there.values()
    there["no film"] = ~(first | itself | other)
    for kind, of in there.items():
        by_arm = {arm: of[found["arm"] == arm].astype(float) for arm in found["arm"].unique()}
        gap = {"taught - untaught": by_arm["taught"] - by_arm["untaught"]}
        print(kind, means(by_arm | gap).round(3).to_string(), sep="\n")


# -- what is forgotten


def forgetting() -> None:
    """Log p of other texts behind their first words, before and after."""
    texts = {
        "projects": datasets.load_packages().sources["description"].tolist(),
        "wishes": datasets.load_wishes().texts["text"].tolist(),
    }
    lines = {
        f"{kind} {k}": one_line(of[k])
        for kind, of in texts.items() for k in before.hashed(range(len(of)))[:200]
    }  # fmt: skip
    names = [name for name in lines if " " in lines[name]]
    blocks = {names[k]: names[k : k + 20] for k in range(0, len(names), 20)}

    def work(block):
        of = blocks[block]
        parts = [lines[name].split(" ", 1) for name in of]
        found = []
        for arm, one in (("untaught", untaught_model), ("taught", taught_model)):
            before.model = one
            values = before.read([first for first, _ in parts], [f" {rest}" for _, rest in parts])
            found += [
                {"text": name, "arm": arm, "log_p": v.sum(), "n_tokens": len(v)}
                for name, v in zip(of, values, strict=True)
            ]
        return found

    before.run("forgetting", "block", list(blocks), work, 1)


# -- what was found, from the tables alone


def candidates(found: pd.DataFrame, which: str, prior: str) -> pd.DataFrame:
    """A table of candidates, and beside it what needs no language model."""
    _, items, rolling, _, texts, _ = before.world()
    windows = rolling.test if which == "test" else rolling.tuning
    place_of = pd.Series(np.arange(len(items)), index=items["item_id"])
    words = unit_rows(TfidfVectorizer(sublinear_tf=True).fit_transform(texts))
    keys = ["window", "item_id"] if prior == "rolling_prior" else ["item_id"]
    alone = before.table(prior).drop_duplicates(keys)[[*keys, "log_p"]]
    found = found.merge(alone.rename(columns={"log_p": "alone"}), on=keys, how="left")
    for w, part in found.groupby("window"):
        split, test = windows[w], windows[w].test
        item = place_of[part["item_id"]].to_numpy()
        fading = np.asarray(split.faded(2000, "likes").sum(0)).ravel()
        found.loc[part.index, "popularity"] = np.log1p(fading[item])
        users = pd.Series(np.arange(len(test)), index=test.user_ids)
        of = test.history[users[part["user_id"]].to_numpy()]
        cosine = unit_rows(of @ words).multiply(words[item]).sum(1)
        found.loc[part.index, "TF-IDF"] = np.asarray(cosine).ravel()
    return found.sort_values(["user_id", "place"], ignore_index=True)


def z(of: pd.DataFrame, column) -> np.ndarray:
    by_user = pd.Series(column, of.index).groupby(of["user_id"])
    return (column - by_user.transform("mean")) / by_user.transform("std").replace(0, 1)


A = np.round(np.arange(0, 1.01, 0.1), 1)
W = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2)


def chosen(quality: dict) -> float:
    """The setting with the highest mean on the users kept back; the first of equal ones."""
    return float(max(quality, key=lambda setting: round(quality[setting], 6)))


def arms_of(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Candidates of the users whom all models have read, by arm."""
    both = set.intersection(*(set(of["user_id"]) for of in tables.values()))
    return {a: t[t["user_id"].isin(both)].reset_index(drop=True) for a, t in tables.items()}


def chosen_settings(learn: pd.DataFrame) -> dict:
    """On tuning users: how much of the prior to take off; weights beside EASE."""
    a = chosen({a: list_ndcg(learn, learn["log_p"] - a * learn["alone"]).mean() for a in A})
    learn = learn.assign(chosen=learn["log_p"] - a * learn["alone"])
    weights = {n: chosen({w: blend(learn, n, w).mean() for w in W}) for n in ("log_p", "chosen")}
    return {"a": a, **weights}


def orders_by(of: pd.DataFrame, settings: dict, others: bool) -> dict[str, pd.Series]:
    """A model's orders of the candidates; with `others`, less what other users' prompts say."""
    of = of.assign(PMI=of["log_p"] - of["alone"])
    of["chosen"] = of["log_p"] - settings["a"] * of["alone"]
    found = {
        "log p": list_ndcg(of, of["log_p"]),
        "PMI": list_ndcg(of, of["PMI"]),
        "chosen a": list_ndcg(of, of["chosen"]),
        "prior alone": list_ndcg(of, of["alone"]),
        "EASE + log_p": blend(of, "log_p", settings["log_p"]),
        "EASE + chosen": blend(of, "chosen", settings["chosen"]),
    }
    fixed = ["log_p"]
    if others:
        of["own"] = of["log_p"] - of_others(of)
        found["less others' mean"] = list_ndcg(of, of["own"])
        fixed.append("own")
    return found | {f"EASE + 0.3 {name}, fixed": blend(of, name, 0.3) for name in fixed}


def without_models(one: pd.DataFrame, tuning: pd.DataFrame) -> dict[str, pd.Series]:
    """Orders of the same candidates that need no language model."""
    orders = {"fading EASE": list_ndcg(one, one["ease"])}
    for name in ("popularity", "TF-IDF"):
        orders[name] = list_ndcg(one, one[name])
    dice = np.random.default_rng(0)
    orders["random"] = sum(list_ndcg(one, dice.random(len(one))) for _ in range(50)) / 50
    for name in ("popularity", "TF-IDF"):
        w = chosen({w: blend(tuning, name, w).mean() for w in W})
        orders[f"EASE + {w} {name}"] = blend(one, name, w)
    return orders


def compare() -> None:
    """Orders of the same 30 candidates, paired over the test users that all models have read.

    What is taught on as time passes has the settings that were chosen with the taught model.
    """
    kept = {"untaught": before_tuning(), "taught": before.table("taught_tuning")}
    tuning = {arm: candidates(kept[arm], "tuning", f"{arm}_prior") for arm in kept}
    tables = {arm: before.table(arm) for arm in ("untaught", "taught", "rolling")}
    test = arms_of({a: candidates(t, "test", f"{a}_prior") for a, t in tables.items() if len(t)})
    orders = without_models(test["taught"], tuning["taught"])
    for arm, of in test.items():
        learn = tuning.get(arm, tuning["taught"])
        settings = chosen_settings(learn)
        print(f"{arm}, chosen on {learn['user_id'].nunique()} tuning users:", settings)
        found = orders_by(of, settings, others=arm in tuning)
        orders |= {f"{arm}: {name}": values for name, values in found.items()}
    print(means(orders).round(4).to_string())
    found = pd.DataFrame(orders)
    before.save(found.reset_index(), "orders")
    first = found["fading EASE"]
    gaps = {f"{name} - fading EASE": found[name] - first for name in found if name != first.name}
    of_taught = [name for name in found if name.startswith(("taught", "rolling"))]
    for name in of_taught:
        arm, _, order = name.partition(": ")
        for other in ("untaught", "taught")[: 1 + (arm == "rolling")]:
            gaps[f"{name} - {other}"] = found[name] - found[f"{other}: {order}"]
    for name in of_taught:
        for other in ("popularity", "TF-IDF", "random"):
            gaps[f"{name} - {other}"] = found[name] - found[other]
    print(means(gaps).round(4).to_string())


def of_others(of: pd.DataFrame) -> pd.Series:
    """A film's mean log p behind the other users' prompts; its own where there is no other user."""
    by_film = of.groupby("item_id")["log_p"]
    n = by_film.transform("size")
    return ((by_film.transform("sum") - of["log_p"]) / (n - 1)).where(n > 1, of["log_p"])


def drift() -> None:
    """What the models prefer: rank correlations within users; the gap by windows."""
    _, items, rolling, _, _, _ = before.world()
    ids, keys = items["item_id"], ["user_id", "item_id"]
    arms = [arm for arm in ("taught", "untaught", "rolling") if len(before.table(arm))]
    found = before.table("taught").drop(columns="log_p")
    for arm in arms:
        other = before.table(arm)[[*keys, "log_p"]].rename(columns={"log_p": arm})
        found = found.merge(other, on=keys)
    found["change"] = found["taught"] - found["untaught"]
    found["year"] = found["item_id"].map(items.set_index("item_id")["year"])
    then = np.asarray(rolling.test[0].train.sum(0)).ravel()
    found["likes in training"] = found["item_id"].map(dict(zip(ids, then, strict=True)))
    for w, part in found.groupby("window"):
        now = np.asarray(rolling.test[w].faded(2000, "likes").sum(0)).ravel()
        now = part["item_id"].map(dict(zip(ids, now, strict=True)))
        found.loc[part.index, "likes now"] = now
    pairs = {
        f"{one} ~ {other}": rank_agreement(found.dropna(subset=["year"]), "user_id", one, other)
        for other in ("likes in training", "likes now", "year")
        for one in (*arms, "change", "ease", "liked")
    }
    pairs["change ~ liked"] = rank_agreement(found, "user_id", "change", "liked")
    print(means(pairs).round(3).to_string())
    found = found.sort_values(["user_id", "place"], ignore_index=True)
    window = found.drop_duplicates("user_id").set_index("user_id")["window"]
    for one, other in (("taught", "untaught"), ("rolling", "untaught"), ("rolling", "taught")):
        if {one, other} <= set(arms):
            gap = list_ndcg(found, found[one]) - list_ndcg(found, found[other])
            when = window.reindex(gap.index)
            three = {f"windows {w} to {w + 2}": gap[when.between(w, w + 2)] for w in (0, 3, 6, 9)}
            print(f"{one} - {other}", means(three).round(4).to_string(), sep="\n")


def blend(of: pd.DataFrame, name: str, w: float) -> pd.Series:
    return list_ndcg(of, z(of, of["ease"]) + w * z(of, of[name]))


def learned() -> None:
    """The curve, and perplexities before and after; intervals are over users and over texts."""
    curve = before.table("curve")
    right = curve[curve["answer"] == 1]
    sums = right.groupby(["stage", "user_id"])[["log_p", "n_tokens"]].sum()
    per_token = (sums["log_p"] / sums["n_tokens"]).unstack("stage")
    order = pd.DataFrame({
        stage: right_order(part, part["log_p"], "user_id", "answer")
        for stage, part in curve.groupby("stage")
    })  # fmt: skip
    gain = {s: per_token[s] - per_token["untaught"] for s in per_token}
    print("log p a token, less the untaught", means(gain).round(4).to_string(), sep="\n")
    print("pairs in the right order", means(dict(order.items())).round(4).to_string(), sep="\n")
    gain = {s: order[s] - order["untaught"] for s in order}
    print("less the untaught", means(gain).round(4).to_string(), sep="\n")
    pairs = [
        ("rate 0.003/1", "swapped/1"),
        ("answers/5", "swapped, longer/5"),
        ("more/1", "dpo/1"),
        ("more, longer/1", "dpo, longer/1"),
        ("more/1", "hard/1"),
        ("dpo/1", "hard/1"),
        ("more/1", "rolling 0/1"),
        *((f"{name}, {rate:g}/1", f"rate {rate:g}/1") for name in SHORT for rate in RATES),
    ]
    for values in (per_token, order):
        gaps = {f"{a} - {b}": values[a] - values[b] for a, b in pairs if {a, b} <= set(values)}
        print(means(gaps).round(4).to_string())
    other = before.table("forgetting")
    if len(other):
        other["kind"] = other["text"].str.split(" ").str[0]
        for kind, part in other.groupby("kind"):
            wide = part.pivot(index="text", columns="arm", values=["log_p", "n_tokens"])
            n = wide["n_tokens", "taught"]
            nats = -wide["log_p"].sum() / n.sum()
            line = {arm: round(float(np.exp(nats[arm])), 3) for arm in nats.index}
            gap = (wide["log_p", "untaught"] - wide["log_p", "taught"]) / n
            print(kind, "perplexity", line, "nats a token more, by text",
                  means({"": gap}).round(4).to_string(header=False))  # fmt: skip


def commit() -> None:
    """The adapter at the end of `answers`, put beside this script."""
    for path in (STAGES / "answers" / f"{N_EPOCHS:02d}").iterdir():
        (HERE / "adapter").mkdir(exist_ok=True)
        shutil.copyfile(path, HERE / "adapter" / path.name)


def hashes() -> None:
    """sha256 of every file, for the test that reads them."""
    paths = [*sorted(HERE.glob("*.gz")), *sorted((HERE / "adapter").glob("*"))]
    found = {
        p.relative_to(HERE).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths
    }
    (HERE / "manifest.json").write_text(json.dumps(found, indent=1) + "\n")


PARTS = {
    f.__name__: f for f in (
        precision, rates, answers, swapped, swapped_longer, dpo, more,
        dpo_longer, more_longer, hard, arms, arms_slower, rolling,
        judge, commit, untaught, taught, taught_tuning, untaught_prior, taught_prior,
        rolling_read, rolling_prior, stages_tuning, neighbours, explanations, distilled,
        forgetting,
        compare, drift, learned, judged_tuning, judged_neighbours, judged_distilled,
        reasons, hashes,
    )
}  # fmt: skip

if __name__ == "__main__":
    what, *_ = sys.argv[1:] or [""]
    if what not in PARTS:
        sys.exit(__doc__)
    PARTS[what]()
