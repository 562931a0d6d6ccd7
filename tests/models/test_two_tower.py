"""Two towers on planted problems that one kind of tower can solve; scores, saving, towers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import sparse
from torch import nn

from recsys_tutorial.encoders import ImageEncoder, TextEncoder
from recsys_tutorial.evaluation import rank
from recsys_tutorial.models import EASE, TwoTower
from recsys_tutorial.models.two_tower import (
    EncoderTower,
    FeatureTower,
    HistoryTower,
    IdTower,
    SumTower,
    TextHistoryTower,
    _softmax_in_batch,
    divide_likes,
)
from recsys_tutorial.retrieval import FaissIndex, top_k

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 6))
LIKES = sparse.csr_matrix((RNG.random((20, 12)) < 0.4).astype(float))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def bert():
    return TextEncoder(device="cpu", use_cache=False)


@pytest.fixture(scope="module")
def vit():
    return ImageEncoder(image_size=56, device="cpu", use_cache=False)


# -- planted problems: groups of items that the same users like


WORDS = """
soup bread cake pasta cheese salad pie stew sauce pancake
rocket planet comet galaxy astronaut moon orbit telescope alien star
football tennis boxing swimming hockey cycling running golf rugby skiing
violin piano guitar drum opera jazz trumpet choir flute orchestra
"""
SUBJECTS = [line.split() for line in WORDS.strip().splitlines()]  # food, space, sport, music
COLOURS = ["crimson", "seagreen", "royalblue", "gold", "purple"]
N_GROUPS, N_EACH = 4, 10


def picture(group: int, number: int) -> Image.Image:
    """A disc, stripes, a chequerboard or a cross; colour, size and place say nothing."""
    image = Image.new("RGB", (56, 56), "white")
    draw, colour = ImageDraw.Draw(image), COLOURS[number % 5]
    size, left = 22 + 2 * number, 2 + number % 5
    if group == 0:
        draw.ellipse((left, 4, left + size, 4 + size), fill=colour)
    elif group == 1:
        for x in range(left, 56, 10):
            draw.rectangle((x, 0, x + 4, 56), fill=colour)
    elif group == 2:
        for x in range(0, 56, 14):
            for y in range((x // 14) % 2 * 14, 56, 28):
                draw.rectangle((x, y, x + 13, y + 13), fill=colour)
    else:
        draw.rectangle((left, 24, left + size, 31), fill=colour)
        draw.rectangle((left + size // 2 - 4, 4, left + size // 2 + 4, 4 + size), fill=colour)
    return image


class Problem:
    """40 items in 4 groups, shuffled; only `shown_by` gives an item's group away.

    "text" and "picture": the last 3 items of each group are new: nobody has liked one in training,
    and they are what is to be found. "ids": all items are known, and look the same.
    """

    def __init__(self, shown_by: str, bert, vit):
        rng = np.random.default_rng(1)
        group = np.repeat(np.arange(N_GROUPS), N_EACH)
        number = np.tile(np.arange(N_EACH), N_GROUPS)
        order = rng.permutation(len(group))
        self.group, number = group[order], number[order]
        self.new = (number >= N_EACH - 3) if shown_by != "ids" else np.zeros(len(group), dtype=bool)
        words = [
            SUBJECTS[g][n] if shown_by == "text" else "a thing"
            for g, n in zip(self.group, number, strict=True)
        ]
        pictures = [
            picture(g, n) if shown_by == "picture" else picture(0, 0)
            for g, n in zip(self.group, number, strict=True)
        ]
        self.text, self.picture = bert.encode(words), vit.encode(pictures)
        # Each user likes 6 of the 7 known items of one group (of all 10 where none is new).
        rows = []
        for user in range(80):
            own = np.flatnonzero((self.group == user % N_GROUPS) & ~self.new)
            rows.append(np.isin(np.arange(len(group)), rng.permutation(own)[:6]))
        self.train = sparse.csr_matrix(np.array(rows, dtype=float))
        shown = []  # new users, who show 3 items of their group
        for user in range(40):
            own = np.flatnonzero((self.group == user % N_GROUPS) & ~self.new)
            shown.append(np.isin(np.arange(len(group)), rng.permutation(own)[:3]))
        self.history = sparse.csr_matrix(np.array(shown, dtype=float))

    def model(self, reads: str, seed: int = 0) -> TwoTower:
        torch.manual_seed(seed)

        def tower():
            if reads == "ids":
                return IdTower(len(self.group), 8)
            return FeatureTower(self.text if reads == "text" else self.picture, 8)

        return TwoTower(HistoryTower(tower()), tower())

    def solved(self, model) -> float:
        """Share of the first 3 recommendations that are of the user's group; 0.25 by chance."""
        scores = model.score(self.history)
        scores[:, ~self.new] = -np.inf if self.new.any() else scores[:, ~self.new]
        ranked = rank(scores, self.history, 3)
        return float((self.group[ranked] == (np.arange(40) % N_GROUPS)[:, None]).mean())


