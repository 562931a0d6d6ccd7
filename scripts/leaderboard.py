"""The leaderboard on data of your own: the models of `recsys_tutorial.course`, as set there.

    .venv/bin/python scripts/leaderboard.py ~/my-ratings       # a folder that load_movielens reads
    .venv/bin/python scripts/leaderboard.py 1m                 # or a release, downloaded once
    .venv/bin/python scripts/leaderboard.py ~/my-ratings --again

A row is written as soon as its model is judged, to ``_build/leaderboard-<name>.csv``: run the same
command again after an interruption, and it goes on. At the end a figure shows the rows beside the
course's own, ``_build/leaderboard-<name>.svg``. Nothing is tuned here: the question is whether what
was chosen on MovieLens holds elsewhere. A model that is a part of another row's, too, is fitted
once for both; its seconds count in either. Several models are judged at a time, each in a process
of its own with its share of the cores (``--workers``); the costliest begin first.

Every model of the course's leaderboard is there, except chapter 7's: a language model that reads
pairs of texts takes hours here. A model that these data do not allow is named with the reason, and
the others go on.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from functools import lru_cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from filelock import FileLock
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.backend import get_context
from scipy import sparse
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"
KEPT_BYTES = 2**30  # of scores that a model leaves for the row that it is a part of
sys.path.insert(0, str(ROOT))

from recsys_tutorial import leaderboard, plotting  # noqa: E402
from recsys_tutorial._files import whole  # noqa: E402
from recsys_tutorial.course import MODELS, CourseModel  # noqa: E402
from recsys_tutorial.datasets import load_movielens  # noqa: E402
from recsys_tutorial.evaluation import evaluate_rolling  # noqa: E402
from recsys_tutorial.models._threads import usable_cores  # noqa: E402
from recsys_tutorial.splits import Split, rolling_split  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Judge the models; 1 when the data cannot be read or split, or a model cannot read them."""
    parser = argparse.ArgumentParser(
        description="The course's leaderboard on other data, with the settings chosen here.",
        epilog="Chapter 7's reranker is left out: it takes hours.",
    )
    parser.add_argument(
        "data", help="a folder or archive with ratings, or a release: small, 1m ..."
    )
    parser.add_argument("--name", help="of the table; by default that of the folder")
    every = list(MODELS)
    help_models = f"only these of {', '.join(every)}"
    parser.add_argument(
        "--models", nargs="+", choices=every, metavar="MODEL", default=every, help=help_models
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="of a trained model (default: 1; the course has 3)"
    )
    parser.add_argument(
        "--workers", type=int, default=min(2, usable_cores()), help="processes (default: 2)"
    )
    parser.add_argument("--again", action="store_true", help="forget the rows that are there")
    parser.add_argument("--out", type=Path, default=ROOT / "_build", help="folder of the results")
    options = parser.parse_args(arguments)
    name = options.name or Path(options.data).expanduser().resolve().name.split(".")[0]
    if not re.fullmatch(r"[\w.-]+", name):
        parser.error(f"--name {name!r} cannot be part of a file's name: use letters and digits")
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    try:
        ratings, items = load_movielens(options.data, progress=True)
        windows = rolling_split(ratings, items).test
    except (OSError, ValueError) as error:
        print(f"leaderboard: {error}", file=sys.stderr)
        return 1
    n_users = sum(len(split.test) for split in windows)
    print(f"{name}: {len(ratings):,} ratings, {n_users:,} test users in {len(windows)} windows")
    if n_users < 300:
        print(f"{n_users} test users: differences below about 0.02 will not show", file=sys.stderr)
    path = options.out / f"leaderboard-{name}.csv"
    _begin(path, fingerprint(ratings), again=options.again)
    done, failed = set(leaderboard.load(path)["model"]), False
    for model in (model for model in options.models if model in done):
        print(f"{model}: there already (--again computes it anew)")
    left = [model for model in options.models if model not in done]
    for number, line in enumerate(_all_judged(left, windows, path, options), 1):
        failed |= line is None
        if line:
            print(f"{number}/{len(left)} {line}", flush=True)
    if not len(leaderboard.load(path)):
        return 1
    table = leaderboard.table(path=path)
    print(table.to_string())
    figure(table, leaderboard.load(path), name, path.with_suffix(".svg"))
    print(f"{path} and {path.with_suffix('.svg').name}")
    return int(failed)


