"""Chapter 16's attack on chapter 15's taught model, on one core; what is done is not done again.

    PYTHONPATH=. python data/trust/make_taught.py

The attacker has lessons as the model was taught with, and asks of each how likely the model finds
its answers, before teaching and after. Which lessons were read is known from the run's seed. The
adapters of the run's stages lie in the package's cache folder, where `data/teaching/make.py
answers` leaves them.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
from make import table

from recsys_tutorial.language import lesson_log_likelihoods, load_adapter

HERE = Path(__file__).parent
EPOCHS = {"untaught": 0, "answers/1": 1, "answers/5": 5}  # read until then
N_OTHERS, N_EACH, PART = 160, 4, 24


def chapter_15():
    """Its script as a module."""
    spec = importlib.util.spec_from_file_location("chapter_15", HERE.parent / "teaching/make.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["chapter_15"] = module
    spec.loader.exec_module(module)
    return module


teaching = chapter_15()


def read_in(epoch: int) -> np.ndarray:
    """Numbers of the lessons that an epoch of `answers` took, from 1."""
    drawn = np.random.default_rng([0, epoch]).permutation(len(teaching.lessons()))
    return drawn[: teaching.EPOCH]


@cache
def asked() -> list[tuple[int, int, object]]:
    """The first epoch that read a lesson (0: none, -1: of a user kept back), number, lesson.

    All of the first epoch, a quarter of each later one's, lessons of their users that none read,
    and up to four of each user kept back.
    """
    known, rng = teaching.lessons(), np.random.default_rng(17)
    first: dict[int, int] = {}
    for epoch in range(1, teaching.N_EPOCHS + 1):
        for number in read_in(epoch):
            first.setdefault(int(number), epoch)
    found = [(e, n, known[n]) for n, e in first.items() if e == 1 or rng.random() < 0.25]
    taught = {known[n].user_id for n in first}
    rest = [n for n, x in enumerate(known) if n not in first and x.user_id in taught]
    drawn = rng.permutation(rest)[:N_OTHERS]
    found += [(0, int(n), known[n]) for n in drawn]
    kept = teaching.lessons(kept=True)
    for user in teaching.kept_back():
        own = [n for n, x in enumerate(kept) if x.user_id == user]
        found += [(-1, int(n), kept[n]) for n in rng.permutation(own)[:N_EACH]]
    return [found[n] for n in rng.permutation(len(found))]


@cache
def model_of(stage: str):
    if stage == "untaught":
        return teaching.untaught_model()
    one, (run, epoch) = teaching.language_model(), stage.split("/")
    load_adapter(one, teaching.STAGES / run / f"{int(epoch):02d}")
    return one


def membership(stage: str, part: int) -> list[dict]:
    some = asked()[part * PART : (part + 1) * PART]
    values = lesson_log_likelihoods(model_of(stage), [x for _, _, x in some])
    count = teaching.untaught_model().tokens
    return [
        {"read_in": epoch, "lesson": number, "user_id": x.user_id, "log_p": float(np.sum(v)),
         "n_tokens": sum(len(count(end)) for end in x.answers)}
        for (epoch, number, x), v in zip(some, values, strict=True)
    ]  # fmt: skip


if __name__ == "__main__":
    tokens = np.array([teaching.n_tokens(x) for x in teaching.lessons()])
    print("tokens read by epoch", [int(tokens[read_in(e)].sum()) for e in range(1, 6)], flush=True)
    parts = range(-(-len(asked()) // PART))
    units = [(stage, part) for part in parts for stage in EPOCHS]
    table("membership_taught.csv.gz", ["stage", "part"], units, membership)
