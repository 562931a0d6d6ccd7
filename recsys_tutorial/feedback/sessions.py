"""Sessions in the picture shop in which only the order says what comes next: a positive control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_one_of, check_within
from recsys_tutorial.feedback.pictures import Pictures

__all__ = ["Sessions", "planted_sessions"]


@dataclass(frozen=True)
class Sessions:
    """Visits whose next picture is known, and how probable each picture was.

    Attributes
    ----------
    history, times : csr_matrix (n_sessions, n_items), 1.0 where looked at, and when in seconds
    targets : csr_matrix (n_sessions, n_items), 1.0 for the picture that came next
    probability : ndarray (n_sessions, n_items), of each picture to come next, given the true rule:
        no model can rank better in the long run
    pictures : int ndarray (n_items,), rows of the catalogue
    theme : int ndarray (n_items,), 0 to n_themes - 1
    """

    history: sparse.csr_matrix
    times: sparse.csr_matrix
    targets: sparse.csr_matrix
    probability: np.ndarray
    pictures: np.ndarray
    theme: np.ndarray


def planted_sessions(
    catalogue: Pictures,
    order: int = 1,
    n_sessions: int = 1000,
    length: int = 8,
    *,
    n_themes: int = 8,
    per_theme: int = 10,
    follow: float = 0.7,
    seed: int = 0,
) -> Sessions:
    """Shoppers who go from theme to theme by a rule, and at times wherever they like.

    With probability `follow` the next theme is f(last theme), a fixed round through all themes
    (``order=1``), or f(last but one, last) (``order=2``), a Latin square: either of the two alone
    says nothing about the next. Otherwise it is any theme. Within a theme every picture that the
    session has not had is equally likely.

    Parameters
    ----------
    catalogue : Pictures
    order : 1 or 2
    n_sessions, length : int >= 1, of what is shown; one more picture comes next
    n_themes : int >= 2, the most frequent ones
    per_theme : int > length, pictures
    follow : float in [0, 1]
    seed : int, of the sessions; the rule does not hang on it

    Returns
    -------
    Sessions

    Raises
    ------
    ValueError
        For numbers out of range, and a catalogue that has not as many themes or pictures.
    """
    check_one_of(("1", "2"), order=str(order))
    check_at_least(1, n_sessions=n_sessions, length=length)
    check_at_least(2, n_themes=n_themes)
    check_at_least(length + 1, per_theme=per_theme)
    check_within(0, 1, follow=follow)
    pictures, theme = _frequent_pictures(catalogue, n_themes, per_theme)
    rng, rule = np.random.default_rng(seed), _following_theme(order, n_themes)
    places, probability = _visited(theme, rule, (n_sessions, length + 1), follow, rng)
    everyone = np.arange(n_sessions)
    shape, rows = probability.shape, np.repeat(everyone, length)
    shown = places[:, :-1].ravel()
    when = 60.0 + 60.0 * np.tile(np.arange(length), n_sessions)
    return Sessions(
        sparse.csr_matrix((np.ones(len(rows)), (rows, shown)), shape),
        sparse.csr_matrix((when, (rows, shown)), shape),
        sparse.csr_matrix((np.ones(n_sessions), (everyone, places[:, -1])), shape),
        probability,
        pictures,
        theme,
    )


def _visited(
    theme: np.ndarray,
    rule: np.ndarray,
    shape: tuple[int, int],
    follow: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Which picture each session takes at each step, and the last step's (n_sessions, n_items)."""
    n_sessions, n_themes = shape[0], len(rule)
    places = np.empty(shape, np.int64)
    had = np.zeros((n_sessions, len(theme)), bool)
    last = rng.integers(n_themes, size=(n_sessions, 2))  # themes before the session began
    everyone = np.arange(n_sessions)
    for step in range(shape[1]):
        likely = np.full((n_sessions, n_themes), (1 - follow) / n_themes)
        likely[everyone, rule[last[:, 0], last[:, 1]]] += follow  # (n_sessions, n_themes)
        left = ~had  # (n_sessions, n_items)
        count = left @ np.eye(n_themes)[theme]  # (n_sessions, n_themes)
        probability = likely[:, theme] / count[:, theme] * left  # (n_sessions, n_items)
        draw = rng.random((n_sessions, 1)) * probability.sum(1, keepdims=True)
        chosen = (probability.cumsum(1) > draw).argmax(1)
        places[:, step], had[everyone, chosen] = chosen, True
        last = np.column_stack([last[:, 1], theme[chosen]])
    return places, probability


def _frequent_pictures(
    catalogue: Pictures, n_themes: int, per_theme: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures of the most frequent themes, and the number of each one's theme."""
    of_theme = catalogue.theme
    names, counts = np.unique(of_theme[of_theme >= 0], return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")][:n_themes]
    if len(frequent) < n_themes or (counts >= per_theme).sum() < n_themes:
        raise ValueError(f"the catalogue has not {n_themes} themes of {per_theme} pictures each")
    pictures = np.concatenate([np.flatnonzero(of_theme == t)[:per_theme] for t in frequent])
    return pictures, np.repeat(np.arange(n_themes), per_theme)


def _following_theme(order: int, n: int) -> np.ndarray:
    """(n, n): the theme that follows [last but one, last]."""
    cycle = np.random.default_rng(1).permutation(n)
    place = np.argsort(cycle)
    before, last = place[:, None], place[None, :]
    following = (last + 1 + 0 * before) if order == 1 else (last + before + 1)
    return cycle[following % n]
