"""Killed and resumed runs against uninterrupted ones; checkpoints that must be refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from recsys_tutorial._files.tensors import load_tensors, save_tensors
from recsys_tutorial.training import train
from recsys_tutorial.training.checkpoints import Checkpoint
from recsys_tutorial.training.monitor import FitMonitor
from scripts.machine_speed import limit
from tests.training import training_script
from tests.training.problem import HERE, environment, linear, parameters, squared_error


def killed(folder: Path, kill: str) -> None:
    command = [sys.executable, str(HERE / "training_script.py"), str(folder), kill]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=limit(120)
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (folder / "result.npz").exists()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    command = [sys.executable, str(HERE / "training_script.py"), str(folder)]
    subprocess.run(command, env=environment(), check=True, timeout=limit(120))
    return dict(np.load(folder / "result.npz"))


def test_killed_and_resumed_gives_the_same_result(tmp_path, uninterrupted):
    """SIGKILL before the first checkpoint, within epochs, at an epoch's end, while writing."""
    steps = []
    for kill in ("step:1", "step:4", "write:1", "step:3", "write:3", "step:7"):
        killed(tmp_path, kill)
        path = tmp_path / "checkpoint.safetensors"
        steps.append(load_tensors(path, "a training checkpoint")[1]["step"] if path.exists() else 0)
    assert steps == sorted(steps) and steps[0] == 0 and 0 < steps[2] < steps[-1] < 30, steps
    command = [sys.executable, str(HERE / "training_script.py"), str(tmp_path)]
    subprocess.run(command, env=environment(), check=True, timeout=limit(120))
    resumed = np.load(tmp_path / "result.npz")
    assert set(resumed) == set(uninterrupted)
    for name, value in uninterrupted.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_killed_from_outside_at_any_time(tmp_path, uninterrupted):
    command = [sys.executable, str(HERE / "training_script.py"), str(tmp_path)]
    for seconds in (0.0, 0.02):  # after the first checkpoint is there
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
        until = time.monotonic() + limit(60)
        while not list(tmp_path.glob("*.safetensors")) and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(seconds)
        process.kill()
        process.wait()
    subprocess.run(command, env=environment(), check=True, timeout=limit(120))
    resumed = np.load(tmp_path / "result.npz")
    for name, value in uninterrupted.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_a_finished_run_returns_at_once(tmp_path):
    first = training_script.run(tmp_path)
    second = training_script.run(tmp_path, "step:1")  # would be killed by a single step
    assert all(np.array_equal(first[name], second[name]) for name in first)


def alone(**options):
    """What a checkpoint asks of an Accelerator."""
    return SimpleNamespace(
        **{"is_main_process": True, "scaler": None, "wait_for_everyone": lambda: None} | options
    )


def checkpoint(path, accelerator=None, model=None):
    model = linear() if model is None else model
    optimizer = torch.optim.Adam(model.parameters())
    return Checkpoint(path, model, optimizer, FitMonitor(model, 3), accelerator or alone(), {})


def test_a_run_without_a_file_begins_at_the_first_step_and_writes_nothing():
    fresh = checkpoint(None)
    fresh.resume()
    fresh.save()
    assert (fresh.step, fresh.loss_sum) == (0, 0.0)
    assert train(linear(), squared_error, 30, epochs=2).shape == (2, 2)


def test_the_main_process_writes_and_all_wait_until_all_have_read(tmp_path):
    path, seen = tmp_path / "checkpoint", []

    def wait():
        seen.append((other.step, path.exists()))

    other = checkpoint(path, alone(is_main_process=False, wait_for_everyone=wait))
    other.save()
    other.resume()
    main = checkpoint(path)
    main.step = 7
    main.save()
    other.resume()
    assert seen == [(0, False), (7, True)]


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
def test_averages_go_to_where_the_weights_are_and_the_count_of_steps_does_not(tmp_path):
    path = tmp_path / "checkpoint"
    on_cpu = checkpoint(path)
    squared_error(on_cpu.model, range(30), None).backward()
    on_cpu.optimizer.step()
    on_cpu.save()
    elsewhere = checkpoint(path, model=linear().to("meta"))  # a device that every machine has
    elsewhere.resume()
    for state in elsewhere.optimizer.state.values():
        assert state["exp_avg"].device.type == state["exp_avg_sq"].device.type == "meta"
        assert state["step"].device.type == "cpu" and state["step"].item() == 1
    assert len(elsewhere.optimizer.state) == 2


