"""Three ways to hold data out: who is judged on what, and that nothing leaks from the future."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tutorial.datasets import load_movielens
from recsys_tutorial.ranking import tie_key
from recsys_tutorial.splits import (
    Holdout,
    leave_last_out,
    new_user_split,
    random_split,
    to_matrix,
    to_split,
)


def frame(rows):
    """A ratings frame of (user_id, item_id, rating, timestamp) rows."""
    columns = ["user_id", "item_id", "rating", "timestamp"]
    kinds = {"user_id": "int64", "item_id": "int64", "rating": "float64", "timestamp": "int64"}
    return pd.DataFrame(rows, columns=columns).astype(kinds)


@st.composite
def ratings_frames(draw, min_users=4):
    """Few items and few different times, so that ties of every kind occur; rows in any order."""
    n_users = draw(st.integers(min_users, 12))
    rows = []
    for user in range(n_users):
        shown = draw(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True))
        for item in shown:
            rating = draw(st.sampled_from([0.5, 3.5, 4.0, 5.0]))
            rows.append((7 * user + 3, 10 * item + 1, rating, draw(st.integers(0, 12))))
    return frame(draw(st.permutations(rows)))


ITEMS = pd.DataFrame({"item_id": np.arange(9, -1, -1) * 10 + 1})  # unsorted on purpose


@pytest.fixture(scope="module")
def movielens():
    return load_movielens()


@pytest.fixture(scope="module")
def movielens_split(movielens):
    return new_user_split(*movielens)


def pairs(matrix, user_ids, item_ids):
    """{(user_id, item_id): value} of a matrix: what the tests below compare."""
    coo = matrix.tocoo()
    keys = zip(user_ids[coo.row].tolist(), item_ids[coo.col].tolist(), strict=True)
    return dict(zip(keys, coo.data.tolist(), strict=True))


def as_pairs(ratings, min_rating=None):
    """The same of a frame; with `min_rating` only what was liked, as 1."""
    rows = ratings.itertuples()
    if min_rating is None:
        return {(r.user_id, r.item_id): r.rating for r in rows}
    return {(r.user_id, r.item_id): 1.0 for r in rows if r.rating >= min_rating}


def key_of(*numbers):
    """The hash that orders equal times; tests/test_ties.py has it by hand."""
    return int(tie_key(*(np.array([number]) for number in numbers))[0])


def check_holdout(held, ratings, users, item_ids, fraction, min_rating):
    """`held` against the definition, a user at a time."""
    history, history_ratings, seen, targets, user_ids = {}, {}, {}, {}, []
    for user in sorted(users):
        rows = list(ratings[ratings["user_id"] == user].itertuples())
        own = sorted(rows, key=lambda r: (r.timestamp, key_of(r.user_id, r.item_id)))
        n_shown = int(len(own) * fraction)
        shown, hidden = frame([r[1:] for r in own[:n_shown]]), frame([r[1:] for r in own[n_shown:]])
        if as_pairs(shown, min_rating) and as_pairs(hidden, min_rating):
            user_ids.append(user)
            history |= as_pairs(shown, min_rating)
            history_ratings |= as_pairs(shown)
            seen |= dict.fromkeys(as_pairs(shown), 1.0)
            targets |= as_pairs(hidden, min_rating)
    assert held.user_ids.tolist() == user_ids
    assert held.n_left_out == len(users) - len(user_ids)
    assert len(held) == len(user_ids)
    for name, expected in [
        ("history", history),
        ("history_ratings", history_ratings),
        ("seen", seen),
        ("targets", targets),
    ]:
        matrix = getattr(held, name)
        assert matrix.shape == (len(user_ids), len(item_ids)), name
        assert matrix.dtype == np.float64 and matrix.has_canonical_format, name
        assert pairs(matrix, held.user_ids, item_ids) == expected, name


def check_new_user_split(split, ratings, items, validation, test, fraction, min_rating):
    """Everything that `new_user_split` promises, restated in loops over rows."""
    arrival = {u: group["timestamp"].min() for u, group in ratings.groupby("user_id")}
    order = sorted(arrival, key=lambda user: (arrival[user], key_of(user)))
    n_test, n_validation = round(test * len(order)), round(validation * len(order))
    n_train = len(order) - n_test - n_validation
    train_users, validation_users = order[:n_train], order[n_train : n_train + n_validation]
    test_users = order[n_train + n_validation :]
    item_ids = np.sort(items["item_id"].to_numpy())
    assert split.item_ids.tolist() == item_ids.tolist()

    for part, users, later in [
        (split, train_users, validation_users),
        (split.refit(), train_users + validation_users, test_users),
    ]:
        first = min(arrival[user] for user in later)
        known = ratings[ratings["user_id"].isin(users) & (ratings["timestamp"] < first)]
        assert pairs(part.train_ratings, part.train_user_ids, item_ids) == as_pairs(known)
        assert pairs(part.train, part.train_user_ids, item_ids) == as_pairs(known, min_rating)
        assert part.train_user_ids.tolist() == sorted(known["user_id"].unique())
        assert part.train.shape == part.train_ratings.shape
        # No leak: neither a held-out user nor anything made after the first of them came.
        times = {(r.user_id, r.item_id): r.timestamp for r in ratings.itertuples()}
        trained = pairs(part.train_ratings, part.train_user_ids, item_ids)
        assert all(times[pair] < first for pair in trained)
        assert not {user for user, _ in trained} & set(later)

    check_holdout(split.validation, ratings, validation_users, item_ids, fraction, min_rating)
    check_holdout(split.test, ratings, test_users, item_ids, fraction, min_rating)


@settings(deadline=None, max_examples=60)
@given(ratings_frames(), st.sampled_from([0.25, 0.34]), st.sampled_from([0.3, 0.5, 0.7]))
def test_new_user_split_is_what_it_says(ratings, test_fraction, history_fraction):
    split = new_user_split(ratings, ITEMS, 0.25, test_fraction, history_fraction)
    check_new_user_split(split, ratings, ITEMS, 0.25, test_fraction, history_fraction, 4.0)


def test_new_user_split_of_movielens(movielens, movielens_split):
    check_new_user_split(movielens_split, *movielens, 0.1, 0.3, 0.5, 4.0)


def test_the_check_above_notices_one_rating_from_the_future(movielens, movielens_split):
    split, ratings = movielens_split, movielens.ratings
    arrival = ratings.groupby("user_id")["timestamp"].min()
    own = ratings[ratings["user_id"].isin(split.train_user_ids)]
    leak = own[own["timestamp"] >= arrival[split.validation.user_ids].min()].iloc[:1]
    leaked = to_matrix(leak, split.train_user_ids, split.item_ids, leak["rating"])
    leaky = dataclasses.replace(split, train_ratings=(split.train_ratings + leaked).tocsr())
    with pytest.raises(AssertionError):
        check_new_user_split(leaky, *movielens, 0.1, 0.3, 0.5, 4.0)


def test_the_numbers_of_movielens_that_the_chapters_rely_on(movielens, movielens_split):
    split, refit = movielens_split, movielens_split.refit()
    assert len(movielens.ratings) == 100_004
    assert (split.train.shape, refit.train.shape) == ((403, 9066), (470, 9066))
    assert (split.train_ratings.nnz, refit.train_ratings.nnz) == (56_169, 68_783)
    assert (split.train.nnz, refit.train.nnz) == (30_582, 36_625)
    assert (len(split.validation), split.validation.n_left_out) == (65, 2)
    assert (len(split.test), split.test.n_left_out) == (194, 7)
    assert (split.test.history.nnz, split.test.targets.nnz) == (7_114, 6_480)


def test_nobody_is_in_two_parts_and_nothing_seen_is_asked_for(movielens_split):
    split = movielens_split
    groups = [split.train_user_ids, split.validation.user_ids, split.test.user_ids]
    assert len(np.unique(np.concatenate(groups))) == sum(map(len, groups))
    for held in (split.validation, split.test):
        assert held.seen.multiply(held.targets).nnz == 0
        assert held.history.multiply(held.seen).nnz == held.history.nnz
        assert (np.diff(held.history.indptr) > 0).all()
        assert (np.diff(held.targets.indptr) > 0).all()


def test_refit_adds_the_validation_users_and_leaves_the_test_alone(movielens_split):
    split, refit = movielens_split, movielens_split.refit()
    assert refit.test is split.test
    assert refit.validation is None
    assert refit.item_ids is split.item_ids
    assert np.isin(split.train_user_ids, refit.train_user_ids).all()
    assert np.isin(split.validation.user_ids, refit.train_user_ids).sum() > 60
    assert not np.isin(split.test.user_ids, refit.train_user_ids).any()
    before = pairs(split.train_ratings, split.train_user_ids, split.item_ids)
    after = pairs(refit.train_ratings, refit.train_user_ids, refit.item_ids)
    assert before.items() <= after.items()
    with pytest.raises(ValueError, match="no validation users to move"):
        refit.refit()


def test_items_stand_in_the_order_of_the_columns(movielens, movielens_split):
    turned = movielens.items.sample(frac=1, random_state=2, ignore_index=True)
    for split in (movielens_split, new_user_split(movielens.ratings, turned).refit()):
        pd.testing.assert_frame_equal(
            split.items, turned.set_index("item_id").loc[split.item_ids].reset_index()
        )
    bare = to_split(*leave_last_out(movielens.ratings), turned[["item_id"]])
    assert bare.items.columns.tolist() == ["item_id"]
    assert bare.items["item_id"].tolist() == bare.item_ids.tolist()


def same(a, b):
    assert a.item_ids.tolist() == b.item_ids.tolist()
    assert a.train_user_ids.tolist() == b.train_user_ids.tolist()
    matrices = [(a.train, b.train), (a.train_ratings, b.train_ratings)]
    for x, y in [(a.validation, b.validation), (a.test, b.test)]:
        assert (x is None) == (y is None)
        if x is not None:
            assert x.user_ids.tolist() == y.user_ids.tolist() and x.n_left_out == y.n_left_out
            names = ("history", "history_ratings", "seen", "targets")
            matrices += [(getattr(x, name), getattr(y, name)) for name in names]
    for x, y in matrices:
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))


def test_the_order_of_rows_does_not_matter(movielens, movielens_split):
    turned = movielens.ratings.sample(frac=1, random_state=1)
    items = movielens.items.sample(frac=1, random_state=2)
    other = new_user_split(turned, items)
    same(movielens_split, other)
    same(movielens_split.refit(), other.refit())


def test_the_caller_s_frames_are_left_alone(movielens):
    ratings, items = (f.copy() for f in movielens)
    new_user_split(ratings, items).refit()
    to_split(*random_split(ratings), items)
    leave_last_out(ratings)
    pd.testing.assert_frame_equal(ratings, movielens.ratings)
    pd.testing.assert_frame_equal(items, movielens.items)


def test_ties_in_time_follow_neither_users_nor_items_but_the_seed():
    # All eight users arrive at second 5 and rate all ten films then.
    rows = [(u, i, 4.0, 5) for u in range(8) for i in range(1, 100, 10)]
    arrivals, shown, lasts = [], [], []
    for seed in range(40):
        split = new_user_split(frame(rows), ITEMS, 0.125, 0.25, seed=seed)
        assert split.train.nnz == 0  # nothing was made before second 5
        arrivals += split.test.user_ids.tolist()
        shown += split.item_ids[split.test.history.indices].tolist()
        lasts += leave_last_out(frame(rows), seed=seed)[1]["item_id"].tolist()
    # A quarter of the users, half of their films, one film a user: each about equally often.
    for drawn, share in [(arrivals, 1 / 8), (shown, 1 / 10), (lasts, 1 / 10)]:
        counts = pd.Series(drawn).value_counts(normalize=True)
        assert len(counts) == 1 / share
        # Five standard deviations of a share; the order by ids would leave half of them at 0.
        assert (counts - share).abs().max() < 5 * np.sqrt(share / len(drawn))
    again = new_user_split(frame(rows), ITEMS, 0.125, 0.25, seed=3)
    same(again, new_user_split(frame(rows), ITEMS, 0.125, 0.25, seed=3))


def test_a_chain_learns_nothing_from_ratings_of_one_second():
    """Ordered by item id, the next film of a second is the next film of the catalogue."""
    rng = np.random.default_rng(0)
    rows = [(u, i, 4.0, 5) for u in range(300) for i in rng.choice(50, 12, replace=False)]
    train, test = leave_last_out(frame(rows))
    before = train.groupby("user_id")["item_id"].last()
    after = test.set_index("user_id")["item_id"]
    # 1.0 by id; 0.1 is over three standard deviations of 300 tosses.
    assert (after > before.loc[after.index]).mean() == pytest.approx(0.5, abs=0.1)


def test_half_of_an_odd_number_is_rounded_down_and_not_by_accident():
    rows = [(u, 10 * i + 1, 4.0, 100 * u + i) for u in range(4) for i in range(5)]
    split = new_user_split(frame(rows), ITEMS, 0.25, 0.25)
    assert split.test.history.nnz == 2 and split.test.targets.nnz == 3
    # 0.29 * 100 is 28.999999999999996 in floating point
    items = pd.DataFrame({"item_id": np.arange(100)})
    rows = [(u, i, 4.0, 1000 * u + i) for u in range(4) for i in range(100)]
    split = new_user_split(frame(rows), items, 0.25, 0.25, history_fraction=0.29)
    assert split.test.history.nnz == 29


def test_min_rating_moves_what_counts_as_liked(movielens):
    split = new_user_split(*movielens, min_rating=5.0)
    assert 0 < split.train.nnz == (split.train_ratings.data == 5.0).sum()
    assert split.train_ratings.nnz == 56_169
    liked = pairs(split.refit().train, split.refit().train_user_ids, split.item_ids)
    rated = pairs(split.refit().train_ratings, split.refit().train_user_ids, split.item_ids)
    assert liked.keys() == {pair for pair, rating in rated.items() if rating == 5.0}


@settings(deadline=None)
@given(ratings_frames(), st.sampled_from([0.01, 0.2, 0.5, 0.77]), st.integers(0, 3))
def test_random_split(ratings, fraction, seed):
    if np.ceil(fraction * len(ratings)) == len(ratings):
        with pytest.raises(ValueError, match="leaves none to train on"):
            random_split(ratings, fraction, seed)
        return
    train, test = random_split(ratings, fraction, seed)
    assert len(test) == np.ceil(fraction * len(ratings))
    pd.testing.assert_frame_equal(pd.concat([train, test]).sort_index(), ratings)
    assert train.index.is_monotonic_increasing and test.index.is_monotonic_increasing
    again = random_split(ratings, fraction, seed)
    pd.testing.assert_frame_equal(again[1], test)


def test_random_split_of_movielens(movielens):
    train, test = random_split(movielens.ratings)
    assert (len(train), len(test)) == (80_003, 20_001)  # as scikit-learn rounds
    other = random_split(movielens.ratings, seed=43)[1]
    # Two draws of a fifth share a fifth of a fifth: 4,000 with a standard error of 51.
    assert 3_700 < len(test.index.intersection(other.index)) < 4_300
    # Drawn alike from early and late: the mean time differs by less than 4 standard errors.
    time = movielens.ratings["timestamp"]
    assert abs(test["timestamp"].mean() - time.mean()) < 4 * time.std() / np.sqrt(len(test))


@settings(deadline=None)
@given(ratings_frames(), st.integers(1, 4))
def test_leave_last_out(ratings, n_last):
    train, test = leave_last_out(ratings, n_last)
    kept, withheld = set(), set()
    for user, own in ratings.groupby("user_id"):
        times = zip(own["timestamp"], own["item_id"], strict=True)
        order = sorted((time, key_of(user, item), item) for time, item in times)
        cut = len(order) - n_last if len(order) > n_last else len(order)
        kept |= {(user, item) for *_, item in order[:cut]}
        withheld |= {(user, item) for *_, item in order[cut:]}
    assert set(as_pairs(train)) == kept
    assert set(as_pairs(test)) == withheld
    assert len(train) + len(test) == len(ratings)
    merged = pd.concat([train, test]).sort_index()
    pd.testing.assert_frame_equal(merged, ratings.sort_index())


def test_leave_last_out_of_movielens(movielens):
    train, test = leave_last_out(movielens.ratings)
    assert len(test) == test["user_id"].nunique() == 671
    last = train.groupby("user_id")["timestamp"].max()
    assert (test.set_index("user_id")["timestamp"] >= last).all()


@settings(deadline=None)
@given(ratings_frames())
def test_to_split(ratings):
    train, test = leave_last_out(ratings, 2)
    if len(test) == 0:
        return
    split = to_split(train, test, ITEMS)
    item_ids = split.item_ids
    assert pairs(split.train_ratings, split.train_user_ids, item_ids) == as_pairs(train)
    assert pairs(split.train, split.train_user_ids, item_ids) == as_pairs(train, 4.0)
    likes, finds = as_pairs(train, 4.0), as_pairs(test, 4.0)
    judged = sorted({u for u, _ in likes} & {u for u, _ in finds})
    held = split.test
    assert held.user_ids.tolist() == judged
    assert held.n_left_out == test["user_id"].nunique() - len(judged)

    def of_judged(found):
        return {pair: value for pair, value in found.items() if pair[0] in judged}

    assert pairs(held.history, held.user_ids, item_ids) == of_judged(likes)
    assert pairs(held.targets, held.user_ids, item_ids) == of_judged(finds)
    assert pairs(held.history_ratings, held.user_ids, item_ids) == of_judged(as_pairs(train))
    seen = dict.fromkeys(of_judged(as_pairs(train)), 1.0)
    assert pairs(held.seen, held.user_ids, item_ids) == seen
    assert split.validation is None
    with pytest.raises(ValueError, match="no validation users"):
        split.refit()


def test_to_split_counts_test_users_that_the_training_part_never_saw():
    train = frame([(1, 1, 5, 0), (1, 11, 5, 1), (2, 1, 5, 2)])
    test = frame([(1, 21, 5, 3), (9, 1, 5, 4)])
    split = to_split(train, test, ITEMS)
    assert split.test.user_ids.tolist() == [1] and split.test.n_left_out == 1
    assert split.train_user_ids.tolist() == [1, 2]


def test_to_matrix_keeps_a_rating_of_zero_and_huge_ids():
    big = 2**62
    rows = frame([(big, big + 1, 0.0, 0), (5, 7, 2.5, 0)])
    matrix = to_matrix(rows, np.array([5, big]), np.array([7, big + 1]), rows["rating"])
    assert matrix.nnz == 2 and matrix.toarray().tolist() == [[2.5, 0], [0, 0]]
    for values in (np.array([1, 2]), [True, False]):
        assert to_matrix(rows, np.array([5, big]), np.array([7, big + 1]), values).dtype == float


def test_a_split_shows_what_it_is_and_not_what_it_becomes(movielens_split):
    assert "_refit" not in repr(movielens_split) and "train_user_ids" in repr(movielens_split)
    held = movielens_split.test
    matrices = (held.history, held.history_ratings, held.seen, held.targets)
    assert Holdout(held.user_ids, *matrices).n_left_out == 0


def test_to_split_knows_who_liked_from_where_on():
    train, test = frame([(1, 1, 3, 0), (1, 11, 5, 1)]), frame([(1, 21, 3, 3)])
    split = to_split(train, test, ITEMS, min_rating=3.0)
    assert split.train.nnz == split.test.history.nnz == 2 and split.test.targets.nnz == 1
    assert len(to_split(train, test, ITEMS).test) == 0


GOOD = frame([(u, 10 * i + 1, 4.0, 10 * u + i) for u in range(10) for i in range(4)])


def changed(column, value, row=3):
    bad = GOOD.astype({column: "float64"})
    bad.loc[row, column] = value
    return bad


@pytest.mark.parametrize(
    "ratings, message",
    [
        (GOOD.drop(columns="timestamp"), r"ratings lacks the columns \['timestamp'\]; it has"),
        (GOOD.iloc[:0], "ratings is empty"),
        (changed("rating", np.nan), "ratings: rating nan in row 3 is not a finite number"),
        (changed("rating", np.inf), "ratings: rating inf in row 3 is not a finite number"),
        (changed("timestamp", np.nan, 7), "ratings: timestamp nan in row 7 is not a finite"),
        (changed("user_id", np.nan), "ratings: user_id nan in row 3"),
        (GOOD.astype({"rating": str}), "ratings: rating must hold numbers, got dtype object"),
    ],
)
def test_bad_ratings(ratings, message):
    for call in (
        lambda: random_split(ratings),
        lambda: leave_last_out(ratings),
        lambda: new_user_split(ratings, ITEMS),
        lambda: to_split(ratings, GOOD, ITEMS),
        lambda: to_split(GOOD, ratings, ITEMS),
    ):
        with pytest.raises(ValueError, match=message):
            call()


TWICE = pd.concat([GOOD, GOOD.iloc[[5]]])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: random_split(GOOD, 0), "test_fraction must be between 0 and 1, got 0"),
        (lambda: random_split(GOOD, 1.0), "test_fraction must be between 0 and 1, got 1.0"),
        (lambda: random_split(GOOD, np.nan), "test_fraction must be between 0 and 1, got nan"),
        (lambda: random_split(GOOD.iloc[:1]), "test_fraction=0.2 of 1 ratings leaves none"),
        (lambda: leave_last_out(GOOD, 0), "n_last must be at least 1, got 0"),
        (lambda: new_user_split(GOOD, ITEMS, 0.5, 0.5), "must leave some training users"),
        (lambda: new_user_split(GOOD, ITEMS, 0.1, 0.3, 1.0), "history_fraction must be between"),
        (lambda: new_user_split(GOOD[GOOD["user_id"] < 2], ITEMS), "2 users are too few"),
        (lambda: new_user_split(GOOD, ITEMS[["item_id"]].rename(columns={"item_id": "movieId"})),
         r"items has no column item_id, only \['movieId'\]"),
        (lambda: new_user_split(GOOD, ITEMS.iloc[:0]), "items is empty"),
        (lambda: new_user_split(GOOD, pd.concat([ITEMS, ITEMS.iloc[[2]]])),
         "items holds item_id 71 more than once"),
        (lambda: new_user_split(GOOD, ITEMS[ITEMS["item_id"] != 21]),
         "item_id 21 is not among the 9 known ones"),
        (lambda: new_user_split(TWICE, ITEMS),
         "user_id 1 rates item_id 11 more than once in the frame: keep one of them"),
        (lambda: to_split(GOOD, GOOD.iloc[[5]], ITEMS),
         "user_id 1 rates item_id 11 more than once in train and test together"),
        (lambda: to_matrix(GOOD, np.arange(9), ITEMS["item_id"].to_numpy()[::-1], GOOD["rating"]),
         "user_id 9 is not among the 9 known ones"),
    ],
)  # fmt: skip
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
