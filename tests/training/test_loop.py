"""The training loop against a hand-written one, bad numbers, precision, several processes."""

import contextlib
import io
import itertools
import math
import operator
import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from tqdm import tqdm

from recsys_tutorial._files.tensors import load_tensors
from recsys_tutorial.training import train, warmup_cosine
from recsys_tutorial.training.monitor import model_state
from scripts.machine_speed import limit
from tests.training import distributed_script
from tests.training.problem import HERE, X, Y, environment, linear, parameters, squared_error


def test_equals_a_loop_written_by_hand():
    """AdamW, warm-up and cosine, clipping; decay on matrices only."""
    model, order = linear(), []
    options = {"epochs": 4, "batch_size": 7, "learning_rate": 0.05, "weight_decay": 0.5}

    def loss(model, rows, rng):
        assert model.training
        order.append(rows)
        return squared_error(model, rows, rng)

    history = train(model, loss, 30, warmup=0.25, clip_norm=0.8, **options)

    by_hand = linear()
    decayed, plain = [by_hand.weight], [by_hand.bias]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.5}, {"params": plain, "weight_decay": 0.0}], lr=0.05
    )
    losses = []
    assert len(order) == 20
    for step, rows in enumerate(order):
        rate = (step + 1) / 5 if step < 5 else 0.5 * (1 + math.cos(math.pi * (step - 5) / 15))
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * rate
        optimizer.zero_grad()
        value = squared_error(by_hand, rows, None)
        value.backward()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in by_hand.parameters()))
        for p in by_hand.parameters():
            p.grad *= min(1.0, 0.8 / (norm + 1e-6))
        optimizer.step()
        losses.append(value.item())
    assert torch.allclose(parameters(model), parameters(by_hand), rtol=1e-12)
    assert np.allclose(history["loss"], np.reshape(losses, (4, 5)).mean(1), rtol=1e-12)
    assert history.index.tolist() == [1, 2, 3, 4]
    assert history["learning_rate"].iloc[-1] == pytest.approx(0.05 * warmup_cosine(19, 20, 0.25))


def test_every_example_once_per_epoch_in_another_order():
    seen = []

    def loss(model, rows, rng):
        seen.append(rows)
        return squared_error(model, rows, rng)

    train(linear(), loss, 30, epochs=2, batch_size=8)
    assert [len(rows) for rows in seen] == [8, 8, 7, 7] * 2  # no leftover batch of one
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    assert sorted(first) == sorted(second) == list(range(30))
    assert (first != second).any()


def test_own_batches():
    seen = []

    def loss(model, rows, rng):
        seen.append(rows.tolist())
        return squared_error(model, rows, rng)

    planned = []

    def pairs(rng):
        planned.append([np.sort(rng.choice(30, 2, replace=False)) for _ in range(3)])
        return planned[-1]

    train(linear(), loss, 30, epochs=2, batches=pairs)
    assert [len(rows) for rows in seen] == [2] * 6 and seen[:3] != seen[3:]
    # counted for the first epoch, then made for each one
    plans = [np.array(plan).tolist() for plan in planned]
    assert plans == [seen[:3], seen[:3], seen[3:]]
    number = iter([3, 4, 2])

    def uneven(rng):
        return [np.arange(2)] * next(number)

    with pytest.raises(ValueError, match="epoch 1 has 4 batches, epoch 1 had 3"):
        train(linear(), loss, 30, epochs=2, batches=uneven)


