"""SASRec: what it reads, what it may not see, what it learns that an order-blind model cannot."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.losses import bce_loss, bpr_loss, gbce_loss, sampled_softmax_loss
from recsys_tutorial.models import AttentionBlock, HSTUBlock, MarkovChain, Reading, SASRec
from recsys_tutorial.models._events import last_events, pieces
from recsys_tutorial.models._next_item import next_item_sampled, next_item_softmax
from recsys_tutorial.models._sequence_blocks import Clock
from recsys_tutorial.models.towers import FeatureTower, IdTower, SumTower
from recsys_tutorial.sampling import UniformNegatives
from recsys_tutorial.splits import Holdout, shuffled_times
from tests.models.planted_sequences import N_ITEMS, chains, hits

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = {
    "SASRec": {},
    "no places": {"positions": False},
    "clock": {"clock": True, "n_heads": 2},
    "HSTU": {"block": HSTUBlock, "positions": False, "clock": True, "n_heads": 2},
    "prior": {"popularity_prior": True},
}


def model_of(kind="SASRec", dim=16, max_length=12, seed=0, tower=None, **options):
    torch.manual_seed(seed)
    tower = IdTower(N_ITEMS, dim) if tower is None else tower
    options = {"max_length": max_length, "dropout": 0.0, **KINDS[kind], **options}
    return SASRec(tower, **options)


def awake(kind, **options):
    """Untrained, but with a clock that says something."""
    model = model_of(kind, **options)
    if model.clock is not None:
        torch.nn.init.normal_(model.clock.distance)
        torch.nn.init.normal_(model.clock.gap)
    return model


# -- what is computed


def test_a_block_is_its_equation():
    """One head at a time, one event at a time, with loops."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    bias = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    bias = bias.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    for kind in (AttentionBlock, HSTUBlock):
        block = kind(8, 2, 0.0, 5).double().eval()
        found, _ = block(x, bias)
        y = block.norm(x)
        if kind is AttentionBlock:
            q, k, v = block.qkv(y).chunk(3, 2)
        else:
            u, q, k, v = torch.nn.functional.silu(block.uqkv(y)).chunk(4, 2)
        read = torch.zeros_like(x)
        for n in range(2):
            for head in range(2):
                part = slice(4 * head, 4 * head + 4)
                for t in range(5):
                    logits = k[n, : t + 1, part] @ q[n, t, part]
                    if kind is AttentionBlock:
                        a = (logits / 2 + bias[n, head, t, : t + 1]).softmax(0)
                    else:
                        a = torch.nn.functional.silu(logits + bias[n, head, t, : t + 1]) / 5
                    read[n, t, part] = a @ v[n, : t + 1, part]
        if kind is AttentionBlock:
            wanted = x + block.out(read)
            wanted = wanted + block.inner(block.inner_norm(wanted))
        else:
            wanted = x + block.out(block.read_norm(read) * u)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_the_clock_knows_distances_and_factors_of_two():
    model = awake("clock")
    times = torch.tensor([[0.0, 0.0, 1.0, 10.0, 10.0 + 2**20]], dtype=torch.float64)
    b = model.clock(times, 2)  # of the last two events
    assert b.shape == (1, 2, 2, 5)
    distance, gap = model.clock.distance, model.clock.gap
    torch.testing.assert_close(b[0, :, 0, 0], distance[:, 3] + gap[:, 3])  # log2(11)
    torch.testing.assert_close(b[0, :, 1, 3], distance[:, 1] + gap[:, 20])
    torch.testing.assert_close(b[0, :, 1, 4], distance[:, 0] + gap[:, 0])
    assert gap.shape == (2, 32)
    few = Clock(1, 3, n_buckets=4).double()
    torch.nn.init.normal_(few.gap)
    b = few(torch.tensor([[0.0, 2.0**40]]), 1)  # longer ago than there are buckets for
    torch.testing.assert_close(b[0, 0, 0], few.distance[0, [1, 0]] + few.gap[0, [3, 0]])


