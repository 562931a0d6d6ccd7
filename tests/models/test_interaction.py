"""Interaction models against their equations, by hand, and what a dot product cannot do."""

import numpy as np
import pytest
import torch

from recsys_tutorial.models.interaction import (
    GMF,
    MLP,
    ConvNCF,
    FactorizationMachine,
    FeatureCrosses,
    NeuMF,
)

U = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
V = torch.tensor([[3.0, -1.0], [2.0, 4.0]])


def put(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


@pytest.mark.parametrize(
    "model, expected",
    [
        (GMF(3), 3),
        (MLP(3, 4), 4 * 6 + 4 + 4 + 1),
        (NeuMF(3, 4), 3 + 4 * 6 + 4 + 4 + 1),
        (ConvNCF(4, channels=5), (5 * 4 + 5) + (5 * 5 * 4 + 5) + (5 + 1)),  # 4 x 4, 2 x 2, 1 x 1
        (FeatureCrosses(3), 6 + 1 + 9),
        (FactorizationMachine(3, 2), 6 + 1 + 6 * 2),
    ],
)
def test_how_many_parameters_each_has(model, expected):
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_a_factorization_machine_starts_small_however_long_its_vectors():
    """f_i . f_j is about sqrt(factors) / (2 dim), so that a sum over all pairs stays in bounds."""
    torch.manual_seed(0)
    factors = FactorizationMachine(200, 50).factors
    assert factors.std().item() == pytest.approx(400**-0.5, rel=0.02)  # four standard errors
    assert factors.mean().item() == pytest.approx(0, abs=0.0015)


def test_gmf():
    model = GMF(2)
    assert model(U, V).tolist() == [1.0, -4.0]  # w = 1: the dot product
    put(model.weight, [2.0, 0.5])
    assert model(U, V).tolist() == [2 * 3 - 0.5 * 2, -0.5 * 4]


def mlp(model):
    put(model.layers[0].weight, [[1.0, 0, 1, 0], [0.0, 1, 0, -1]])
    put(model.layers[0].bias, [0.0, 1.0])
    put(model.layers[2].weight, [[1.0, 10.0]])
    put(model.layers[2].bias, [0.5])
    return model


def test_mlp_and_neumf():
    # hidden: relu(u_1 + v_1), relu(u_2 - v_2 + 1)
    expected = [4 + 10 * 4 + 0.5, 2 + 10 * 0 + 0.5]
    assert mlp(MLP(2, 2))(U, V).tolist() == expected
    both = NeuMF(2, 2)
    mlp(both.mlp)
    assert both(U, V).tolist() == [expected[0] + 1, expected[1] - 4]


def test_convncf():
    model = ConvNCF(2, channels=1)
    put(model.layers[0].weight, [[[[1.0, 2.0], [3.0, 4.0]]]])
    put(model.layers[0].bias, [1.0])
    put(model.head.weight, [[2.0]])
    put(model.head.bias, [-1.0])
    maps = [[3.0, -1, 6, -2], [0.0, 0, -2, -4]]  # u v', row by row
    conv = [m[0] + 2 * m[1] + 3 * m[2] + 4 * m[3] + 1 for m in maps]
    assert model(U, V).tolist() == [2 * max(c, 0) - 1 for c in conv]
    assert ConvNCF(64, 4)(torch.ones(3, 64), torch.ones(3, 64)).shape == (3,)


def test_factorization_machine_is_the_sum_over_pairs():
    torch.manual_seed(0)
    model = FactorizationMachine(2, 3).double()
    x, f = torch.cat([U, V], 1).double(), model.factors
    expected = [
        (model.linear.bias + model.linear.weight[0] @ row).item()
        + sum((f[i] @ f[j] * row[i] * row[j]).item() for i in range(4) for j in range(i + 1, 4))
        for row in x
    ]
    assert model(U.double(), V.double()).tolist() == pytest.approx(expected)


def test_feature_crosses():
    model = FeatureCrosses(2)
    assert model(U, V).tolist() == [0.0, 0.0]
    put(model.crosses, [[1.0, 2.0], [3.0, 4.0]])
    put(model.linear.weight, [[10.0, 0.0, 0.0, 1.0]])
    put(model.linear.bias, [0.5])
    # u_1 v_1 + 2 u_1 v_2 + 3 u_2 v_1 + 4 u_2 v_2, then 10 u_1 + v_2 + 0.5
    assert model(U, V).tolist() == [3 - 2 + 18 - 8 + 10 - 1 + 0.5, -6 - 16 + 4 + 0.5]


def test_an_mlp_learns_a_distance_that_a_weighted_dot_product_cannot():
    """s = -|u - v| for numbers u and v: no w u v orders the pairs so."""
    rng = np.random.default_rng(0)
    u, v = torch.from_numpy(rng.uniform(0, 1, (2, 512, 1)))
    truth = -(u - v).abs()[:, 0]
    found = {}
    for name, model in (("gmf", GMF(1)), ("mlp", MLP(1, 16)), ("shuffled", MLP(1, 16))):
        torch.manual_seed(0)
        for layer in model.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        model = model.double()
        target = truth[torch.from_numpy(rng.permutation(512))] if name == "shuffled" else truth
        target = (target - target.mean()) / target.std()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        for _ in range(400):
            optimizer.zero_grad()
            (model(u, v) - target).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            found[name] = np.corrcoef(model(u, v), truth)[0, 1]
    assert found["mlp"] > 0.95 and max(found["gmf"], found["shuffled"]) < 0.7, found


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: GMF(3)(U, V), r"\(n, 3\)"),
        (lambda: MLP(2, 4)(U, V[:1]), r"got \(2, 2\) and \(1, 2\)"),
        (lambda: ConvNCF(12), "power of two"),
        (lambda: ConvNCF(1), "at least 2, got 1"),
        (lambda: FactorizationMachine(3, 1)(U, V), r"\(n, 3\)"),
        (lambda: FeatureCrosses(3)(U, V), r"\(n, 3\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
