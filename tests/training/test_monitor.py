"""The monitor of a fit: the best state stays, and bad numbers are named."""

import io
import math

import numpy as np
import pytest
import torch
from torch import nn
from tqdm import tqdm

from recsys_tutorial.training.monitor import FitMonitor, model_state, restore_state
from tests.training.problem import linear


def test_the_monitor_serves_models_of_arrays():
    class Model:
        pass

    model = Model()
    model.value_, model.not_fitted = np.zeros(2), np.zeros(2)
    scores = iter([1.0, 3.0, 2.0, 2.0])
    monitor = FitMonitor(model, 10, validation=lambda m: next(scores), patience=2)
    for iteration in monitor:
        model.value_ = np.full(2, iteration)
        model.not_fitted = np.full(2, iteration)
        monitor.record(objective=1.0 / iteration)
    history = monitor.finish()
    assert history["validation"].tolist() == [1.0, 3.0, 2.0, 2.0]
    assert history.index.tolist() == [1, 2, 3, 4] and history.index.name == "iteration"
    assert model.value_.tolist() == [2, 2] and model.not_fitted.tolist() == [4, 4]


def test_the_bar_counts_steps_whether_they_are_told_or_not(monkeypatch):
    def shown(**options):  # as in a terminal
        return tqdm(**options | {"disable": False, "file": io.StringIO()})

    monkeypatch.setattr("recsys_tutorial.training.monitor.tqdm", shown)
    monitor, seen = FitMonitor(linear(), 3, steps=4), []
    for iteration in monitor:
        seen.append(monitor._bar.n)
        if iteration == 2:
            monitor.advance(3)  # of 4: the last one is not told
        monitor.record(objective=1.0)
    assert seen == [0, 4, 8] and monitor._bar.n == 12


def test_the_monitor_says_what_is_wrong():
    model = linear()
    with pytest.raises(ValueError, match="validation must be a function"):
        FitMonitor(model, 3, validation=0.5)
    monitor = FitMonitor(model, 3, validation=lambda m: math.nan)
    with pytest.raises(ValueError, match="validation returned nan in iteration 1"):
        monitor.record(objective=1.0)
    with pytest.raises(FloatingPointError, match="objective of Linear became inf in iteration 1"):
        monitor.record(objective=math.inf)


def test_the_state_is_a_copy_of_what_training_changes():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    state = model_state(model)
    assert "0.weight" not in state and {"0.bias", "1.running_mean"} <= set(state)
    before = state["0.bias"].clone()
    with torch.no_grad():
        model[0].bias += 1
    assert torch.equal(state["0.bias"], before)
    restore_state(model, state)
    assert torch.equal(model[0].bias, before)
