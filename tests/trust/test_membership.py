"""A planted leak is found; who was never learned from is found by chance alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score, roc_curve

from recsys_tutorial.evaluation import auc
from recsys_tutorial.models import EASE, Popularity
from recsys_tutorial.trust import (
    clopper_pearson,
    hidden_score,
    likelihood_ratio,
    pooled_rates,
    roc,
    shadow_attack,
    true_positive_rate,
)


def halves(n_users=120, n_items=80, seed=0):
    """Likes without any structure, each user's in a shown and a hidden half."""
    rng = np.random.default_rng(seed)
    x = rng.random((n_users, n_items)) < 0.15
    shown = x & (rng.random(x.shape) < 0.5)
    for part, column in ((shown, 0), (x, n_items // 2)):  # nobody without a like in either half
        part[np.arange(n_users), column + np.arange(n_users) % (n_items // 2)] = True
    x |= shown
    shown[:, n_items // 2 :] &= np.arange(n_items // 2) != np.arange(n_users)[:, None] % (
        n_items // 2
    )
    return tuple(sparse.csr_matrix(part.astype(float)) for part in (shown, x & ~shown))


def attack(make, members, seed=0):
    """`hidden_score` of everybody by a model that learned from the members."""
    shown, hidden = halves(seed=seed)
    model = make().fit((shown + hidden).tocsr()[members])
    return hidden_score(model.score(shown), shown, hidden)


def leaking():
    return EASE(0.1)  # next to no penalty on fewer users than items: it knows them by heart


def test_a_planted_leak_is_found():
    member = np.arange(120) % 2 == 0
    known = attack(leaking, np.flatnonzero(member))
    assert auc(member, known) > 0.95
    assert true_positive_rate(known[member], known[~member], 0.02)[1] > 0.5


def test_of_a_model_trained_without_them_users_are_told_by_chance_alone():
    # "Members" of one half, a model trained on the other 80: nobody in the test was learned from.
    found = []
    for seed in range(10):
        known = attack(leaking, np.arange(40, 120), seed)[:40]
        found.append(auc(np.arange(40) % 2, known))
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / np.sqrt(10)
    assert 0.4 < np.mean(found) < 0.6


def test_what_everybody_shares_leaks_less_than_what_is_learned_by_heart():
    member = np.arange(120) % 2 == 0
    leaks = [auc(member, attack(make, np.flatnonzero(member))) for make in (leaking, Popularity)]
    assert leaks[0] > leaks[1] + 0.1


def shadows(leak, n_models=16, seed=5):
    """Who is in each model, and what it says: users differ by far more than members do."""
    rng = np.random.default_rng(seed)
    inside = np.array([rng.permutation(400) < 200 for _ in range(n_models)])
    known = 3 * rng.normal(size=400) + leak * inside + 0.3 * rng.normal(size=inside.shape)
    without, with_ = np.where(inside, np.nan, known), np.where(inside, known, np.nan)
    return inside[0], known[0], without[1:], with_[1:]


@pytest.mark.parametrize("online", [False, True])
def test_shadow_models_help_where_users_differ(online):
    member, known, without, with_ = shadows(leak=1.0)
    ratio = likelihood_ratio(known, without, with_ if online else None)
    assert auc(member, known) < 0.65 and auc(member, ratio) > 0.95
    assert true_positive_rate(ratio[member], ratio[~member])[1] > 0.4


@pytest.mark.parametrize("online", [False, True])
def test_shadow_models_see_nothing_where_nothing_leaks(online):
    member, known, without, with_ = shadows(leak=0.0)
    ratio = likelihood_ratio(known, without, with_ if online else None)
    assert 0.4 < auc(member, ratio) < 0.6


def test_the_ratio_is_that_of_two_gaussians():
    rng = np.random.default_rng(0)
    observed, without, with_ = rng.normal(size=5), rng.normal(size=(7, 5)), rng.normal(size=(6, 5))
    spread = [np.sqrt(((v - v.mean(0)) ** 2).sum() / (5 * (len(v) - 1))) for v in (without, with_)]
    want = stats.norm(with_.mean(0), spread[1]).logpdf(observed)
    want -= stats.norm(without.mean(0), spread[0]).logpdf(observed)
    np.testing.assert_allclose(likelihood_ratio(observed, without, with_), want)
    offline = likelihood_ratio(observed, without)
    np.testing.assert_allclose(offline, (observed - without.mean(0)) / spread[0])


@pytest.mark.parametrize("online", [False, True])
def test_who_is_on_a_side_once_is_unknown_and_moves_nobody_else(online):
    _, known, without, with_ = shadows(leak=1.0)
    want = likelihood_ratio(known[2:], without[:, 2:], with_[:, 2:] if online else None)
    without[:, :2], with_[:, :2] = np.nan, np.nan
    without[4, 0] = with_[3, 0] = 0.7
    got = likelihood_ratio(known, without, with_ if online else None)
    assert np.isnan(got[:2]).all()
    np.testing.assert_allclose(got[2:], want)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
)
def test_the_curve_is_that_of_scikit_learn(members, others):
    labels = np.append(np.ones(len(members)), np.zeros(len(others)))
    false, true = roc(np.array(members), np.array(others))
    want = roc_curve(labels, [*members, *others], drop_intermediate=False)
    np.testing.assert_allclose(false, want[0], atol=1e-12)
    np.testing.assert_allclose(true, want[1], atol=1e-12)
    area = np.trapezoid(true, false)
    assert area == pytest.approx(roc_auc_score(labels, [*members, *others]))
    rate, low, high = true_positive_rate(np.array(members), np.array(others), 0.1)
    allowed = false <= np.floor(0.1 * len(others)) / len(others) + 1e-12
    assert rate == pytest.approx(true[allowed].max())
    assert low <= rate <= high


def test_ties_with_the_accused_do_not_count_as_found():
    assert true_positive_rate(np.ones(10), np.ones(200), 0.01)[0] == 0
    assert true_positive_rate(np.full(10, 2.0), np.ones(200), 0.01)[0] == 1
    assert true_positive_rate(np.full(10, 2.0), np.arange(50.0), 0.01)[0] == 0  # nobody may be


def test_the_interval_is_scipys_and_covers():
    for found, n in ((0, 10), (3, 17), (10, 10)):
        want = stats.binomtest(found, n).proportion_ci(method="exact")
        np.testing.assert_allclose(clopper_pearson(found, n), want)
    with pytest.raises(ValueError, match="11 of 10"):
        clopper_pearson(11, 10)


def test_hidden_likes_are_counted_in_the_models_own_spread():
    shown, hidden = halves(6, 20, seed=3)
    scores = np.random.default_rng(1).normal(size=(6, 20))
    known = hidden_score(scores, shown, hidden)
    np.testing.assert_allclose(hidden_score(scores * 7 - 3, shown, hidden), known, atol=1e-12)
    lower = scores + 5 * hidden.toarray()
    assert (hidden_score(lower, shown, hidden) > known).all()
    nothing = sparse.csr_matrix((6, 20))
    assert np.isnan(hidden_score(scores, shown, nothing)).all()


def test_what_is_said_of_the_shown_likes_changes_nothing():
    shown, hidden = halves(6, 20, seed=3)
    scores = np.random.default_rng(1).normal(size=(6, 20))
    known = hidden_score(scores, shown, hidden)
    moved = scores + shown.toarray() * np.array([[50.0], [-50], [3], [0], [1], [7]])
    np.testing.assert_allclose(hidden_score(moved, shown, hidden), known, atol=1e-12)
    for user in range(6):  # the definition, written out
        unseen = scores[user, shown[[user]].toarray()[0] == 0]
        asked = scores[user, hidden[[user]].indices]
        assert known[user] == pytest.approx((asked.mean() - unseen.mean()) / unseen.std())
    alike = hidden_score(np.ones((6, 20)) + shown.toarray(), shown, hidden)
    np.testing.assert_array_equal(alike, 0)


BAD = {
    "in both": (lambda s, h: hidden_score(np.ones((120, 80)), s, s), "both shown and hidden"),
    "shape": (lambda s, h: hidden_score(np.ones((120, 79)), s, h), "shown must be"),
    "nan": (lambda s, h: hidden_score(np.full((120, 80), np.nan), s, h), "row 0 of scores holds"),
    "one shadow": (lambda s, h: likelihood_ratio(np.ones(2), np.ones((1, 2))), "no user has two"),
    "constant": (lambda s, h: likelihood_ratio(np.ones(2), np.ones((3, 2))), "does not vary"),
    "shadow shape": (lambda s, h: likelihood_ratio(np.ones(2), np.ones((3, 4))), "without must"),
    "empty": (lambda s, h: roc(np.ones(0), np.ones(2)), "members must be"),
    "certain": (lambda s, h: clopper_pearson(3, 10, 1.0), "confidence must be"),
    "more than certain": (lambda s, h: clopper_pearson(3, 10, 2.0), "confidence must be"),
    "nan side": (lambda s, h: roc(np.ones(1), np.array([np.nan])), "others must be"),
    "rate": (lambda s, h: true_positive_rate(np.ones(1), np.ones(1), 0.0), "false_positive_rate"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    run, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        run(*halves())


def models(n_models=12, n_users=150, gain=1.0, seed=0):
    """What models say of users who differ in how hard they are, more of those they learned from."""
    rng = np.random.default_rng(seed)
    inside = rng.random((n_models, n_users)) < 0.5
    known = 5 * rng.normal(size=n_users) + rng.normal(size=inside.shape) + gain * inside
    return known, inside


@pytest.mark.parametrize("online", [False, True])
def test_each_model_is_attacked_with_all_the_others(online):
    known, inside = models()
    inside[:, 0] = False  # in no model: nothing can be said of them
    ratios = shadow_attack(known, inside, online)
    assert np.isnan(ratios[:, 0]).all()
    last = np.arange(12) != 11
    n_in = inside[last].sum(axis=0)
    ok = (n_in >= 2) & (n_in <= 9)
    assert (np.isnan(ratios[11]) == ~ok).all()
    without = np.where(inside[last], np.nan, known[last])[:, ok]
    with_ = np.where(inside[last], known[last], np.nan)[:, ok] if online else None
    np.testing.assert_allclose(ratios[11, ok], likelihood_ratio(known[11, ok], without, with_))


def test_shadows_see_what_is_hidden_among_users_who_differ():
    known, inside = models(gain=2.0)
    by_shadows = pooled_rates(shadow_attack(known, inside), inside)["auc"]
    by_loss = pooled_rates(known, inside)["auc"]
    assert by_loss[0] < 0.65 < 0.85 < by_shadows[1]
    known, inside = models(gain=0.0)  # nothing to be seen, and nothing is
    assert abs(pooled_rates(shadow_attack(known, inside), inside)["auc"][0] - 0.5) < 0.05


def test_who_is_not_judged_changes_no_interval():
    known, inside = models()
    nobody = np.full_like(known, np.nan)
    rates = pooled_rates(known, inside)
    twice = np.hstack([inside, inside])
    assert pooled_rates(np.hstack([nobody, known]), twice) == rates
    assert pooled_rates(np.hstack([known, nobody]), twice) == rates
    few = pooled_rates([[3.0, 2.0, 1.0]], [[False, True, False]])  # some draws have no member
    assert few["auc"][0] == 0.5 and np.isfinite(few["auc"]).all()


def test_pooled_rates_are_those_of_all_judgements():
    known, inside = models()
    known[::3, ::4] = np.nan
    known = np.round(known)  # with ties
    ok = ~np.isnan(known)
    for rate in (0.01, 0.2):
        rates = pooled_rates(known, inside, rate)
        assert rates["auc"][0] == pytest.approx(roc_auc_score(inside[ok], known[ok]))
        found = true_positive_rate(known[ok & inside], known[ok & ~inside], rate)[0]
        assert rates["found"][0] == pytest.approx(found)
        assert all(low <= value <= high for value, low, high in rates.values())


def test_the_interval_is_over_users_however_often_each_is_judged():
    """Sixteen judgements of each user that always agree are no more than one."""
    known, inside = models(n_models=1, n_users=200)
    one, many = (
        pooled_rates(np.repeat(known, n, 0), np.repeat(inside, n, 0))["auc"] for n in (1, 16)
    )
    assert one == pytest.approx(many)
    width = many[2] - many[1]
    new_users = models(n_models=16, n_users=200)
    separate = pooled_rates(new_users[0].reshape(1, -1), new_users[1].reshape(1, -1))["auc"]
    assert width > 2 * (separate[2] - separate[1])


def test_an_attack_on_too_few_models_or_without_a_side_is_refused():
    known, inside = models(n_models=4)
    with pytest.raises(ValueError, match="five models at least"):
        shadow_attack(known, inside)
    with pytest.raises(ValueError, match="inside"):
        shadow_attack(known, inside[:, :5])
    with pytest.raises(ValueError, match="inside"):
        pooled_rates(known, inside[:, :5])
    with pytest.raises(ValueError, match="both sides"):
        pooled_rates(known, inside | True)
    with pytest.raises(ValueError, match="both sides"):
        pooled_rates(known, inside & False)
    with pytest.raises(ValueError, match="false_positive_rate"):
        pooled_rates(known, inside, 1.0)