def test_warmup_cosine():
    factors = np.array([warmup_cosine(step, 1000, 0.1) for step in range(1000)])
    assert factors[0] == 0.01 and factors[99] == 1.0 and factors.max() == 1.0
    assert (np.diff(factors[:100]) > 0).all() and (np.diff(factors[100:]) < 0).all()
    assert factors[550] == pytest.approx(0.5) and 0 < factors[-1] < 1e-5
    assert warmup_cosine(0, 1, 0.1) == 1.0  # a single step is taken at full length
    assert [warmup_cosine(step, 4, 1.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_learning_rates_by_name_and_frozen_parameters():
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {"tower": nn.ModuleDict({"encoder": nn.Linear(4, 4), "head": nn.Linear(4, 1)})}
    )
    model["frozen"] = nn.Linear(1, 1).requires_grad_(False)
    model.double()
    start = model_state(model) | {n: p.clone() for n, p in model["frozen"].named_parameters()}
    rates = {"": 1e-2, "tower.encoder": 1e-4}

    def loss(model, rows, rng):
        hidden = torch.tanh(model["tower"]["encoder"](X[rows]))
        return ((model["tower"]["head"](hidden)[:, 0] - Y[rows]) ** 2).mean()

    options = {"batch_size": 30, "weight_decay": 0, "warmup": 0}
    history = train(model, loss, 30, epochs=1, learning_rate=rates, **options)
    assert history["learning_rate"].tolist() == [1e-4]  # that of the first parameter
    # Adam's first step is as long as the learning rate, whatever the gradient
    for name, rate in (("tower.encoder.weight", 1e-4), ("tower.head.weight", 1e-2)):
        moved = (model.get_parameter(name) - start[name]).abs()
        assert torch.allclose(moved, torch.full_like(moved, rate), rtol=1e-3)
    assert all((p == start[n]).all() for n, p in model["frozen"].named_parameters())


def test_the_best_epoch_stays():
    scores = iter([0.1, 0.4, 0.3, 0.35, 0.2, 0.9])
    states = []

    def validation(model):
        assert not model.training and not torch.is_grad_enabled()
        states.append(parameters(model).clone())
        return next(scores)

    model = linear()

    def loss(model, rows, rng):
        assert model.training  # again, after each validation
        return squared_error(model, rows, rng)

    history = train(model, loss, 30, epochs=6, validation=validation, patience=2)
    assert history["validation"].tolist() == [0.1, 0.4, 0.3, 0.35]  # never sees the 0.9
    assert (parameters(model) == states[1]).all() and not (states[1] == states[-1]).all()
    assert not model.training


def test_checkpoints_are_written_as_often_as_asked_and_an_interrupted_run_goes_on(tmp_path):
    path, written = tmp_path / "checkpoint", []

    def run(path, interrupted_at=None):
        model, calls = linear(), itertools.count(1)

        def loss(model, rows, rng):
            if path.exists():
                written.append(load_tensors(path, "a training checkpoint")[1]["step"])
            if next(calls) == interrupted_at:
                raise KeyboardInterrupt
            return squared_error(model, rows, rng)

        options = {"epochs": 2, "batch_size": 6, "checkpoint": path, "checkpoint_every": 3}
        return model, train(model, loss, 30, **options)

    expected, history = run(path)
    assert written == [3, 3, 5, 6, 6, 6, 9]  # at steps 3, 6 and 9, and at the end of an epoch
    again, same = run(path)
    assert len(written) == 7 and not again.training  # there was nothing left to do
    pd.testing.assert_frame_equal(same, history)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "other", interrupted_at=9)
    resumed, same = run(tmp_path / "other")
    assert written[-4:] == [6, 6, 6, 9]  # steps 7 and 8 are taken again
    pd.testing.assert_frame_equal(same, history)
    assert (parameters(resumed) == parameters(expected)).all()
    with pytest.raises(ValueError, match="its steps per epoch is 5, not 1"):
        train(linear(), squared_error, 30, epochs=2, checkpoint=path)


def test_the_bar_counts_steps_also_of_a_run_that_goes_on(tmp_path, monkeypatch):
    bars, seen = [], []

    def shown(**options):
        bars.append(tqdm(**options | {"disable": False, "file": io.StringIO()}))
        return bars[-1]

    def loss(model, rows, rng):
        seen.append(bars[-1].n)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return squared_error(model, rows, rng)

    monkeypatch.setattr("recsys_tutorial.training.monitor.tqdm", shown)
    options = {"epochs": 2, "batch_size": 6, "checkpoint": tmp_path / "checkpoint"}
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt):
            train(linear(), loss, 30, checkpoint_every=1, **options)
    assert seen == [*range(8), *range(7, 10)] and {bar.total for bar in bars} == {10}


def test_more_numbers_for_the_history():
    def metrics(model):
        assert not model.training
        return {"norm": float(model.weight.norm())}

    history = train(linear(), squared_error, 30, epochs=2, metrics=metrics)
    assert list(history) == ["loss", "learning_rate", "norm"]


def test_randomness_comes_from_the_seed_and_goes_no_further():
    def noisy(model, rows, rng):
        noise = torch.randn(len(rows), dtype=torch.float64) + np.random.normal() + random.random()  # noqa: NPY002
        return ((model(X[rows])[:, 0] - Y[rows] + noise * rng.normal()) ** 2).mean()

    results = []
    for outside, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(outside), np.random.seed(outside), random.seed(outside)  # noqa: NPY002
        model = linear()
        torch.manual_seed(outside)
        train(model, noisy, 30, epochs=2, seed=seed)
        after = torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002
        torch.manual_seed(outside), np.random.seed(outside), random.seed(outside)  # noqa: NPY002
        assert after == (torch.rand(1).item(), np.random.rand(), random.random())  # noqa: NPY002
        results.append(parameters(model))
    assert (results[0] == results[1]).all() and (results[1] != results[2]).any()


# -- what may be wrong


@pytest.mark.parametrize("how", [operator.mul, operator.add])  # with and without its gradient
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(bad, how):
    model, states = linear(), []

    def loss(model, rows, rng):
        states.append(parameters(model).clone())
        return how(squared_error(model, rows, rng), bad if 17 in rows and len(states) > 8 else 1.0)

    with pytest.raises(FloatingPointError, match=f"loss became {bad} at step ") as error:
        train(model, loss, 30, epochs=5, batch_size=5)
    message = str(error.value)
    names = message.partition("examples ")[2].partition(":")[0].split(", ")
    assert f"at step {len(states)} (epoch 2)" in message and "17" in names and len(names) == 5
    assert (parameters(model) == states[-1]).all()  # as before that step


