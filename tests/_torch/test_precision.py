"""Half precision under the CPU's autocast against full precision: losses, masks, training."""

import doctest
import importlib
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from scipy import sparse
from torch import nn

from recsys_tutorial import losses
from recsys_tutorial._files.tensors import load_tensors
from recsys_tutorial._torch.precision import in_full_precision
from recsys_tutorial.losses import info_nce
from recsys_tutorial.losses import lists as ranking_losses
from recsys_tutorial.models import two_tower
from recsys_tutorial.models.interaction import PairAttention, TargetAttention, late_interaction
from recsys_tutorial.models.towers.fusion import FusionTower
from recsys_tutorial.models.two_tower import FeatureTower, HistoryTower, IdTower, TwoTower
from recsys_tutorial.training import _accelerators, train
from recsys_tutorial.training._accelerators import chosen_precision
from recsys_tutorial.training.large_batches import in_chunks

pytestmark = pytest.mark.usefixtures("one_thread")
HALVES = [torch.bfloat16, torch.float16]
EPS = {torch.bfloat16: 2**-8, torch.float16: 2**-11}  # at most, of one rounding


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int) -> torch.Tensor:
    return nn.functional.normalize(normal(*shape, seed=seed), dim=-1)


# -- losses

P, N, OWN = unit(8, 16, seed=1), unit(5, 16, seed=2), unit(8, 3, 16, seed=3)
A = unit(8, 16, seed=4) + 0.4 * P  # so that most positives score above the others
S, T = 4 * normal(6, 7, seed=5), 4 * normal(6, 7, seed=6)
LIKED = normal(6, 7, seed=7) > 0.6
LEFT_OUT = (normal(6, 7, seed=8) > 0.6) & ~LIKED
IDS = torch.tensor([0, 1, 0, 2, 3, 4, 2, 5])
LOG_Q = torch.linspace(0.02, 0.3, 8).log()
MASK = normal(8, 13, seed=9) > 0.8
SAME = IDS[:, None] == IDS
COLD = torch.tensor(0.05)  # a scale of 20: what half precision gets wrong is multiplied, too

CASES = {
    "info_nce": (lambda a, p: info_nce(a, p, temperature=COLD), A, P),
    "info_nce, a learned temperature": (
        lambda a, p, t: info_nce(a, p, temperature=t), A, P, torch.tensor(0.05)),
    "info_nce_in_chunks": (lambda a, p: losses.info_nce_in_chunks(
        a, p, temperature=0.05, chunk_size=3, log_q=LOG_Q, positive_ids=IDS), A, P),
    "info_nce, masks": (lambda a, p, n: info_nce(
        a, p, n, temperature=0.05, in_batch=True, mask=MASK, positive_ids=IDS), A, P, N),
    "info_nce, symmetric": (lambda a, p: info_nce(
        a, p, temperature=0.05, symmetric=True, positive_ids=IDS, log_q=LOG_Q), A, P),
    "info_nce, hardness": (lambda a, p, n: info_nce(
        a, p, n, temperature=0.05, in_batch=True, hardness=2.0), A, P, N),
    "info_nce, negatives of its own": (lambda a, p, n: info_nce(
        a, p, n, temperature=0.05, log_q=LOG_Q, negative_log_q=LOG_Q[:3]), A, P, OWN),
    "info_nce, decoupled": (lambda a, p: info_nce(
        a, p, temperature=0.05, decoupled=True, positive_ids=IDS), A, P),
    "multi_positive_nce": (lambda a, p: losses.multi_positive_nce(
        a, p, SAME, temperature=0.05, log_q=LOG_Q, mask=MASK[:, :8] & ~SAME), A, P),
    "multinomial": (lambda s: losses.multinomial_loss(s, LIKED.float(), LEFT_OUT), S),
    "sampled_softmax": (lambda s: losses.sampled_softmax_loss(s[:, 0], s[:, 1:], LOG_Q[1:7]), S),
    "bce": (lambda s: losses.bce_loss(s[:, 0], s[:, 1:], LEFT_OUT[:, 1:]), S),
    "bpr": (lambda s: losses.bpr_loss(s[:, :1], s[:, 1:]), S),
    "pointwise": (lambda s: ranking_losses.pointwise_loss(s, LIKED), S),
    "pairwise": (lambda s: ranking_losses.pairwise_loss(s, LIKED), S),
    "listwise": (lambda s: ranking_losses.listwise_loss(s, LIKED), S),
    "distillation": (lambda s: ranking_losses.distillation_loss(s, T.double(), 0.5), S),
    "margin_mse": (lambda s: ranking_losses.margin_mse(s, T.double()), S),
}  # fmt: skip


