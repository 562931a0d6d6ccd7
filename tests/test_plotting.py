"""plotting: what is drawn is what was given, with named axes."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from recsys_tutorial import leaderboard, plotting


@pytest.fixture(autouse=True)
def axes():
    plotting.use_style()
    yield plt.figure().gca()
    plt.close("all")


def test_intervals_draws_rows_top_down_with_their_ends(axes):
    frame = pd.DataFrame({"mean": [0.2, 0.1], "low": [0.15, 0.05], "high": [0.3, 0.2]}, ["a", "b"])
    plotting.intervals(frame, "difference", zero=True, ax=axes)
    labels = {
        t.get_text(): y for t, y in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
    }
    assert labels["a"] > labels["b"]
    (segments,) = (c.get_segments() for c in axes.collections)
    ends = {round(s[0][1]): (s[0][0], s[1][0]) for s in segments}
    assert ends[1] == pytest.approx((0.15, 0.3))
    assert ends[0] == pytest.approx((0.05, 0.2))
    assert axes.get_xlabel() == "difference"


def test_lines_tells_columns_apart_without_colour(axes):
    frame = pd.DataFrame({"a": [1, 2], "b": [2, 3]}, index=[10, 100])
    plotting.lines(frame, "x", "y", logx=True, ax=axes)
    first, second = axes.get_lines()
    assert first.get_marker() != second.get_marker()
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(second.get_ydata(), [2, 3])


def test_quality_cost_names_every_model_with_a_cost(axes):
    table = pd.DataFrame(
        {
            "model": ["A", "B", "no cost"],
            "ndcg@10": [0.1, 0.2, 0.3],
            "ndcg@10_low": [0.05, 0.1, 0.2],
            "ndcg@10_high": [0.2, 0.3, 0.4],
            "ms_per_user": [0.0, 2.0, np.nan],
        }
    )
    plotting.quality_cost(table, ax=axes)
    assert {t.get_text() for t in axes.texts} == {"A", "B"}
    assert set(table.columns) <= set(leaderboard.COLUMNS)
