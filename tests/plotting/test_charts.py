"""plotting: what is drawn is what was given, with named axes."""

import itertools
from collections import Counter

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_rgba

from recsys_tutorial import plotting
from recsys_tutorial.plotting import _diagrams


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
    low, high = axes.get_ylim()
    assert 0 - low == pytest.approx(high - 1) and 0.3 < high - 1 < 1  # as much space on both sides
    points, *caps, zero = axes.get_lines()
    assert (points.get_linestyle(), points.get_marker()) == ("None", "o")  # means, not a curve
    assert sorted(round(x, 9) for cap in caps for x in cap.get_xdata()) == [0.05, 0.15, 0.2, 0.3]
    (bars,) = axes.collections
    assert zero.get_linestyle() == "--" and 2 * zero.get_linewidth() <= min(bars.get_linewidths())
    assert zero.get_color() == "black"


def test_lines_tells_columns_apart_without_colour(axes):
    frame = pd.DataFrame({"a": [1, 2], "b": [2, 3]}, index=[10, 100])
    plotting.lines(frame, "x", "y", logx=True, ax=axes)
    first, second = axes.get_lines()
    assert first.get_marker() != second.get_marker()
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(second.get_ydata(), [2, 3])


def test_the_style_is_readable_where_it_is_shown_whatever_was_set_before():
    matplotlib.rcParams.update({"figure.dpi": 200, "figure.facecolor": "black", "font.size": 20})
    plotting.use_style()
    style = matplotlib.rcParams
    width, height = style["figure.figsize"]
    # A page shows about 8 inches; a third of a wider figure's text size would be lost.
    assert 6 <= width <= 8 and 0.4 < height / width < 0.7
    assert 10 < style["font.size"] <= 12 and style["figure.dpi"] <= 100
    assert style["figure.facecolor"] == style["savefig.facecolor"] == "white"  # on dark pages, too
    assert style["axes.prop_cycle"].by_key()["color"] == list(plotting.COLORS)
    assert style["figure.constrained_layout.use"]  # no label is cut off
    assert style["axes.grid"] and style["axes.axisbelow"] is True and style["grid.alpha"] < 0.4
    sides = {s: style[f"axes.spines.{s}"] for s in ("left", "bottom", "top", "right")}
    assert sides == {"left": True, "bottom": True, "top": False, "right": False}
    assert not style["legend.frameon"]


def test_letters_are_outlines_unless_text_is_asked_for_by_its_name():
    for letters, written in (("text", "none"), ("outlines", "path")):
        plotting.use_style(letters)
        assert matplotlib.rcParams["svg.fonttype"] == written
    plotting.use_style("text")
    plotting.use_style()
    assert matplotlib.rcParams["svg.fonttype"] == "path"
    assert matplotlib.rcParams["font.sans-serif"] == ["DejaVu Sans", "Verdana"]
    with pytest.raises(ValueError, match="one of outlines, text, not 'path'"):
        plotting.use_style("path")


def test_beside_long_names_the_numbers_of_an_axis_do_not_touch():
    frame = pd.DataFrame({"mean": [1e-3], "low": [-9.6e-3], "high": [9.9e-3]}, ["a" * 30])
    fig, ax = plt.subplots(figsize=(6, 2))
    plotting.intervals(frame, "difference", zero=True, ax=ax)
    fig.canvas.draw()
    inside = [
        t for t in ax.get_xticklabels() if ax.viewLim.x0 <= t.get_position()[0] <= ax.viewLim.x1
    ]
    boxes = sorted((t.get_window_extent().x0, t.get_window_extent().x1) for t in inside)
    assert len(boxes) >= 3
    assert all(left[1] < right[0] for left, right in itertools.pairwise(boxes))


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


