"""Two towers on planted problems that one kind of tower can solve; scores, saving."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_tutorial.evaluation import rank
from recsys_tutorial.models import EASE, TwoTower
from recsys_tutorial.models.towers import FeatureTower, HistoryTower, IdTower, RawTower, SumTower
from recsys_tutorial.retrieval import FaissIndex, top_k
from tests.models.planted_groups import N_GROUPS, Problem

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(12, 6))
LIKES = sparse.csr_matrix((RNG.random((20, 12)) < 0.4).astype(float))


pytestmark = pytest.mark.usefixtures("one_thread")


# -- planted problems: groups of items that the same users like


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


def test_the_same_seed_gives_the_same_model():
    scores = [small("attentive").fit(LIKES, epochs=3, seed=s).score(LIKES) for s in (1, 1, 2)]
    assert np.array_equal(scores[0], scores[1]) and not np.allclose(scores[0], scores[2])


def test_the_popularity_prior_is_learned():
    start = small()
    assert start.popularity_weight.item() == 1.0 and not start.encode_items()[:, -1].any()
    model = start.fit(LIKES, epochs=3)
    assert model.popularity_weight.item() != 1.0
    cosine = small(similarity="cosine").fit(LIKES, epochs=3)
    assert cosine.temperature.item() != pytest.approx(0.1, abs=1e-6)
    dot = small(similarity="dot").fit(LIKES, epochs=3)
    assert dot.temperature.item() == 1.0


# -- queries, saving


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
        ({"dim": 5}, "does not fit.* It belongs to another model: build .*, and unfreeze the same"),
        ({"similarity": "dot"}, "its similarity is cosine, not dot"),
        ({"prior": False}, "its popularity prior is True, not False"),
        ({"pooling": "mean"}, "its user_tower is .*attentive.*, not .*mean"),
        ({"features": FEATURES + 1e-9}, "its user_tower.items.towers.0 is .*features"),
        ({"features": FEATURES[:11]}, "does not fit.* It belongs to another model"),
        ({"tied": True}, "does not fit.* It belongs to another model"),
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
        (lambda: small().fit(LIKES[:, :5]), "train has 5 items, the item tower 12"),
        (lambda: small().fit(LIKES, negatives="some"), "got 'some'"),
        (lambda: small().fit(sparse.csr_matrix((3, 12))), "holds no interaction"),
        (lambda: small().fit(LIKES * np.nan), "nan"),
        (lambda: small().score(LIKES[:, :5]), "history has 5 items"),
        (lambda: small().score(np.arange(3)), "reads histories, not row numbers"),
        (
            lambda: small().encode_items(np.array([3, 12])),
            "item row 12 does not exist: there are 12",
        ),
        (lambda: small().encode_items(np.array([-1])), "item row -1 does not exist"),
        (lambda: small().encode_items(np.array([0, 12])), "item row 12 does not exist"),
    ],
)
def test_says_what_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_row_towers_say_what_they_cannot_do():
    torch.manual_seed(0)
    model = TwoTower(IdTower(20, 4), FeatureTower(FEATURES, 4)).fit(LIKES, epochs=1)
    assert model.score(np.arange(20)).shape == (20, 12)
    assert model.encode_users(np.array([4])).shape == (1, 4)  # one row, and none
    assert model.encode_users(np.array([], int)).shape == (0, 4)
    assert (model.encode_users(["somebody", "new"]) == np.zeros((2, 4))).all()
    by_id = TwoTower(IdTower(3, 2), IdTower(3, 2))
    for new in (["new"], np.array(["new"])):  # words in an array are no row numbers either
        assert (by_id.encode_items(new) == np.zeros((1, 2))).all()
        assert (by_id.encode_users(new) == np.zeros((1, 2))).all()
    raw = TwoTower(RawTower(2 * np.eye(3)), RawTower(np.eye(3)[:2]), similarity="cosine")
    np.testing.assert_allclose(raw.score(np.arange(3)), 10 * np.eye(3)[:, :2])  # lengths of 1
    by_features = TwoTower(FeatureTower(FEATURES, 4), FeatureTower(FEATURES, 4))
    assert by_features.encode_users(np.zeros((2, 6), int)).shape == (2, 4)  # a table, no rows
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


def test_forward_gives_the_scores_with_gradients():
    model = small().fit(LIKES, epochs=1)
    scores = model(LIKES)
    np.testing.assert_allclose(scores.detach().numpy(), model.score(LIKES), rtol=1e-12)
    some = np.array([7, 2])
    torch.testing.assert_close(model(LIKES, some), scores[:, some])
    scores.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_the_best_epoch_on_validation_stays():
    torch.manual_seed(0)
    model, seen = small(), []

    def worse_and_worse(model):
        seen.append(model.popularity_weight.item())
        return -len(seen)

    model.fit(LIKES, epochs=6, validation=worse_and_worse, patience=2)
    assert model.history_["validation"].tolist() == [-1, -2, -3]
    assert model.popularity_weight.item() == seen[0] != seen[1]


def test_the_temperature_is_1_and_of_cosines_a_tenth():
    for similarity, temperature in (("dot", 1.0), ("cosine", 0.1)):
        model = TwoTower(IdTower(3, 2), IdTower(3, 2), similarity=similarity)
        assert model.temperature.item() == pytest.approx(temperature)
    coldest = TwoTower(IdTower(3, 2), IdTower(3, 2), temperature=0.01)
    torch.nn.init.constant_(coldest.log_temperature, -9.0)  # training may not go on below it
    assert coldest.temperature.item() == pytest.approx(0.01)
