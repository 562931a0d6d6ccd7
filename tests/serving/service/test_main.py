"""The command line, and what is trained for `make demo`."""

import subprocess
import sys

import pytest

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.serving.service import Engine, Query, load_artefact, training
from recsys_tutorial.serving.service.__main__ import main, parse, settings_of
from recsys_tutorial.splits import rolling_split
from scripts.machine_speed import limit

WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("fastapi", "uvicorn", "prometheus_client", "starlette"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocked())
import recsys_tutorial.serving.service as service
from recsys_tutorial.serving.service import FeedbackStore, load_artefact  # need no server
try:
    service.create_app
except ImportError as error:
    print(error)
"""


def test_without_the_extra_the_rest_works_and_the_message_names_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True,
                          timeout=limit(120))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "the service needs fastapi, which comes with the extra `serve`: "
        "pip install 'recsys-tutorial[serve]'\n"
    )


def test_options_become_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_SERVICE_TOKEN", "secret")
    line = f"serve {tmp_path} --batch-size 8 --batch-wait 0.01 --index hnsw --host 0.0.0.0"
    found = settings_of(parse(line.split()))
    assert (found.folder, found.batch_size, found.batch_wait) == (tmp_path, 8, 0.01)
    assert found.index == "hnsw" and found.admin_token == "secret"
    assert "0.0.0.0" in found.hosts and "localhost" in found.hosts
    monkeypatch.delenv("RECSYS_SERVICE_TOKEN")
    assert settings_of(parse(["serve", "x", "--names", "a.example,b"])).hosts == ("a.example", "b")
    assert settings_of(parse(["serve", "x"])).admin_token is None


def test_a_bad_option_ends_with_one_line(capsys):
    assert main(["serve", "x", "--batch-size", "0"]) == 2
    error = capsys.readouterr().err
    assert error == "not started: batch_size must be finite and at least 1, got 0\n"


@pytest.fixture(scope="module")
def rolling():
    """The first films' ratings, in two windows."""
    ratings, items = load_movielens()
    ratings = ratings[ratings["item_id"] < 400]
    items = items[items["item_id"] < 400]
    return rolling_split(ratings, items, n_tuning=1, n_test=2)


def test_what_is_trained_is_the_leaderboards_model(rolling, tmp_path, monkeypatch):
    from recsys_tutorial.course import MODELS

    monkeypatch.setattr(training, "_text_vectors", lambda texts, say: None)
    said = []
    folders = training.train_artefacts(tmp_path, rolling, said.append)
    assert [folder.name for folder in folders] == list(training.VERSIONS)
    fit = MODELS["fading EASE"].fit()
    model = [fit(split) for split in rolling.test][-1]
    engine = Engine(load_artefact(folders[0]))
    likes = [3, 50, 120]
    ((columns, scores),) = engine.recommend([Query(likes, k=5)])
    history = rolling.test[-1].test.history[:1].tolil()
    history[0] = 0
    history[0, likes] = 1
    all_scores = model.score(history.tocsr())[0]
    assert sorted(scores, reverse=True) == pytest.approx(scores)
    assert all_scores[columns] == pytest.approx(scores)
    about = engine.artefact.about
    assert about["n_training_users"] == rolling.test[-1].train.shape[0]
    assert 0 < about["interval"][0] < about["ndcg@10"] < about["interval"][1] < 1

    # What is there stays; what is damaged is made anew.
    stamp = (folders[0] / "manifest.json").stat().st_mtime_ns
    (folders[1] / "model.safetensors").write_bytes(b"")
    said.clear()
    training.train_artefacts(tmp_path, rolling, said.append)
    assert [line for line in said if "training" in line] == [
        "training fading-als: 2 windows in time"
    ]
    assert (folders[0] / "manifest.json").stat().st_mtime_ns == stamp
    load_artefact(folders[1])
