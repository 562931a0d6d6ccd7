"""The models as diagrams in one style; `plotting.diagram` is their door.

What is read stands below, what comes out above. A dashed box is read, a grey one is frozen, a
thick-edged one is trained, so that they are told apart without colour; numbers are rows of cells.
The module is long because all drawings stand in it, of about twenty lines each, with one style.
"""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

UNIT = 0.5  # inches; narrow figures, whose text is still read on a phone
SIZE = 10
KINDS = {
    "read": {"fc": "white", "ec": "0.35", "ls": "--", "lw": 1.0},
    "frozen": {"fc": "0.85", "ec": "0.35", "lw": 1.0},
    "trained": {"fc": "#cfe5f5", "ec": "#0072B2", "lw": 2.2},
    "plain": {"fc": "white", "ec": "0.35", "lw": 1.0},
    "marked": {"fc": "#f6c9a8", "ec": "#a33a00", "lw": 2.2},
}
LINE = {"arrowstyle": "->", "color": "0.25", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many units."""
    fig, ax = plt.subplots(figsize=(UNIT * width, UNIT * height), dpi=100)
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    return fig, ax


def _box(ax, x, y, width, height, text="", kind="plain", size=SIZE) -> None:
    """A box with its lower left corner at (x, y), and its text in the middle."""
    ax.add_patch(plt.Rectangle((x, y), width, height, **KINDS[kind]))
    if text:
        ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=size)


def _cells(ax, x, y, n, kind="plain", side=0.45) -> None:
    """A row of n numbers."""
    for k in range(n):
        _box(ax, x + k * side, y, side, side, kind=kind)


def _arrow(ax, start, end, **look) -> None:
    ax.annotate("", end, start, arrowprops=LINE | look)


def _note(ax, x, y, text, **look) -> None:
    """Words beside the boxes."""
    style = {"ha": "center", "va": "center", "size": SIZE - 1, "style": "italic"}
    ax.text(x, y, text, **style | look)


def _tower(ax, x, boxes, vector) -> None:
    """Boxes upon each other in a column from x, and the vector on top: [(text, kind)]."""
    y = 0.3
    for text, kind in boxes:
        _box(ax, x, y, 3.8, 1.1, text, kind)
        _arrow(ax, (x + 1.9, y + 1.1), (x + 1.9, y + 1.6))
        y += 1.6
    _cells(ax, x + 0.55, y, 6)
    ax.text(x + 3.45, y + 0.2, vector, size=SIZE + 2, va="center")
    _arrow(ax, (x + 1.9, y + 0.45), (5.0, y + 1.15))


def _two_towers(left, right, vectors, score, note) -> Figure:
    """A column of boxes on each side, a dot product on top."""
    fig, ax = _canvas(10, 7.1)
    _tower(ax, 0.3, left, vectors[0])
    _tower(ax, 5.9, right, vectors[1])
    ax.text(5.0, 6.55, score, ha="center", size=SIZE + 2)
    _note(ax, 5.0, 4.35, note)
    return fig


def factors() -> Figure:
    """Ratings as mean, biases and a product of two thin tables."""
    fig, ax = _canvas(10, 7.2)
    ratings = np.random.default_rng(1).random((8, 12)) < 0.22
    _box(ax, 2.9, 4.0, 3.6, 2.8)
    for row, column in np.argwhere(ratings):
        fill = plt.Rectangle((2.9 + 0.3 * column, 4.0 + 0.35 * row), 0.3, 0.35, fc="0.7", lw=0)
        ax.add_patch(fill)
    _box(ax, 5.3, 5.4, 0.3, 0.35, kind="marked")
    ax.text(2.7, 5.57, "user $u$", ha="right", va="center", size=SIZE)
    ax.text(5.45, 6.9, "film $i$", ha="center", size=SIZE)
    _note(ax, 8.1, 5.4, "stars $r_{ui}$,\nmost unknown")
    # x, y, width, height; where the user's row or the film's column stands in it; name
    parts = (
        (1.6, 0.9, 0.4, 2.4, (1.6, 2.1, 0.4, 0.3), "$b_u$"),
        (2.6, 1.95, 2.4, 0.4, (4.2, 1.95, 0.25, 0.4), "$b_i$"),
        (5.7, 0.9, 0.9, 2.4, (5.7, 2.1, 0.9, 0.3), "$P$: $d$ per user"),
        (7.2, 1.7, 2.4, 0.9, (8.8, 1.7, 0.25, 0.9), r"$Q^\top$: $d$ per film"),
    )
    for x, y, width, height, mark, name in parts:
        _box(ax, x, y, width, height, kind="trained")
        _box(ax, *mark, kind="marked")
        ax.text(x + width / 2, y - 0.45, name, ha="center", va="center", size=SIZE)
    for x, sign in ((0.75, r"$\approx\ \mu\ +$"), (2.3, "+"), (5.35, "+"), (6.9, "·")):
        ax.text(x, 2.15, sign, ha="center", va="center", size=SIZE + 2)
    return fig


def text_towers() -> Figure:
    """Two towers on frozen text vectors."""
    return _two_towers(
        [("titles liked,\nor a wish", "read"), ("BERT", "frozen"), ("user head", "trained")],
        [("title, year,\ngenres", "read"), ("BERT", "frozen"), ("film head", "trained")],
        (r"$\mathbf{u}$", r"$\mathbf{v}_i$"),
        r"$s_{ui} = \mathbf{u}^\top \mathbf{v}_i$",
        "they meet\nhere only:\nfilms are\ncomputed\nonce",
    )


def picture_towers() -> Figure:
    """A text tower and a picture tower."""
    return _two_towers(
        [("'a red car'", "read"), ("BERT\n384 numbers", "frozen"), ("head", "trained")],
        [("picture,\nin patches", "read"), ("ViT\n768 numbers", "frozen"), ("head", "trained")],
        (r"$\mathbf{z}$", r"$\mathbf{v}$"),
        r"$s = \mathbf{z}^\top \mathbf{v}\,/\,\tau$",
        "128\nnumbers\neach",
    )


def interaction() -> Figure:
    """Six ways for the vectors of a user and an item to meet."""
    drawn = {
        "dot product, GMF": (1, 1, "multiply number by\nnumber, (weigh,) add"),
        "MLP": (1, 1, "lay side by side,\nhidden layer"),
        "crosses, FM, ConvNCF": (1, 1, "all $u_a v_b$: weigh,\nor convolve"),
        "target attention": (3, 1, "v weighs each $h_j$;\ndot product, MLP"),
        "pair attention": (3, 3, "weigh each pair's\nproduct, add"),
        "late interaction": (3, 3, "each u takes its\nbest v; add"),
    }
    fig, ax = _canvas(10.4, 13.2)
    for place, (name, (n_left, n_right, meets)) in enumerate(drawn.items()):
        x, y = 0.2 + 5.2 * (place % 2), 8.9 - 4.4 * (place // 2)
        for start, n, letter in ((x, n_left, "u" if place != 3 else "h"), (x + 2.6, n_right, "v")):
            for k in range(n):
                left = start + (3 - n) * 0.36 + 0.72 * k
                _box(ax, left, y, 0.62, 0.62, letter, "read")
                _arrow(ax, (left + 0.31, y + 0.62), (left + 0.31, y + 1.1))
        _box(ax, x, y + 1.1, 4.7, 1.2, meets, "trained", SIZE - 0.5)
        _arrow(ax, (x + 2.35, y + 2.3), (x + 2.35, y + 2.75))
        ax.text(x + 2.35, y + 2.8, "$s$", ha="center", size=SIZE + 2)
        ax.text(x + 2.35, y + 3.45, name, ha="center", size=SIZE, weight="bold")
    return fig


def cross_encoder() -> Figure:
    """One sequence of both sides; with prefix attention the user's part is computed once."""
    fig, ax = _canvas(10.3, 8.4)
    words = ["[CLS]", "Alien", "Heat", "[SEP]", "Speed", "[SEP]"]
    centres = [0.85 + 1.62 * k + (0.35 if k > 3 else 0) for k in range(6)]
    levels = (1.2, 3.0, 4.8)
    for k, (x, word) in enumerate(zip(centres, words, strict=True)):
        kind = "plain" if k < 4 else "marked"
        _box(ax, x - 0.7, levels[0], 1.4, 0.7, word, "read", SIZE - 0.5)
        for y in levels[1:]:
            _cells(ax, x - 0.68, y, 3, kind)
    for low, high in ((levels[0] + 0.7, levels[1]), (levels[1] + 0.45, levels[2])):
        for k, x in enumerate(centres):
            for other in range(4 if k < 4 else 6):
                late = {"color": "#a33a00", "lw": 1.4} if k > 3 else {"color": "0.6", "lw": 0.8}
                _arrow(ax, (centres[other], low), (x, high), arrowstyle="-", **late)
    x = centres[-1]
    _arrow(ax, (x, levels[2] + 0.45), (x, 6.1))
    _box(ax, x - 2.2, 6.1, 2.9, 0.9, "head", "trained")
    _arrow(ax, (x - 0.75, 7.0), (x - 0.75, 7.5))
    ax.text(x - 0.75, 7.6, "$s_{ui}$", ha="center", size=SIZE + 2)
    _note(ax, 3.3, 0.55, "the user: looks at itself only,\ncomputed once for all candidates")
    _note(ax, 8.45, 0.55, "a candidate:\nlooks at everything")
    _note(ax, 3.0, 6.5, "full attention: the user's tokens\nlook at all, too, for each candidate")
    return fig


def batch() -> Figure:
    """The scores of a batch, of which the diagonal is right."""
    fig, ax = _canvas(10, 7.6)
    known = {(0, 3), (2, 5), (3, 0), (5, 2), (4, 1)}
    for row in range(6):
        for column in range(6):
            kind, text = "frozen", ""
            if row == column:
                kind, text = "marked", "+"
            elif (row, column) in known:
                kind, text = "read", "×"
            _box(ax, 1.2 + 0.9 * column, 5.6 - 0.9 * row, 0.9, 0.9, text, kind, SIZE + 2)
    for n in range(6):
        ax.text(1.65 + 0.9 * n, 6.85, f"$i_{n + 1}$", ha="center", va="center", size=SIZE + 1)
        ax.text(0.7, 6.05 - 0.9 * n, f"$u_{n + 1}$", ha="center", va="center", size=SIZE + 1)
    for y, kind, text, what in (
        (4.6, "marked", "+", "the pair itself:\npulled up"),
        (3.1, "frozen", "", "negatives:\npushed down"),
        (1.6, "read", "×", "a known like:\nmasked"),
    ):
        _box(ax, 6.95, y, 0.6, 0.6, text, kind)
        ax.text(7.7, y + 0.3, what, va="center", size=SIZE - 1)
    _note(ax, 3.9, 0.55, "each row a softmax: which item is the user's?")
    return fig


def gradient_cache() -> Figure:
    """A large batch in small pieces, in three steps."""
    fig, ax = _canvas(10.4, 8.0)
    for k in range(4):
        x = 0.3 + 1.55 * k
        _box(ax, x, 1.2, 1.35, 0.7, f"piece {k + 1}", "read", SIZE - 1)
        _box(ax, x, 2.4, 1.35, 0.8, "encoder", "frozen", SIZE - 1)
        _cells(ax, x + 0.11, 3.7, 3, side=0.38)
        for low, high in ((1.9, 2.4), (3.2, 3.7), (4.08, 4.6)):
            _arrow(ax, (x + 0.68, low), (x + 0.68, high))
    _box(ax, 0.3, 4.6, 6.0, 0.9, "InfoNCE over the whole batch", "marked")
    _box(ax, 7.5, 1.2, 2.4, 0.7, "piece 2", "read", SIZE - 1)
    _box(ax, 7.5, 2.4, 2.4, 0.8, "encoder", "trained", SIZE - 1)
    _cells(ax, 8.13, 3.7, 3, side=0.38)
    _arrow(ax, (8.7, 1.9), (8.7, 2.4))
    _arrow(ax, (8.7, 3.2), (8.7, 3.7))
    back = {"color": "#a33a00", "lw": 2.2}
    ax.plot([6.3, 8.7], [5.05, 5.05], color="#a33a00", lw=2.2)
    _arrow(ax, (8.7, 5.05), (8.7, 4.12), **back)
    _note(ax, 8.45, 5.75, "the gradient of\neach of its vectors")
    for x, y, text in (
        (3.3, 0.55, "1. encode all,\nkeep the vectors alone"),
        (3.3, 6.1, "2. the loss, and its gradient\nby every vector"),
        (8.7, 0.55, "3. encode again, piece\nby piece, and go back"),
    ):
        ax.text(x, y, text, ha="center", va="center", size=SIZE - 0.5, weight="bold")
    _note(ax, 5.2, 7.4, "activations wait in memory for one piece, never for all")
    return fig


def fusion() -> Figure:
    """Three places where modalities meet."""
    fig, ax = _canvas(10, 5.2)
    for x, name in ((0.15, "early"), (3.5, "late"), (6.85, "intermediate")):
        ax.text(x + 1.5, 4.85, name, ha="center", size=SIZE, weight="bold")
        for k, what in enumerate(("picture", "words")):
            _box(ax, x + 1.55 * k, 0.2, 1.45, 0.8, what, "frozen")
            _arrow(ax, (x + 0.72 + 1.55 * k, 1.0), (x + 0.72 + 1.55 * k, 1.5))
        if name == "early":
            _box(ax, x, 1.5, 3.0, 0.9, "one head", "trained")
            _arrow(ax, (x + 1.5, 2.4), (x + 1.5, 2.95))
            _cells(ax, x + 0.6, 2.95, 4)
            _note(ax, x + 1.5, 3.8, "one vector")
            continue
        for k in range(2):
            _box(ax, x + 1.55 * k, 1.5, 1.45, 0.9, "tower", "trained")
            _arrow(ax, (x + 0.72 + 1.55 * k, 2.4), (x + 0.72 + 1.55 * k, 2.95))
        if name == "late":
            _box(ax, x, 2.95, 3.0, 0.8, "sum of scores")
            continue
        _box(ax, x, 2.95, 3.0, 0.8, "fuse", "trained")
        _arrow(ax, (x + 1.5, 3.75), (x + 1.5, 4.05))
        _cells(ax, x + 0.6, 4.05, 4)
    return fig


def sequence() -> Figure:
    """SASRec: each event looks at itself and at those before it, and says what comes next."""
    fig, ax = _canvas(11, 9.0)
    xs = (0.4, 3.0, 5.6, 8.2)
    for k, x in enumerate(xs):
        _box(ax, x, 0.2, 2.3, 0.8, f"event {k + 1}", "read")
        _arrow(ax, (x + 1.15, 1.0), (x + 1.15, 1.5))
        _box(ax, x, 1.5, 2.3, 1.0, "film +\nplace", "trained", SIZE - 1)
        for later in xs[k:]:
            _arrow(ax, (x + 1.15, 2.5), (later + 1.15, 3.9), lw=0.9)
        _box(ax, x, 3.9, 2.3, 1.0, "attention\n+ network", "trained", SIZE - 1)
        _arrow(ax, (x + 1.15, 4.9), (x + 1.15, 5.5))
        _cells(ax, x + 0.25, 5.5, 4)
        _arrow(ax, (x + 1.15, 5.95), (x + 1.15, 6.9))
        _box(ax, x, 6.9, 2.3, 0.8, f"event {k + 2}?" if k < 3 else "next?")
    _note(ax, 5.5, 8.4, "score of every film: state times its vector")
    return fig


def semantic_ids() -> Figure:
    """From a vector to a code, level by level; and a decoder that writes the next code."""
    fig, ax = _canvas(11, 11.2)
    _box(ax, 0.3, 0.2, 3.2, 1.0, "text, picture", "read")
    _arrow(ax, (1.9, 1.2), (1.9, 1.8))
    _box(ax, 0.3, 1.8, 3.2, 1.0, "encoders", "frozen")
    _arrow(ax, (3.5, 2.3), (4.3, 2.3))
    _cells(ax, 4.3, 2.07, 3)
    for level, x in enumerate((4.3, 6.6, 8.9), start=1):
        _arrow(ax, (x + 0.7, 2.55), (x + 0.7, 3.1))
        _box(ax, x - 0.1, 3.1, 1.7, 0.9, "nearest", "trained", SIZE - 1)
        _arrow(ax, (x + 0.7, 4.0), (x + 0.7, 4.6))
        _box(ax, x + 0.1, 4.6, 1.2, 0.8, f"$c_{level}$", "marked")
        if level < 3:
            _arrow(ax, (x + 1.4, 2.3), (x + 2.3, 2.3))
            _cells(ax, x + 2.3, 2.07, 3)
    _note(ax, 7.7, 1.45, "what the centres leave over")
    _note(ax, 2.0, 4.9, "an item's code", style="normal")
    words = ("$c_1$", "$c_2$", "$c_3$")
    for k, x in enumerate((0.3, 4.0)):
        for level, word in enumerate(words):
            _box(ax, x + 1.1 * level, 6.3, 1.0, 0.8, word, "read")
        _note(ax, x + 1.6, 5.95, f"event {k + 1}")
    _box(ax, 0.3, 7.8, 10.3, 1.0, "decoder: causal attention", "trained")
    for x in (0.8, 1.9, 3.0, 4.5, 5.6, 6.7, 8.2, 9.3):
        _arrow(ax, (x, 7.1), (x, 7.8))
    for x, word in ((7.7, "$c_1$"), (8.8, "$c_2$")):
        _box(ax, x, 6.3, 1.0, 0.8, word, "marked")
    for level, x in enumerate((6.1, 7.6, 8.9)):
        _arrow(ax, (x + 0.6, 8.8), (x + 0.6, 9.5))
        _box(ax, x, 9.5, 1.2, 0.8, words[level] + "?", "marked")
    _note(ax, 3.2, 9.9, "the next item's words,\none after the other")
    _note(ax, 8.8, 5.95, "written so far")
    return fig


def language_ranker() -> Figure:
    """One prompt, read once, and the titles behind it; the same titles behind no reason."""
    fig, ax = _canvas(11, 8.6)
    _box(ax, 0.3, 0.3, 4.9, 1.2, "likes, or words,\nin a template", "read")
    _box(ax, 5.8, 0.3, 4.9, 1.2, "“A film:”", "read")
    for x, label in ((2.75, "read once"), (8.25, "read once")):
        _arrow(ax, (x, 1.5), (x, 2.2))
        _note(ax, x + 1.35, 1.85, label)
    _box(ax, 0.3, 2.2, 10.4, 1.1, "language model: log p of the next token", "frozen")
    for x in (0.9, 2.75, 4.6, 6.4, 8.25, 10.1):
        _arrow(ax, (x, 3.3), (x, 3.9))
    for x in (0.3, 5.8):
        for k, title in enumerate(("Heat", "Alien", "Speed")):
            _box(ax, x + 1.67 * k, 3.9, 1.5, 0.8, title, "read", SIZE - 1)
    _arrow(ax, (2.75, 4.7), (4.2, 5.9))
    _arrow(ax, (8.25, 4.7), (6.8, 5.9))
    ax.text(1.6, 5.3, r"$\log p(j \mid u)$", ha="center", size=SIZE + 1)
    ax.text(9.4, 5.3, r"$\log p(j)$", ha="center", size=SIZE + 1)
    _box(ax, 3.5, 5.9, 4.0, 0.9, "minus")
    _arrow(ax, (5.5, 6.8), (5.5, 7.4))
    _note(ax, 5.5, 7.7, "what the likes add to each title")
    return fig


def lesson() -> Figure:
    """A like becomes a lesson: what is read, what is learned, and which tokens count."""
    fig, ax = _canvas(11, 8.4)
    for k, token in enumerate(("likes: …", "film:", "Heat", "(1995)", "⏎")):
        _box(ax, 0.3 + 2.1 * k, 0.3, 1.9, 0.9, token, "marked" if k > 1 else "read")
        _arrow(ax, (1.25 + 2.1 * k, 1.2), (1.25 + 2.1 * k, 1.8))
    _box(ax, 0.3, 1.8, 10.3, 1.1, "language model: $W$", "frozen")
    _box(ax, 0.3, 2.9, 10.3, 0.9, "and beside each matrix an adapter: $BA$", "trained")
    for k, token in enumerate(("film:", "Heat", "(1995)", "⏎")):
        _arrow(ax, (1.25 + 2.1 * k, 3.8), (1.25 + 2.1 * k, 4.4))
        _box(ax, 0.3 + 2.1 * k, 4.4, 1.9, 0.9, token, "marked" if k else "read")
        if k:
            _arrow(ax, (1.25 + 2.1 * k, 5.3), (5.45, 6.3))
    _note(ax, 9.7, 4.85, "what should\ncome next")
    _box(ax, 3.2, 6.3, 4.5, 1.0, r"mean of $-\log p$")
    _note(ax, 5.45, 7.7, "the loss: the answer's tokens only")
    return fig


def feedback_loop() -> Figure:
    """What is shown decides what can be learned."""
    fig, ax = _canvas(10, 7.2)
    _box(ax, 0.3, 4.9, 3.0, 1.2, "model", "trained")
    _box(ax, 6.7, 4.9, 3.0, 1.2, "list of five,\nby a policy")
    _box(ax, 6.7, 0.9, 3.0, 1.2, "shopper looks,\nand clicks", "read")
    _box(ax, 0.3, 0.9, 3.0, 1.2, "log: shown,\nclicked, slot", "frozen")
    _arrow(ax, (3.3, 5.5), (6.7, 5.5))
    _note(ax, 5.0, 6.0, "scores")
    _arrow(ax, (8.2, 4.9), (8.2, 2.1))
    _note(ax, 8.05, 3.5, "what is\nshown", ha="right")
    _arrow(ax, (6.7, 1.5), (3.3, 1.5))
    _note(ax, 5.0, 2.0, "clicks")
    _arrow(ax, (1.8, 2.1), (1.8, 4.9))
    _note(ax, 1.95, 3.5, "training,\nnightly\nor at once", ha="left")
    _note(ax, 5.2, 3.5, "never shown:\nnever clicked,\nnever learned", size=SIZE)
    _box(ax, 6.7, 6.45, 3.0, 0.65, "new pictures", "read", SIZE - 1)
    _arrow(ax, (8.2, 6.45), (8.2, 6.1))
    _note(ax, 5.0, 0.35, "logged, too: the probability of what was shown")
    return fig


def leaks() -> Figure:
    """From likes to lists: what can be read at each step, and what stands against it."""
    fig, ax = _canvas(11, 8.6)
    steps = (
        ("likes,\nwith dates", "read", "a few likes\nare a name", ""),
        (
            "gradients",
            "plain",
            "their rows\nspell the likes",
            "only sums leave,\nclipped, with noise",
        ),
        ("model", "trained", "was this user\nlearned from?", "attack it first;\nforget exactly"),
        (
            "list",
            "plain",
            "what is missing\ntells, too",
            "a list that reads\nnobody, hits included",
        ),
    )
    for step, (text, kind, read, against) in enumerate(steps):
        y = 0.3 + 2.2 * step
        _box(ax, 4.2, y, 2.6, 1.2, text, kind)
        if step:
            _arrow(ax, (5.5, y - 1.0), (5.5, y))
        _arrow(ax, (4.2, y + 0.6), (3.4, y + 0.6), ls="--")
        _note(ax, 3.3, y + 0.6, read, ha="right")
        _note(ax, 9.0, y + 0.6, against)
    _box(ax, 7.8, 0.3, 2.9, 1.2, "fake accounts", "marked")
    _arrow(ax, (7.8, 0.9), (6.8, 0.9))
    return fig


def funnel() -> Figure:
    """From a request to a list, and from what came of it to the next model."""
    fig, ax = _canvas(11, 9.4)
    stages = (
        ("who asks,\nwhat they like", "read", ""),
        ("retrieve", "trained", "all films:\na dot product each"),
        ("rank", "trained", "a hundred:\nfeatures, a model"),
        ("rerank", "plain", "ten: unlike\neach other"),
        ("list", "read", "what was shown,\nwhere, how likely"),
    )
    for step, (text, kind, note) in enumerate(stages):
        y = 0.3 + 1.9 * step
        _box(ax, 3.6, y, 2.6, 1.1, text, kind)
        if step:
            _arrow(ax, (4.9, y - 0.8), (4.9, y))
        _note(ax, 3.4, y + 0.55, note, ha="right")
    _box(ax, 7.9, 7.9, 2.8, 1.1, "log", "frozen")
    _box(ax, 7.9, 4.1, 2.8, 1.1, "learn", "trained")
    _box(ax, 7.9, 0.3, 2.8, 1.1, "watch", "marked")
    _arrow(ax, (6.2, 8.45), (7.9, 8.45))
    _arrow(ax, (8.7, 7.9), (8.7, 5.2))
    _arrow(ax, (7.9, 4.65), (6.2, 4.65))
    _arrow(ax, (7.9, 4.3), (6.2, 2.75))
    ax.plot([10.2, 10.2], [7.9, 5.2], color="0.25", lw=1.2, ls="--")
    _arrow(ax, (10.2, 4.1), (10.2, 1.4), ls="--")
    _note(ax, 9.3, 2.75, "alarm,\nroll back")
    _arrow(ax, (9.3, 1.4), (9.3, 2.4), ls="--")
    return fig


DRAWN: dict[str, Callable[[], Figure]] = {
    "factors": factors,
    "text towers": text_towers,
    "picture towers": picture_towers,
    "interaction": interaction,
    "cross-encoder": cross_encoder,
    "batch": batch,
    "gradient cache": gradient_cache,
    "fusion": fusion,
    "sequence": sequence,
    "semantic ids": semantic_ids,
    "language ranker": language_ranker,
    "lesson": lesson,
    "feedback loop": feedback_loop,
    "leaks": leaks,
    "funnel": funnel,
}