def value_and_gradients(loss, tensors, autocast=None):
    """Of the loss of leaves with these values; the gradients as float64."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        value = loss(*leaves)
    value.backward()
    return value.detach(), torch.cat([leaf.grad.double().ravel() for leaf in leaves])


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_full_precision(name, half):
    """Vectors come rounded to half precision; from there on nothing may be lost."""
    loss, *tensors = CASES[name]
    rounded = [tensor.to(half) for tensor in tensors]
    expected, slope = value_and_gradients(loss, [tensor.float() for tensor in rounded])
    assert slope.norm() > 0.01
    # In a float32 leaf, not even the gradient is rounded.
    value, gradient = value_and_gradients(loss, [tensor.float() for tensor in rounded], half)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient - slope).norm() <= 1e-6 * slope.norm()
    # In half precision, it is rounded once; where autocast reaches the logits it is off by 1 %.
    value, gradient = value_and_gradients(loss, rounded, half)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient - slope).norm() <= 0.6 * EPS[half] * slope.norm()


@pytest.mark.parametrize("name", CASES)
def test_losses_of_float64_stay_float64(name):
    loss, *tensors = CASES[name]
    double = [tensor.double() for tensor in tensors]
    expected, slope = value_and_gradients(loss, double)
    value, gradient = value_and_gradients(loss, double, torch.bfloat16)
    assert value.dtype == torch.float64 and slope.dtype == torch.float64
    assert value == expected and (gradient == slope).all()
    in_float32, _ = value_and_gradients(loss, tensors)
    assert value != in_float32.double()  # a guard: float32 would show


@pytest.mark.parametrize("half", HALVES)
def test_what_is_no_half_precision_is_passed_on_as_it_is(half):
    got = in_full_precision(lambda *values, **named: (*values, *named.values()))
    assert got() == ()  # also without a tensor
    assert got(P.to(half))[0].dtype == got(p=P.to(half))[0].dtype == torch.float32
    for value in (P, P.double(), LIKED, IDS.to(torch.int8), None, "mean", np.ones(2, np.float16)):
        assert got(value)[0] is value and got(named=value)[0] is value


@pytest.mark.parametrize("name", ["losses.contrastive", "losses.scores", "losses.lists"])
def test_no_loss_is_forgotten(name):
    """Each public loss is decorated, and its example is still run."""
    module = importlib.import_module(f"recsys_tutorial.{name}")
    public = {
        key
        for key, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not key.startswith("_")
    }
    assert len(public) >= 2
    assert all(hasattr(getattr(module, key), "__wrapped__") for key in public)
    examples = {test.name.split(".")[-1] for test in doctest.DocTestFinder().find(module)
                if test.examples}  # fmt: skip
    assert public <= examples


# -- masks


def attention(softmax: bool):
    torch.manual_seed(0)
    return TargetAttention(6, 5, softmax=softmax)


def pair_attention():
    torch.manual_seed(0)
    return PairAttention(6, 5)


REAL = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
MASKED = {
    "target attention": lambda h, m, v: attention(True)(h, m, v),
    "DIN": lambda h, m, v: attention(False)(h, m, v),
    "pair attention": lambda h, m, v: pair_attention()(h, m, v),
    "pairs of tokens": lambda h, m, v: pair_attention()(h, m, v[:, None].repeat(1, 3, 1), m),
    "best partner": lambda h, m, v: late_interaction(h, v[:, None] * h.flip(0), m, m.flip(0)),
    "weighted": lambda h, m, v: late_interaction(h, v[:, None] * h.flip(0), m, m.flip(0), beta=2.0),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", MASKED)
def test_masks_of_interactions(name, half):
    history, items = normal(3, 3, 6, seed=0), normal(3, 6, seed=1)

    def run(history, autocast=None):
        history = history.clone().requires_grad_()
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            scores = MASKED[name](history, REAL, items)
            scores.float().sum().backward()
        return scores.detach().float(), history.grad

    exact, slope = run(history)
    scores, gradient = run(history, half)
    largest = exact.abs().max()
    assert (scores - exact).abs().max() <= 8 * EPS[half] * largest  # some roundings after another
    assert (gradient - slope).norm() <= 8 * EPS[half] * slope.norm()
    unseen = ~REAL & ~REAL.flip(0)  # used by neither side
    assert unseen.any() and (gradient[unseen] == 0).all()
    other, _ = run(history + 9.0 * unseen[:, :, None], half)
    assert (other == scores).all()


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("how", ["gate", "attention"])
def test_masks_of_fusion(how, half):
    torch.manual_seed(0)
    towers = {n: FeatureTower(normal(4, 5, seed=s).numpy(), 6) for s, n in enumerate("ab")}
    there = {"a": np.array([1, 0, 1, 0], bool), "b": np.array([1, 1, 0, 0], bool)}
    tower = FusionTower(towers, how=how, present=there)
    if how == "gate":
        nn.init.normal_(tower.gate.weight)
    exact = tower()
    exact.square().sum().backward()
    slope = torch.cat([p.grad.ravel() for p in tower.parameters()])
    tower.zero_grad()
    with torch.autocast("cpu", dtype=half):
        vectors = tower()
        assert (vectors[3] == 0).all() and (vectors[:3] != 0).all()
        assert (vectors - exact).norm() <= 8 * EPS[half] * exact.norm()
    vectors.float().square().sum().backward()
    gradient = torch.cat([p.grad.ravel() for p in tower.parameters()])
    assert (gradient - slope).norm() <= 8 * EPS[half] * slope.norm()


HISTORY = sparse.csr_matrix(np.array([[1.0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("pooling", ["mean", "sqrt", "attentive"])
def test_masks_of_histories(pooling, half):
    torch.manual_seed(0)
    tower = HistoryTower(FeatureTower(normal(4, 5, seed=0).numpy(), 6), pooling)
    if pooling == "attentive":
        nn.init.normal_(tower.query.weight)
    exact = tower(HISTORY)
    with torch.autocast("cpu", dtype=half):
        vectors = tower(HISTORY)
        assert (vectors[2] == 0).all()
        assert (vectors - exact).norm() <= 8 * EPS[half] * exact.norm()
        many = tower(HISTORY * 3e4)  # plays: three films have too many for float16
    expected = tower(HISTORY * 3e4)
    assert (many - expected).norm() <= 8 * EPS[half] * expected.norm()


# -- training

X, Y = normal(48, 10, seed=0), normal(48, 10, seed=1) * 0.3 + normal(48, 10, seed=0).flip(1)


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(10, 8), nn.Linear(10, 8)
        self.dtypes = set()

    def vectors(self, rows, chunk=None):
        a, b = (f(x) if chunk is None else in_chunks(f, x, chunk)
                for f, x in ((self.a, X[rows]), (self.b, Y[rows])))  # fmt: skip
        self.dtypes.add(a.dtype)
        return nn.functional.normalize(a.float(), dim=1), nn.functional.normalize(b.float(), dim=1)

    def state(self):
        return torch.cat([p.detach().ravel() for p in self.parameters()])


def contrast(model, rows, rng):
    ids = torch.from_numpy(rows) // 2
    return info_nce(*model.vectors(rows), temperature=0.1, symmetric=True, positive_ids=ids)


OPTIONS = {"epochs": 6, "batch_size": 16, "learning_rate": 0.02}
DTYPE = {"full": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize("precision", ["bf16", "fp16", "full"])
def test_info_nce_is_learned_in_every_precision(precision):
    full, mixed = Towers(), Towers()
    expected = train(full, contrast, 48, precision="full", **OPTIONS)["loss"]
    found = train(mixed, contrast, 48, precision=precision, **OPTIONS)["loss"]
    assert mixed.dtypes == {DTYPE[precision]} and full.dtypes == {torch.float32}
    assert found.iloc[-1] < 0.5 * found.iloc[0]
    assert mixed.a.weight.dtype == torch.float32
    if precision != "fp16":  # which leaves the first steps out, until the scale is low enough
        np.testing.assert_allclose(found, expected, rtol=0.01)
    assert (mixed.state() == full.state()).all() == (precision == "full")


def test_precisions_follow_each_other_in_one_process():
    """In any order, beside an Accelerator of the caller's, and one training inside another."""
    AcceleratorState._reset_state()
    own = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=3)
    own.sync_gradients = False  # as `accumulate` leaves it between two steps
    alone = {}
    for precision in DTYPE:
        model = Towers()
        train(model, contrast, 48, precision=precision, **OPTIONS)
        alone[precision] = model.state()
        assert own.mixed_precision == "bf16" and own.gradient_state.num_steps == 3
        assert not own.sync_gradients
    for outer, inner in itertools.permutations(DTYPE, 2):
        model = Towers()

        def validation(_, inner=inner):
            within = Towers()
            with torch.enable_grad():
                train(within, contrast, 48, precision=inner, **OPTIONS)
            return float((within.state() == alone[inner]).all())

        history = train(model, contrast, 48, precision=outer, validation=validation,
                        patience=9, **OPTIONS)  # fmt: skip
        assert history["validation"].tolist() == [1.0] * 6
        # The first epoch stays, as all are judged alike; the loss of the last tells of all steps.
        again = train(Towers(), contrast, 48, precision=outer, **OPTIONS)
        assert history["loss"].tolist() == again["loss"].tolist()
    AcceleratorState._reset_state()


