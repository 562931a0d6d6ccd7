"""What `protocols` promises, asked of everything that says it keeps the promise."""

import inspect

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial import feedback, models, protocols
from recsys_tutorial.feedback import policies
from recsys_tutorial.hard_negatives import HardNegatives, MixedNegatives
from recsys_tutorial.models import towers
from recsys_tutorial.sampling import PopularityNegatives, UniformNegatives

rng = np.random.default_rng(0)
N_USERS, N_ITEMS = 40, 12
DENSE = rng.random((N_USERS, N_ITEMS)) < 0.3
TRAIN = sparse.csr_matrix(DENSE.astype(float))
VECTORS = rng.normal(size=(N_ITEMS, 6))
HISTORY = sparse.csr_matrix(np.vstack([DENSE[:3], np.zeros((1, N_ITEMS))]).astype(float))


def two_tower():
    items = towers.FeatureTower(VECTORS, 4)
    return models.TwoTower(towers.HistoryTower(items), items)


RECOMMENDERS = {
    "Popularity": models.Popularity,
    "ItemKNN": lambda: models.ItemKNN(5),
    "EASE": lambda: models.EASE(10.0),
    "ContentKernel": lambda: models.ContentKernel(VECTORS),
    "Blend": lambda: models.Blend([models.Popularity(), models.EASE(10.0)], [1.0, 0.5]),
    "ImplicitALS": lambda: models.ImplicitALS(4, iterations=2),
    "BPR": lambda: models.BPR(4, iterations=2),
    "TwoTower": two_tower,
}


@pytest.mark.parametrize("name", RECOMMENDERS)
def test_recommenders_keep_the_promise(name):
    model = RECOMMENDERS[name]()
    assert isinstance(model, protocols.Recommender)
    before = TRAIN.copy()
    assert model.fit(TRAIN) is model
    assert (before != TRAIN).nnz == 0
    scores = model.score(HISTORY)
    assert scores.shape == HISTORY.shape and scores.dtype.kind == "f"
    assert not np.isnan(scores).any() and not np.isposinf(scores).any()
    alone = np.vstack([model.score(HISTORY[row]) for row in range(HISTORY.shape[0])])
    # each user by their own row alone: 1e-9 lets sums in blocks differ, a neighbour's like would
    # move a score by far more
    np.testing.assert_allclose(scores, alone, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"\d"):  # it says the width, or what it asks for
        model.score(HISTORY[:, :-1])


def test_an_unlike_class_is_no_recommender():
    assert not isinstance(object(), protocols.Recommender)
    assert not isinstance(models.CrossEncoder, protocols.Recommender)
    assert "pairs of texts" in " ".join(protocols.Recommender.__doc__.split())


NEGATIVES = {
    "uniform": lambda: UniformNegatives(TRAIN),
    "popularity": lambda: PopularityNegatives(TRAIN),
    "hard": lambda: HardNegatives(TRAIN, 3).refresh(rng.normal(size=(N_USERS, 6)), VECTORS),
    "mixed": lambda: MixedNegatives([UniformNegatives(TRAIN), NEGATIVES["hard"]()], [0.5, 0.5]),
}


@pytest.mark.parametrize("name", NEGATIVES)
def test_every_sampler_draws_the_same_way(name):
    sampler = NEGATIVES[name]()
    assert isinstance(sampler, protocols.Negatives)
    wanted = inspect.signature(protocols.Negatives.draw).parameters
    assert list(inspect.signature(type(sampler).draw).parameters) == list(wanted)
    users = np.repeat(np.arange(N_USERS), 3)
    positives = np.zeros_like(users)
    drawn = sampler.draw(users, np.random.default_rng(1), 5, positives=positives)
    assert drawn.shape == (len(users), 5) and drawn.dtype == np.int64
    assert not DENSE[users[:, None], drawn].any()
    one = sampler.draw(users, np.random.default_rng(1), positives=positives)
    assert one.shape == users.shape and not DENSE[users, one].any()
    with pytest.raises(ValueError, match=str(N_USERS - 1)):
        sampler.draw(np.array([N_USERS]), np.random.default_rng(1))


