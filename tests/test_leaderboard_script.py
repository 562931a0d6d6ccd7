"""`make leaderboard`: any ratings, resumable, and a clear word where the data are bad."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_tutorial import leaderboard
from recsys_tutorial.course import MODELS, _contrastive
from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.evaluation import evaluate_rolling, full_ranking
from recsys_tutorial.models._threads import usable_cores
from recsys_tutorial.splits import rolling_split
from recsys_tutorial.training import loop
from scripts.leaderboard import Said, main, processes

ROOT = Path(__file__).resolve().parents[1]
FEW = ["--models", "fading popularity", "popularity", "fading EASE"]
# One of each kind that goes on from window to window, and the cheapest control.
TRAINED = [
    "fading popularity",
    "BPR",
    "dot product, 200 reranked",
    "target attention, 200 reranked",
    "InfoNCE two-tower",
    "fading EASE + BERT kernel + InfoNCE two-tower",
    "two-tower on one text + ID",
]


def write(folder, ratings, items):
    folder.mkdir()
    names = {"user_id": "userId", "item_id": "movieId"}
    ratings.rename(columns=names).to_csv(folder / "ratings.csv", index=False)
    movies = items.rename(columns=names)[["movieId", "title", "genres"]]
    movies.to_csv(folder / "movies.csv", index=False)
    return folder


def two_tastes(n_users=120, n_items=40, n_each=12):
    """Everybody likes films of one half of the catalogue; the halves are equally liked."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(n_users):
        liked = rng.permutation(n_items // 2)[:n_each] + (user % 2) * n_items // 2
        times = 10**9 + 86400 * user + np.arange(n_each)
        rows.append(pd.DataFrame({"user_id": user + 1, "item_id": liked + 1, "rating": 5.0,
                                  "timestamp": times}))  # fmt: skip
    items = pd.DataFrame({"item_id": np.arange(n_items) + 1, "genres": "Drama"})
    items["title"] = [f"Film {i} (2000)" for i in items["item_id"]]
    return pd.concat(rows, ignore_index=True), items


def test_planted_tastes_are_found_and_the_second_run_goes_on(tmp_path, capsys):
    data = write(tmp_path / "tastes", *two_tastes())
    out = tmp_path / "out"
    assert main([str(data), "--out", str(out), "--workers", "1", *FEW[:2]]) == 0
    assert "66 test users" in capsys.readouterr().out
    assert main([str(data), "--out", str(out), *FEW]) == 0
    printed = capsys.readouterr().out
    assert printed.count("there already") == 1 and "popularity: ndcg@10" in printed
    path = out / "leaderboard-tastes.csv"
    rows = leaderboard.load(path).set_index("model")
    assert rows.loc["fading EASE", "ndcg@10"] > 0.5 > 0.4 > rows.loc["popularity", "ndcg@10"]
    assert rows.loc["fading EASE", "minus_fading_popularity_low"] > 0
    assert path.with_suffix(".svg").read_text().startswith("<?xml")
    assert len(leaderboard.load_users(path)) == 66


def test_the_script_judges_two_models_at_a_time(tmp_path):
    """As a program, whose functions the processes cannot ask the module `__main__` for."""
    data = write(tmp_path / "tastes", *two_tastes())
    command = [sys.executable, "scripts/leaderboard.py", str(data), "--out", str(tmp_path)]
    command += ["--workers", "2", *FEW[:3]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(leaderboard.load(tmp_path / "leaderboard-tastes.csv")) == 2


def test_processes_share_the_cores(monkeypatch):
    """Two with as many threads as cores each would wait for each other, many times over."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with processes(usable_cores()) as pool:
        threads = pool.submit(torch.get_num_threads).result()
    assert threads == 1
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.usefixtures("one_thread")
def test_models_that_go_on_from_window_to_window_find_the_planted_tastes(tmp_path, capsys):
    data = write(tmp_path / "tastes", *two_tastes(72))
    out = ["--out", str(tmp_path), "--seeds", "1", "--workers", "1"]
    assert main([str(data), *out, "--models", *TRAINED]) == 0
    rows = leaderboard.load(tmp_path / "leaderboard-tastes.csv").set_index("model")
    assert (rows["n_seeds"] == 1).all()
    found = rows.loc[TRAINED, "ndcg@10"]
    # All genres are the same, and no half of the films is the more popular one.
    assert found.iloc[1:].min() > 0.45 > 0.35 > found.iloc[0]


@pytest.mark.usefixtures("one_thread")
def test_a_part_is_fitted_once_for_the_rows_that_hold_it(tmp_path, monkeypatch):
    """With the part's row before it, and alone, a model says the same and costs both fits."""
    data, fitted = write(tmp_path / "tastes", *two_tastes(72)), []
    train = loop.train
    monkeypatch.setattr(loop, "train", lambda *a, **k: fitted.append(a) or train(*a, **k))
    monkeypatch.setattr(_contrastive, "train", loop.train)
    monkeypatch.setattr(full_ranking, "_BLOCK_BYTES", 8 * 40 * 3)  # three users at a time
    part, whole = TRAINED[4:6]
    assert MODELS[whole].part == part
    rows, n_fits = {}, {}
    for out, models in (("both", [part, whole]), ("alone", [whole])):
        command = ["--out", str(tmp_path / out), "--seeds", "1", "--workers", "1", "--models"]
        command += ["fading EASE", *models]
        fitted.clear()
        assert main([str(data), *command]) == 0
        rows[out] = leaderboard.load(tmp_path / out / "leaderboard-tastes.csv").set_index("model")
        n_fits[out] = len(fitted)
    assert n_fits["both"] == n_fits["alone"] > 0
    both, alone = rows["both"].loc[whole], rows["alone"].loc[whole]
    assert both["ndcg@10"] == pytest.approx(alone["ndcg@10"], abs=1e-9)
    assert both["minus_fading_EASE_low"] == pytest.approx(alone["minus_fading_EASE_low"], abs=1e-9)
    for column in ("train_seconds", "ms_per_user", "peak_mb"):
        assert both[column] >= rows["both"].loc[part, column]


def test_rows_that_hold_another_name_it():
    parts = {name: model.part for name, model in MODELS.items() if model.part}
    assert len(parts) == 4
    for name, part in parts.items():
        order = list(MODELS)
        assert order.index(name) == order.index(part) + 1  # scores are kept for the next row only
        assert MODELS[name].n_seeds == MODELS[part].n_seeds


def test_a_model_that_the_data_do_not_allow_is_named_and_the_others_go_on(tmp_path, capsys):
    ratings, items = two_tastes()
    items["title"] = "1"  # no word to count
    data = write(tmp_path / "wordless", ratings, items)
    models = ["fading popularity", "TF-IDF content", "fading EASE"]
    assert main([str(data), "--out", str(tmp_path), "--models", *models]) == 1  # two processes
    assert "TF-IDF content cannot be computed on these data: " in capsys.readouterr().err
    rows = leaderboard.load(tmp_path / "leaderboard-wordless.csv")
    assert set(rows["model"]) == {"fading popularity", "fading EASE"}


def test_other_data_of_the_same_name_begin_anew(tmp_path, capsys):
    ratings, items = two_tastes()
    out = str(tmp_path / "out")
    arguments = ["--out", out, "--name", "mine", "--models", "popularity"]
    assert main([str(write(tmp_path / "a", ratings, items)), *arguments]) == 0
    assert (
        main([str(write(tmp_path / "b", ratings[ratings["user_id"] > 20], items)), *arguments]) == 0
    )
    heard = capsys.readouterr()
    assert "was of other data" in heard.err and "there already" not in heard.out
    shuffled = ratings[ratings["user_id"] > 20].sample(frac=1.0, random_state=0)
    assert main([str(write(tmp_path / "c", shuffled, items)), *arguments]) == 0
    assert "there already" in capsys.readouterr().out


def test_half_of_the_users_say_what_all_say(tmp_path, capsys):
    ratings, items = load_movielens()
    users = ratings["user_id"].unique()
    half = np.random.default_rng(0).permutation(users)[: len(users) // 2]
    data = write(tmp_path / "half", ratings[ratings["user_id"].isin(half)], items)
    assert main([str(data), "--out", str(tmp_path), *FEW]) == 0
    assert "will not show" in capsys.readouterr().err  # few users
    found = leaderboard.load(tmp_path / "leaderboard-half.csv").set_index("model")["ndcg@10"]
    assert found["fading EASE"] > found["popularity"]
    assert (found - 0.18).abs().max() < 0.06


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ("userId,movieId,rating,timestamp\n1,1,9.0,5\n", "rating"),
        ("userId,movieId,rating,timestamp\n1,1,4.0,5\n", "cannot be dealt into"),
        ("userId,movieId\n1,1\n", "rating"),
    ],
)
def test_bad_data_are_named_and_leave_nothing(tmp_path, capsys, ratings, message):
    folder = write(tmp_path / "bad", *two_tastes(2))
    (folder / "ratings.csv").write_text(ratings)
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("leaderboard: ") and message in error
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_not_there(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 1
    assert "neither a release" in capsys.readouterr().err


def test_every_row_of_the_course_can_be_computed():
    """Chapter 7's reranker apart, as the script says."""
    rows = leaderboard.load().set_index("model")
    assert set(rows.index[rows["chapter"] != 7]) == set(MODELS)
    for name, model in MODELS.items():
        assert (rows["chapter"][name], rows["n_seeds"][name]) == (model.chapter, model.n_seeds)


@pytest.fixture(scope="module")
def windows():
    return rolling_split(*load_movielens()).test


@pytest.fixture(scope="module")
def heard():
    """What a row's model said, for the row that it is a part of."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_settings_are_those_that_the_chapters_chose(name, windows, heard):
    """Models without a seed on all windows, trained ones on the first two."""
    model, seeded = MODELS[name], MODELS[name].n_seeds > 1
    fit = (model.around(heard[model.part].again) if model.part in heard else model.begin)(0)
    if any(other.part == name for other in MODELS.values()):
        heard[name], alone = Said(), fit
        fit = lambda split: heard[name].listen(alone(split), 0)  # noqa: E731
    part = windows[:2] if seeded else windows
    found = evaluate_rolling(fit, part).values("ndcg@10")
    row = leaderboard.load_users()[name].loc[found.index]
    # Another setting moves it by more; one seed of a trained model lies near the mean of three: for
    # BPR, whose seeds have .170, .156 and .161 in these two windows, less near, SASRec, which has
    # .126, .111 and .119 there, and the decoder with .144, .142 and .153.
    spread = {"BPR": 1e-2, "SASRec": 1.2e-2, "decoder of text codes": 1.2e-2}
    spread = spread.get(name, 6e-3)
    assert abs(found.mean() - row.mean()) < (spread if seeded else 5e-4)