def test_a_training_leaves_no_state_of_accelerate_behind():
    AcceleratorState._reset_state()
    GradientState._reset_state()
    train(Towers(), contrast, 48, precision="fp16", **{**OPTIONS, "epochs": 1})
    assert not AcceleratorState._shared_state and not GradientState._shared_state
    assert Accelerator(mixed_precision="bf16").mixed_precision == "bf16"  # no other one is set
    AcceleratorState._reset_state()


def test_a_gpu_keeps_the_scaler_that_accelerate_gave_it(monkeypatch):
    """On a CPU Accelerate gives none, so one is made here."""
    given = SimpleNamespace(device=torch.device("cuda"), scaler="a scaler", native_amp=True)
    monkeypatch.setattr(_accelerators, "Accelerator", lambda **options: given)
    with _accelerators.accelerator_for("fp16") as accelerator:
        assert accelerator.scaler == "a scaler"
    monkeypatch.undo()
    for precision, has_scaler in (("fp16", True), ("bf16", False), ("full", False)):
        with _accelerators.accelerator_for(precision) as accelerator:
            assert (accelerator.scaler is not None) == has_scaler


def test_what_a_launcher_says_about_precision_does_not_count_twice(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    model = Towers()
    train(model, contrast, 48, precision="full", **{**OPTIONS, "epochs": 1})
    assert model.dtypes == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_chunks_are_encoded_again_in_the_same_precision(precision):
    """Their second pass happens in the backward pass, where autocast is off."""
    plain, chunked = Towers(), Towers()

    def in_pieces(model, rows, rng):
        return info_nce(*model.vectors(rows, chunk=5), temperature=0.1)

    def whole(model, rows, rng):
        return info_nce(*model.vectors(rows), temperature=0.1)

    expected = train(plain, whole, 48, precision=precision, **OPTIONS)["loss"]
    found = train(chunked, in_pieces, 48, precision=precision, **OPTIONS)["loss"]
    assert chunked.dtypes == {DTYPE[precision]}
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize("major, chosen", [(7, "fp16"), (8, "bf16"), (9, "bf16")])
def test_auto_asks_whether_the_gpu_itself_computes_bfloat16(monkeypatch, major, chosen):
    """A T4 (7.5) says that it supports it, but that is an emulation."""
    state, card = SimpleNamespace(device=torch.device("cuda")), SimpleNamespace(major=major)
    monkeypatch.setattr("recsys_tutorial.training._accelerators.PartialState", lambda cpu: state)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert torch.cuda.is_bf16_supported()  # also on the T4: the question has to be the other one
    assert chosen_precision("auto") == chosen
    assert chosen_precision("full") == "full"


def test_auto_is_full_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    state = SimpleNamespace(device=torch.device("cpu"))
    monkeypatch.setattr("recsys_tutorial.training._accelerators.PartialState", lambda cpu: state)
    assert chosen_precision("auto") == "full"


def test_a_gradient_that_overflows_only_when_scaled_is_left_out():
    """float16 ends at 65,504, the scale starts at 65,536: some first steps are skipped."""
    model, grown = Towers(), []

    def loss(model, rows, rng):
        grown.append(model.state())
        return 30 * contrast(model, rows, rng)

    options = {**OPTIONS, "epochs": 12}
    history = train(model, loss, 48, precision="fp16", **options)["loss"]
    skipped = [bool((a == b).all()) for a, b in itertools.pairwise(grown)]
    assert 0 < sum(skipped) < 12 and not any(skipped[12:])
    assert history.iloc[-1] < 0.5 * history.iloc[0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_gradient_that_is_nan_stops_mixed_precision_too(precision):
    """It must not be taken for an overflow of the scaled loss for ever."""
    model, calls = Towers(), []
    start = model.state()

    def loss(model, rows, rng):
        calls.append(rows)
        return contrast(model, rows, rng) + model.a.weight.sum().abs().mul(0).sqrt()

    with pytest.raises(FloatingPointError, match="gradient's norm became nan at step"):
        train(model, loss, 48, precision=precision, **{**OPTIONS, "epochs": 20})
    assert len(calls) == {"bf16": 1, "fp16": 17}[precision]  # the scale falls from 2^16 to 1
    assert (model.state() == start).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_resumed_run_knows_its_scale(tmp_path, precision):
    def run(path, stop_after):
        model, epochs = Towers(), itertools.count(1)

        def validation(_):
            if next(epochs) == stop_after:
                raise KeyboardInterrupt
            return 0.0

        def loss(model, rows, rng):
            return 30 * contrast(model, rows, rng)  # so that the scale has to fall

        options = {**OPTIONS, "checkpoint": path, "checkpoint_every": 1, "patience": 9}
        history = train(model, loss, 48, precision=precision, validation=validation, **options)
        return history["loss"].tolist()

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 3)
    scaler = load_tensors(tmp_path / "parts", "a training checkpoint")[1]["scaler"]
    assert (scaler.get("scale", math.inf) < 2**16) == (precision == "fp16")
    assert run(tmp_path / "parts", None) == whole


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("negatives", ["all", "in_batch"])
def test_two_towers_with_users_who_show_nothing(negatives, precision, monkeypatch):
    """Some histories are empty: vectors of zeros, whose length nothing may be divided by."""
    monkeypatch.setattr(two_tower, "HISTORY_SHARE", (0, 0.4))
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=24)
    fits = kind == rng.integers(2, size=(40, 1))
    likes = sparse.csr_matrix((rng.random((40, 24)) < np.where(fits, 0.5, 0.02)).astype(float))

    def fit(precision, dtype=torch.float32):
        torch.manual_seed(0)
        features = np.eye(2, dtype=np.float32)[kind]
        items = FusionTower({"kind": FeatureTower(features, 8), "id": IdTower(24, 8)}, how="gate")
        prior = {"popularity_prior": negatives == "in_batch", "dtype": dtype}
        model = TwoTower(HistoryTower(items, "attentive"), items, similarity="cosine", **prior)
        options = {"epochs": 5, "learning_rate": 0.02, "batch_size": 32}
        return model.fit(likes, negatives=negatives, precision=precision, **options)

    exact, mixed = fit("full").history_["loss"], fit(precision).history_["loss"]
    assert exact.min() < exact.iloc[0] - 0.05
    np.testing.assert_allclose(mixed, exact, rtol=1e-3)
    double = fit(precision, torch.float64)  # as on a CPU by default: nothing to cast
    np.testing.assert_allclose(double.history_["loss"], exact, rtol=1e-4)
