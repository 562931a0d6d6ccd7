"""A text is given to whom it is true of; a step in the right direction pays, another does not."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial import course

N_USERS, N_FILMS = 40, 60


def world(seed=0):
    """Films of three kinds, twenty of each; all liked the first, and go on to one of the others."""
    rng = np.random.default_rng(seed)
    kind = np.arange(N_FILMS) % 3
    films = np.eye(3)[kind] + 0.05 * rng.normal(size=(N_FILMS, 3))
    films /= np.linalg.norm(films, axis=1, keepdims=True)
    history, later = np.zeros((2, N_USERS, N_FILMS))
    for user in range(N_USERS):
        history[user, rng.choice(np.flatnonzero(kind == 0), 4, replace=False)] = 1
        later[user, rng.choice(np.flatnonzero(kind == 1 + user % 2), 3, replace=False)] = 1
    targets = sparse.csr_matrix(later)
    history = sparse.csr_matrix(history)
    test = SimpleNamespace(history=history, targets=targets, seen=history)
    fits = np.stack([kind == 1, kind == 1, kind == 2, kind == 2])  # a text of each theme twice
    return [SimpleNamespace(test=test)], films, fits, np.array([0, 1, 0, 1])


def test_a_text_is_true_of_the_user_and_the_other_is_of_another_theme():
    (split,), _, fits, themes = world()
    rows = np.arange(4)
    users, said, other = course.true_texts(split.test, rows, fits, themes, 0)
    assert users.tolist() == list(range(N_USERS))
    later = split.test.targets.toarray() > 0
    assert (later[users] & fits[said]).any(axis=1).all()
    assert (themes[said] != themes[other]).all()
    assert set(said) == set(other) == {0, 1, 2, 3}
    again = course.true_texts(split.test, rows, fits, themes, 0)
    assert all(np.array_equal(a, b) for a, b in zip(again, (users, said, other), strict=True))
    few = course.true_texts(split.test, np.array([0, 1]), fits, themes, 0)[0]
    assert few.tolist() == list(range(0, N_USERS, 2))  # nobody gets what is not true of them


def test_the_right_step_finds_what_history_does_not_and_the_wrong_one_does_not():
    windows, films, fits, _ = world()
    kinds = np.eye(3)
    words = kinds[[1, 1, 2, 2]]
    tell = {"films": films, "fits": fits, "themes": np.arange(4)}
    alone, of = course.told_ndcg(windows, np.arange(4), words, 0.0, **tell)
    told, same = course.told_ndcg(windows, np.arange(4), words, 2.0, **tell)
    against, _ = course.told_ndcg(windows, np.arange(4), -words, 2.0, **tell)
    assert np.array_equal(of, same) and len(told) == N_USERS
    assert told.mean() > 0.25 and told.mean() > 3 * alone.mean()
    assert against.mean() < 0.05
    wrong, _ = course.told_ndcg(windows, np.arange(4), words, 2.0, wrong=True, **tell)
    assert wrong.mean() < told.mean() - 0.1  # two of the three other texts want the other kind


def test_a_step_to_the_wanted_films_alone_is_worth_one_and_only_what_fits_counts():
    (split,), _, fits, themes = world()
    later = split.test.targets.toarray().astype(bool)
    rows = np.arange(2)  # both are true of the even users
    own = np.zeros((4, N_FILMS))
    own[:2] = later[0] & fits[0]  # what the first user wants
    options = {"films": np.eye(N_FILMS), "fits": fits, "themes": themes}
    values, _ = course.told_ndcg([split], rows, own, 9.0, **options)
    assert values[0] == pytest.approx(1.0)
    assert len(values) == N_USERS // 2 and (values <= 1).all()
    later[0] |= fits[2]  # and the first user likes all of the other kind, which does not count
    split.test.targets = sparse.csr_matrix(later.astype(float))
    again, _ = course.told_ndcg([split, split], rows, own, 9.0, **options)
    assert again[0] == pytest.approx(1.0) and len(again) == N_USERS