@pytest.mark.parametrize("kind", [AttentionBlock, HSTUBlock])
def test_a_block_drops_numbers_in_training_alone(kind):
    torch.manual_seed(0)
    x, bias = torch.randn(1, 5, 8), torch.zeros(1, 1, 5, 5)
    block, same = kind(8, 2, 0.5, 5), kind(8, 2, 0.0, 5)
    same.load_state_dict(block.state_dict())
    expected = same.train()(x, bias)[0]
    torch.testing.assert_close(block.eval()(x, bias)[0], expected)
    block.train()
    assert not torch.allclose(block(x, bias)[0], block(x, bias)[0])
    if kind is AttentionBlock:  # of the attention alone, too
        block.drop.p = block.inner[2].p = 0.0
        assert not torch.allclose(block(x, bias)[0], block(x, bias)[0])


@pytest.mark.parametrize("kind", ["SASRec", "no places", "clock"])
def test_the_network_is_blocks_on_scaled_vectors_and_places(kind):
    model = awake(kind, dim=16, max_length=7).eval()
    items, times = torch.tensor([[3, 9, 3, 1]]), torch.tensor([[0.0, 5.0, 5.0, 99.0]]).double()
    x = 4.0 * model.item_tower(items[0])[None]  # the root of 16
    if model.positions is not None:
        x = x + model.positions.weight[:4]
    bias = torch.full((4, 4), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    if model.clock is not None:
        bias = bias + model.clock(times, 4)
    for block in model.blocks:
        x, _ = block(x, bias)
    torch.testing.assert_close(model(items, times)[0], model.norm(x))
    assert len(model.blocks) == 2 and model_of(kind, n_blocks=3).blocks[2] is not None


def test_places_start_short_and_dropout_is_everywhere():
    torch.manual_seed(0)
    model = SASRec(IdTower(N_ITEMS, 64), max_length=100, dropout=0.3)
    assert model.positions.weight.std().item() == pytest.approx(0.05, rel=0.05)
    drops = [part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)]
    assert sum(p == 0.3 for p in drops) == 1 + 2 * 2  # at the bottom, two in each block
    assert {block.dropout for block in model.blocks} == {0.3}


@pytest.mark.parametrize("kind", KINDS)
def test_no_state_knows_what_comes_later(kind):
    history, times, _ = chains(n_users=4)
    model = awake(kind).eval()
    events = last_events(history, times, 12)
    with torch.no_grad():
        whole = model.user_vectors(events)
        for n in (1, 5, 11):
            cut = replace(events, items=events.items[:, :n], times=events.times[:, :n])
            torch.testing.assert_close(model.user_vectors(cut), whole[:, :n])
        other = events.items.copy()
        other[:, 6] = (other[:, 6] + 1) % N_ITEMS
        changed = model.user_vectors(replace(events, items=other))
    torch.testing.assert_close(changed[:, :6], whole[:, :6])
    assert (changed[:, 6:] - whole[:, 6:]).abs().amax((0, 2)).min() > 1e-6  # but all later ones do


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_of_the_last_event_whatever_else_is_in_the_batch(kind):
    history, times, _ = chains(n_users=6)
    short = history.copy()
    model = awake(kind)
    if model.popularity_prior:
        model.log_popularity.copy_(torch.arange(N_ITEMS))
    keep = np.arange(history.nnz) % 12 < np.repeat(np.arange(6), 12) * 2
    short.data, clock = short.data * keep, times.copy()
    short.eliminate_zeros()
    clock.data = np.where(keep, clock.data, 0)
    clock.eliminate_zeros()
    together = model.score(short, clock)
    for row in range(6):
        alone = model.score(short[row], clock[row])[0]
        np.testing.assert_allclose(together[row], alone, rtol=1e-9, atol=1e-12)
        events = last_events(short[row], clock[row], 12)
        if not events.lengths[0]:
            wanted = np.arange(N_ITEMS) * 1.0 if model.popularity_prior else np.zeros(N_ITEMS)
        else:
            with torch.no_grad():
                wanted = (model.user_vectors(events)[0, -1] @ model.item_vectors().T).numpy()
        np.testing.assert_allclose(alone, wanted, rtol=1e-9, atol=1e-12)


def test_only_the_last_events_of_a_long_history_count():
    history, times, _ = chains(n_users=5)
    model = model_of(max_length=4)
    events = last_events(history, times, 4)
    users = np.repeat(np.arange(5), 4)
    pairs = users, events.items.ravel()
    last = sparse.csr_matrix((np.ones(20), pairs), history.shape)
    when = sparse.csr_matrix((events.times.ravel(), pairs), history.shape)
    np.testing.assert_allclose(model.score(history, times), model.score(last, when))


