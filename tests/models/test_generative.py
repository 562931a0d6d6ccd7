"""A decoder that writes codes: exact scores, beams that write what exists, planted data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recsys_tutorial.models import GenerativeRetriever
from recsys_tutorial.models._events import Events, last_events, pieces
from recsys_tutorial.models._next_code import next_code_loss
from recsys_tutorial.semantic_ids import with_extra_level
from recsys_tutorial.splits import shuffled_times
from tests.models.planted_sequences import N_ITEMS, chains, hits

pytestmark = pytest.mark.usefixtures("one_thread")

CODES = {
    "grid": np.column_stack([np.arange(N_ITEMS) // 8, np.arange(N_ITEMS) % 8]),  # all exist
    "uneven": with_extra_level(
        np.column_stack([np.arange(N_ITEMS) ** 2 % 7, np.arange(N_ITEMS) % 3])
    ),
    "one word": np.arange(N_ITEMS)[:, None],
}


def model_of(codes="uneven", seed=0, **options):
    torch.manual_seed(seed)
    codes = CODES[codes] if isinstance(codes, str) else codes
    options = {"dim": 16, "max_length": 12, "dropout": 0.0, **options}
    model = GenerativeRetriever(codes, **options)
    for table in (model.word, model.level, model.event):  # untrained, but no place like another
        torch.nn.init.normal_(table.weight)
    return model


def some_likes(seed=0, n_users=5, most=20):
    """Histories of every length, none included, and their times."""
    rng = np.random.default_rng(seed)
    counts = [0, 1, *rng.integers(2, most, size=n_users - 2)]
    rows = np.repeat(np.arange(n_users), counts)
    columns = np.concatenate([rng.choice(N_ITEMS, size=n, replace=False) for n in counts])
    when = rng.integers(10**9, size=len(rows)).astype(float)
    shape = n_users, N_ITEMS
    return (sparse.csr_matrix((values, (rows, columns)), shape) for values in (when * 0 + 1, when))


# -- scores


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("codes", CODES)
def test_a_score_is_the_sum_over_the_codes_words(codes, constrained):
    """Each item read behind the history, as in training, one by one."""
    model = model_of(codes, constrained=constrained)
    history, times = some_likes()
    scores = model.score(history, times)
    assert scores.shape == (5, N_ITEMS) and scores.dtype == np.float64
    events = last_events(history, times, 12)
    for user in range(5):
        n = events.lengths[user]
        for item in range(0, N_ITEMS, 7):
            row = np.concatenate([events.items[user, :n], [item]])[None]
            states, _ = model.read(Events(row, row * 0.0, np.array([n + 1])))
            total = 0.0
            for level, word in enumerate(model.tree.codes[item]):
                logits = model.heads[level](states[0, n * model.tree.n_levels + level])
                if constrained:  # only words of items whose code begins alike
                    alike = (model.tree.codes[:, :level] == model.tree.codes[item, :level]).all(1)
                    missing = np.setdiff1d(range(len(logits)), model.tree.codes[alike, level])
                    logits[missing] = -torch.inf
                total += logits.log_softmax(0)[word].item()
            assert scores[user, item] == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("codes", CODES)
def test_items_share_the_probability_with_codes_that_none_has_only_if_not_constrained(codes):
    history, times = some_likes()
    np.testing.assert_allclose(np.exp(model_of(codes).score(history, times)).sum(1), 1)
    total = np.exp(model_of(codes, constrained=False).score(history, times)).sum(1)
    if codes == "uneven":
        assert (total < 0.999).all()
    else:  # all codes exist
        np.testing.assert_allclose(total, 1)


def test_a_user_alone_or_among_others_and_only_their_last_events():
    history, times = some_likes(most=30)
    model = model_of(max_length=6)
    together = model.score(history, times)
    for user in range(5):
        alone = model.score(history[user], times[user])[0]
        np.testing.assert_allclose(together[user], alone, rtol=1e-9)
    events = last_events(history, times, 6)
    rows, place = np.nonzero(events.there)
    pairs = rows, events.items[rows, place]
    cut = sparse.csr_matrix((np.ones(len(rows)), pairs), history.shape)
    when = sparse.csr_matrix((events.times[rows, place], pairs), history.shape)
    np.testing.assert_allclose(model.score(cut, when), together, rtol=1e-9)
    assert model.score(history[:0], times[:0]).shape == (0, N_ITEMS)


def test_many_users_are_scored_in_parts(monkeypatch):
    history, times = some_likes(n_users=9)
    model = model_of()
    whole = model.score(history, times)
    monkeypatch.setattr("recsys_tutorial.models.generative._NODES", 30)
    np.testing.assert_allclose(model.score(history, times), whole, rtol=1e-9)


def test_no_state_knows_what_comes_later():
    model = model_of()
    items = np.random.default_rng(0).integers(N_ITEMS, size=(3, 8))
    whole, _ = model.read(Events(items, items * 0.0, np.full(3, 8)))
    part, _ = model.read(Events(items[:, :5], items[:, :5] * 0.0, np.full(3, 5)))
    torch.testing.assert_close(whole[:, : 1 + 5 * 3], part)
    items[:, 5] += 1
    changed, _ = model.read(Events(items % N_ITEMS, items * 0.0, np.full(3, 8)))
    torch.testing.assert_close(changed[:, : 1 + 5 * 3], part)
    assert (changed[:, -1] - whole[:, -1]).abs().max() > 1e-6


# -- lists that are written


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("codes", CODES)
def test_with_all_beams_the_list_is_the_exact_one(codes, constrained):
    model = model_of(codes, constrained=constrained)
    history, times = some_likes()
    scores = np.where(history.toarray() > 0, -np.inf, model.score(history, times))
    items, found = model.generate(history, times, 15, N_ITEMS)
    wanted = np.argsort(-scores, axis=1)[:, :15]
    assert np.array_equal(items, wanted)
    np.testing.assert_allclose(found, np.take_along_axis(scores, wanted, 1), rtol=1e-9)


def test_few_beams_keep_the_best_beginnings():
    """Level by level as written on paper, with a beam of 3."""
    model = model_of("grid")
    history, times = some_likes()
    log_p = model.score(history, times).reshape(5, 5, 8)  # all codes exist: sums are their parents
    seen = history.toarray().reshape(5, 5, 8) > 0
    items, found = model.generate(history, times, 3, 3)
    for user in range(5):
        first = np.log(np.exp(log_p[user]).sum(1))
        first[seen[user].all(1)] = -np.inf
        open_ = np.argsort(-first)[:3]
        whole = np.where(seen[user], -np.inf, log_p[user])[open_]
        best = np.argsort(-whole.ravel())[:3]
        assert items[user].tolist() == [open_[b // 8] * 8 + b % 8 for b in best]
        np.testing.assert_allclose(found[user], whole.ravel()[best], rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 10))
def test_lists_hold_items_of_the_catalogue_once_and_none_of_the_history(seed, k, more):
    rng = np.random.default_rng(seed)
    n_items = int(rng.integers(12, 30))
    codes = with_extra_level(rng.integers(0, 4, size=(n_items, 2)))
    model = model_of(codes, seed=seed, dim=8, n_blocks=1)
    liked = (rng.random((4, n_items)) < rng.random((4, 1))) * 1.0
    liked[0] = 1  # has seen all
    history = sparse.csr_matrix(liked)
    times = sparse.csr_matrix(liked * rng.integers(1, 10**6, size=liked.shape))
    beams = min(k + more, n_items)
    items, found = model.generate(history, times, k, beams)
    assert items.shape == found.shape == (4, k)
    for user in range(4):
        mine = items[user][items[user] >= 0]
        assert len(mine) == min(k, int((liked[user] == 0).sum()))  # nothing is missing
        assert len(set(mine)) == len(mine) and not liked[user, mine].any()
        assert (mine < n_items).all() and (items[user, len(mine) :] == -1).all()
        assert np.isfinite(found[user, : len(mine)]).all()
        assert np.isneginf(found[user, len(mine) :]).all()
        assert (np.diff(found[user, : len(mine)]) <= 0).all()
        scores = model.score(history[user], times[user])[0]
        np.testing.assert_allclose(found[user, : len(mine)], scores[mine], rtol=1e-9)


def test_what_was_seen_and_not_liked_is_not_written_either():
    history, times = some_likes()
    model = model_of()
    first, _ = model.generate(history, times, 8, N_ITEMS)
    rows = np.arange(5)
    seen = history.toarray()
    seen[rows, first[:, 0]] = seen[rows, first[:, 3]] = 1  # rated, and not liked
    seen[1] = 1  # everything
    items, found = model.generate(history, times, 6, N_ITEMS, seen=sparse.csr_matrix(seen))
    assert np.array_equal(np.delete(items, 1, 0), np.delete(first[:, [1, 2, 4, 5, 6, 7]], 1, 0))
    assert (items[1] == -1).all() and np.isneginf(found[1]).all()


def test_many_users_are_written_in_parts(monkeypatch):
    history, times = some_likes(n_users=9)
    model = model_of()
    seen = sparse.csr_matrix(np.random.default_rng(1).random((9, N_ITEMS)) < 0.3, dtype=float)
    whole = model.generate(history, times, 5, 10, seen)
    monkeypatch.setattr("recsys_tutorial.models.generative._BLOCK", 4)
    parts = model.generate(history, times, 5, 10, seen)
    assert np.array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-9)


# -- what is learned


def test_words_start_small_so_that_none_is_likely_before_training():
    torch.manual_seed(0)
    model = GenerativeRetriever(CODES["grid"], dim=64)
    for table in (model.word, model.level, model.event):
        assert 0.03 < table.weight.std().item() < 0.07
    history, times = some_likes()
    assert np.abs(model.score(history, times) + np.log(N_ITEMS)).max() < 3


@pytest.mark.parametrize("constrained", [True, False])
def test_each_event_is_learned_once(constrained):
    """The loss of pieces of a long sequence, event by event from the scores of `score`'s kind."""
    model = model_of(max_length=4, constrained=constrained)
    history, times, _ = chains(n_users=3, length=11)
    parts, users = pieces(history, times, 4)
    first = np.concatenate([[True], users[1:] != users[:-1]])
    assert first.sum() == 3 < len(parts)
    found = next_code_loss(model, np.arange(len(parts)), None, pieces=parts, first=first)
    total, n = 0.0, 0
    for row in range(len(parts)):
        for t in range(parts.lengths[row]):
            if t == 0 and not first[row]:
                continue
            before = sparse.csr_matrix((1, N_ITEMS)).tolil()
            when = before.copy()
            for place in range(t):
                before[0, parts.items[row, place]] = 1
                when[0, parts.items[row, place]] = 1 + place
            score = model.score(before.tocsr(), when.tocsr())[0, parts.items[row, t]]
            total, n = total - score, n + 1
    assert n == history.nnz
    assert found.item() == pytest.approx(total / n, rel=1e-9)