@pytest.fixture(scope="module")
def problems(bert, vit):
    return {kind: Problem(kind, bert, vit) for kind in ("text", "ids", "picture")}


OPTIONS = {"epochs": 40, "batch_size": 20, "learning_rate": 0.02}


@pytest.mark.parametrize("negatives", ["all", "in_batch"])
@pytest.mark.parametrize("shown_by", ["text", "ids", "picture"])
def test_only_the_right_tower_solves_each_problem(problems, shown_by, negatives):
    problem = problems[shown_by]
    epochs = 40 if negatives == "all" else 8  # six times as many examples
    solved = {
        reads: problem.solved(
            problem.model(reads).fit(
                problem.train, negatives=negatives, **OPTIONS | {"epochs": epochs}
            )
        )
        for reads in ("text", "ids", "picture")
    }
    right = solved.pop(shown_by)
    # By chance 0.25. The wrong towers see the same thing everywhere, or items without a number
    # that was ever trained; ties and random vectors leave them near chance.
    assert right >= 0.9 and max(solved.values()) <= 0.5, (right, solved)


@pytest.mark.parametrize("shown_by", ["text", "ids", "picture"])
def test_untrained_or_mistrained_the_right_tower_fails(problems, shown_by):
    problem = problems[shown_by]
    rng = np.random.default_rng(0)
    shuffled = np.zeros(problem.train.shape)
    for row in shuffled:  # the same activity, no taste
        row[rng.permutation(np.flatnonzero(~problem.new))[:6]] = 1
    model = problem.model(shown_by).fit(sparse.csr_matrix(shuffled), **OPTIONS)
    assert problem.solved(model) < 0.75
    if shown_by == "ids":
        assert problem.solved(problem.model(shown_by)) < 0.6


def test_ids_and_text_together_solve_both(problems):
    """A sum of towers with ID dropout: IDs where they help, text for what is new."""
    for kind in ("text", "ids"):
        problem = problems[kind]
        known = np.bincount(problem.train.indices, minlength=40) > 0
        torch.manual_seed(0)

        def tower(problem=problem, known=known):
            ids = IdTower(40, 8, dropout=0.5, known=known)
            return SumTower(FeatureTower(problem.text, 8), ids)

        model = TwoTower(HistoryTower(tower()), tower()).fit(problem.train, **OPTIONS)
        assert problem.solved(model) >= 0.9


