"""The second stage's lists: of the right users, from first stages that have not seen the answer."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.evaluation import evaluate
from recsys_tutorial.models import held_out_lists, training_lists
from recsys_tutorial.splits import Holdout

RNG = np.random.default_rng(0)
TRAIN = sparse.csr_matrix((RNG.random((12, 30)) < 0.4).astype(float))


def holdout(n_users=3, n_items=8):
    parts = RNG.permuted(np.tile(np.arange(n_items) % 3, (n_users, 1)), axis=1)
    shown, hidden = (sparse.csr_matrix((parts == k).astype(float)) for k in (0, 1))
    return Holdout(np.arange(n_users), shown, shown, shown, hidden)


def uneven():
    """The users have seen 3, 4 and 5 of 8 items."""
    seen = sparse.csr_matrix((np.arange(8) < [[3], [4], [5]]).astype(float))
    return Holdout(np.arange(3), seen, seen, seen, seen)


def test_held_out_lists_are_the_first_stage_on_the_unseen():
    users, popularity = holdout(), np.arange(8.0)
    scores = RNG.normal(size=(3, 8)).astype(np.float32)
    lists = held_out_lists(scores, users, popularity, 5)
    assert lists.retriever.dtype == np.float64
    assert lists.columns.shape == (3, 5) and len(lists) == 3
    for row in range(3):
        unseen = np.flatnonzero(users.seen[row].toarray()[0] == 0)
        assert lists.columns[row].tolist() == unseen[np.argsort(-scores[row, unseen])].tolist()
        assert lists.retriever[row].tolist() == scores[row, lists.columns[row]].tolist()
        wanted = users.targets[row].toarray()[0, lists.columns[row]] > 0
        assert lists.liked[row].tolist() == wanted.tolist() and wanted.sum() == 3
    assert lists.log_popularity == pytest.approx(np.log1p(popularity)[lists.columns])
    few = held_out_lists(scores, users, popularity, 2)
    full = np.full((3, 8), -np.inf)  # no other item is in anybody's list
    np.put_along_axis(full, few.columns, few.retriever, axis=1)
    assert few.full(few.retriever).tolist() == full.tolist()
    own = evaluate(lists.full(lists.retriever), users)
    assert own["ndcg@10"] == evaluate(scores, users)["ndcg@10"]  # all unseen are candidates
    assert evaluate(lists.full(lists.liked.astype(float)), users)["ndcg@10"] == 1.0


def test_a_first_stage_has_not_seen_whom_it_makes_lists_for():
    """It knows what each of its own users liked: it would find everything that was hidden."""
    fitted = []

    def fit(rows):
        fitted.append(set(rows.tolist()))
        liked = TRAIN.toarray() > 0

        def score(history):
            for shown in history.toarray() > 0:
                owners = np.flatnonzero((liked | ~shown).all(axis=1))
                assert set(owners.tolist()) - fitted[-1]
            return np.tile(np.arange(30.0), (history.shape[0], 1))

        return score

    lists = training_lists(TRAIN, fit, 10, n_folds=3, n_draws=2, seed=1)
    assert len(fitted) == 3 and all(len(rows) == 8 for rows in fitted)
    assert set.union(*fitted) == set(range(12)) and not set.intersection(*fitted)
    assert 12 < len(lists) <= 24 and lists.liked.any(axis=1).all()
    likes = TRAIN.toarray() > 0
    for history, columns, liked in zip(
        lists.history.toarray() > 0, lists.columns, lists.liked, strict=True
    ):
        assert history.any() and not history[columns].any()  # what is shown is no candidate
        owner = likes[(likes | ~history).all(axis=1)]
        assert any((own[columns] == liked).all() for own in owner)


def test_lists_repeat_with_the_seed_and_shares_are_what_was_asked():
    def fit(rows):
        return lambda history: np.tile(np.arange(30.0), (history.shape[0], 1))

    sizes = []

    def counted(rows):
        sizes.append(len(rows))
        return fit(rows)

    alone = training_lists(TRAIN, counted, 1, n_folds=12, n_draws=1)
    assert sizes == [11] * 12 and len(alone) <= 12 and alone.columns.shape[1] == 1
    training_lists(TRAIN, counted, 8, n_folds=2)
    assert sizes[12:] == [6, 6]
    first, again, other = (training_lists(TRAIN, fit, 8, seed=s) for s in (3, 3, 4))
    assert (first.history != again.history).nnz == 0
    assert first.history.shape != other.history.shape or (first.history != other.history).nnz
    much = training_lists(TRAIN, fit, 8, share=(0.8, 0.9), n_draws=20)
    assert much.history.sum(axis=1).mean() > 0.7 * TRAIN.sum(axis=1).mean()
    assert len(much) > 100  # of 240 divisions; two of each user would be 24
    # Popularity is that of the training part unless another is given.
    n = np.bincount(TRAIN.indices, minlength=30)
    assert first.log_popularity == pytest.approx(np.log1p(n)[first.columns])
    given = training_lists(TRAIN, fit, 8, popularity=np.arange(30.0))
    assert given.log_popularity == pytest.approx(np.log1p(given.columns))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: held_out_lists(np.zeros((3, 8)), holdout(), np.ones(8), 6), "fewer than 6"),
        (lambda: held_out_lists(np.zeros((3, 8)), uneven(), np.ones(8), 5), "user row 1 has fewer"),
        (lambda: held_out_lists(np.zeros((3, 8)), holdout(), np.ones(7), 5), "8 finite numbers"),
        (lambda: training_lists(TRAIN, None, 5, n_draws=0), "n_draws must be .* at least 1"),
        (lambda: training_lists(TRAIN, None, 5, n_folds=1), "n_folds must be from 2 to 12"),
        (lambda: training_lists(TRAIN, None, 5, n_folds=13), "n_folds must be from 2 to 12"),
        (lambda: training_lists(TRAIN, None, 0), "n must be .* at least 1"),
        (lambda: training_lists(TRAIN[:, :0], None, 5), "no interaction"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
