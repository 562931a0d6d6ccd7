"""plotting: what is drawn is what was given, with named axes."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from recsys_tutorial import plotting


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


FRAME = pd.DataFrame({"mean": [0.2], "low": [0.1], "high": [0.3]}, ["a"])


@pytest.mark.parametrize(
    "draw",
    [
        lambda **where: plotting.intervals(FRAME, "x", **where),
        lambda **where: plotting.lines(FRAME, "x", "y", **where),
    ],
    ids=["intervals", "lines"],
)
def test_axes_that_are_given_are_drawn_on_and_else_the_current_ones(draw):
    given, current = plt.figure().subplots(2)
    plt.sca(current)
    assert draw(ax=given) is given and given.has_data() and not current.has_data()
    assert draw() is current and current.has_data()


def test_a_line_at_zero_is_drawn_where_it_is_asked_for(axes):
    n_lines = []
    for zero in (False, True):
        axes.clear()
        plotting.intervals(FRAME, "x", zero=zero, ax=axes)
        n_lines.append(sum(list(line.get_xdata()) == [0, 0] for line in axes.get_lines()))
    assert n_lines == [0, 1]


def test_one_column_needs_no_legend_and_several_do(axes):
    plotting.lines(FRAME, "across", "up", ax=axes)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["mean", "low", "high"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("across", "up")
    axes.clear()
    plotting.lines(FRAME[["mean"]], "across", "up", ax=axes)
    assert axes.get_legend() is None and axes.get_xscale() == "linear"
