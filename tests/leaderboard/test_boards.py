"""Boards: a task's own table, references, and what is redrawn for an interval."""

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial import leaderboard
from recsys_tutorial.evaluation import Evaluation, group_interval
from recsys_tutorial.evaluation.intervals import mean_interval

GROUPS = np.repeat(np.arange(10), 4)
BOARD = leaderboard.Board("leaderboard_test.csv", ("popularity", "EASE"), lambda: GROUPS)


def evaluation(values):
    index = pd.Index(np.arange(len(values)), name="user_id")
    columns = dict.fromkeys(leaderboard.METRICS, values)
    return Evaluation(pd.DataFrame(columns, index=index), np.zeros((len(values), 20), int), 0.5)


def by_group(seed=0):
    """Values that are the same within a group: 40 users, of whom only 10 are independent."""
    return np.random.default_rng(seed).uniform(0.1, 0.5, 10)[GROUPS]


def test_intervals_redraw_groups_and_agree_with_group_interval():
    values = pd.Series(by_group())
    assert BOARD.interval(values) == pytest.approx(group_interval(values, GROUPS))
    alone = np.ptp(leaderboard.FILMS.interval(values))
    assert np.ptp(BOARD.interval(values)) > 1.5 * alone  # twice, but for chance
    assert leaderboard.FILMS.interval(values) == pytest.approx(mean_interval(values.to_numpy()))


def test_groups_of_other_sizes_weigh_as_their_users():
    board = leaderboard.Board("x.csv", (), lambda: np.array([0, 0, 0, 1]))
    means = board.means(pd.DataFrame({"a": [1.0, 1.0, 1.0, 0.0]}))[:, 0]
    assert set(np.round(means, 6)) == {0.0, 0.75, 1.0}


def test_a_user_without_a_group_is_named():
    with pytest.raises(ValueError, match="numbered from 0 to 39"):
        BOARD.interval(pd.Series([0.1, 0.2], index=[0, 40]))
    with pytest.raises(ValueError, match="numbered from 0 to 39"):
        BOARD.interval(pd.Series([0.1, 0.2], index=[-1, 0]))


def test_rows_have_differences_to_the_boards_references(tmp_path):
    path = tmp_path / BOARD.file
    values = by_group()
    kept = {"path": path, "write": True, "board": BOARD}
    leaderboard.record(1, "popularity", evaluation(values), **kept)
    leaderboard.record(1, "EASE", evaluation(values + 0.2), **kept)
    line = leaderboard.record(3, "text", evaluation(values + 0.1), **kept)
    assert line.endswith("as listed")
    assert list(leaderboard.load(path, BOARD).columns) == leaderboard.columns_of(BOARD)
    row = leaderboard.load(path, BOARD).set_index("model").loc["text"]
    assert row["minus_popularity"] == pytest.approx(0.1)
    assert row["minus_EASE_high"] == pytest.approx(-0.1)  # each user by as much
    assert (row["ndcg@10_low"], row["ndcg@10_high"]) == pytest.approx(
        group_interval(values + 0.1, GROUPS), abs=1e-6
    )
    shown = leaderboard.table(path=path, board=BOARD)
    assert shown["- EASE"].tolist()[:2] == ["", "-0.100 [-0.100, -0.100]"]
    assert shown.index.tolist() == [1, 2, 3]
    assert leaderboard.table(1, path, BOARD)["model"].tolist() == ["EASE", "popularity"]
    with pytest.raises(ValueError, match="lacks the columns"):
        leaderboard.load(path)  # the films' references are not there


def test_the_films_board_is_what_it_was():
    assert leaderboard.columns_of(leaderboard.FILMS) == leaderboard.COLUMNS
    assert leaderboard.FILMS.path.name == "leaderboard.csv"
    assert leaderboard.FILMS.references == leaderboard.REFERENCES


def test_the_committed_packages_table_is_whole():
    table = leaderboard.load(board=leaderboard.PACKAGES)
    users = leaderboard.load_users(board=leaderboard.PACKAGES)
    assert set(leaderboard.PACKAGES.references) <= set(table["model"])
    assert list(users.columns) == list(table.sort_values(["chapter", "model"])["model"])
    assert (table["n_users"] == len(users)).all() and users.notna().all(axis=None)
    means = users.mean()[table["model"]]
    np.testing.assert_allclose(means, table["ndcg@10"], atol=2e-6)  # both have six digits
    for reference in leaderboard.PACKAGES.references:
        columns = leaderboard.difference_columns(reference)
        difference, low, high = (table.set_index("model")[c].dropna() for c in columns)
        np.testing.assert_allclose(difference, (users.mean() - users[reference].mean())
                                   [difference.index], atol=2e-6)  # fmt: skip
        assert (low <= difference).all() and (difference <= high).all()
