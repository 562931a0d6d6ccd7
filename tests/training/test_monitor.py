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
    model.value_, model.not_fitted, model.n_items_ = np.zeros(2), np.zeros(2), 2
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
    bars = []

    def shown(**options):  # as in a terminal
        bars.append(tqdm(**options | {"disable": False, "file": io.StringIO()}))
        return bars[-1]

    monkeypatch.setattr("recsys_tutorial.training.monitor.tqdm", shown)
    monitor, seen = FitMonitor(linear(), 3, steps=4), []
    for iteration in monitor:
        seen.append(bars[0].n)
        if iteration == 2:
            monitor.advance(3)  # of 4: the last one is not told
            seen.append(bars[0].n)
        monitor.record(objective=1.0)
    assert seen == [0, 4, 7, 8] and bars[0].n == bars[0].total == 12
    assert bars[0].fp.getvalue().split("\r")[-2].isspace()  # it is wiped off when all is done

    later = FitMonitor(linear(), 5, steps=4)
    later.resume(monitor.progress(), None)
    for iteration in later:
        seen.append((iteration, bars[1].n))
        later.record(objective=1.0)
    assert seen[4:] == [(4, 12), (5, 16)] and bars[1].total == 20
    assert len(later.finish()) == 5


def scored(scores, patience):
    """What a monitor keeps of a model whose state is the number of the iteration."""

    class Model:
        state_ = np.zeros(1)

    model, values = Model(), iter(scores)
    monitor = FitMonitor(model, len(scores), validation=lambda m: next(values), patience=patience)
    for iteration in monitor:
        model.state_ = np.full(1, iteration)
        monitor.record()
    history = monitor.finish()
    return int(model.state_[0]), len(history)


@pytest.mark.parametrize(
    "scores, patience, best, run",
    [
        ([1.0, 2.0, 1.0, 9.0], 1, 2, 3),
        ([1.0, 2.0, 2.0, 1.0], 3, 2, 4),  # of equal ones the first
        ([2.0, 1.0, 1.0, 9.0], 2, 1, 3),
        ([-math.inf, -math.inf, 9.0], 1, 1, 2),
        ([-math.inf, 3.0, 4.0], 1, 3, 3),
    ],
)
def test_the_best_iteration_stays_and_patience_is_what_it_waits(scores, patience, best, run):
    assert scored(scores, patience) == (best, run)


def test_the_monitor_says_what_is_wrong():
    model = linear()
    with pytest.raises(ValueError, match="validation must be a function"):
        FitMonitor(model, 3, validation=0.5)
    monitor = FitMonitor(model, 3, validation=lambda m: math.nan)
    with pytest.raises(ValueError, match="validation returned nan in iteration 1"):
        monitor.record(objective=1.0)
    with pytest.raises(FloatingPointError, match="objective of Linear became inf in iteration 1"):
        monitor.record(objective=math.inf)
    with pytest.raises(ValueError, match="patience must be finite and at least 1, got 0"):
        FitMonitor(model, 3, patience=0)
    scores = iter([0.5, math.nan])
    monitor = FitMonitor(model, 3, validation=lambda m: next(scores))
    monitor.record(objective=1.0)
    with pytest.raises(FloatingPointError, match="became nan in iteration 2"):
        monitor.record(objective=math.nan)
    with pytest.raises(ValueError, match="validation returned nan in iteration 2"):
        monitor.record(objective=1.0)


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


@pytest.mark.parametrize("frozen", [False, True])
def test_a_weight_with_two_names_is_kept_once(frozen):
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight.requires_grad_(not frozen)
    assert set(model_state(model)) == (set() if frozen else {"a.weight"})