# -- reading on


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [12, 5])
def test_reading_on_is_reading_again(kind, max_length):
    """Event by event and in lumps, also where the history grows out of what the model reads."""
    history, times, _ = chains(n_users=1)
    model = awake(kind, max_length=max_length)
    events = last_events(history, times, 12)
    items, clock = events.items[0], events.times[0]
    one, lumps = Reading(model), Reading(model)
    for n in range(1, 13):
        rows = sparse.csr_matrix((np.ones(n), (np.zeros(n, int), items[:n])), (1, N_ITEMS))
        when = sparse.csr_matrix((clock[:n], (np.zeros(n, int), items[:n])), (1, N_ITEMS))
        wanted = model.score(rows, when)[0]
        found = one.add(items[n - 1 : n], clock[n - 1 : n]).scores()
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
        if n in (3, 4, 9, 12):
            done = {3: 0, 4: 3, 9: 4, 12: 9}[n]
            found = lumps.add(items[done:n], clock[done:n]).scores()
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_a_new_event_reads_one_row():
    model, seen = model_of(), []
    model.blocks[0].register_forward_hook(lambda block, given, found: seen.append(given[0].shape))
    reading = Reading(model).add([1, 2, 3], [0, 1, 2])
    reading.add([4], [5])
    assert [shape[1] for shape in seen] == [3, 1]
    full = model_of(max_length=4)
    full.blocks[0].register_forward_hook(lambda b, given, found: seen.append(given[0].shape))
    reading = Reading(full).add([0, N_ITEMS - 1, 3], [0, 1, 2])  # the first and the last column
    reading.add([4], [5]).add([6], [5])  # the fourth still fits, the fifth moves the others
    assert [shape[1] for shape in seen[2:]] == [3, 1, 4]
    assert reading.items == [N_ITEMS - 1, 3, 4, 6] and reading.times == [1, 2, 5, 5]
    assert Reading(model).scores().tolist() == [0.0] * N_ITEMS


@pytest.mark.parametrize(
    "items, times, message",
    [
        ([1], [], "1 items with 0 times"),
        ([], [], "0 items"),
        ([N_ITEMS], [7], "an item's column must be"),
        ([-1], [7], "an item's column must be"),
        ([1, -1], [7, 8], "an item's column must be .* got -1"),
        ([N_ITEMS, 1], [7, 8], f"an item's column must be .* got {N_ITEMS}"),
        ([1], [3], "must not fall"),
        ([1, 2], [9, 8], "must not fall"),
    ],
)
def test_reading_says_what_is_wrong_and_stays_as_it_was(items, times, message):
    reading = Reading(model_of()).add([5], [4])
    before = reading.scores()
    with pytest.raises(ValueError, match=message):
        reading.add(items, times)
    assert np.array_equal(reading.scores(), before)


# -- what is learned


def test_the_softmax_is_over_what_somebody_liked():
    history, times, _ = chains(n_users=3)
    model = model_of()
    parts, _ = pieces(history, times, 12)
    items = np.unique(history.indices)
    found = next_item_softmax(model, np.arange(3), None, pieces=parts, items=items)
    total, n = 0.0, 0
    for row in range(3):
        length = parts.lengths[row]
        states = model.user_vectors(parts.rows(np.array([row])))[0]
        for t in range(length - 1):
            s = states[t] @ model.item_vectors(items).T
            place = int(np.flatnonzero(items == parts.items[row, t + 1])[0])
            total, n = total - s.log_softmax(0)[place], n + 1
    assert torch.isclose(found, total / n, rtol=1e-10)


def test_drawn_items_are_scored_after_the_same_event():
    history, times, _ = chains(n_users=5)
    model, seen = model_of("prior"), {}
    parts, users = pieces(history, times, 4)
    rows = np.arange(len(parts))[::2]
    sampler = UniformNegatives(history)

    def loss(positive, negative):
        seen.update(positive=positive, negative=negative)
        return positive.sum() * 0

    options = {"pieces": parts, "users": users, "negatives": sampler, "n_negatives": 3}
    next_item_sampled(model, rows, np.random.default_rng(0), loss=loss, **options)
    batch = parts.rows(rows)
    owner = np.repeat(users[rows], batch.lengths - 1)
    drawn = sampler.draw(owner, np.random.default_rng(0), 3)
    assert not history[owner[:, None], drawn].sum()
    v, at = model.item_vectors(), 0
    for piece in range(len(batch)):
        states = model.user_vectors(batch.rows(np.array([piece])))[0]
        for t in range(batch.lengths[piece] - 1):
            wanted = states[t] @ v[batch.items[piece, t + 1]]
            assert torch.isclose(seen["positive"][at], wanted)
            torch.testing.assert_close(seen["negative"][at], v[drawn[at]] @ states[t])
            at += 1
    assert at == len(seen["positive"])


