"""Models of the ranking stage against their equations, by hand, and what their parts are for."""

import numpy as np
import pytest
import torch

from recsys_tutorial.models import DCN, CrossNetwork, MMoE, SharedBottom, fit_probabilities

X = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=torch.float64)


def test_cross_network():
    torch.manual_seed(0)
    model = CrossNetwork(2, 2).double()
    x = X
    for layer in model.layers:
        x = X * (X.new_tensor(0) + x @ layer.weight.T + layer.bias) + x
    assert model(X).tolist() == x.tolist()
    with torch.no_grad():
        for layer in model.layers:
            layer.weight.copy_(torch.eye(2)), layer.bias.zero_()
    # x (x + 1) after one layer, x^2 (x + 1) + x (x + 1) after two: a polynomial of degree 3.
    assert torch.allclose(model(X), X * (X + 1) ** 2)


def test_dcn_without_its_parts_is_logistic_regression():
    torch.manual_seed(0)
    model = DCN(2, 0).double()
    assert torch.allclose(model(X), X @ model.deep.weight.T + model.deep.bias)
    assert sum(p.numel() for p in DCN(3, 2, 4).parameters()) == 2 * 12 + 16 + 5


def test_shared_bottom_and_mmoe():
    torch.manual_seed(0)
    model = SharedBottom(2, 3, head=2).double()
    shared = model.bottom(X)
    assert torch.allclose(model(X)[:, 1], model.heads[1](shared)[:, 0])
    model = MMoE(2, 3, n_experts=2, head=2).double()
    experts = model.experts(X).view(2, 2, 3)
    for task in range(2):
        gate = (X @ model.gates[task].weight.T).softmax(1)
        mixed = gate[:, :1] * experts[:, 0] + gate[:, 1:] * experts[:, 1]
        assert torch.allclose(model(X)[:, task], model.heads[task](mixed)[:, 0])
    assert model(X).shape == (2, 2)


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_each_objective_has_a_network_of_its_own(n_tasks):
    head = (4 + 1) * 5 + 5 + 1  # one hidden layer of five numbers that reads four
    shared = SharedBottom(2, 4, n_tasks, head=5).double()
    experts = MMoE(2, 4, n_experts=3, n_tasks=n_tasks, head=5).double()
    sizes = {shared: (2 + 1) * 4, experts: (2 + 1) * 3 * 4 + n_tasks * 2 * 3}
    for model, bottom in sizes.items():
        assert sum(p.numel() for p in model.parameters()) == bottom + n_tasks * head
        assert model(X).shape == (2, n_tasks)


def test_the_loss_is_the_sum_of_each_objectives_mean_over_the_rows_that_have_it():
    x = np.random.default_rng(0).normal(size=(4, 2))
    nan = np.nan
    labels = np.array([[1, nan, nan, 1], [0, 1, nan, 1], [0, nan, nan, nan], [1, nan, nan, nan]])
    torch.manual_seed(0)
    model, sizes = SharedBottom(2, 3, n_tasks=4).double(), []
    model.register_forward_hook(lambda module, given, logits: sizes.append(len(logits)))
    with torch.no_grad():
        p = model(torch.from_numpy(x)).sigmoid().numpy()
    each = -np.log(np.where(labels == 1, p, 1 - p))
    expected = each[:, 0].mean() + each[1, 1] + 0 + each[:2, 3].mean()
    history = fit_probabilities(model, x, labels.astype(object), epochs=1, learning_rate=0.0)
    assert history["loss"].tolist() == pytest.approx([expected])
    history = fit_probabilities(model, x, labels, epochs=2, batch_size=2)
    assert len(history) == 2 and sizes == [4, 4, 2, 2, 2, 2]


def test_crosses_learn_a_product_that_logistic_regression_cannot():
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], (2000, 3))
    y = (x[:, :1] * x[:, 1:2] > 0).astype(float)
    found = {}
    for name, n_layers, labels in (("dcn", 1, y), ("logistic", 0, y), ("shuffled", 1, y[::-1])):
        torch.manual_seed(0)
        model = DCN(3, n_layers).double()
        fit_probabilities(model, x, labels.copy(), epochs=30, batch_size=200, learning_rate=0.05)
        with torch.no_grad():
            found[name] = ((model(torch.from_numpy(x)) > 0).numpy() == (y > 0)).mean()
    assert found["dcn"] == 1.0 and max(found["logistic"], found["shuffled"]) < 0.8, found


def test_rows_without_an_objective_do_not_teach_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = np.column_stack([x[:, 0] > 0, x[:, 1] > 0]).astype(float)
    wrong = y.copy()
    y[:300, 1] = np.nan
    wrong[:300, 1] = 1 - wrong[:300, 1]
    right = {}
    for name, labels in (("nan", y), ("wrong", wrong)):
        torch.manual_seed(0)
        model = SharedBottom(2, 8).double()
        history = fit_probabilities(model, x, labels, epochs=40, batch_size=50, learning_rate=0.02)
        assert history["loss"].iloc[-1] < history["loss"].iloc[0]
        with torch.no_grad():
            right[name] = ((model(torch.from_numpy(x))[:, 1] > 0).numpy() == (x[:, 1] > 0)).mean()
    assert right["nan"] > 0.9 and right["wrong"] < 0.5, right


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: CrossNetwork(2, 0), "n_layers must be .* at least 1"),
        (lambda: fit_probabilities(DCN(2), X.numpy(), np.array([[1.0], [2.0]])), "0, 1 or nan"),
        (lambda: fit_probabilities(DCN(2), X.numpy(), np.ones(2)), r"\(2, n_tasks\)"),
        (lambda: fit_probabilities(DCN(2), X.numpy(), np.ones((3, 1))), r"\(2, n_tasks\)"),
        (lambda: fit_probabilities(DCN(2), X.numpy()[:1] * np.nan, np.ones((1, 1))), "nan"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