def test_a_planted_order_is_learned_by_codes():
    train, times, _ = chains(n_users=400, length=13, seed=1)
    history, when, following = chains(n_users=100, seed=2)
    options = {"epochs": 14, "batch_size": 16, "learning_rate": 1e-2}
    model = model_of("grid", dim=32).fit(train, times, **options)
    assert hits(model.score(history, when), history, following) > 0.7
    written = model.generate(history, when, 1, 5)[0][:, 0]
    assert (written == following).mean() > 0.7
    assert hits(model.score(history, shuffled_times(when)), history, following) < 0.3
    assert hits(model_of("grid").score(history, when), history, following) < 0.2  # untrained


def test_who_is_not_known_gets_what_people_begin_with():
    rng = np.random.default_rng(0)
    items = np.array([rng.permutation(N_ITEMS)[:4] for _ in range(60)])
    items[:, 0] = 7  # everybody's first
    items[:, 1:] = np.where(items[:, 1:] == 7, 8, items[:, 1:])
    items = items[[len(set(row)) == 4 for row in items]]
    n = len(items)
    pairs = np.repeat(np.arange(n), 4), items.ravel()
    likes = sparse.csr_matrix((np.ones(4 * n), pairs), (n, N_ITEMS))
    when = sparse.csr_matrix((np.tile(np.arange(1.0, 5), n), pairs), (n, N_ITEMS))
    model = model_of().fit(likes, when, epochs=20, learning_rate=1e-2)
    nobody = sparse.csr_matrix((1, N_ITEMS))
    assert model.score(nobody, nobody)[0].argmax() == 7
    assert model.generate(nobody, nobody, 1)[0].tolist() == [[7]]


