"""What is said of users and items."""

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.models.pair_texts import (
    item_texts,
    liked_together,
    short_titles,
    user_texts,
)


def test_texts_are_what_they_say():
    titles, genres = ["Alien (1979)", "Heat (1995)", "Bambi"], ["Horror|Sci-Fi", "Crime", "Drama"]
    short = short_titles(titles)
    assert short == ["Alien", "Heat", "Bambi"]
    likes = sparse.csr_matrix(np.array([[1.0, 1, 0], [1, 1, 0], [1, 0, 0]]))
    neighbours = liked_together(likes)
    assert [list(columns) for columns in neighbours] == [[1], [0], []]
    assert item_texts(titles, genres, neighbours) == [
        "Alien (1979). Horror, Sci-Fi. Liked with: Heat",
        "Heat (1995). Crime. Liked with: Alien",
        "Bambi. Drama",
    ]
    assert user_texts(likes, short, max_titles=1) == ["Liked: Alien"] * 3
    assert user_texts(likes[1:], short) == ["Liked: Alien; Heat", "Liked: Alien"]
    assert user_texts(likes[1:], short, prefix="") == ["Alien; Heat", "Alien"]


def test_of_a_long_history_evenly_spaced_titles_are_read():
    history = sparse.csr_matrix(np.array([[1.0, 1, 1, 0, 1, 1], [0, 0, 0, 1, 0, 0], [0] * 6]))
    said = user_texts(history, list("abcdef"), max_titles=3)
    assert said == ["Liked: a; c; f", "Liked: d", "Liked: "]
    assert user_texts(history, list("abcdef"))[0] == "Liked: a; b; c; e; f"


def test_only_a_year_is_cut_off():
    titles = ["Alien (1979)", "Him (Her)", "Odd (1995x", "1900 [1976)", ")", "", "(1984)"]
    assert short_titles(titles) == ["Alien", *titles[1:]]
    assert item_texts(["Alien (1979)"], ["Horror|Sci-Fi"]) == ["Alien (1979). Horror, Sci-Fi"]


def test_equal_neighbours_keep_the_order_of_the_catalogue():
    """Sixty columns liked by all alike: numpy's default sort leaves the order of so many open."""
    likes = np.ones((3, 60))
    likes[:, 1::2] = [[1], [1], [0]]
    for column, columns in enumerate(liked_together(sparse.csr_matrix(likes), 60)):
        rest = [c for c in range(60) if c != column]
        order = sorted(rest, key=lambda c, own=column: (c - own) % 2)  # those liked alike first
        assert columns.tolist() == order


def test_neighbours_are_the_largest_cosines():
    likes = (np.random.default_rng(0).random((40, 12)) < 0.3).astype(float)
    length = np.sqrt(likes.sum(0) + 10)
    strength = likes.T @ likes / length / length[:, None]
    np.fill_diagonal(strength, 0)
    for row, columns in zip(strength, liked_together(sparse.csr_matrix(likes), 4), strict=True):
        assert sorted(row[columns], reverse=True) == pytest.approx(sorted(row)[::-1][:4])
