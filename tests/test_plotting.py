"""plotting: what is drawn is what was given, with named axes."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from recsys_tutorial import _diagrams, plotting


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


@pytest.mark.parametrize("name", _diagrams.DRAWN)
def test_a_diagram_is_narrow_and_cuts_nothing_off(name):
    fig = plotting.diagram(name)
    assert fig.get_size_inches()[0] <= 6
    (ax,) = fig.axes
    width, height = ax.get_xlim()[1], ax.get_ylim()[1]
    assert len(ax.patches) >= 5 and len(ax.texts) >= 4
    for box in ax.patches:
        x, y, w, h = *box.get_xy(), box.get_width(), box.get_height()
        assert x >= 0 and y >= 0 and x + w <= width + 1e-9 and y + h <= height + 1e-9
    fig.canvas.draw()
    to_units = ax.transData.inverted()
    for text in ax.texts:
        if text.get_text():
            left, low, right, high = text.get_window_extent().transformed(to_units).extents
            assert left > -0.1 and right < width + 0.1, text.get_text()
            assert low > -0.1 and high < height + 0.1, text.get_text()


@pytest.mark.parametrize("name", _diagrams.DRAWN)
def test_the_words_of_a_diagram_cover_no_other_words(name):
    fig = plotting.diagram(name)
    (ax,) = fig.axes
    fig.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in ax.texts if t.get_text()]
    for place, (text, box) in enumerate(boxes):
        for other, there in boxes[:place]:
            assert not box.overlaps(there), (text, other)


def test_the_words_of_a_box_stay_in_it():
    fig = plotting.diagram("fusion")
    (ax,) = fig.axes
    fig.canvas.draw()
    to_units = ax.transData.inverted()
    (text,) = (t for t in ax.texts if t.get_text() == "sum of scores")
    box = text.get_window_extent().transformed(to_units)
    assert any(
        b.get_x() < box.x0 and box.x1 < b.get_x() + b.get_width()
        and b.get_y() < box.y0 and box.y1 < b.get_y() + b.get_height()
        for b in ax.patches
    )  # fmt: skip


def test_kinds_are_told_apart_without_colour():
    """Frozen, trained and read differ in the width or the kind of the edge."""
    looks = {(k.get("ls", "-"), k["lw"], k["fc"] == "white") for k in _diagrams.KINDS.values()}
    assert len(looks) >= 4
    edges = [(k.get("ls", "-"), k["lw"]) for k in map(_diagrams.KINDS.get, ("read", "trained"))]
    assert edges[0] != edges[1]


def test_an_unknown_diagram_is_named():
    with pytest.raises(ValueError, match="no diagram 'tower': there are factors"):
        plotting.diagram("tower")
