"""Fusion of modalities: equations written out, missing parts, and planted problems."""

import itertools

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional

from recsys_tutorial.losses import info_nce
from recsys_tutorial.models.towers import (
    FeatureTower,
    FusionTower,
    HistoryTower,
    IdTower,
    RawTower,
    SumTower,
)
from recsys_tutorial.models.two_tower import TwoTower
from recsys_tutorial.training import train
from tests.models.towers.two_modalities import LACKS, PICTURE, RNG, WORDS, build

WAYS = ("mean", "concat", "gate", "attention")
pytestmark = pytest.mark.usefixtures("one_thread")


# -- the equations


def test_mean_of_what_is_there():
    tower = build("mean", present={"picture": ~LACKS})
    words, picture = (t(None) for t in tower.towers.values())
    assert torch.allclose(tower()[~LACKS], (words + picture)[~LACKS] / 2)
    assert torch.allclose(tower()[LACKS], words[LACKS])
    assert torch.allclose(build("mean")() * 2, SumTower(*build("mean").towers.values())())


def test_early_fusion_is_one_head_on_features_side_by_side():
    torch.manual_seed(0)
    raw = {"words": RawTower(WORDS), "picture": RawTower(PICTURE)}
    tower = FusionTower(raw, 6, how="concat", present={"picture": ~LACKS}).double()
    seen = np.where(LACKS[:, None], 0, PICTURE)
    beside = np.hstack([WORDS, seen, np.ones((9, 1)), ~LACKS[:, None]])
    layer = tower.head[-1]
    expected = functional.linear(torch.from_numpy(beside), layer.weight, layer.bias)
    assert tower().shape == (9, 6)
    assert torch.allclose(tower(), expected)


def test_gate_item_by_item():
    tower = build("gate", present={"picture": ~LACKS})
    words, picture = (t(None) for t in tower.towers.values())
    for row in range(9):
        seen = 0 * picture[row] if LACKS[row] else picture[row]
        logits = tower.gate.weight @ torch.cat([words[row], seen]) + tower.gate.bias
        a = torch.tensor([1.0, 0.0]) if LACKS[row] else logits.softmax(0)
        assert torch.allclose(tower()[row], a[0] * words[row] + a[1] * seen)


def test_attention_is_that_of_torch():
    tower = build("attention", present={"picture": ~LACKS})
    own = nn.MultiheadAttention(4, 1, batch_first=True, dtype=torch.float64)
    own.in_proj_weight.data, own.in_proj_bias.data = (
        tower.query_key_value.weight.data,
        tower.query_key_value.bias.data,
    )
    own.out_proj.weight.data, own.out_proj.bias.data = tower.out.weight.data, tower.out.bias.data
    parts, there = tower.parts()
    h = torch.stack(parts, 1) * there[:, :, None]
    read = h + own(h, h, h, key_padding_mask=~there)[0]
    expected = (read * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)
    assert torch.allclose(tower(), expected)


@pytest.mark.parametrize("how", ["mean", "attention"])
def test_order_of_the_modalities_does_not_matter(how):
    tower = build(how)
    parts, there = tower.parts()
    assert torch.allclose(tower.fuse(parts[::-1], there.flip(1)), tower())


# -- missing modalities


@pytest.mark.parametrize("how", WAYS)
def test_what_is_missing_is_not_read(how):
    other = PICTURE + LACKS[:, None] * 100.0
    one, two = (build(how, picture=x, present={"picture": ~LACKS}) for x in (PICTURE, other))
    assert torch.allclose(one(), two())
    assert not torch.allclose(build(how)(), build(how, picture=other)())  # where it is there


@pytest.mark.parametrize("how", WAYS)
def test_without_is_as_if_no_item_had_it(how):
    tower = build(how)
    never = build(how, present={"picture": np.zeros(9, dtype=bool)})
    full = tower()
    with tower.without("picture"):
        assert torch.allclose(tower(), never())
        assert not torch.allclose(tower(), full)
        with tower.without("words"):
            assert not tower().any()
        assert torch.allclose(tower(), never())
    assert torch.equal(tower(), full)
    with pytest.raises(RuntimeError, match="of the caller"), tower.without("words"):
        raise RuntimeError("of the caller")
    assert torch.equal(tower(), full)