def _even(n_items):
    log_q = -torch.log(torch.tensor(float(n_items)))
    return lambda p, n: sampled_softmax_loss(p, n, log_q.expand(n.shape[1]).to(n))


LOSSES = {
    "softmax": {},
    "BCE": {"loss": bce_loss, "n_negatives": 4},
    "BPR": {"loss": lambda p, n: bpr_loss(p[:, None], n), "n_negatives": 4},
    "gBCE": {"loss": functools.partial(gbce_loss, n_items=N_ITEMS), "n_negatives": 4, "epochs": 30},
    "sampled softmax": {"loss": _even(N_ITEMS - 12), "n_negatives": 4},
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_planted_order_is_learned(loss):
    train, times, _ = chains(n_users=400, length=13, seed=1)  # all 12 places learn
    history, when, following = chains(n_users=100, seed=2)
    options = {"epochs": 12, "learning_rate": 1e-2, **LOSSES[loss]}
    model = model_of().fit(train, times, **options)
    assert hits(model.score(history, when), history, following) > 0.9
    assert hits(model.score(history, shuffled_times(when)), history, following) < 0.3
    assert hits(model_of().score(history, when), history, following) < 0.3  # untrained


@pytest.mark.parametrize("kind", ["SASRec", "HSTU"])
def test_an_event_further_back_is_learned_where_a_chain_fails(kind):
    """The next one follows from the last but one: places or distances have to be known."""
    train, times, _ = chains(n_users=400, length=13, apart=2, seed=1)
    history, when, following = chains(n_users=100, apart=2, seed=2)
    options = {"epochs": 12, "learning_rate": 1e-2}
    model = model_of(kind).fit(train, times, **options)
    assert hits(model.score(history, when), history, following) > 0.9
    chain = MarkovChain().fit(train, times).score(history, when)
    assert hits(chain, history, following) < 0.3
    blind = model_of(kind).fit(train, shuffled_times(times), **options)
    assert hits(blind.score(history, when), history, following) < 0.3


def test_items_may_be_known_by_features():
    """A film without an event in training has a vector by its features, and its own score."""
    train, times, _ = chains(n_users=400, length=13, seed=1)
    new = 7
    kept = train.indices != new
    features = np.eye(N_ITEMS)
    features[new] = features[3]  # what is known of it: it is like another
    users = np.repeat(np.arange(400), np.diff(train.indptr))[kept]
    pairs = users, train.indices[kept]
    train = sparse.csr_matrix((np.ones(len(users)), pairs), train.shape)
    times = sparse.csr_matrix((times.data[kept], pairs), train.shape)
    tower = SumTower(
        FeatureTower(features, 16), IdTower(N_ITEMS, 16, known=np.arange(N_ITEMS) != new)
    )
    model = model_of(tower=tower).fit(train, times, epochs=8, learning_rate=1e-2)
    history, when, following = chains(n_users=300, seed=2)
    scores = model.score(history, when)
    rest = following != new
    assert hits(scores[rest], history[rest], following[rest]) > 0.8
    wants_3 = following == 3
    rank = (scores[wants_3] > scores[wants_3][:, [new]]).sum(1)
    assert np.median(rank) < 4 < np.median((scores[~wants_3] > scores[~wants_3][:, [new]]).sum(1))


def test_the_prior_counts_likes_or_what_it_is_given():
    train, times, _ = chains(n_users=20)
    model = model_of("prior").fit(train, times, epochs=1)
    n = np.bincount(train.indices, minlength=N_ITEMS)
    np.testing.assert_allclose(model.log_popularity.numpy(), np.log1p(n))
    assert model.popularity_weight.item() != 1.0
    model.fit(train, times, epochs=1, popularity=np.arange(N_ITEMS))
    np.testing.assert_allclose(model.log_popularity.numpy(), np.log1p(np.arange(N_ITEMS)))


def test_the_same_seed_gives_the_same_model():
    train, times, _ = chains(n_users=20)
    options = {"epochs": 2, "batch_size": 4}
    scores = [
        model_of().fit(train, times, seed=s, **options).score(train, times) for s in (1, 1, 2)
    ]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-9)
    assert not np.allclose(scores[0], scores[2])


