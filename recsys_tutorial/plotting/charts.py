"""The few plots that chapters share, and the style that all figures have."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recsys_tutorial.plotting import _diagrams

# Okabe & Ito's colours: told apart by colour-blind readers, and of different lightness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# How a figure is written as SVG: parts that are rasterised at this many dots per inch, and neither
# the date nor the version of matplotlib, so that a figure drawn again is the same file.
VECTORS = {"dpi": 144, "metadata": dict.fromkeys(("Date", "Creator", "Format", "Type"))}


def use_style(letters: str = "outlines") -> None:
    """Set matplotlib's defaults for the course: call once in a chapter's set-up cell.

    A notebook shows its figures as SVG from then on, with the same ids at every run. Draw what has
    hundreds of points with ``rasterized=True``, else each of them is an element of the file.

    White background on purpose: a figure stays readable in a dark notebook. The site recolours it
    for its dark pages.

    Parameters
    ----------
    letters : "outlines", the same on every screen, or "text", drawn with the reader's own font
        (DejaVu Sans, Verdana or the next best): less than half the size, for a notebook with a
        dozen figures

    Raises
    ------
    ValueError if letters are to be something else
    """
    kinds = {"outlines": "path", "text": "none"}
    if letters not in kinds:
        raise ValueError(f"letters must be one of {', '.join(kinds)}, not {letters!r}")
    plt.rc("figure", figsize=(7.0, 3.6), dpi=100, facecolor="white")
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("savefig", facecolor="white")
    plt.rc("axes", prop_cycle=plt.cycler(color=COLORS), grid=True, axisbelow=True)
    plt.rc("axes.spines", top=False, right=False)
    plt.rc("grid", alpha=0.25)
    plt.rc("font", size=11, **{"sans-serif": ["DejaVu Sans", "Verdana"]})
    plt.rc("legend", frameon=False)
    plt.rc("svg", hashsalt="recsys-tutorial", fonttype=kinds[letters])
    plt.rc("image", interpolation="none")  # a picture's own pixels, not four times as many
    _show_vectors()


def _show_vectors() -> None:
    """Let the notebook that runs this, if one does, show figures as SVG."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats
    from matplotlib_inline.config import InlineBackend

    shown = InlineBackend.instance(parent=shell)  # read again when the backend starts
    shown.figure_formats, shown.print_figure_kwargs = {"svg"}, {"bbox_inches": "tight", **VECTORS}
    set_matplotlib_formats("svg")


def intervals(
    frame: pd.DataFrame, xlabel: str, *, zero: bool = False, ax: Axes | None = None
) -> Axes:
    """Means with their 95 % intervals, one line per row of the frame, first row on top.

    Parameters
    ----------
    frame : DataFrame with the columns mean, low, high; its index names the lines
    xlabel : str, what the numbers are
    zero : bool, draw a line at 0, for differences
    ax : Axes to draw on; the current ones by default

    Returns
    -------
    Axes
    """
    ax = plt.gca() if ax is None else ax
    place = np.arange(len(frame))[::-1]
    sides = [frame["mean"] - frame["low"], frame["high"] - frame["mean"]]
    sides = np.stack(sides)  # (2, n): how far to the left, how far to the right
    ax.errorbar(frame["mean"], place, xerr=sides, fmt="o", capsize=4, lw=2)
    ax.set_yticks(place, [str(label) for label in frame.index])
    ax.set_ylim(-0.6, len(frame) - 0.4)
    ax.locator_params(axis="x", nbins=5)  # beside long names there is no room for more numbers
    if zero:
        ax.axvline(0, color="black", lw=1, ls="--")
    ax.set_xlabel(xlabel)
    return ax


def lines(
    frame: pd.DataFrame, xlabel: str, ylabel: str, *, logx: bool = False, ax: Axes | None = None
) -> Axes:
    """One line per column over the frame's index, told apart by marker and colour.

    Parameters
    ----------
    frame : DataFrame of numbers; its columns name the lines
    xlabel, ylabel : str, what the index and the values are
    logx : bool, a logarithmic x axis
    ax : Axes to draw on; the current ones by default

    Returns
    -------
    Axes
    """
    ax = plt.gca() if ax is None else ax
    for column, marker in zip(frame.columns, "osD^vPX*" * len(frame.columns), strict=False):
        ax.plot(frame.index, frame[column], marker=marker, label=str(column))
    if logx:
        ax.set_xscale("log")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(frame.columns) > 1:
        ax.legend()
    return ax


def diagram(name: str) -> Figure:
    """A model as a diagram: what is read stands below, what comes out above.

    Dashed boxes are read, grey ones are frozen, thick-edged ones are trained.

    Parameters
    ----------
    name : str, one of "factors", "text towers", "picture towers", "interaction", "cross-encoder",
        "batch", "gradient cache", "fusion", "sequence", "semantic ids", "language ranker",
        "lesson", "feedback loop", "leaks" and "funnel"

    Returns
    -------
    Figure, 5 to 6 inches wide, so that a phone shows its text in a readable size

    Raises
    ------
    ValueError if there is no diagram of this name
    """
    if name not in _diagrams.DRAWN:
        raise ValueError(f"no diagram {name!r}: there are {', '.join(_diagrams.DRAWN)}")
    return _diagrams.DRAWN[name]()