def _all_judged(
    left: list[str], windows: Sequence[Split], path: Path, options: argparse.Namespace
) -> Iterator[str | None]:
    """Yield each row in words when it is written, None where these data do not allow a model."""
    parts: dict[str, list[str]] = {}  # what others hold, and those that hold it
    for model in left:
        parts.setdefault(MODELS[model].part or model, []).append(model)
    groups = list(parts.values())
    if options.workers == 1 or len(groups) < 2:
        for group in groups:
            for model, line, error in _judge_group(windows, group, path, options.seeds):
                yield _heard(model, line, error)
        return
    with processes(options.workers) as pool:
        # Later chapters' models cost more: nobody is left with one of them at the end.
        work = [(options.data, group, path, options.seeds) for group in reversed(groups)]
        for job in as_completed([pool.submit(_in_process, *arguments) for arguments in work]):
            for model, line, error in job.result():
                yield _heard(model, line, error)


@contextlib.contextmanager
def processes(n: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that read this file, also as the script; each has its share of the cores.

    The share stands in the environment, where libraries look for it before they start threads. The
    executor's own `env` does not reach processes of this context.
    """
    share = str(max(1, usable_cores() // n))
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, share))
    try:
        with ProcessPoolExecutor(n, context=get_context("loky_init_main")) as pool:
            yield pool
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _heard(model: str, line: str | None, error: str) -> str | None:
    if line is None:
        print(f"{model} cannot be computed on these data: {error}", file=sys.stderr)
    return line


def _judge_group(
    windows: Sequence[Split], group: list[str], path: Path, seeds: int | None
) -> Iterator[tuple[str, str | None, str]]:
    """Judge a model and then those that hold it; yield (model, row or None, what was wrong)."""
    heard = None
    for model in group:
        said = heard if MODELS[model].part == group[0] else None
        try:
            line, kept = judge(
                model, MODELS[model], windows, path, seeds, said, keep=model != group[-1]
            )
        except (ValueError, ArithmeticError) as error:
            yield model, None, str(error)
        else:
            heard = heard or kept
            yield model, line, ""


def _in_process(data: str, group: list[str], path: Path, seeds: int | None) -> list:
    return list(_judge_group(_windows(data), group, path, seeds))


@lru_cache(1)
def _windows(data: str) -> Sequence[Split]:
    """The test windows, read once in each process."""
    return rolling_split(*load_movielens(data)).test


def judge(
    name: str,
    model: CourseModel,
    windows: Sequence[Split],
    path: Path,
    seeds: int | None = None,
    said: Said | None = None,
    keep: bool = False,
) -> tuple[str, Said | None]:
    """Fit one model for each window and seed, and write its row.

    Parameters
    ----------
    said : what the row that this one's part is has said, if it was judged just now
    keep : bool, is what this model says asked for by another row?

    Returns
    -------
    str, the row in words; and what the model said, if it is to be kept and is not too much
    """
    results, n_seeds = [], min(model.n_seeds, seeds or model.n_seeds)
    n_fits = n_seeds * len(windows)
    begin = model.around(said.again) if said else model.begin
    n_scores = (
        n_seeds * sum(split.test.targets.shape[0] for split in windows) * len(windows[0].items)
    )
    kept = Said() if keep and 8 * n_scores <= KEPT_BYTES else None
    bar = tqdm(total=n_fits, desc=name, unit="fit", leave=False, disable=None)  # in a terminal only
    with bar, leaderboard.cost() as spent:
        for seed in range(n_seeds):
            fit = begin(seed)

            def counted(split: Split, fit=fit, seed=seed) -> object:
                fitted = fit(split)
                bar.update()
                return kept.listen(fitted, seed) if kept else fitted

            results.append(evaluate_rolling(counted, windows))
    seconds, peak_mb = spent.seconds, spent.peak_mb
    if kept:
        kept.cost, kept.ms_per_user = spent, [result.ms_per_user for result in results]
    if said:  # what the part took is this row's, too
        seconds, peak_mb = seconds + said.cost.seconds, max(peak_mb, said.cost.peak_mb)
        results = [
            dataclasses.replace(result, ms_per_user=result.ms_per_user + part)
            for result, part in zip(results, said.ms_per_user, strict=True)
        ]
    # Of one fit, ranking included: what a reader waits for.
    each = leaderboard.Cost(seconds / n_fits, peak_mb)
    with FileLock(path.with_suffix(".lock")):  # another process may have judged a model just now
        line = leaderboard.record(model.chapter, name, results, fitting=each, path=path, write=True)
    return line.rpartition(";")[0], kept


class Said:
    """The scores of one row's models, for the row that they are a part of.

    They wait in files that nobody else sees, in the order in which they were asked for.
    """

    def __init__(self) -> None:
        self._files: dict[int, list] = {}  # of a seed, one a window
        self.cost, self.ms_per_user = leaderboard.Cost(), []

    def listen(self, model: object, seed: int) -> Listening:
        """The same model, whose scores are written down."""
        file = tempfile.TemporaryFile()  # noqa: SIM115  open until the other row has read it
        self._files.setdefault(seed, []).append(file)
        return Listening(model, file)

    def again(self, seed: int) -> Callable[[Split], Repeating]:
        """What `CourseModel.around` takes: models that repeat what was said, window by window."""
        files = iter(self._files[seed])
        return lambda split: Repeating(next(files), split.test.targets.shape[0])


class Listening:
    """A fitted model, whose scores are written down."""

    def __init__(self, model: object, file) -> None:
        self.model, self.file = model, file
        self.reads_times = getattr(model, "reads_times", False)

    def score(self, *asked: sparse.csr_matrix) -> np.ndarray:
        """What the model says."""
        scores = self.model.score(*asked)
        np.save(self.file, scores)
        return scores


class Repeating:
    """What was written down of a window's users, who are asked in the same order."""

    def __init__(self, file, n_users: int) -> None:
        file.seek(0)
        blocks = [np.load(file)]
        while sum(map(len, blocks)) < n_users:
            blocks.append(np.load(file))
        self.scores, self.at = np.concatenate(blocks), 0

    def score(self, history: sparse.csr_matrix, times: sparse.csr_matrix | None = None):
        """What it said of the next users; ValueError beyond the last one."""
        if self.at + history.shape[0] > len(self.scores):
            raise ValueError(f"scores of {len(self.scores)} users were kept, more are asked for")
        self.at += history.shape[0]
        return self.scores[self.at - history.shape[0] : self.at]


def fingerprint(ratings: pd.DataFrame) -> str:
    """What tells these ratings from others, whatever the order of their rows."""
    hashes = pd.util.hash_pandas_object(ratings, index=False).sort_values()
    return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()


def figure(table: pd.DataFrame, rows: pd.DataFrame, name: str, path: Path) -> None:
    """Draw the models' NDCG@10 with intervals, here and on the course's data."""
    plotting.use_style()
    own = leaderboard.load()
    shown = [model for model in table["model"] if model in set(own["model"])]
    fig, axes = plt.subplots(1, 2, figsize=(9, 1.4 + 0.4 * len(shown)), sharey=True)
    for ax, frame, title in (
        (axes[0], rows, name),
        (axes[1], own, "the course's data"),
    ):
        part = frame.set_index("model").loc[shown, ["ndcg@10", "ndcg@10_low", "ndcg@10_high"]]
        plotting.intervals(part.set_axis(["mean", "low", "high"], axis=1), "NDCG@10", ax=ax)
        ax.set_title(title)
    with whole(path) as temporary:
        fig.savefig(temporary, format="svg")
    plt.close(fig)


def _begin(path: Path, data: str, *, again: bool) -> None:
    """Forget rows of other data: a table holds one set of users."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = path.with_suffix(".json")
    kept = state.exists() and json.loads(state.read_text("utf-8")).get("data") == data
    if again or not kept:
        if path.exists() and not again:
            print(f"{path.name} was of other data: begun anew", file=sys.stderr)
        for file in (path, path.with_name(f"{path.stem}_users.csv")):
            file.unlink(missing_ok=True)
        with whole(state) as temporary:
            temporary.write_text(json.dumps({"data": data}), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
