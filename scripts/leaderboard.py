"""The leaderboard on data of your own: the models of `recsys_tutorial.course`, as set there.

    .venv/bin/python scripts/leaderboard.py ~/my-ratings       # a folder that load_movielens reads
    .venv/bin/python scripts/leaderboard.py 1m                 # or a release, downloaded once
    .venv/bin/python scripts/leaderboard.py ~/my-ratings --again

A row is written as soon as its model is judged, to ``_build/leaderboard-<name>.csv``: run the same
command again after an interruption, and it goes on. At the end a figure shows the rows beside the
course's own, ``_build/leaderboard-<name>.svg``. Nothing is tuned here: the question is whether what
was chosen on MovieLens holds elsewhere.

Every model of the course's leaderboard is there, except chapter 7's: a language model that reads
pairs of texts takes hours here. A model that these data do not allow is named with the reason, and
the others go on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
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
    for number, model in enumerate(options.models, 1):
        if model in done:
            print(f"{model}: there already (--again computes it anew)")
            continue
        try:
            line = judge(model, MODELS[model], windows, path, options.seeds)
        except (ValueError, ArithmeticError) as error:
            print(f"{model} cannot be computed on these data: {error}", file=sys.stderr)
            failed = True
        else:
            print(f"{number}/{len(options.models)} {line}", flush=True)
    if not len(leaderboard.load(path)):
        return 1
    table = leaderboard.table(path=path)
    print(table.to_string())
    figure(table, leaderboard.load(path), name, path.with_suffix(".svg"))
    print(f"{path} and {path.with_suffix('.svg').name}")
    return int(failed)


def judge(
    name: str, model: CourseModel, windows: Sequence[Split], path: Path, seeds: int | None = None
) -> str:
    """Fit one model for each window and seed, and write its row."""
    results, n_seeds = [], min(model.n_seeds, seeds or model.n_seeds)
    n_fits = n_seeds * len(windows)
    bar = tqdm(total=n_fits, desc=name, unit="fit", leave=False, disable=None)  # in a terminal only
    with bar, leaderboard.cost() as spent:
        for seed in range(n_seeds):
            fit = model.fit(seed)

            def counted(split: Split, fit=fit) -> object:
                fitted = fit(split)
                bar.update()
                return fitted

            results.append(evaluate_rolling(counted, windows))
    # Of one fit, ranking included: what a reader waits for.
    each = leaderboard.Cost(spent.seconds / n_fits, spent.peak_mb)
    line = leaderboard.record(model.chapter, name, results, fitting=each, path=path, write=True)
    return line.rpartition(";")[0]


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
        (axes[1], own, "MovieLens small, the course's"),
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
