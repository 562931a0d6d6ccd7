"""The figures of the prose pages, drawn when the site is built. Each function draws one."""

import textwrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from recsys_tutorial import leaderboard, plotting

COSTS = {
    "ms_per_user": "scoring the catalogue for one user, ms",
    "train_seconds": "training, seconds",
    "peak_mb": "memory while training, MB",
}


def pareto(cost, quality):
    """Which points no other point beats in both: less cost and more quality.

    >>> pareto(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2])).tolist()
    [True, True, False]
    """
    return np.array(
        [
            not ((cost <= c) & (quality >= q) & ((cost < c) | (quality > q))).any()
            for c, q in zip(cost, quality, strict=True)
        ]
    )


def ranked_rows():
    """The leaderboard, best first, with the number of each row: 1, 2, ..."""
    rows = leaderboard.load().sort_values(["ndcg@10", "model"], ascending=[False, True])
    rows = rows.reset_index(drop=True)
    rows.insert(0, "place", np.arange(1, len(rows) + 1))
    return rows


def leaderboard_rolling():
    """Every model that is trained as time passes: quality, and differences to the references."""
    rows = leaderboard.load().sort_values(["ndcg@10", "model"], ascending=[False, True])
    place = np.arange(len(rows))[::-1]
    names = [f"{m} ({c})" for m, c in zip(rows["model"], rows["chapter"], strict=True)]
    fig, axes = plt.subplots(1, 3, figsize=(9.2, 1.2 + 0.3 * len(rows)), sharey=True)
    axes[0].errorbar(rows["ndcg@10"], place, xerr=errors(rows), fmt="o", capsize=3, color="C0")
    axes[0].set_yticks(place, names)
    axes[0].set_xlabel("NDCG@10 and its 95 % interval")
    for ax, reference in zip(axes[1:], leaderboard.REFERENCES, strict=True):
        mean, low, high = (rows[column] for column in leaderboard.difference_columns(reference))
        ax.errorbar(mean, place, xerr=[mean - low, high - mean], fmt="s", capsize=3, color="C1")
        ax.axvline(0, color="black", lw=1, ls="--")
        ax.set_xlabel(f"minus {reference}")
    return fig


def errors(rows):
    """The intervals as matplotlib wants them: lengths to the left and to the right."""
    return [rows["ndcg@10"] - rows["ndcg@10_low"], rows["ndcg@10_high"] - rows["ndcg@10"]]


def best_of_chapters():
    """Popularity, then the best model of each chapter: narrow, so that a phone can show it."""
    rows = ranked_rows()
    best = rows.drop_duplicates("chapter").sort_values("chapter")
    rows = pd.concat([rows[rows["model"] == "popularity"], best])
    place = np.arange(len(rows))[::-1]
    fig, ax = plt.subplots(figsize=(5.4, 0.8 + 0.46 * len(rows)))
    ax.axvline(rows["ndcg@10"].iloc[0], color="0.5", ls="--", lw=1)
    ax.errorbar(rows["ndcg@10"], place, xerr=errors(rows), fmt="o", ms=7, capsize=3, color="C0")
    for here, model, chapter in zip(place, rows["model"], rows["chapter"], strict=True):
        text = f"{model} (chapter {chapter})"
        ax.annotate(text, (rows["ndcg@10_low"].min(), here), (0, 10), fontsize=10.5,
                    textcoords="offset points", va="center",
                    bbox={"color": "white", "pad": 0.5})  # fmt: skip
    ax.spines["left"].set_visible(False)
    ax.set(ylim=(-0.5, len(rows) - 0.2), yticks=[], xlabel="NDCG@10 and its 95 % interval")
    return fig


