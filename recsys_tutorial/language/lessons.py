"""What a language model is taught from: prompts made of training users' likes, and their answers.

Two questions are made of a history: which films were liked next, and whether one film would be. The
words come from `prompts`, so that no title leaves its slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_within
from recsys_tutorial.language.prompts import LEAD, fill, one_line
from recsys_tutorial.models._events import in_order
from recsys_tutorial.splits import Split

__all__ = ["Lesson", "next_title_lessons", "verdict_lessons"]


@dataclass(frozen=True)
class Lesson:
    """One prompt, what should follow it, and what should not.

    Attributes
    ----------
    user_id : int, whose likes it is made of
    prompt : str
    answers : tuple of str, at least one; each begins with a space and ends its line
    rejected : tuple of str, continuations that are worse than every answer; may be empty
    """

    user_id: int
    prompt: str
    answers: tuple[str, ...]
    rejected: tuple[str, ...] = ()


def next_title_lessons(
    split: Split,
    titles: Sequence[str],
    *,
    n_likes: int = 8,
    n_answers: int = 8,
    n_rejected: int = 0,
    alpha: float = 0.5,
    seed: int = 0,
) -> list[Lesson]:
    """Behind some likes of a training user, those that came next.

    The first like is in a prompt only; those behind it, in the order of time, are cut into parts of
    `n_answers`, of which the last may be shorter. A part is the answers of a lesson, and the
    `n_likes` before it are in its prompt. One prompt with many answers costs few tokens: it is
    read once.

    Parameters
    ----------
    split : Split, of which only the training part is read; with `like_times`
    titles : sequence of str (n_items,), as in `LanguageModelRanker`
    n_likes, n_answers : int >= 1
    n_rejected : int >= 0, titles of films that the user has not rated and somebody liked
    alpha : float, 0 to 1; they are drawn by likes ** alpha
    seed : int, of the draws, and of the order of likes in one second

    Returns
    -------
    list of Lesson, users in the order of the split; who has one like gives none

    Raises
    ------
    ValueError
        For numbers out of range, a split without times, and not a title for each item.
    """
    check_at_least(1, n_likes=n_likes, n_answers=n_answers)
    check_at_least(0, n_rejected=n_rejected)
    check_within(0, 1, alpha=alpha)
    lines, histories = _histories(split, titles, seed)
    rng = np.random.default_rng(seed)
    likes = np.asarray(split.train.sum(axis=0)).ravel()
    chances = np.where(likes > 0, likes**alpha, 0.0)
    found = []
    for row, items in enumerate(histories):
        weights = chances.copy()
        weights[split.train_ratings[[row]].indices] = 0.0
        for cut in range(1, len(items), n_answers):
            rejected = _drawn(weights, n_rejected, rng)
            prompt = fill("likes", likes=[lines[c] for c in items[max(cut - n_likes, 0) : cut]])
            answers = tuple(_ending(lines[c]) for c in items[cut : cut + n_answers])
            worse = tuple(_ending(lines[c]) for c in rejected)
            found.append(Lesson(int(split.train_user_ids[row]), prompt, answers, worse))
    return found


def verdict_lessons(
    split: Split,
    titles: Sequence[str],
    *,
    n_likes: int = 8,
    n_films: int = 1,
    nearness: int = 25,
    seed: int = 0,
) -> list[Lesson]:
    """Whether a training user would love one more film: " yes" or " no".

    Of each user the last `n_films` likes are asked about, behind those before them. Beside each
    stands a film that the user has not rated, and that nearly as many like: one of the `nearness`
    next in the order of likes on either side. So a film's popularity does not give the answer away.

    Parameters
    ----------
    split, titles, n_likes, seed : as in `next_title_lessons`
    n_films : int >= 1, of each user, where there are enough; one like stays in the prompt
    nearness : int >= 1, places in the order of likes

    Returns
    -------
    list of Lesson, in pairs: one with the answer " yes", one with " no"; the other word is rejected

    Raises
    ------
    ValueError
        As `next_title_lessons` does.
    """
    check_at_least(1, n_likes=n_likes, n_films=n_films, nearness=nearness)
    lines, histories = _histories(split, titles, seed)
    rng = np.random.default_rng(seed)
    likes = np.asarray(split.train.sum(axis=0)).ravel()
    known = np.flatnonzero(likes)
    order = known[np.lexsort([rng.random(len(known)), likes[known]])]  # equal ones in any order
    place = {column: k for k, column in enumerate(order.tolist())}
    found = []
    for row, items in enumerate(histories):
        rated = set(split.train_ratings[[row]].indices) | set(items)
        for n in range(min(n_films, len(items) - 1), 0, -1):
            cut, film = len(items) - n, items[-n]
            k = place[film]
            near = [c for c in order[max(k - nearness, 0) : k + nearness + 1] if c not in rated]
            if not near:
                continue
            shown = [lines[c] for c in items[max(cut - n_likes, 0) : cut]]
            asked = ((film, " yes\n", " no\n"), (rng.choice(near), " no\n", " yes\n"))
            for column, right, wrong in asked:
                prompt = fill("verdict", likes=shown, film=lines[column])
                found.append(Lesson(int(split.train_user_ids[row]), prompt, (right,), (wrong,)))
    return found


def _histories(split: Split, titles: Sequence[str], seed: int) -> tuple[list[str], list[list[int]]]:
    """Titles as lines; columns of each training user's likes, the latest at the end."""
    train = sparse.csr_matrix(split.train)
    if len(titles) != train.shape[1]:
        raise ValueError(f"{len(titles)} titles for {train.shape[1]} items")
    if split.like_times is None:
        raise ValueError("the split does not know when its likes were given: like_times is None")
    _, items, _ = in_order(train, split.like_times, seed=seed)
    return [one_line(title) for title in titles], [
        part.tolist() for part in np.split(items, train.indptr[1:-1])
    ]


def _drawn(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Up to n different columns by their weights; without one, a column is never drawn."""
    there = np.flatnonzero(weights)
    shares = weights[there] / weights[there].sum()
    return rng.choice(there, min(n, len(there)), replace=False, p=shares)


def _ending(title: str) -> str:
    return f"{LEAD}{title}\n"
