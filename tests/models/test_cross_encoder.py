"""The cross-encoder: both sides count, batches do not; planted pairs; losses; the adapter."""

import numpy as np
import pytest
import torch
from torch import nn

from recsys_tutorial._files.tensors import load_tensors
from recsys_tutorial.datasets import data_dir, load_movielens, load_packages
from recsys_tutorial.datasets.genre_queries import genre_queries
from recsys_tutorial.losses.lists import distillation_loss, listwise_loss, pointwise_loss
from recsys_tutorial.models.cross_encoder import CrossEncoder, hash_of_users
from recsys_tutorial.splits import group_split, rolling_split
from recsys_tutorial.training import train

USERS = ["Liked: Alien; Heat; The Big Lebowski", "Liked: Toy Story", "Liked: "]
ITEMS = [
    "Aliens (1986). Action, Horror",
    "Bambi (1942). Animation, Children, Drama",
    "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1964). Comedy, War",
]
PAIRS = [(u, i) for u in USERS for i in ITEMS]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["full", "prefix"])
def model(request):
    # Large weights, so that differences between pairs are far above rounding.
    model = CrossEncoder(attention=request.param, device="cpu")
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    return model


# -- one score


def test_the_score_depends_on_both_sides_and_on_which_is_which(model):
    scores = model.score_pairs(*zip(*PAIRS, strict=True)).reshape(3, 3)
    for line in (*scores, *scores.T):
        assert np.abs(np.diff(np.sort(line))).min() > 1e-4
    # Not a sum of a user's and an item's number: the interaction itself.
    centred = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    assert np.abs(centred).max() > 0.02
    swapped = model.score_pairs(ITEMS[:1], USERS[:1])
    assert abs(swapped[0] - scores[0, 0]) > 1e-3


def test_neither_batch_nor_padding_nor_order_counts(model):
    users, items = (list(side) for side in zip(*PAIRS, strict=True))
    scores = model.score_pairs(users, items)
    alone = np.array([model.score_pairs([u], [i])[0] for u, i in PAIRS])
    # float32 with weights of about 1: 1e-5 is rounding; a padding token that is read moves 1e-2
    np.testing.assert_allclose(scores, alone, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(PAIRS))
    shuffled = model.score_pairs([users[p] for p in order], [items[p] for p in order])
    np.testing.assert_allclose(shuffled, scores[order], atol=1e-5)
    before, model.batch_tokens = model.batch_tokens, 30  # one pair at a time
    np.testing.assert_allclose(model.score_pairs(users, items), scores, atol=1e-5)
    model.batch_tokens = before
    many = [f"Liked: film {n}" for n in range(70)]  # more users than are held at a time
    both = model.score_pairs(many, [ITEMS[0]] * 70)
    np.testing.assert_allclose(both[69:], model.score_pairs(many[69:], ITEMS[:1]), atol=1e-5)
    assert model.score_pairs([], []).shape == (0,)