def test_words_find_pictures(problems):
    """Queries and pictures: a user tower that reads rows, and new queries."""
    problem = problems["picture"]
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(N_GROUPS, 16))
    queries = centres[problem.group] + 0.3 * rng.normal(size=(40, 16))
    torch.manual_seed(0)
    users, items = FeatureTower(queries[~problem.new], 8), FeatureTower(problem.picture, 8)
    model = TwoTower(users, items, similarity="cosine")
    right = (problem.group[:, None] == problem.group) & ~problem.new
    model.fit(
        sparse.csr_matrix(right[~problem.new].astype(float)),
        negatives="in_batch", epochs=10, batch_size=14, learning_rate=0.02,
    )  # fmt: skip
    new = centres[np.arange(40) % N_GROUPS] + 0.3 * rng.normal(size=(40, 16))
    scores = model.encode_users(new) @ model.encode_items(np.flatnonzero(problem.new)).T
    best = problem.group[problem.new][scores.argmax(axis=1)]
    assert (best == np.arange(40) % N_GROUPS).mean() >= 0.9
    rows = np.array([3, 5])
    again = model.encode_users(queries[~problem.new][rows])
    assert np.allclose(model.encode_users(rows), again)


# -- scores


def small(pooling="sqrt", prior=True, dim=4, similarity="dot", tied=False, features=FEATURES):
    torch.manual_seed(0)
    items = FeatureTower(features, dim)
    liked = items if tied else SumTower(FeatureTower(features, dim), IdTower(len(features), dim))
    options = {"similarity": similarity, "popularity_prior": prior}
    return TwoTower(HistoryTower(liked, pooling), items, **options, dtype=torch.float64)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("prior", [True, False])
def test_a_score_is_a_dot_product_and_the_equation(similarity, prior):
    model = small(similarity=similarity, prior=prior)
    model.fit(LIKES, epochs=2)
    scores = model.score(LIKES)
    assert np.array_equal(scores, model.encode_users(LIKES) @ model.encode_items().T)
    with torch.no_grad():
        u = model.user_tower(LIKES).numpy()
        v = model.item_tower(torch.arange(12)).numpy()
    for user in range(20):
        for item in range(12):
            a, b = u[user], v[item]
            if similarity == "cosine":
                a, b = a / max(np.linalg.norm(a), 1e-12), b / np.linalg.norm(b)
            expected = sum(a * b) / model.temperature.item()
            if prior:
                n_likes = LIKES[:, [item]].sum()
                expected += model.popularity_weight.item() * math.log(1 + n_likes)
            assert scores[user, item] == pytest.approx(expected, rel=1e-10)


def test_scores_do_not_depend_on_the_batch():
    model = small("attentive").fit(LIKES, epochs=2)
    together = model.score(LIKES)
    alone = np.vstack([model.score(LIKES[[user]]) for user in range(20)])
    order = RNG.permutation(20)
    # sums over other columns in another order: rounding only
    np.testing.assert_allclose(alone, together, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(model.score(LIKES[order]), together[order], rtol=1e-12, atol=1e-13)
    some = np.array([7, 2, 2])
    np.testing.assert_allclose(model.encode_items(some), model.encode_items()[some], rtol=1e-12)
    many = sparse.vstack([LIKES] * 30).tocsr()  # more than one block
    np.testing.assert_allclose(
        model.score(many), np.tile(together, (30, 1)), rtol=1e-12, atol=1e-13
    )


def test_live_encoders_do_not_depend_on_the_batch(bert):
    texts = ["a robot in space", "x", "a long text about love, war, and everything " * 3, "love"]
    tower = EncoderTower(bert, texts, 4).eval()
    torch.manual_seed(0)
    live = EncoderTower(TextEncoder(device="cpu", use_cache=False).unfreeze(1), texts, 4).eval()
    for each in (tower, live):
        with torch.no_grad():
            together = each(torch.arange(4))
            alone = torch.cat([each(torch.tensor([row])) for row in range(4)])
            assert torch.allclose(each(None), together) and torch.allclose(
                each.embed(texts), together
            )
        # padding changes float32 sums
        assert torch.allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "sqrt", "attentive"])
