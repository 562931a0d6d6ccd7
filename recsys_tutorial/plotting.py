"""The few plots that chapters share, and the style that all figures have."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

# Okabe & Ito's colours: told apart by colour-blind readers, and of different lightness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def use_style() -> None:
    """Set matplotlib's defaults for the course: call once in a chapter's set-up cell.

    White background on purpose: a figure stays readable on a dark page.
    """
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 100,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "axes.axisbelow": True,
            "font.size": 11,
            "legend.frameon": False,
        }
    )


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
    below = frame["mean"] - frame["low"]
    above = frame["high"] - frame["mean"]
    ax.errorbar(frame["mean"], place, xerr=[below, above], fmt="o", capsize=4, lw=2)
    ax.set_yticks(place, [str(label) for label in frame.index])
    ax.set_ylim(-0.6, len(frame) - 0.4)
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
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if len(frame.columns) > 1:
        ax.legend()
    return ax


def quality_cost(table: pd.DataFrame, cost: str = "ms_per_user", *, ax: Axes | None = None) -> Axes:
    """NDCG@10 with its interval against a cost, on a logarithmic scale.

    Parameters
    ----------
    table : DataFrame, such as `leaderboard.load()`; rows without the cost are left out
    cost : str, a column of it: "ms_per_user", "train_seconds" or "peak_mb"
    ax : Axes to draw on; the current ones by default

    Returns
    -------
    Axes
    """
    ax = plt.gca() if ax is None else ax
    shown = table.dropna(subset=[cost, "ndcg@10"])
    y = shown["ndcg@10"]
    yerr = [y - shown["ndcg@10_low"], shown["ndcg@10_high"] - y]
    x = np.maximum(shown[cost].astype(float), 1e-4)
    ax.errorbar(x, y, yerr=yerr, fmt="o", capsize=3, alpha=0.8)
    for name, here, there in zip(shown["model"], x, y, strict=True):
        ax.annotate(name, (here, there), xytext=(5, 4), textcoords="offset points", fontsize=9)
    ax.set_xscale("log")
    names = {"ms_per_user": "scoring, ms per user", "train_seconds": "training, seconds"}
    ax.set_xlabel(names.get(cost, cost))
    ax.set_ylabel("NDCG@10")
    return ax