def drawn(name):
    """Axes, boxes, words and their extents: both as rows of (left, low, right, high)."""
    fig = plotting.diagram(name)
    (ax,) = fig.axes
    fig.canvas.draw()
    boxes = np.array([b.get_bbox().extents for b in ax.patches])
    to_units = ax.transData.inverted()
    words = [t for t in ax.texts if t.get_text()]
    places = [t.get_window_extent().transformed(to_units).extents for t in words]
    return ax, boxes, words, np.array(places)


def outside(point, boxes):
    """How far a point lies outside each box; 0 within."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.hypot(*np.maximum(np.maximum(low - point, point - high), 0).T)


@pytest.mark.parametrize("name", _diagrams.DRAWN)
def test_an_arrow_leads_from_one_thing_to_another(name):
    """Its ends touch the edge of a box, another line's end, or the words that they point to."""
    ax, boxes, _, places = drawn(name)
    corners = [line.get_xydata() for line in ax.lines]
    for arrow in ax.texts:
        if getattr(arrow, "arrow_patch", None) is None:
            continue
        start, end = np.array(arrow.get_position()), np.array(arrow.xy)
        assert np.hypot(*(end - start)) > 0.25
        for point in (start, end):
            near = boxes[outside(point, boxes) < 0.05]
            edges = np.abs(np.concatenate([near[:, :2] - point, near[:, 2:] - point]))
            touches = len(near) and edges.min() < 0.05
            joins = any(np.abs(line - point).max(axis=1).min() < 0.05 for line in corners)
            assert touches or joins or outside(point, places).min() < 0.25, point


@pytest.mark.parametrize("name", _diagrams.DRAWN)
def test_boxes_stand_beside_each_other_or_one_in_the_other(name):
    _, boxes, _, _ = drawn(name)
    for place, box in enumerate(boxes):
        shared = np.minimum(boxes[:place, 2:], box[2:]) - np.maximum(boxes[:place, :2], box[:2])
        smaller = np.minimum(boxes[:place, 2:] - boxes[:place, :2], box[2:] - box[:2])
        apart, inside = (shared < 0.02).any(axis=1), (shared > smaller - 0.02).all(axis=1)
        assert (apart | inside).all(), box


@pytest.mark.parametrize("name", _diagrams.DRAWN)
def test_the_words_of_a_box_stand_in_its_middle_and_stay_in_it(name):
    _, boxes, words, places = drawn(name)
    n_inside = 0
    for text, place in zip(words, places, strict=True):
        middle = (place[:2] + place[2:]) / 2
        within = boxes[outside(middle, boxes) == 0]
        if text.get_style() == "italic" or not len(within):
            continue
        n_inside += 1
        box = within[np.argmin((within[:, 2:] - within[:, :2]).prod(axis=1))]  # the smallest
        np.testing.assert_allclose(text.get_position(), (box[:2] + box[2:]) / 2, atol=0.02)
        assert (place[:2] > box[:2]).all() and (place[2:] < box[2:]).all(), text.get_text()
    assert n_inside >= 5 or name == "factors"


@pytest.mark.parametrize("name", _diagrams.DRAWN)
def test_a_diagram_is_read_on_a_phone(name):
    """Five inches or six shown on three: from nine points on a word is still readable."""
    ax, _, words, _ = drawn(name)
    assert 4.5 < ax.figure.get_size_inches()[0] <= 6 and ax.figure.dpi == 100
    assert not ax.axison and ax.get_aspect() == 1  # no axes; a square is one
    assert all(9 <= text.get_size() <= 12 for text in words)


def looks(name):
    """How many boxes of each kind a diagram has, how many arrows, and how often each word."""
    ax, _, words, _ = drawn(name)
    kinds = {(to_rgba(k["fc"]), k["lw"], "ls" in k): name for name, k in _diagrams.KINDS.items()}
    boxes = Counter(
        kinds.get((b.get_facecolor(), b.get_linewidth(), b.get_linestyle() == "--"))
        for b in ax.patches
    )
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    return boxes, len(arrows), Counter(text.get_text() for text in words)