def test_a_long_user_is_cut_and_the_last_word_of_a_candidate_counts(model):
    short = CrossEncoder(attention=model.attention, max_user_tokens=12, device="cpu")
    long = "Liked: " + "; ".join(["Alien"] * 6)
    beyond = short.score_pairs([long + "; Heat"], ITEMS[:1])
    assert beyond == pytest.approx(short.score_pairs([long + "; Bambi"], ITEMS[:1]), abs=1e-6)
    texts = [ITEMS[2], ITEMS[2].replace("War", "Western")]
    a, b = short.score_pairs([long * 20] * 2, texts)
    assert abs(a - b) > 1e-5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m.score_pairs(["a"], ["b", "c"]), "equally long"),
        (lambda m: m.score_pairs("a", "b"), "two sequences"),
        (lambda m: m.score_pairs(["a", None], ["b", "c"]), "user 1 is no text"),
        (lambda m: m.score_pairs(["a"], [3]), "item 0 is no text"),
        (lambda m: m.fit(["a"], ["b"], [[0, 0]], [[0, 0, 0]]), r"labels.*\(1, 2\)"),
        (lambda m: m.fit(["a", "c"], ["b"], [[0, 0]], [[0, 0]]), r"candidates must be \(2, 2\)"),
        (lambda m: m.fit(["a"], ["b"], [[0, 0]], [[0, 0]], teacher=[[1.0]]), r"teacher must be"),
        (lambda m: m.fit(["a"], ["b"], [[0, 0]], [[0, 0]], loss="x"), "loss"),
        (lambda _: CrossEncoder(attention="half", device="cpu"), "attention"),
        (lambda _: CrossEncoder(lora_rank=4, last_blocks=9, device="cpu"), "blocks must be"),
        (lambda _: CrossEncoder(last_blocks=-1, device="cpu"), "blocks must be 'all' or 1 to 6"),
    ],
)  # fmt: skip
def test_bad_input(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


# -- a pair task that only reading both sides solves


COLOURS = ["red", "blue", "green", "yellow"]
THINGS = ["soup", "planet", "tennis", "violin"]
LENGTH = 2  # numbers in a tower's vector


class Parity:
    """A pair fits where either the colours agree or the things do, but not both.

    Neither side alone says anything, so an additive score is at chance. With 1 for a match and -1
    otherwise, the 16 x 16 matrix of texts has eigenvalues of equal size (it is a Hadamard matrix),
    so that no few numbers for each text sum it up.
    """

    def __init__(self, shuffled: bool = False):
        rng = np.random.default_rng(0)
        things = [(c, t) for c in range(4) for t in range(4)]
        colour, thing = np.array(things).T
        self.texts = [f"{COLOURS[c]} {THINGS[t]}" for c, t in things]
        self.match = (colour[:, None] == colour) ^ (thing[:, None] == thing)  # (16, 16)
        self.users = np.repeat(np.arange(16), 3)
        lists = [
            np.concatenate([rng.choice(np.flatnonzero(fits == side), 4, replace=False)
                            for side in (True, False)])
            for fits in self.match[self.users]
        ]  # fmt: skip
        self.candidates = np.array(lists)
        self.labels = np.tile([1, 1, 1, 1, 0, 0, 0, 0], (len(lists), 1))
        if shuffled:
            self.labels = rng.permuted(self.labels, axis=1)

    def solved(self, scores: np.ndarray) -> float:
        """Share of a user's (match, other) pairs in the right order; 0.5 by chance."""
        pairs = zip(scores, self.match, strict=True)
        right = [(row[m][:, None] > row[~m]).mean() for row, m in pairs]
        return float(np.mean(right))

    def by_cross_encoder(self, attention: str = "full") -> float:
        model = CrossEncoder(attention=attention, layer=2, last_blocks=2, dropout=0.0, device="cpu")
        model.fit(
            [self.texts[u] for u in self.users], self.texts, self.candidates, self.labels,
            epochs=12, batch_size=8, learning_rate={"": 1e-3, "bert": 5e-4},
        )  # fmt: skip
        pairs = [(user, item) for user in self.texts for item in self.texts]
        return self.solved(model.score_pairs(*zip(*pairs, strict=True)).reshape(16, 16))

    def by_towers(self) -> float:
        """The same network reads each side alone, and vectors of `LENGTH` numbers are multiplied.

        Users and items have heads of their own: the parameters of the cross-encoder, and 384 * 3.
        """
        torch.manual_seed(0)
        network = CrossEncoder(layer=2, last_blocks=2, dropout=0.0, device="cpu")
        towers = nn.ModuleDict({
            "network": network, "user": nn.Linear(384, LENGTH), "item": nn.Linear(384, LENGTH)
        })  # fmt: skip
        batch = network.layout.tokenizer(self.texts, padding=True, return_tensors="pt")

        def scores(model):
            hidden = model["network"].bert(**batch).last_hidden_state[:, 0]
            read = torch.tanh(model["network"].pooler(hidden))  # (16, 384)
            return model["user"](read) @ model["item"](read).T  # (16, 16)

        def loss(model, rows, rng):
            chosen = scores(model)[self.users[rows][:, None], self.candidates[rows]]
            return listwise_loss(chosen, torch.from_numpy(self.labels[rows]))

        train(towers, loss, len(self.users), epochs=12, batch_size=8,
              learning_rate={"": 1e-3, "network.bert": 5e-4})  # fmt: skip
        with torch.no_grad():
            return self.solved(scores(towers).numpy())


@pytest.mark.parametrize("attention", ["full", "prefix"])
def test_a_property_of_the_pair_is_learned(attention):
    solved = Parity().by_cross_encoder(attention)
    assert solved > 0.95, solved


def test_two_towers_of_equal_parameters_do_not_learn_it():
    solved = Parity().by_towers()
    assert solved < 0.85, solved


def test_nothing_is_learned_where_the_pairing_was_shuffled():
    shuffled = Parity(shuffled=True)
    shuffled.match = Parity().match
    assert abs(shuffled.by_cross_encoder() - 0.5) < 0.2


# -- training and the adapter


LISTS = {"candidates": [[0, 1, 2], [1, 0, 2]], "labels": [[1, 0, 0], [0, 1, 0]]}
SMALL = {"layer": 1, "last_blocks": 1, "lora_rank": 2, "device": "cpu"}


@pytest.mark.parametrize("loss", ["pointwise", "pairwise", "listwise"])
def test_each_loss_orders_the_lists_it_is_given(loss):
    model = CrossEncoder(**SMALL | {"lora_rank": None}, dropout=0.0)
    options = {"epochs": 25, "learning_rate": 2e-3}
    model.fit(USERS[:2], ITEMS, **LISTS, loss=loss, **options)
    users = [user for user in USERS[:2] for _ in ITEMS]
    scores = model.score_pairs(users, ITEMS * 2).reshape(2, 3)
    assert scores.argmax(1).tolist() == [0, 0]  # both like candidate 0


def test_a_teacher_is_imitated():
    model = CrossEncoder(**SMALL | {"lora_rank": None}, dropout=0.0)
    teacher = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])  # of candidates 0 1 2 and 1 0 2
    model.fit(USERS[:2], ITEMS, **LISTS, teacher=teacher, distill=1.0, epochs=25,
              learning_rate=2e-3)  # fmt: skip
    scores = model.score_pairs([USERS[0]] * 3 + [USERS[1]] * 3, ITEMS * 2).reshape(2, 3)
    assert scores.argsort(1).tolist() == [[0, 1, 2], [1, 0, 2]]


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("lora_rank, rate", [(None, 5e-5), (2, 5e-4)])
def test_training_is_as_asked(monkeypatch, taught, lora_rank, rate):
    asked = []
    monkeypatch.setattr(
        "recsys_tutorial.models.cross_encoder.run_training",
        lambda model, objective, n, **options: asked.append((objective, n, options)),
    )
    model = CrossEncoder(**SMALL | {"lora_rank": lora_rank})
    users, teacher = [*USERS[:2], USERS[0]], np.random.default_rng(0).normal(size=(3, 2))
    candidates, labels = np.array([[0, 2], [2, 1], [1, 2]]), np.array([[1, 0], [0, 1], [1, 0]])
    more = {"teacher": teacher, "distill": 0.3} if taught else {}
    model.fit(users, ITEMS, candidates, labels, loss="pointwise", user_ids=[4], **more)
    ((objective, n, options),) = asked
    rates = {"": 1e-3, "bert": rate}
    expected = {"epochs": 1, "batch_size": 2, "validation": None, "learning_rate": rates}
    assert n == 3 and options == expected and model.train_users_ == hash_of_users([4])
    rows = np.array([2, 1])
    with torch.no_grad():
        found = objective(model, rows, None)
    pairs = [(users[row], ITEMS[column]) for row in rows for column in candidates[row]]
    scores = torch.from_numpy(model.score_pairs(*zip(*pairs, strict=True)).reshape(2, 2))
    value = pointwise_loss(scores, torch.from_numpy(labels[rows]))
    if taught:
        value = 0.7 * value + 0.3 * distillation_loss(scores, torch.from_numpy(teacher[rows]))
    assert found.item() == pytest.approx(value.item(), abs=1e-5)
    chosen = {"epochs": 5, "batch_size": 1, "learning_rate": 0.1, "validation": len}
    model.fit(users, ITEMS, candidates, labels, **chosen, seed=3)
    assert asked[1][2] == {**chosen, "seed": 3} and model.train_users_ is None


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    class Killed(Exception):
        pass

    def fit(model, **options):
        return model.fit(USERS[:2], ITEMS, **LISTS, epochs=4, batch_size=1, **options)

    def killer(_):
        killer.epochs += 1
        if killer.epochs == 3:
            raise Killed
        return {}

    killer.epochs = 0
    whole = fit(CrossEncoder(**SMALL))
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        fit(CrossEncoder(**SMALL), checkpoint=path, metrics=killer)
    resumed = fit(CrossEncoder(**SMALL), checkpoint=path)
    pairs = [USERS[0]] * 3, ITEMS
    np.testing.assert_array_equal(resumed.score_pairs(*pairs), whole.score_pairs(*pairs))