def test_training_is_as_asked(monkeypatch):
    asked = []

    def train_(model, loss, n, **options):
        asked.append((loss, n, options))
        return "history"

    monkeypatch.setattr("recsys_tutorial.models.sequential.run_training", train_)
    likes, _, _ = chains(n_users=6)
    same = np.zeros(likes.nnz)  # all at once: the order is drawn from the seed
    model, options = model_of(), {"epochs": 3, "batch_size": 5, "learning_rate": 0.5}
    for seed in (1, 1, 2):
        model.fit(likes, same, seed=seed, clip_norm=None, **options)
        assert asked[-1][2] == {**options, "seed": seed, "clip_norm": None}
    drawn = [loss.keywords["pieces"].items.tolist() for loss, _, _ in asked]
    assert drawn[0] == drawn[1] != drawn[2] and asked[0][1] == 6 and model.history_ == "history"
    model.fit(likes, same, loss=bce_loss, n_negatives=7)
    loss = asked[-1][0].keywords
    assert (loss["n_negatives"], loss["loss"]) == (7, bce_loss)


def test_item_vectors_are_computed_once_and_again_after_a_change():
    model = model_of()
    first = model.encode_items()
    assert model.encode_items() is first
    with torch.no_grad():
        model.item_tower.table.weight.mul_(2)
    np.testing.assert_allclose(model.encode_items(), 2 * first)


def test_evaluate_hands_the_times_over():
    history, times, following = chains(n_users=50, seed=2)
    train, when, _ = chains(seed=1)
    model = MarkovChain().fit(train, when)
    targets = sparse.csr_matrix((np.ones(50), (np.arange(50), following)), history.shape)
    holdout = Holdout(np.arange(50), history, history, history, targets, history_times=times)
    assert evaluate(model, holdout, (1,))["ndcg@1"] == 1
    with pytest.raises(TypeError):
        evaluate(model.score, holdout, (1,))  # a function gets the history alone


# -- files and errors


def test_save_and_load(tmp_path):
    train, times, _ = chains(n_users=20)
    model = model_of("prior").fit(train, times, epochs=2)
    model.save(tmp_path / "model.safetensors")
    other = model_of("prior", seed=5)
    assert not np.allclose(other.score(train, times), model.score(train, times))
    other.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(other.score(train, times), model.score(train, times))
    for wrong in ({"dim": 8}, {"n_blocks": 1}, {"max_length": 6}, {"block": HSTUBlock}):
        with pytest.raises(ValueError, match=r"does not fit.*\. Build the model from the parts"):
            model_of("prior", **wrong).load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: model_of(n_heads=3), "3 heads do not divide"),
        (lambda: model_of(n_blocks=0), "n_blocks"),
        (lambda: model_of(max_length=0), "max_length"),
        (lambda: model_of(dropout=2), "dropout"),
    ],
)
def test_says_what_is_wrong_with_settings(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_says_what_is_wrong_with_data():
    train, times, _ = chains(n_users=5)
    model = model_of()
    with pytest.raises(ValueError, match="n_negatives and loss belong together"):
        model.fit(train, times, n_negatives=4)
    with pytest.raises(ValueError, match="n_negatives and loss belong together"):
        model.fit(train, times, loss=bce_loss)
    with pytest.raises(ValueError, match="n_negatives"):
        model.fit(train, times, loss=bce_loss, n_negatives=0)
    with pytest.raises(ValueError, match="the model was fitted on 40"):
        model.fit(train[:, :4], times[:, :4])
    with pytest.raises(ValueError, match="pass times="):
        model.score(train, None)
    with pytest.raises(ValueError, match="holds no interaction"):
        model.fit(sparse.csr_matrix((2, N_ITEMS)), np.zeros(0))
    one_each = sparse.csr_matrix(np.eye(N_ITEMS))
    with pytest.raises(ValueError, match="nobody has two likes"):
        model.fit(one_each, np.zeros(N_ITEMS))