def test_pooling_is_the_equation(pooling):
    torch.manual_seed(0)
    weights = RNG.uniform(0.5, 2, 12)
    tower = HistoryTower(FeatureTower(FEATURES, 3), pooling, item_weights=weights).double()
    history = LIKES[:5].copy()
    history.data = RNG.uniform(0.5, 3, history.nnz)
    if pooling == "attentive":
        nn.init.normal_(tower.query.weight)
    with torch.no_grad():
        pooled, v = tower(history).numpy(), tower.items(torch.arange(12)).numpy()
    for user in range(5):
        columns = history[[user]].indices
        h = history[[user]].data * weights[columns]
        if pooling == "mean":
            a = h / h.sum()
        elif pooling == "sqrt":
            a = h / math.sqrt(h.sum())
        else:
            w, b = tower.attention.weight.detach().numpy(), tower.attention.bias.detach().numpy()
            q = tower.query.weight.detach().numpy()[0]
            a = np.array([math.exp(q @ np.tanh(w @ v[i] + b)) for i in columns]) * h
            a /= a.sum()
        np.testing.assert_allclose(pooled[user], sum(a[:, None] * v[columns]), rtol=1e-10)


def test_attention_starts_from_the_mean():
    torch.manual_seed(0)
    items = FeatureTower(FEATURES, 3)
    mean, attentive = HistoryTower(items, "mean"), HistoryTower(items, "attentive")
    assert torch.allclose(mean(LIKES), attentive(LIKES), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "sqrt", "attentive"])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_who_liked_nothing_gets_the_prior_alone(pooling, similarity):
    model = small(pooling, similarity=similarity).fit(LIKES, epochs=1)
    scores = model.score(sparse.csr_matrix((2, 12)))
    expected = model.popularity_weight.item() * np.log1p(np.bincount(LIKES.indices, minlength=12))
    np.testing.assert_allclose(scores, np.tile(expected, (2, 1)), atol=1e-12)
    assert model.score(LIKES[:0]).shape == (0, 12)


def test_new_items_need_no_training_and_have_no_prior():
    model = small(tied=True).fit(LIKES, epochs=1)
    new = RNG.normal(size=(3, 6))
    vectors = model.encode_items(new)
    assert vectors.shape == (3, 5) and (vectors[:, -1] == 0).all()
    np.testing.assert_allclose(model.encode_items(FEATURES)[:, :-1], model.encode_items()[:, :-1])
    # a query is a user who liked one thing
    one = sparse.csr_matrix(np.eye(12)[[4]])
    np.testing.assert_allclose(model.encode_users(FEATURES[[4]]), model.encode_users(one))


def test_an_index_of_the_item_vectors_serves_the_model():
    model = small().fit(LIKES, epochs=1)
    expected = rank(model.score(LIKES), LIKES, 5)
    users, items = model.encode_users(LIKES), model.encode_items()
    assert np.array_equal(top_k(users, items, 5, seen=LIKES)[0], expected)
    assert np.array_equal(top_k(users, FaissIndex(items, "hnsw"), 5, seen=LIKES)[0], expected)


def test_item_vectors_are_computed_once_and_again_after_training(monkeypatch):
    model = small()
    calls, forward = [], model.item_tower.forward
    monkeypatch.setattr(model.item_tower, "forward", lambda rows: calls.append(1) or forward(rows))
    first = model.encode_items()
    model.score(LIKES), model.score(LIKES)
    assert len(calls) == 1
    model.fit(LIKES, epochs=1)
    assert not np.allclose(model.encode_items(), first)


# -- training


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_what_is_shown_and_what_is_to_be_found_never_overlap(seed, low, width):
    rng = np.random.default_rng(seed)
    likes = sparse.csr_matrix((rng.random((6, 9)) < 0.5).astype(float))
    share = (low, low + width * (1 - low))
    shown, others = divide_likes(likes, share, rng)
    assert (shown + others != likes).nnz == 0 and shown.multiply(others).nnz == 0
    hidden = rng.integers(9, size=6)
    shown, others = divide_likes(likes, share, rng, hidden)
    assert (shown.toarray()[np.arange(6), hidden] == 0).all()
    assert (shown + others != likes).nnz == 0


