"""Who gets which version: always the same ones, about the share, and back."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from recsys_tutorial.serving.service import ArtefactError, Deployment, Engine, in_candidate
from recsys_tutorial.serving.service.artefacts import load_artefact
from tests.serving.service.small import write_versions

USERS = [f"user-{number}" for number in range(20_000)]


def load(folder: Path) -> Engine:
    return Engine(load_artefact(folder))


@pytest.fixture
def make(tmp_path):
    write_versions(tmp_path, ["als", "ease", "popularity"])
    return lambda first=None: Deployment(
        tmp_path / "versions", tmp_path / "deployment.json", load, first
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_a_share_is_that_share(share):
    n = sum(in_candidate(user, share, "salt") for user in USERS)
    # five standard deviations of a binomial: one in two million, and the hash is fixed
    assert abs(n - share * len(USERS)) <= 5 * np.sqrt(share * (1 - share) * len(USERS))


def test_who_is_in_a_share_stays_in_a_larger_one():
    small, large = ({u for u in USERS if in_candidate(u, s, "a")} for s in (0.1, 0.3))
    assert small < large
    assert {u for u in USERS if in_candidate(u, 0.1, "a")} == small


def test_another_trial_deals_anew():
    first, second = ({u for u in USERS if in_candidate(u, 0.5, salt)} for salt in ("a", "b"))
    # independent halves share a quarter; the bound is five standard deviations
    assert abs(len(first & second) - 5000) <= 5 * np.sqrt(20_000 * 0.25 * 0.75)


def test_there_and_back(make):
    deployment = make("ease")
    engine, arm = deployment.engine_for("ann")
    assert (engine.artefact.name, arm) == ("ease", "stable")
    deployment.activate("als")
    assert deployment.engine_for("ann")[0].artefact.name == "als"
    assert engine.artefact.name == "ease"  # a request in work keeps what it was given
    deployment.roll_back()
    assert deployment.plan.stable == "ease" and deployment.plan.previous == "als"
    deployment.activate("ease")  # is on: nothing changes
    assert deployment.plan.previous == "als"


def test_a_trial_goes_to_its_share_and_ends(make):
    deployment = make("ease")
    deployment.try_out("als", 0.3)
    for user in USERS[:500]:
        engine, arm = deployment.engine_for(user)
        assert (arm == "candidate") == in_candidate(user, 0.3, "als")
        assert engine.artefact.name == ("als" if arm == "candidate" else "ease")
    assert deployment.engine_for(None)[1] == "stable"
    deployment.activate("als")  # the candidate won
    assert deployment.plan.candidate is None and deployment.plan.share == 0.0
    deployment.try_out("popularity", 1.0)
    assert deployment.engine_for("ann")[1] == "candidate"
    deployment.try_out(None)
    assert deployment.engine_for("ann")[1] == "stable"
    assert set(deployment.loaded) == {"als"}  # what nobody is given takes no memory


def test_a_restart_goes_on_with_the_same(make):
    first = make("ease")
    first.activate("popularity")
    first.try_out("als", 0.4)
    assert make().plan == first.plan


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda d: d.activate("none"), KeyError, "no version 'none': only als, ease, popularity"),
        (lambda d: d.activate("../als"), KeyError, "no version '../als'"),
        (lambda d: d.roll_back(), KeyError, "no version was on before"),
        (lambda d: d.try_out("als", 0.5), ArtefactError, "was changed"),
        (lambda d: d.activate("als"), ArtefactError, "was changed"),
        (lambda d: d.try_out("ease", 0.5), ValueError, "ease is the version that is on"),
    ],
)
def test_a_change_that_fails_changes_nothing(make, tmp_path, change, error, message):
    deployment = make("ease")
    path = tmp_path / "versions" / "als" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    before = deployment.plan
    with pytest.raises(error, match=message):
        change(deployment)
    assert deployment.plan == before
    assert deployment.engine_for("ann")[0].artefact.name == "ease"


def test_nothing_to_begin_with_is_said(tmp_path):
    with pytest.raises(ArtefactError, match="holds no version of a model: train one first"):
        Deployment(tmp_path / "versions", tmp_path / "deployment.json", load)
    write_versions(tmp_path)
    (tmp_path / "deployment.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"deployment\.json is damaged .* remove it"):
        Deployment(tmp_path / "versions", tmp_path / "deployment.json", load)


def test_no_reader_ever_sees_half_a_change(make):
    deployment, stop, wrong = make("ease"), threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                deployment.engine_for("ann")[0].artefact.name  # noqa: B018
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        deployment.activate("als")
        deployment.try_out("popularity", 0.5)
        deployment.activate("ease")
        deployment.try_out(None)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert json.loads(deployment._path.read_text())["stable"] == "ease"