def test_an_adapter_survives_the_disk_and_knows_its_users(tmp_path):
    path = tmp_path / "adapter.safetensors"
    fitted = CrossEncoder(**SMALL).fit(USERS[:2], ITEMS, **LISTS, user_ids=[7, 3])
    fitted.save(path)
    assert load_tensors(path, "a cross-encoder's adapter")[1]["notes"] == {}
    fitted.save(path, {"made": "here"})
    assert load_tensors(path, "a cross-encoder's adapter")[1]["notes"] == {"made": "here"}
    loaded = CrossEncoder(**SMALL, seed=5).load(path)
    pairs = [USERS[0]] * 3, ITEMS
    np.testing.assert_array_equal(loaded.score_pairs(*pairs), fitted.score_pairs(*pairs))
    assert loaded.train_users_ == hash_of_users([3, 7, 7]) != hash_of_users([3, 8])
    with pytest.raises(ValueError, match=r"its lora_rank is 2, not 4\. Build"):
        CrossEncoder(**SMALL | {"lora_rank": 4}).load(path)


ADAPTER = {"last_blocks": 3, "lora_rank": 8, "max_user_tokens": 64, "device": "cpu"}


def committed(name):
    path = data_dir() / "cross_encoder" / f"{name}.safetensors"
    assert path.stat().st_size <= 1_300_000
    return CrossEncoder(attention="prefix", **ADAPTER).load(path)