def test_the_share_that_is_shown():
    likes = sparse.csr_matrix(np.ones((400, 50)))
    n = np.diff(divide_likes(likes, (0.2, 0.6), np.random.default_rng(0))[0].indptr) / 50
    # the mean of 400 shares from 0.2 to 0.6, and of 50 coins each: standard error 0.007
    assert n.mean() == pytest.approx(0.4, abs=0.03) and 0.10 < n.std() < 0.17
    assert divide_likes(likes, (0, 0), np.random.default_rng(0))[0].nnz == 0
    assert divide_likes(likes, (1, 1), np.random.default_rng(0))[1].nnz == 0


def test_known_likes_are_no_negatives_in_the_batch():
    """Two users who like the same two items: nothing in their batch is a negative."""
    model = small(prior=False)
    train = sparse.csr_matrix(np.eye(2, 12) + np.eye(2, 12)[::-1])  # both like items 0 and 1
    users, items = np.array([0, 1]), np.array([0, 1])
    loss = _softmax_in_batch(model, train, users, items, (0, 0.9), None, np.random.default_rng(0))
    assert loss.item() == 0
    apart = sparse.csr_matrix(np.eye(2, 12))
    loss = _softmax_in_batch(model, apart, users, items, (0, 0.9), None, np.random.default_rng(0))
    assert loss.item() > 0


def test_log_q_uses_each_items_share_of_the_likes(monkeypatch):
    import recsys_tutorial.models.two_tower as module

    seen = []
    real = module.info_nce
    monkeypatch.setattr(
        module, "info_nce", lambda *a, **o: seen.append(o["log_q"]) or real(*a, **o)
    )
    order = []
    monkeypatch.setattr(
        module, "_softmax_in_batch",
        lambda *a: order.append(a[3]) or _softmax_in_batch(*a),
    )  # fmt: skip
    small().fit(LIKES, negatives="in_batch", log_q=True, epochs=1, batch_size=8)
    share = np.bincount(LIKES.indices, minlength=12) / LIKES.nnz
    assert sum(map(len, order)) == LIKES.nnz and len(order) > 1  # an epoch
    for items, log_q in zip(order, seen, strict=True):
        np.testing.assert_allclose(log_q.numpy(), np.log(share[items]))


def test_the_same_seed_gives_the_same_model():
    scores = [small("attentive").fit(LIKES, epochs=3, seed=s).score(LIKES) for s in (1, 1, 2)]
    assert np.array_equal(scores[0], scores[1]) and not np.allclose(scores[0], scores[2])


def test_id_dropout_leaves_out_whole_rows_and_keeps_the_mean():
    torch.manual_seed(0)
    tower = IdTower(2000, 3, dropout=0.25)
    vectors = tower(None).detach()
    gone = (vectors == 0).all(1)
    assert ((vectors == 0).any(1) == gone).all()
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.04)  # 4 standard errors
    assert torch.allclose(vectors[~gone], tower.table.weight[~gone] / 0.75)
    assert torch.equal(tower.eval()(None), tower.table.weight)


def test_unknown_ids_are_zero_whatever_is_trained():
    known = np.bincount(LIKES.indices, minlength=12) > 0
    known[3] = False
    torch.manual_seed(0)
    tower = IdTower(12, 4, known=known)
    TwoTower(HistoryTower(tower), tower).fit(LIKES, epochs=2)
    assert (tower(torch.tensor([3])) == 0).all() and (tower(torch.tensor([4])) != 0).all()
    assert (tower.embed(["something new"] * 2) == 0).all()


def test_the_popularity_prior_is_learned():
    start = small()
    assert start.popularity_weight.item() == 1.0
    model = start.fit(LIKES, epochs=3)
    assert model.popularity_weight.item() != 1.0
    cosine = small(similarity="cosine").fit(LIKES, epochs=3)
    assert cosine.temperature.item() != pytest.approx(0.1, abs=1e-6)
    dot = small(similarity="dot").fit(LIKES, epochs=3)
    assert dot.temperature.item() == 1.0


