"""Lists of pictures: best, random, and with chance."""

import numpy as np
import pytest

from recsys_tutorial.feedback.bandits import (
    random_lists,
    with_chance,
)
from recsys_tutorial.feedback.lists import top_slots


def test_random_lists_hold_different_pictures_equally_often():
    stock = np.array([2, 3, 5, 7])
    lists = random_lists(stock, (30_000, 3), np.random.default_rng(0))
    assert all(len(set(row)) == 3 for row in lists[:1000].tolist())
    share = np.array([(lists == i).mean(axis=0) for i in stock])
    np.testing.assert_allclose(share, 0.25, atol=0.0125)  # five standard errors
    whole = random_lists(stock, (50, 4), np.random.default_rng(0))
    assert (np.sort(whole, axis=1) == stock).all()
    with pytest.raises(ValueError, match="do not fill 5 slots"):
        random_lists(stock, (2, 5), np.random.default_rng(0))


def test_epsilon_replaces_that_share_of_slots():
    rng, stock = np.random.default_rng(0), np.arange(1000)
    shown = random_lists(stock, (5000, 3), rng)
    mixed = with_chance(shown, stock, 0.2, rng)
    assert (mixed != shown).mean() == pytest.approx(0.2, abs=0.015)  # 3 in 1000 fall on the list
    assert all(len(set(row)) == 3 for row in mixed[:1000].tolist())
    few = random_lists(stock[:4], (1000, 3), rng)
    always = with_chance(few, stock[:4], 1.0, rng)  # of four pictures, what is not in the list
    assert all(len(set(row)) == 3 for row in always.tolist())
    assert (always != few).any(axis=1).mean() == pytest.approx(0.75, abs=0.07)  # five errors


def test_top_slots_breaks_ties_by_the_lower_column():
    scores = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert top_slots(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
