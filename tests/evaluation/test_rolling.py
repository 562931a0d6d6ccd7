"""A model made anew for each window, judged as one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys_tutorial.evaluation import compare, evaluate, evaluate_rolling, rolling
from recsys_tutorial.models import Popularity
from recsys_tutorial.splits import rolling_split
from tests.splits.test_splits import ITEMS, frame

RNG = np.random.default_rng(0)
ROWS = [
    (u, 10 * i + 1, float(RNG.choice([3.0, 5.0])), 100 * u + t)
    for u in range(20)
    for t, i in enumerate(RNG.permutation(10)[:8])
]
WINDOWS = rolling_split(frame(ROWS), ITEMS, 0.2, 0.6, n_tuning=2, n_test=4).test


def popularity(split):
    return Popularity().fit(split.train)


def test_each_user_is_judged_by_the_model_of_their_window():
    together = evaluate_rolling(popularity, WINDOWS, ks=[3])
    one_by_one = [evaluate(popularity(split), split.test, ks=[3]) for split in WINDOWS]
    pd.testing.assert_frame_equal(together.per_user, pd.concat([e.per_user for e in one_by_one]))
    np.testing.assert_array_equal(together.ranked, np.vstack([e.ranked for e in one_by_one]))
    assert together.per_user.index.tolist() == [u for s in WINDOWS for u in s.test.user_ids]
    assert compare(together, together, "ndcg@3").difference == 0


def test_the_time_is_the_mean_over_all_users(monkeypatch):
    uneven = rolling_split(frame(ROWS), ITEMS, 0.2, 0.55, n_tuning=2, n_test=4).test
    real, times = rolling.evaluate, iter([100.0, 0.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(
        rolling, "evaluate", lambda *args: replace(real(*args), ms_per_user=next(times))
    )
    n_users = [len(split.test.user_ids) for split in uneven]
    assert len(set(n_users)) > 1
    expected = 100 * n_users[0] / sum(n_users)
    assert evaluate_rolling(popularity, uneven).ms_per_user == pytest.approx(expected)


def test_windows_come_in_their_order_so_that_weights_may_go_on():
    starts = []
    evaluate_rolling(lambda split: starts.append(split.start) or popularity(split), WINDOWS)
    assert starts == sorted(starts) and len(starts) == len(WINDOWS)


def test_bad_windows():
    with pytest.raises(ValueError, match="no window"):
        evaluate_rolling(popularity, [])
    with pytest.raises(ValueError, match=r"user_id \d+ is judged in two windows"):
        evaluate_rolling(popularity, [WINDOWS[0], WINDOWS[0]])