def test_a_gradient_that_is_not_finite_stops_the_run():
    def loss(model, rows, rng):
        return model.weight.sum().abs().mul(0).sqrt() + squared_error(model, rows, rng)

    with pytest.raises(FloatingPointError, match=r"gradient's norm became nan at step 1 "):
        train(linear(), loss, 30)


@pytest.mark.parametrize("n, names", [(20, 20), (21, 20), (30, 20)])
def test_at_most_twenty_examples_are_named(n, names):
    with pytest.raises(FloatingPointError) as error:
        train(linear(), lambda m, rows, rng: m.weight.sum() * math.nan, n)
    told = str(error.value).partition("examples ")[2].partition(":")[0]
    listed, _, more = told.partition(" and ")
    assert len(set(listed.split(", "))) == names
    assert more == (f"{n - 20} more" if n > 20 else "")


def test_an_error_in_the_loss_tells_where():
    def loss(model, rows, rng):
        raise KeyError("genre")

    with pytest.raises(KeyError) as error:
        train(linear(), loss, 2)
    assert "at step 1 (epoch 1), examples" in error.value.__notes__[0]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"epochs": 0}, "epochs must be finite and at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be finite and at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be finite and at least 1"),
        ({"weight_decay": -1}, "weight_decay must be finite and at least 0"),
        ({"warmup": 1.5}, "warmup must be 0 to 1, got 1.5"),
        ({"learning_rate": math.nan}, "learning_rate must be finite and at least 0, got nan"),
        ({"learning_rate": {"": 1, "bias": -1}}, "learning_rate 'bias' must be finite and at"),
        ({"learning_rate": {"weight": 1e-3}}, "names no rate for bias: add one for the prefix ''"),
        ({"learning_rate": {"": 1, "head": 2}}, r"no parameter's name starts with \['head'\]"),
        ({"precision": "half"}, "precision must be 'auto', 'full', 'bf16' or 'fp16', got 'half'"),
        ({"patience": 0}, "patience must be finite and at least 1"),
        ({"clip_norm": 0.0}, "clip_norm must be positive and finite, got 0.0"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        train(linear(), squared_error, 30, **options)


def test_bad_models_and_losses():
    with pytest.raises(ValueError, match="Linear has no parameter that requires gradients"):
        train(linear().requires_grad_(False), squared_error, 30)
    with pytest.raises(ValueError, match=r"loss must be a scalar Tensor, got \(30,\)"):
        train(linear(), lambda m, rows, rng: m(X[rows])[:, 0], 30, batch_size=30)
    with pytest.raises(ValueError, match="loss must be a scalar Tensor, got float"):
        train(linear(), lambda m, rows, rng: 1.0, 30)
    with pytest.raises(ValueError, match="n_examples must be finite and at least 1"):
        train(linear(), squared_error, 0)


# -- precision and processes


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_still_learns(precision):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    x, y = X.float(), Y.float()
    dtypes = set()

    def loss(model, rows, rng):
        predicted = model(x[rows])[:, 0]
        dtypes.add(predicted.dtype)
        return ((predicted.float() - y[rows]) ** 2).mean()

    history = train(
        model, loss, 30, epochs=60, batch_size=10, learning_rate=0.1, precision=precision
    )
    assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert model.weight.dtype == torch.float32
    # half precision keeps 8 or 11 bits: far above the exact fit, far below where it began
    assert history["loss"].iloc[-1] < 0.01 * history["loss"].iloc[0]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    options = ["--standalone", "--nproc_per_node", "2"]  # a free port
    script = str(HERE / "distributed_script.py")
    command = [sys.executable, "-m", "torch.distributed.run", *options, script, str(folder)]
    env = {**environment(), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit(240))
    assert done.returncode == 0, done.stderr[-3000:]
    return [np.load(folder / f"process-{rank}.npz") for rank in (0, 1)]


@pytest.mark.parametrize("name", distributed_script.SETTINGS)
def test_two_processes_equal_one(two_processes, name):
    assert all(process["processes"] == 2 for process in two_processes)
    expected, history = distributed_script.run(**distributed_script.SETTINGS[name])
    for process in two_processes:
        # gradients are summed in another order: float64's rounding, nothing more
        np.testing.assert_allclose(process[f"{name} parameters"], expected, rtol=1e-9)
        # the loss is averaged, and the verdict sent, in float32
        np.testing.assert_allclose(process[f"{name} history"], history, rtol=1e-6)


def test_a_bad_loss_in_one_process_stops_both(two_processes):
    for process in two_processes:
        assert "the loss became nan at step 1 (epoch 1), examples " in str(process["message"])