# -- files and errors


def test_save_and_load(tmp_path):
    train, times, _ = chains(n_users=20)
    model = model_of().fit(train, times, epochs=1)
    model.save(tmp_path / "model.safetensors")
    other = model_of(seed=5)
    assert not np.allclose(other.score(train, times), model.score(train, times))
    other.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(other.score(train, times), model.score(train, times))
    turned = CODES["uneven"][::-1].copy()  # the same words, of other items
    different = {"dim": 8}, {"n_blocks": 1}, {"codes": "grid"}, {"codes": turned}
    usual = model_of(constrained=False)
    usual.save(tmp_path / "usual.safetensors")
    model_of(seed=5, constrained=False).load(tmp_path / "usual.safetensors")
    with pytest.raises(ValueError, match="does not fit"):
        model_of().load(tmp_path / "usual.safetensors")
    for wrong in (*different, {"constrained": False}):
        with pytest.raises(ValueError, match="does not fit"):
            model_of(**wrong).load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"codes": np.zeros((3, 2), int)}, "items 0 and 1 share the code"),
        ({"n_heads": 3}, "3 heads do not divide the length 16"),
        ({"dim": 0}, "dim"),
        ({"n_blocks": 0}, "n_blocks"),
        ({"max_length": 0}, "max_length"),
        ({"dropout": 1.5}, "dropout"),
    ],
)
def test_says_what_is_wrong_with_settings(options, message):
    with pytest.raises(ValueError, match=message):
        model_of(**options)


def test_says_what_is_wrong_with_data():
    train, times, _ = chains(n_users=5)
    model = model_of()
    with pytest.raises(ValueError, match="the model was fitted on 40"):
        model.fit(train[:, :4], times[:, :4])
    with pytest.raises(ValueError, match="pass times="):
        model.score(train, None)
    with pytest.raises(ValueError, match="nobody has two likes"):
        model.fit(sparse.csr_matrix(np.eye(N_ITEMS)), np.zeros(N_ITEMS))
    for k, beams, message in ((0, 5, "k must"), (6, 5, "beams must be 6 to 40"), (5, 41, "beams")):
        with pytest.raises(ValueError, match=message):
            model.generate(train, times, k, beams)
    with pytest.raises(ValueError, match="seen has 39 items"):
        model.generate(train, times, 5, 5, train[:, :39])
    with pytest.raises(ValueError, match="seen has 2 users, the history 5"):
        model.generate(train, times, 5, 5, train[:2])