# -- encoders within towers


TITLES = [word for words in SUBJECTS for word in words[:3]]


def fresh_bert():
    return TextEncoder(device="cpu", use_cache=False)


def weights(encoder):
    return {name: value.detach().clone() for name, value in encoder.named_parameters()}


@pytest.mark.parametrize("how", ["frozen", "last block", "LoRA"])
def test_what_is_unfrozen_is_trained_and_nothing_else(how, tmp_path):
    encoder = fresh_bert()
    if how == "last block":
        encoder.unfreeze(1)
    elif how == "LoRA":
        encoder.add_lora(rank=2)

    def build(encoder):
        torch.manual_seed(0)
        return TwoTower(
            HistoryTower(FeatureTower(FEATURES, 4)), EncoderTower(encoder, TITLES, 4),
            popularity_prior=True,
        )  # fmt: skip

    before, model = weights(encoder), build(encoder)
    rates = {"": 1e-2} if how == "frozen" else {"": 1e-2, "item_tower.encoder": 1e-3}
    model.fit(LIKES, negatives="in_batch", epochs=1, batch_size=16, learning_rate=rates)
    changed = {n for n, value in weights(encoder).items() if not torch.equal(value, before[n])}
    trainable = {n for n, p in encoder.named_parameters() if p.requires_grad}
    # one step's key bias may have no gradient: attention does not depend on it
    assert changed <= trainable and len(changed) >= 0.8 * len(trainable)
    assert (how == "frozen") == (not changed)

    scores = model.score(LIKES)
    model.save(tmp_path / "model.safetensors")
    small_file = {"frozen": 30, "last block": 8000, "LoRA": 400}[how]
    assert (tmp_path / "model.safetensors").stat().st_size < small_file * 1024
    again = fresh_bert()
    if how == "last block":
        again.unfreeze(1)
    elif how == "LoRA":
        again.add_lora(rank=2)
    restored = build(again).load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(restored.score(LIKES), scores, atol=1e-5)
    if how != "frozen":
        with pytest.raises(ValueError, match="unfreeze the same blocks"):
            build(fresh_bert()).load(tmp_path / "model.safetensors")
        encoder.requires_grad_(False)
        with pytest.raises(ValueError, match=r"item_tower\.encoder was trained and then frozen"):
            model.save(tmp_path / "again.safetensors")


def test_a_frozen_encoder_is_run_once_and_without_dropout(monkeypatch):
    encoder = fresh_bert()
    calls, encode = [], encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda items: calls.append(len(items)) or encode(items))
    modes, pool = [], encoder.pool
    monkeypatch.setattr(encoder, "pool", lambda x: modes.append(encoder.training) or pool(x))
    items = EncoderTower(encoder, TITLES, 4)
    TwoTower(HistoryTower(items), items).fit(LIKES, epochs=3)
    assert calls == [12] and modes and not any(modes)
    encoder.unfreeze(1)
    assert items.train().encoder.training and not items.eval().encoder.training


def test_augmentation_runs_the_encoder_in_training_only(vit):
    pictures = [picture(i % 4, i % 10) for i in range(12)]
    seen = []

    def flip(image):
        seen.append(image)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    torch.manual_seed(0)
    tower = EncoderTower(vit, pictures, 4, augment=flip)
    model = TwoTower(FeatureTower(FEATURES, 4), tower)
    model.fit(sparse.eye_array(12).tocsr(), negatives="in_batch", epochs=1, batch_size=6)
    assert len(seen) == 12 and all(image in pictures for image in seen)
    model.score(np.arange(12))
    assert len(seen) == 12