def test_a_batch_is_drawn_with_its_pairs_and_known_likes():
    boxes, n_arrows, words = looks("batch")
    # 36 scores: the pairs on the diagonal, five known likes, all others; and each once to say so
    assert boxes == {"marked": 6 + 1, "read": 5 + 1, "frozen": 25 + 1} and n_arrows == 0
    assert words["+"] == 7 and words["×"] == 6
    assert all(words[f"${name}_{n}$"] == 1 for name in "iu" for n in range(1, 7))


def test_six_interactions_are_drawn_with_what_meets():
    boxes, n_arrows, words = looks("interaction")
    # One vector a side; the films of a history, h, before v; three of each side in the last two.
    assert (words["u"], words["h"], words["v"], words["$s$"]) == (9, 3, 10, 6)
    assert boxes == {"read": 22, "trained": 6} and n_arrows == 22 + 6


def test_a_cross_encoder_is_drawn_with_what_looks_at_what():
    boxes, n_arrows, words = looks("cross-encoder")
    # Six tokens, each with three numbers on two levels; the last two are the candidate's.
    assert boxes == {"read": 6, "plain": 4 * 2 * 3, "marked": 2 * 2 * 3, "trained": 1}
    assert n_arrows == 2 * (4 * 4 + 2 * 6) + 2 and words["[SEP]"] == 2


def test_other_diagrams_are_drawn_with_their_parts():
    assert looks("gradient cache")[0] == {"read": 5, "frozen": 4, "trained": 1, "marked": 1,
                                          "plain": 3 * 5}  # fmt: skip
    boxes, n_arrows, words = looks("fusion")
    assert boxes == {"frozen": 6, "trained": 1 + 2 * 2 + 1, "plain": 4 + 1 + 4}
    assert n_arrows == 6 + 1 + 2 * 2 + 1 and words["tower"] == 4
    for name in ("text towers", "picture towers"):
        boxes, n_arrows, _ = looks(name)
        assert boxes == {"read": 2, "frozen": 2, "trained": 2, "plain": 2 * 6} and n_arrows == 8
    boxes, n_arrows, _ = looks("leaks")  # three steps up, four looks from outside, and the fakes
    assert boxes == {"read": 1, "plain": 2, "trained": 1, "marked": 1} and n_arrows == 3 + 4 + 1
    boxes, n_arrows, words = looks("lesson")  # of four foretold, three count
    assert boxes == {"read": 2 + 1, "marked": 3 + 3, "frozen": 1, "trained": 1, "plain": 1}
    assert n_arrows == 5 + 4 + 3 and words["Heat"] == 2
    boxes, n_arrows, _ = looks("funnel")  # four steps up; to log and learn, back twice; watching
    assert boxes == {"read": 2, "trained": 3, "plain": 1, "frozen": 1, "marked": 1}
    assert n_arrows == 4 + 2 + 2 + 2
    boxes, _, _ = looks("factors")
    assert (boxes["trained"], boxes["marked"], boxes["plain"]) == (4, 5, 1)
    assert 10 < boxes[None] < 40  # of 96 ratings about a fifth is known


def test_frozen_boxes_are_grey_and_what_learns_has_a_thick_edge():
    widths = {name: look["lw"] for name, look in _diagrams.KINDS.items()}
    thin = {widths.pop(name) for name in ("read", "frozen", "plain")}
    assert thin == {1.0} and all(2 < width < 2.5 for width in widths.values())
    assert 1 < _diagrams.LINE["lw"] < 2


def test_kinds_are_told_apart_without_colour():
    """Frozen, trained and read differ in the width or the kind of the edge."""
    looks = {(k.get("ls", "-"), k["lw"], k["fc"] == "white") for k in _diagrams.KINDS.values()}
    assert len(looks) >= 4
    edges = [(k.get("ls", "-"), k["lw"]) for k in map(_diagrams.KINDS.get, ("read", "trained"))]
    assert edges[0] != edges[1]


def test_an_unknown_diagram_is_named():
    with pytest.raises(ValueError, match="no diagram 'tower': there are factors"):
        plotting.diagram("tower")
