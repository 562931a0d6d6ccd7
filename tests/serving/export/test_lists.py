"""The list of a reader: each slider does what its chapter says, and nothing at its zero."""

import numpy as np
import pytest
from scipy import stats

from recsys_tutorial.models import unit_rows
from recsys_tutorial.ranking import rank, standardize
from recsys_tutorial.serving.export import Wanted, page_list, reasons
from recsys_tutorial.serving.export.lists import gumbel

rng = np.random.default_rng(0)
N = 300
SCORES, LIKES, WISH = rng.normal(size=N), np.log1p(rng.integers(0, 500, N)), rng.normal(size=N)
UNITS = unit_rows(rng.normal(size=(N, 4)))
LIKED = np.array([3, int(SCORES.argmax())])


def made(k=10, **sliders):
    return page_list(SCORES, LIKED, LIKES, UNITS, Wanted(**sliders), k)


def test_without_sliders_it_is_the_models_own_list():
    expected = [i for i in np.argsort(-SCORES) if i not in LIKED][:10]
    assert made().tolist() == expected


def test_a_wish_has_its_share_and_all_where_nothing_is_liked():
    mixed = 0.7 * standardize(SCORES[None]) + 0.3 * standardize(WISH[None])
    expected = [i for i in np.argsort(-mixed[0]) if i not in LIKED][:10]
    assert page_list(SCORES, LIKED, LIKES, UNITS, Wanted(wish=0.3), 10, WISH).tolist() == expected
    nothing = np.empty(0, int)
    alone = page_list(SCORES, nothing, LIKES, UNITS, Wanted(wish=0.3), 10, WISH)
    assert alone.tolist() == np.argsort(-WISH)[:10].tolist()


def test_the_popularity_slider_leads_to_the_most_and_the_least_popular():
    low, high = np.quantile(LIKES, [0.1, 0.9])
    assert LIKES[made(popularity=50.0)].min() > high
    assert LIKES[made(popularity=-50.0)].max() < low
    assert low < LIKES[made()].mean() < high


def test_temperature_draws_from_the_softmax():
    """First places of many draws against exp(s / T) / sum."""
    few, temperature = standardize(SCORES[None, :6])[0], 0.8
    units = UNITS[:6]
    firsts = [
        page_list(few, np.empty(0, int), LIKES[:6], units,
                  Wanted(temperature=temperature, seed=seed), 1)[0]
        for seed in range(4000)
    ]  # fmt: skip
    shares = np.exp(few / temperature) / np.exp(few / temperature).sum()
    test = stats.chisquare(np.bincount(firsts, minlength=6), 4000 * shares)
    assert test.pvalue > 1e-3
    wrong = np.exp(few) / np.exp(few).sum()  # what another temperature would give is told apart
    assert stats.chisquare(np.bincount(firsts, minlength=6), 4000 * wrong).pvalue < 1e-6


def test_a_draw_is_repeated_by_its_seed():
    assert made(temperature=1.0, seed=5).tolist() == made(temperature=1.0, seed=5).tolist()
    assert made(temperature=1.0, seed=5).tolist() != made(temperature=1.0, seed=6).tolist()


def test_gumbel_noise_has_its_distribution():
    assert stats.kstest(gumbel(20_000, 1), stats.gumbel_r.cdf).pvalue > 1e-3


def test_diversity_makes_lists_less_alike_and_keeps_to_good_candidates():
    def alike(columns):
        cosines = UNITS[columns] @ UNITS[columns].T
        return (cosines.sum() - len(columns)) / (len(columns) * (len(columns) - 1))

    plain, some, much = (made(diversity=d) for d in (0.0, 0.4, 0.9))
    assert alike(much) < alike(some) < alike(plain)
    assert some[0] == plain[0]  # before anything stands above, nothing is near
    candidates = rank(SCORES[None], None, 102)[0]
    assert set(much) <= set(candidates)


def test_scores_that_differ_by_rounding_alone_are_level():
    scores = np.repeat([1.0, 0.0], 10)
    shaken = scores + 1e-13 * rng.normal(size=20)
    level = [page_list(s, np.empty(0, int), LIKES[:20], UNITS[:20], Wanted()) for s in
             (scores, shaken)]  # fmt: skip
    assert level[0].tolist() == level[1].tolist()
    assert level[0].tolist() != list(range(10))  # nor are they in the order of the columns


def test_reasons_are_the_shares_of_what_speaks_for_an_item():
    liked = np.array([5, 2, 9, 4])
    assert reasons(np.array([1.0, -2.0, 3.0, 0.0]), liked) == [(9, 0.75), (5, 0.25)]
    assert reasons(np.array([1.0, 1.0, 1.0, 1.0]), liked, 2) == [(5, 0.25), (2, 0.25)]
    assert reasons(np.array([-1.0, 0.0, 0.0, 0.0]), liked) == []


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Wanted(wish=1.5), "wish must be 0 to 1, got 1.5"),
        (lambda: Wanted(diversity=-0.1), "diversity must be 0 to 1"),
        (lambda: Wanted(temperature=-1), "temperature must be finite and at least 0"),
        (lambda: Wanted(popularity=np.nan), "popularity must be -100 to 100, got nan"),
        (lambda: made(k=0), "k must be 1 to 100"),
        (lambda: page_list(SCORES, LIKED, LIKES[:5], UNITS, Wanted()), "log_likes must be"),
        (lambda: reasons(np.zeros(3), np.zeros(2, int)), r"weights must be \(2,\)"),
    ],
)
def test_what_is_out_of_range_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