def test_a_run_that_was_stopped_before_its_first_validation_has_no_best_state(tmp_path):
    path, steps, states = tmp_path / "checkpoint", [], []

    def loss(model, rows, rng):
        steps.append(rows)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return squared_error(model, rows, rng)

    def validation(model):
        states.append(parameters(model).clone())
        return -float(len(states))  # the first epoch is the best one

    options = {"epochs": 2, "batch_size": 6, "checkpoint": path, "checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        train(linear(), loss, 30, validation=validation, **options)
    model = linear()
    train(model, loss, 30, validation=validation, **options)
    assert (parameters(model) == states[0]).all() and not (states[0] == states[1]).all()


def test_early_stopping_survives_a_resume(tmp_path):
    scores = {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.3, 5: 0.2, 6: 0.9}

    def run(path, stop_after=None):
        model, epochs = linear(), []

        def validation(model):
            epochs.append(len(epochs) + 1)
            if stop_after == len(epochs):
                raise KeyboardInterrupt
            return scores[len(epochs) + done]

        done = 0
        if path.exists():
            done = len(load_tensors(path, "a training checkpoint")[1]["monitor"]["rows"])
        options = {"epochs": 6, "validation": validation, "patience": 3, "checkpoint": path}
        return model, train(model, squared_error, 30, **options)

    expected, whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop_after=4)
    model, history = run(tmp_path / "parts")
    assert len(whole) == 5
    pd.testing.assert_frame_equal(history, whole)
    assert (parameters(model) == parameters(expected)).all()


# -- what is refused


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(linear(), squared_error, 30, epochs=2, checkpoint=path)
    for options, message in [
        ({"epochs": 3}, "its epochs is 2, not 3. Delete it to start anew"),
        ({"epochs": 2, "batch_size": 5}, "its steps per epoch is 1, not 6"),
        ({"epochs": 2, "learning_rate": 0.1}, "its learning_rate is 0.001, not 0.1"),
        ({"epochs": 2, "seed": 1}, "its seed is 0, not 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(linear(), squared_error, 30, checkpoint=path, **options)
    with pytest.raises(ValueError, match=r"its shape of weight is \[1, 4\], not \[1, 5\]"):
        train(nn.Linear(5, 1).double(), squared_error, 30, epochs=2, checkpoint=path)


def test_settings_may_be_numpy_numbers(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    options = {"epochs": 1, "learning_rate": np.float32(0.5), "checkpoint": path}
    first = train(linear(), squared_error, 30, **options)
    pd.testing.assert_frame_equal(train(linear(), squared_error, 30, **options), first)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(linear(), squared_error, 30, epochs=1, checkpoint=path)
    whole = path.read_bytes()

    def again(message):
        with pytest.raises(ValueError, match=message):
            train(linear(), squared_error, 30, epochs=1, checkpoint=path)

    path.write_bytes(whole[:-10])
    again("is damaged or no safetensors file")
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again("its tensors do not match their checksum")
    path.write_bytes(b"")
    again("is damaged")
    save_tensors(path, {"a": torch.zeros(1)}, {"kind": "a two-tower model"})
    again("holds a two-tower model, not a training checkpoint")


def test_no_pickle_and_nothing_temporary_is_left(tmp_path):
    train(linear(), squared_error, 30, epochs=2, checkpoint=tmp_path / "run" / "checkpoint")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["checkpoint"]
    content = (tmp_path / "run" / "checkpoint").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert any(name.startswith("optimizer/exp_avg_sq/") for name in header)