@pytest.mark.parametrize("name, part", [("tuning", "tuning"), ("prefix", "test")])
def test_an_adapter_for_films_has_seen_nobody_whom_it_is_judged_on(name, part):
    windows = getattr(rolling_split(*load_movielens()), part)
    known = windows[0].train_user_ids
    assert committed(name).train_users_ == hash_of_users(known)
    judged = np.concatenate([window.test.user_ids for window in windows])
    assert len(judged) > 100 and not np.isin(judged, known).any()
    assert committed(name).train_users_ != hash_of_users(np.append(known, judged[0]))


def test_the_adapter_for_packages_has_seen_no_judged_maintainer():
    sources, packages, needs = load_packages()
    groups = sources["group"].to_numpy()
    split = group_split(needs, packages, groups)
    assert committed("packages").train_users_ == hash_of_users(split.train_user_ids)
    for holdout in (split.validation, split.test):
        assert not np.isin(groups[holdout.user_ids], groups[split.train_user_ids]).any()


def test_the_reranker_of_queries_has_seen_training_queries_alone():
    path = data_dir() / "cross_encoder" / "queries_prefix.safetensors"
    assert path.stat().st_size <= 2_000_000
    options = {"last_blocks": 3, "lora_rank": 8, "max_user_tokens": 64, "device": "cpu"}
    model = CrossEncoder(attention="prefix", **options).load(path)
    items = load_movielens().items
    items = items[items["genres"] != "(no genres listed)"].iloc[::2]
    queries = genre_queries(items["genres"].tolist())
    assert model.train_users_ == hash_of_users(queries.rows("train"))
    assert model.train_users_ != hash_of_users(
        np.append(queries.rows("train"), queries.rows("test"))
    )
