"""Several workers say what one process says, also when one of them is killed half-way."""

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.losses import info_nce
from recsys_tutorial.models import EASE
from recsys_tutorial.ranking import rank
from recsys_tutorial.splits import Holdout

pytest.importorskip("ray")

from recsys_tutorial import scale, training

pytestmark = pytest.mark.slow
TEXTS = [f"a {n} of {n * n % 97}" for n in range(1003)]


@pytest.fixture(scope="module", autouse=True)
def workers():
    with scale.cluster(workers=2, store_bytes=2**27):
        yield


def die_once(marker):
    """Kill this process the first time that anybody comes here."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Letters:
    """An encoder: how often each of 26 letters and 10 digits is in a text."""

    def __init__(self, marker=None):
        self.marker = marker

    def encode(self, texts):
        if self.marker and texts[0] == TEXTS[400]:
            die_once(self.marker)
        signs = "abcdefghijklmnopqrstuvwxyz0123456789"
        return np.array([[text.count(sign) for sign in signs] for text in texts], dtype=float)


@pytest.mark.parametrize("kill", [False, True])
def test_vectors_are_those_of_one_process_also_when_a_worker_is_killed(kill, tmp_path):
    marker = tmp_path / "killed" if kill else None
    vectors = scale.encode(TEXTS, partial(Letters, marker), tmp_path / "v", block=100)
    assert vectors.dtype == np.float32 and not vectors.flags.writeable
    np.testing.assert_array_equal(vectors, Letters().encode(TEXTS).astype(np.float32))
    assert not kill or marker.exists()
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == ["run.json", "vectors.npy"]


class Never:
    """Stands for an encoder that must not be asked."""

    def encode(self, texts):
        raise AssertionError("this was encoded before")


def test_what_is_there_is_not_encoded_again(tmp_path):
    first = np.array(scale.encode(TEXTS, Letters, tmp_path, block=300))
    np.testing.assert_array_equal(scale.encode(TEXTS, Never, tmp_path, block=300), first)
    with pytest.raises(ValueError, match="begun with other texts"):
        scale.encode(TEXTS[::-1], Letters, tmp_path, block=300)
    with pytest.raises(ValueError, match="no texts"):
        scale.encode([], Letters, tmp_path / "none")


def test_a_broken_run_goes_on_with_the_blocks_that_are_missing(tmp_path):
    class Fails(Letters):
        def encode(self, texts):
            if texts[0] == TEXTS[900]:
                raise OSError("the disk is full")
            return super().encode(texts)

    with pytest.raises(Exception, match="the disk is full"):
        scale.encode(TEXTS, Fails, tmp_path, block=100)
    there = {p.name for p in (tmp_path / "blocks").glob("*.npy")}
    assert 0 < len(there) < 11 and f"{900:012d}.npy" not in there
    vectors = scale.encode(TEXTS, Letters, tmp_path, block=100)
    np.testing.assert_array_equal(vectors, Letters().encode(TEXTS).astype(np.float32))


@pytest.fixture(scope="module")
def likes():
    rng = np.random.default_rng(0)
    dense = rng.random((530, 60)) < np.linspace(0.02, 0.3, 60)
    return sparse.csr_matrix(dense.astype(float))


class Dies:
    """A model whose worker is killed once, at a block in the middle."""

    def __init__(self, model, marker):
        self.model, self.marker = model, marker

    def score(self, history):
        if history.shape[0] == 30:  # the last block
            die_once(self.marker)
        return self.model.score(history)


@pytest.mark.parametrize("kill", [False, True])
def test_lists_are_those_of_one_process(kill, likes, tmp_path):
    model = EASE(20).fit(likes)
    asked = Dies(model, tmp_path / "killed") if kill else model
    found = scale.rank_users(lambda: asked, likes, k=7, block=100)
    np.testing.assert_array_equal(found, rank(model.score(likes), likes, 7))
    assert (tmp_path / "killed").exists() == kill


def test_a_model_that_reads_times_gets_them_and_shapes_are_checked(likes):
    class Late:
        reads_times = True

        def score(self, history, times):
            return times.toarray()

    times = likes.copy()
    times.data = np.random.default_rng(1).permutation(len(times.data)).astype(float)
    nothing = sparse.csr_matrix(likes.shape)
    found = scale.rank_users(Late, likes, k=3, seen=nothing, times=times, block=200)
    np.testing.assert_array_equal(found, rank(times.toarray(), None, 3))
    with pytest.raises(ValueError, match="times has shape"):
        scale.rank_users(Late, likes, times=times[:5])


def test_an_evaluation_is_that_of_one_process(likes):
    rng = np.random.default_rng(2)
    hidden = likes.multiply(rng.random(likes.shape) < 0.5).tocsr()
    hidden.eliminate_zeros()
    shown = (likes - hidden).tocsr()
    shown.eliminate_zeros()
    both = np.flatnonzero((np.diff(shown.indptr) > 0) & (np.diff(hidden.indptr) > 0))
    shown, hidden = shown[both], hidden[both]
    holdout = Holdout(both.astype(np.int64), shown, shown, shown, hidden)
    model = EASE(20).fit(likes)
    found, expected = scale.evaluate(lambda: model, holdout, block=150), evaluate(model, holdout)
    np.testing.assert_array_equal(found.ranked, expected.ranked)
    assert found.per_user.index.equals(expected.per_user.index)
    assert list(found.per_user) == list(expected.per_user)
    np.testing.assert_allclose(found.per_user, expected.per_user, rtol=0, atol=1e-12)
    assert found.ms_per_user > 0


X = np.random.default_rng(3).normal(size=(48, 6))


def begin(marker=None):
    """Two linear towers that are to tell 48 pairs apart."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"u": torch.nn.Linear(6, 4), "v": torch.nn.Linear(6, 4)}).double()
    x, calls = torch.from_numpy(X), []

    def loss(model, rows, rng):
        calls.append(rows)
        if marker and len(calls) == 9:
            die_once(marker)
        every = training.gather_rows
        z, v = every(model["u"](x[rows])), every(model["v"](x[rows] ** 2))
        return info_nce(z, v, temperature=0.5)

    return model, loss


SETTINGS = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05, "checkpoint_every": 2}


@pytest.mark.parametrize("kill", [False, True])
def test_a_training_ends_where_one_process_does(kill, tmp_path):
    alone, loss = begin()
    expected = training.train(alone, loss, len(X), **SETTINGS)
    marker = str(tmp_path / "killed") if kill else None
    model, history = scale.train(partial(begin, marker), len(X), tmp_path / "run", **SETTINGS)
    assert Path(tmp_path / "killed").exists() == kill
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=1e-6)
    np.testing.assert_allclose(history["loss"], expected["loss"], atol=1e-6)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_the_cluster_file_is_one_that_ray_reads():
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    path = Path(__file__).parents[2] / "scripts" / "cluster.yaml"
    config = prepare_config(yaml.safe_load(path.read_text("utf-8")))
    validate_config(config)
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