TOWERS = {
    "IdTower": (lambda: towers.IdTower(N_ITEMS, 4), ["new"]),
    "FeatureTower": (lambda: towers.FeatureTower(VECTORS, 4), VECTORS[:1]),
    "ConcatTower": (  # 2 + 2 numbers, as wide as the others
        lambda: towers.ConcatTower(*(towers.FeatureTower(VECTORS, 2) for _ in range(2))),
        VECTORS[:1],
    ),
    "SumTower": (
        lambda: towers.SumTower(towers.FeatureTower(VECTORS, 4), towers.FeatureTower(VECTORS, 4)),
        VECTORS[:1],
    ),
    "FusionTower": (
        lambda: towers.FusionTower({"a": towers.FeatureTower(VECTORS, 4),
                                    "b": towers.FeatureTower(VECTORS, 4)}),
        {"a": VECTORS[:1], "b": VECTORS[:1]},
    ),
}  # fmt: skip


TITLES = [f"film number {number}" for number in range(N_ITEMS)]


@pytest.mark.parametrize("name", [*TOWERS, "EncoderTower"])
def test_towers_over_rows(name, request):
    torch.manual_seed(0)
    if name == "EncoderTower":
        tower = towers.EncoderTower(request.getfixturevalue("bert"), TITLES, 4)
        things = TITLES[:1]
    else:
        make, things = TOWERS[name]
        tower = make()
    tower.eval()
    assert isinstance(tower, protocols.Tower)
    assert (tower.n_rows, tower.dim) == (N_ITEMS, 4)
    everything = tower()
    assert everything.shape == (N_ITEMS, 4) and everything.requires_grad
    rows = torch.tensor([5, 0, 5])
    torch.testing.assert_close(tower(rows), everything[rows])
    assert tower.embed(things).shape == (1, 4)


@pytest.mark.parametrize("name", ["HistoryTower", "TextHistoryTower"])
def test_towers_over_histories(name, request):
    if name == "HistoryTower":
        tower, things = towers.HistoryTower(towers.FeatureTower(VECTORS, 4)), VECTORS[:1]
    else:
        tower = towers.TextHistoryTower(request.getfixturevalue("bert"), TITLES, 4)
        things = TITLES[:1]
    assert isinstance(tower.eval(), protocols.Tower) and tower.reads_history
    assert (tower.n_items, tower.dim) == (N_ITEMS, 4)
    vectors = tower(HISTORY)
    assert vectors.shape == (4, 4) and vectors.requires_grad
    assert (vectors[:3] != 0).any(dim=1).all()
    assert tower.embed(things).shape == (1, 4)
    if name == "HistoryTower":  # the other one reads an empty text there
        assert (vectors[3] == 0).all()


def test_policies_choose_and_learn():
    stock, looks = np.arange(2, N_ITEMS), np.array([1.0, 0.5])
    for policy in (
        policies.Random(6, 2),
        policies.Popularity(N_ITEMS, 6, looks),
        policies.IdModel(N_ITEMS, 6, looks),
    ):
        assert isinstance(policy, protocols.Policy)
        for _ in range(3):
            shown = policy.choose(stock)
            assert shown.shape == (6, 2) and np.isin(shown, stock).all()
            assert (shown[:, 0] != shown[:, 1]).all()
            policy.learn(shown, (shown % 2).astype(float))


@pytest.mark.parametrize("name", ["Greedy", "ThompsonSampling", "LinUCB"])
def test_bandits_are_policies(name):
    for method in ("choose", "learn"):
        wanted = list(inspect.signature(getattr(protocols.Policy, method)).parameters)
        have = inspect.signature(getattr(getattr(feedback, name), method)).parameters
        assert list(have) == wanted
