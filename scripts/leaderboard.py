"""The leaderboard on data of your own: the models of `recsys_tutorial.course`, as set there.

    .venv/bin/python scripts/leaderboard.py ~/my-ratings       # a folder that load_movielens reads
    .venv/bin/python scripts/leaderboard.py 1m                 # or a release, downloaded once
    .venv/bin/python scripts/leaderboard.py ~/my-ratings --again

A row is written as soon as its model is judged, to ``_build/leaderboard-<name>.csv``: run the same
command again after an interruption, and it goes on. At the end a figure shows the rows beside the
course's own, ``_build/leaderboard-<name>.svg``. Nothing is tuned here: the question is whether what
was chosen on MovieLens holds elsewhere. A model that is a part of another row's, too, is fitted
once for both; its seconds count in either.

Every model of the course's leaderboard is there, except chapter 7's: a language model that reads
pairs of texts takes hours here. A model that these data do not allow is named with the reason, and
the others go on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
KEPT_BYTES = 2**30  # of scores that a model leaves for the row that it is a part of
sys.path.insert(0, str(ROOT))

from recsys_tutorial import leaderboard, plotting  # noqa: E402
from recsys_tutorial._files import whole  # noqa: E402
from recsys_tutorial.course import MODELS, CourseModel  # noqa: E402
from recsys_tutorial.datasets import load_movielens  # noqa: E402
from recsys_tutorial.evaluation import evaluate_rolling  # noqa: E402
from recsys_tutorial.splits import Split, rolling_split  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Judge the models; 1 when the data cannot be read or split, or a model cannot read them."""
    parser = argparse.ArgumentParser(
        description="The course's leaderboard on other data, with the settings chosen here.",
        epilog="Chapter 7's reranker is left out: it takes hours. 100,000 ratings: about ten "
        "minutes a seed on one core of a busy machine.",
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
        "--seeds", type=int, help="at most so many of a trained model, for a first look (course: 3)"
    )
    parser.add_argument("--again", action="store_true", help="forget the rows that are there")
    parser.add_argument("--out", type=Path, default=ROOT / "_build", help="folder of the results")
    options = parser.parse_args(arguments)
    name = options.name or Path(options.data).expanduser().resolve().name.split(".")[0]
    if not re.fullmatch(r"[\w.-]+", name):
        parser.error(f"--name {name!r} cannot be part of a file's name: use letters and digits")
    if options.seeds is not None and options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
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
    asked = {MODELS[model].part for model in options.models if model not in done}
    said: dict[str, Said] = {}
    for number, model in enumerate(options.models, 1):
        if model in done:
            print(f"{model}: there already (--again computes it anew)")
            continue
        said = {part: said[part] for part in said if part == MODELS[model].part}
        try:
            line, heard = judge(
                model,
                MODELS[model],
                windows,
                path,
                options.seeds,
                said=said.get(MODELS[model].part),
                keep=model in asked,
            )
        except (ValueError, ArithmeticError) as error:
            print(f"{model} cannot be computed on these data: {error}", file=sys.stderr)
            failed = True
        else:
            said |= {model: heard} if heard else {}
            print(f"{number}/{len(options.models)} {line}", flush=True)
    if not len(leaderboard.load(path)):
        return 1
    table = leaderboard.table(path=path)
    print(table.to_string())
    figure(table, leaderboard.load(path), name, path.with_suffix(".svg"))
    print(f"{path} and {path.with_suffix('.svg').name}")
    return int(failed)


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