def place_labels(ax, x, y, texts):
    """Write each text near its point, where it covers no point and no earlier text.

    The nearest free place is taken; a line leads to a text that stands further off.
    """
    ax.figure.canvas.draw()  # the layout is made when drawing
    points = ax.transData.transform(np.column_stack([x, y]))
    taken = [Bbox.from_bounds(a - 5, b - 5, 10, 10) for a, b in points]
    ways = [(0, 1), (1, 0), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
    sides = {0: "center", 1: "left", -1: "right"}
    tries = [(r, *way) for r in (11, 18, 26, 36, 48, 62, 78) for way in ways]
    for here, there, text in zip(x, y, texts, strict=True):
        for r, dx, dy in tries:
            label = ax.annotate(
                text, (here, there), (r * dx, r * dy), textcoords="offset points", fontsize=9,
                ha=sides[dx], va="center", bbox={"color": "white", "pad": 0.3},
                arrowprops={"arrowstyle": "-", "lw": 0.5, "color": "0.4"} if r > 18 else None,
            )  # fmt: skip
            label.set_in_layout(False)
            label.update_positions(ax.figure.canvas.get_renderer())
            box = Text.get_window_extent(label).padded(1)  # without the line
            inside = ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1
            inside &= ax.bbox.y0 < box.y0 and box.y1 < ax.bbox.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            if (r, dx, dy) != tries[-1]:
                label.remove()
        taken.append(box)


def quality_cost(cost="ms_per_user"):
    """NDCG@10 against a cost: numbers are places on the leaderboard, the frontier has names."""
    rows = ranked_rows().dropna(subset=[cost])
    x = np.maximum(rows[cost].to_numpy(float), 1e-3)
    y = rows["ndcg@10"].to_numpy()
    best = pareto(x, y)
    fig, ax = plt.subplots(figsize=(7.6, 4.4))
    order = np.argsort(x[best])
    ax.step(x[best][order], y[best][order], where="post", color="C1", ls="--", lw=1)
    ax.plot(x[~best], y[~best], "o", color="C0", ms=7)
    ax.plot(x[best], y[best], "D", color="C1", ms=7)
    ax.set(xscale="log", xlabel=COSTS[cost], ylabel="NDCG@10")
    ax.margins(x=0.12, y=0.14)
    texts = [
        f"{place} {model}" if named else str(place)
        for place, model, named in zip(rows["place"], rows["model"], best, strict=True)
    ]
    first = np.argsort(~best, kind="stable")  # names are long: they choose first
    place_labels(ax, x[first], y[first], [texts[i] for i in first])
    return fig


def quality_training():
    """NDCG@10 against the seconds of one training run."""
    return quality_cost("train_seconds")


def similarities():
    """Two items and a user: the dot product and the cosine rank them differently."""
    user, items = np.array([1.0, 0.0]), {"A": np.array([1.0, 0.2]), "B": np.array([2.0, 2.0])}
    fig, ax = plt.subplots(figsize=(5.2, 4.4))
    for number, (name, v) in enumerate({"user": user, **items}.items()):
        arrow = {"arrowstyle": "->", "lw": 2, "color": f"C{number}"}
        ax.annotate("", v, (0, 0), arrowprops=arrow)
        text = name
        if name != "user":
            cosine = user @ v / np.linalg.norm(user) / np.linalg.norm(v)
            text = f"item {name}\ndot {user @ v:.1f}, cosine {cosine:.2f}"
        ax.annotate(text, v, xytext=(6, 4 if name != "user" else -16), textcoords="offset points")
    ax.plot([2, 2], [0, 2], ls=":", color="0.4")
    ax.text(2.04, 0.9, "projection of B", color="0.3", fontsize=9, rotation=90, va="center")
    ax.set(xlim=(0, 3), ylim=(-0.3, 2.6), xlabel="first coordinate", ylabel="second coordinate")
    ax.set_aspect("equal")
    return fig


def softmax_temperature():
    """The same four similarities as probabilities, at three temperatures."""
    scores = np.array([0.9, 0.7, 0.5, 0.1])
    fig, ax = plt.subplots(figsize=(7, 3.2))
    for number, temperature in enumerate((1.0, 0.2, 0.05)):
        p = np.exp(scores / temperature)
        ax.bar(
            np.arange(4) + 0.27 * (number - 1),
            p / p.sum(),
            0.25,
            label=f"τ = {temperature}",
            hatch=("", "//", "..")[number],
            edgecolor="white",
        )
    ax.set_xticks(np.arange(4), [f"similarity {s}" for s in scores])
    ax.set_ylabel("probability")
    ax.legend()
    return fig


def attention_weights():
    """The attention of a history over itself, for the worked example."""
    titles, weights = attention_example()
    fig, ax = plt.subplots(figsize=(4.6, 3.6))
    ax.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(weights):
        ax.text(column, row, f"{value:.2f}", ha="center", va="center",
                color="white" if value > 0.5 else "black")  # fmt: skip
    ax.set_xticks(range(len(titles)), titles, rotation=20)
    ax.set_yticks(range(len(titles)), titles)
    ax.set(xlabel="takes from (key)", ylabel="token (query)")
    ax.grid(False)
    return fig


def attention_example():
    """Three tokens with d = 2: their names, and softmax(Q K^T / sqrt 2) with Q = K.

    >>> attention_example()[1].sum(axis=1).round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    x = np.array([[2.0, 0.0], [1.6, 1.2], [0.0, 2.0]])  # (T, d)
    logits = x @ x.T / np.sqrt(2)  # (T, T)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return ["space", "alien", "romance"], weights / weights.sum(axis=1, keepdims=True)


def funnel():
    """The stages of a large recommender: how many items are left, at what cost each."""
    stages = [
        ("catalogue", 1e6, "millions of items"),
        ("retrieval", 1e4, "hundreds: one dot product each"),
        ("ranking", 3e2, "dozens: one network pass each"),
        ("reranking", 1e2, "the list that is shown"),
    ]
    fig, ax = plt.subplots(figsize=(7.6, 3.2))
    for row, (name, size, what) in enumerate(stages):
        width = np.log10(size)
        ax.barh(-row, width, left=-width / 2, height=0.7, color=f"C{row}", alpha=0.85)
        ax.text(0, -row, name, ha="center", va="center", color="white", weight="bold")
        ax.text(3.3, -row, what, va="center")
    ax.set(xlim=(-3.2, 7.6))
    ax.axis("off")
    return fig


def social_card():
    """The picture that a link to the site shows: 1200 x 630 pixels."""
    rows = ranked_rows().head(8)
    fig, ax = plt.subplots(figsize=(12, 6.3), dpi=100, layout="none")
    fig.subplots_adjust(left=0.3, right=0.96, top=0.68, bottom=0.14)
    fig.text(0.04, 0.87, "Large Pretrained Models for Recommendation", fontsize=31, weight="bold")
    fig.text(0.04, 0.77, "A course: one question, one set of users, one leaderboard.", fontsize=21)
    place = np.arange(len(rows))[::-1]
    ax.errorbar(rows["ndcg@10"], place, xerr=errors(rows), fmt="o", ms=9, lw=3)
    names = [textwrap.fill(model, 26) for model in rows["model"]]
    ax.set_yticks(place, names, fontsize=14)
    ax.set_xlabel("NDCG@10 and its 95 % interval", fontsize=15)
    return fig


def draw(name, path, **options):
    """Draw the figure of this name into a file, SVG or PNG by its suffix, whole or not at all."""
    with plt.rc_context():
        plotting.use_style()
        fig = globals()[name]()
        temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
        known = plotting.VECTORS if path.suffix == ".svg" else {"metadata": {"Software": None}}
        fig.savefig(temporary, **(known | options))
        plt.close(fig)
        temporary.replace(path)