def test_the_user_as_one_text(bert):
    torch.manual_seed(0)
    tower = TextHistoryTower(bert, TITLES, 4, max_titles=3)
    history = sparse.csr_matrix(np.array([[0] * 11 + [1], [0] * 12, [1] * 12], dtype=float))
    assert tower.texts(history) == [TITLES[11], "", "; ".join(TITLES[i] for i in (0, 6, 11))]
    model = TwoTower(tower, FeatureTower(FEATURES, 4))
    before = model.score(history)
    model.fit(LIKES, epochs=1)
    assert not np.allclose(model.score(history), before)
    by_text = model.encode_users([TITLES[11]])
    np.testing.assert_allclose(by_text, model.encode_users(history[[0]]), atol=1e-6)


def test_a_free_text_finds_what_it_describes(problems, bert):
    """Through a tower trained on likes, a query it has never seen."""
    problem = problems["text"]
    torch.manual_seed(0)
    items = FeatureTower(problem.text, 8)
    model = TwoTower(HistoryTower(items), items).fit(problem.train, **OPTIONS)
    for group, query in enumerate(
        ["a tasty dinner", "a spaceship near Mars", "a stadium", "a song"]
    ):
        scores = model.encode_users(bert.encode([query])) @ model.encode_items().T
        assert (problem.group[rank(scores, None, 5)] == group).mean() >= 0.8, query


# -- saving


def test_save_and_load(tmp_path):
    path = tmp_path / "model.safetensors"
    model = small("attentive", similarity="cosine").fit(LIKES, epochs=2)
    model.save(path)
    other = small("attentive", similarity="cosine")
    assert not np.allclose(other.score(LIKES), model.score(LIKES))
    assert other.load(path) is other
    assert np.array_equal(other.score(LIKES), model.score(LIKES))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    "other, message",
    [
        ({"dim": 5}, "belongs to another model"),
        ({"similarity": "dot"}, "its similarity is cosine, this model's dot"),
        ({"prior": False}, "its popularity prior is True, this model's False"),
        ({"pooling": "mean"}, "its user_tower is .*attentive.*, this model's .*mean"),
        ({"features": FEATURES + 1e-9}, "its user_tower.items.towers.0 is .*features"),
        ({"features": FEATURES[:11]}, "belongs to another model"),
        ({"tied": True}, "belongs to another model"),
    ],
)
def test_a_mismatched_file_is_refused(tmp_path, other, message):
    settings = {"pooling": "attentive", "similarity": "cosine"}
    small(**settings).save(tmp_path / "model")
    model = small(**settings | other)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        model.load(tmp_path / "model")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        small().load(path)
    small().save(path)
    whole = path.read_bytes()
    for content, message in [
        (whole[:-20], "damaged or no safetensors file"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "do not match their checksum"),
        (b"PK\x03\x04 a pickle", "damaged or no safetensors file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            small().load(path)


# -- what may be wrong


def history_tower():
    return HistoryTower(FeatureTower(FEATURES, 4))


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: TwoTower(history_tower(), IdTower(12, 5)), "user tower 4, item tower 5"),
        (lambda: TwoTower(history_tower(), IdTower(13, 4)), "histories of 12 items.* has 13"),
        (lambda: TwoTower(history_tower(), IdTower(12, 4), similarity="l2"), "got 'l2'"),
        (lambda: TwoTower(history_tower(), IdTower(12, 4), temperature=0.0), "at least 0.01"),
        (lambda: HistoryTower(IdTower(12, 4), "max"), "pooling must be .* got 'max'"),
        (lambda: HistoryTower(IdTower(12, 4), item_weights=np.zeros(12)), "12 positive numbers"),
        (lambda: SumTower(IdTower(12, 4), IdTower(12, 5)), "same n_rows and dim"),
        (lambda: FeatureTower(np.full((2, 2), np.nan), 4), "finite"),
        (lambda: FeatureTower(np.zeros(3), 4), r"got \(3,\)"),
        (lambda: IdTower(3, 4, known=np.ones(3)), "known must be a bool array of 3 rows"),
        (lambda: small().fit(LIKES[:, :5]), "train has 5 items, the item tower 12"),
        (lambda: small().fit(LIKES, negatives="some"), "got 'some'"),
        (lambda: small().fit(LIKES, history_share=(0.9, 0.1)), "history_share"),
        (lambda: small().fit(sparse.csr_matrix((3, 12))), "holds no interaction"),
        (lambda: small().fit(LIKES * np.nan), "nan"),
        (lambda: small().score(LIKES[:, :5]), "history has 5 items"),
        (lambda: small().score(np.arange(3)), "reads histories, not row numbers"),
        (
            lambda: small().encode_items(np.array([3, 12])),
            "item row 12 does not exist: there are 12",
        ),
        (lambda: small().encode_items(np.array([-1])), "item row -1 does not exist"),
    ],
)
def test_says_what_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_row_towers_say_what_they_cannot_do():
    torch.manual_seed(0)
    model = TwoTower(IdTower(20, 4), FeatureTower(FEATURES, 4)).fit(LIKES, epochs=1)
    assert model.score(np.arange(20)).shape == (20, 12)
    with pytest.raises(ValueError, match="knows users by their row and cannot read a history"):
        model.score(LIKES)
    with pytest.raises(ValueError, match="user row 20 does not exist: there are 20"):
        model.score(np.array([20]))
    with pytest.raises(ValueError, match="train has 19 users, the user tower 20"):
        model.fit(LIKES[:19])