@pytest.mark.parametrize("how", WAYS)
def test_what_is_new_lacks_what_is_left_out_too(how):
    tower = build(how)
    words = tower.embed({"words": WORDS})
    assert not torch.allclose(tower.embed({"words": WORDS, "picture": PICTURE}), words)
    with tower.without("picture"):
        assert torch.allclose(tower.embed({"words": WORDS, "picture": PICTURE}), words)


def test_a_gate_starts_from_the_mean():
    gate, mean = FusionTower(TOWERS, how="gate"), FusionTower(TOWERS, how="mean")
    assert torch.allclose(gate(), mean())


def test_what_a_file_must_agree_with_and_what_it_holds():
    tower = build("gate", present={"picture": ~LACKS})
    assert tower.describe() == {
        "how": "gate", "modalities": ["words", "picture"], "present": [9, int((~LACKS).sum())],
    }  # fmt: skip
    learned = {"gate.weight", "gate.bias"}  # and the towers' heads, but not which items have what
    assert {name for name in tower.state_dict() if not name.startswith("towers.")} == learned


def test_without_dropout_no_chance_is_drawn():
    tower = build("mean").train()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert tower.parts()[1].all() and torch.rand(1) == expected


@pytest.mark.parametrize("how", WAYS)
def test_an_item_with_nothing_gets_zero_and_a_finite_gradient(how):
    gone = {name: np.arange(9) != 4 for name in ("words", "picture")}
    tower = build(how, present=gone)
    assert not tower()[4].any()
    assert tower()[3].any()
    tower().square().sum().backward()
    grads = [p.grad for p in tower.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    assert sum(grad.abs().sum() for grad in grads) > 0  # of the others


@pytest.mark.parametrize("how", WAYS)
def test_embed_agrees_with_rows(how):
    tower = build(how, present={"picture": ~LACKS})
    both = tower.embed({"picture": PICTURE[~LACKS], "words": WORDS[~LACKS]})
    assert torch.allclose(both, tower()[~LACKS])
    assert torch.allclose(tower.embed({"words": WORDS[LACKS]}), tower()[LACKS])


def test_the_catalogue_of_a_two_tower_follows():
    torch.manual_seed(0)
    towers = {"words": FeatureTower(WORDS, 4), "picture": FeatureTower(PICTURE, 4)}
    items = FusionTower(towers, how="concat")
    model = TwoTower(FeatureTower(WORDS, 4), items, similarity="cosine")
    full = model.encode_items()
    with items.without("words"):
        assert not np.allclose(model.encode_items(), full)
    assert np.array_equal(model.encode_items(), full)
    new = model.encode_items({"words": WORDS[:2]})
    with items.without("picture"):
        assert np.allclose(model.encode_items()[:2], new)


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_modality_dropout_leaves_each_item_something(rate):
    n = 20_000
    features = np.ones((n, 1))
    towers = {name: FeatureTower(features, 2) for name in ("a", "b", "c")}
    only_a = np.arange(n) % 2 == 0
    tower = FusionTower(towers, present={"b": ~only_a, "c": ~only_a}, modality_dropout=rate)
    torch.manual_seed(0)
    there = tower.parts()[1].numpy()
    assert (there[only_a] == [True, False, False]).all()
    assert there.any(1).all()
    # independent drops, except that an item which would lose all three keeps all three
    expected = 1 - rate + rate**3
    assert np.allclose(there[~only_a].mean(0), expected, atol=0.02)  # 5 standard errors: 0.018
    assert tower.eval().parts()[1].numpy()[~only_a].all()


# -- planted answers: words tell which of 6, the picture which of 6, the query asks for both

PAIRS = np.array(list(itertools.product(range(6), range(6))))
HALVES = {"words": np.eye(6)[PAIRS[:, 0]], "picture": np.eye(6)[PAIRS[:, 1]]}
QUERY = np.hstack(list(HALVES.values()))


def fitted(how, *, items=HALVES, epochs=100, **options):
    torch.manual_seed(0)
    raw = options.pop("early", False)
    towers = {m: RawTower(x) if raw else FeatureTower(x, 16) for m, x in items.items()}
    tower = FusionTower(towers, 16, how=how, **options)
    model = TwoTower(FeatureTower(QUERY, 16), tower, similarity="cosine", dtype=torch.float64)

    def loss(model, rows, rng):
        return info_nce(model.user_vectors(rows), model.item_vectors(rows), temperature=1.0)

    train(model, loss, len(QUERY), epochs=epochs, batch_size=36, learning_rate=0.02)
    return model


def first(model):
    """Share of the queries whose item stands alone in the first place."""
    scores = model.encode_users(np.arange(len(QUERY))) @ model.encode_items().T
    own = np.diag(scores)[:, None]
    return ((scores >= own - 1e-9).sum(1) == 1).mean()


@pytest.mark.parametrize(("how", "early"), [*((how, False) for how in WAYS), ("concat", True)])
def test_fusion_finds_what_neither_half_can(how, early):
    model = fitted(how, early=early)
    assert first(model) > 0.95
    for name in HALVES:
        with model.item_tower.without(name):
            assert first(model) == 0  # six items look alike
    assert first(fitted(how, early=early, epochs=1)) < 0.5


def test_a_tower_that_sleeps_is_woken():
    """Both modalities tell everything, one of them much louder."""
    items = {"loud": QUERY * 3, "quiet": QUERY @ RNG.normal(size=(12, 12)) * 0.03}

    def without_loud(**options):
        model = fitted("concat", items=items, epochs=30, **options)
        with model.item_tower.without("loud"):
            return first(model)

    asleep = without_loud()
    assert without_loud(modality_dropout=0.5) > asleep + 0.3


def test_users_with_histories_and_saving(tmp_path):
    likes = sparse.csr_matrix((RNG.random((30, 9)) < 0.4).astype(float))

    def model(how="gate"):
        torch.manual_seed(1)
        towers = {"words": FeatureTower(WORDS, 4), "id": IdTower(9, 4)}
        items = FusionTower(towers, how=how, present={"id": ~LACKS}, modality_dropout=0.2)
        return TwoTower(HistoryTower(items), items, dtype=torch.float64)

    one = model().fit(likes, epochs=2)
    one.save(tmp_path / "model.safetensors")
    assert np.allclose(model().load(tmp_path / "model.safetensors").score(likes), one.score(likes))
    with pytest.raises(ValueError, match="another model"):
        model("mean").load(tmp_path / "model.safetensors")


TOWERS = {"words": FeatureTower(WORDS, 4), "picture": FeatureTower(PICTURE, 4)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FusionTower({}), "at least one tower"),
        (lambda: FusionTower(TOWERS, how="sum"), "'gate' or 'attention', got 'sum'"),
        (lambda: FusionTower(TOWERS, modality_dropout=1.0), "must be below 1, got 1.0"),
        (lambda: FusionTower(TOWERS, modality_dropout=-0.1), "got -0.1"),
        (lambda: FusionTower({**TOWERS, "id": IdTower(8, 4)}), r"same rows.*'id': \(8, 4\)"),
        (lambda: FusionTower({**TOWERS, "id": IdTower(9, 3)}), r"length 4.*'id': \(9, 3\)"),
        (lambda: FusionTower(TOWERS, present={"sound": LACKS}), r"\['sound'\].*'picture'"),
        (lambda: FusionTower(TOWERS, present={"words": LACKS[1:]}), r"9 rows, got bool \(8,\)"),
        (lambda: FusionTower(TOWERS, present={"words": LACKS * 1}), r"bool array.*int64 \(9,\)"),
        (lambda: FusionTower(TOWERS).embed({"sound": WORDS}), r"no tower for \['sound'\]"),
        (lambda: FusionTower(TOWERS).embed({}), "at least one modality"),
        (
            lambda: FusionTower(TOWERS).embed({"words": WORDS, "picture": PICTURE[1:]}),
            "'words': 9, 'picture': 8",
        ),
        (lambda: FusionTower(TOWERS).without("sound").__enter__(), r"no tower for \['sound'\]"),
        (lambda: RawTower(WORDS[0]), "must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