def test_towers_learn_what_ease_knows():
    """On co-liking without features, a sanity check of the whole path: IDs reach EASE."""
    rng = np.random.default_rng(5)
    taste = rng.integers(4, size=300)
    likes = rng.random((300, 40)) < np.where(np.arange(40) % 4 == taste[:, None], 0.5, 0.03)
    train, held = sparse.csr_matrix(likes[:240].astype(float)), likes[240:]
    shown = held & (rng.random(held.shape) < 0.5)
    history, target = sparse.csr_matrix(shown.astype(float)), held & ~shown
    torch.manual_seed(0)
    model = TwoTower(HistoryTower(IdTower(40, 8)), IdTower(40, 8), popularity_prior=True)
    model.fit(train, epochs=40, learning_rate=0.01)
    hits = {}
    for name, scores in (
        ("towers", model.score(history)),
        ("EASE", EASE(50).fit(train).score(history)),
    ):
        hits[name] = np.take_along_axis(target, rank(scores, history, 5), axis=1).mean()
    assert hits["towers"] > 0.95 * hits["EASE"] > 0.2, hits


def test_the_prior_can_count_something_else_than_likes():
    model = TwoTower(HistoryTower(IdTower(12, 8)), IdTower(12, 8), popularity_prior=True)
    popularity = np.linspace(0.0, 3.0, 12)
    model.fit(LIKES, popularity=popularity, epochs=1)
    np.testing.assert_allclose(model.encode_items()[:, -1], np.log1p(popularity))
    for bad in (popularity[:5], -popularity, np.full(12, np.nan)):
        with pytest.raises(ValueError, match="popularity must be 12 finite numbers, none below 0"):
            model.fit(LIKES, popularity=bad, epochs=1)


def test_what_nobody_liked_is_pushed_away_by_all_and_left_alone_by_liked():
    likes = LIKES.toarray()
    likes[:, 0] = 0.0
    moved = {}
    for negatives in ("all", "liked"):
        torch.manual_seed(0)
        model = TwoTower(HistoryTower(IdTower(12, 8)), IdTower(12, 8), popularity_prior=True)
        before = model.encode_items()[:, :-1].copy()
        model.fit(sparse.csr_matrix(likes), negatives=negatives, epochs=2, weight_decay=0.0)
        moved[negatives] = np.abs(model.encode_items()[:, :-1] - before).max(axis=1)
    assert moved["all"][0] > 1e-3
    assert moved["liked"][0] == 0.0
    assert (moved["liked"][1:] > 1e-3).all()
