"""The order of what is equal."""

import numpy as np
import pandas as pd

from recsys_tutorial.ranking import column_key, tie_key


def by_hand(*numbers, seed=0):
    """SplitMix64's finalizer in Python's whole numbers, modulo 2^64."""
    key = seed
    for number in numbers:
        key = ((key ^ (number % 2**64)) + 0x9E3779B97F4A7C15) % 2**64
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) % 2**64
        key ^= key >> 31
    return key


def test_the_key_is_what_it_says_on_every_machine():
    users, items = [0, 1, 671, -5, 2**62], [1, 9066, 3, 4, 7]
    for seed in (0, 1, 12345, 2**64 - 1):
        keys = tie_key(np.array(users), np.array(items), seed=seed)
        assert keys.dtype == np.uint64
        expected = [by_hand(u, i, seed=seed) for u, i in zip(users, items, strict=True)]
        assert keys.tolist() == expected
        assert tie_key(np.array(users), np.array(items), seed=seed - 2**64).tolist() == expected
        assert tie_key(np.array(users), np.array(items), seed=seed + 2**64).tolist() == expected
    # The first output of the reference generator for the seed 0 (Vigna's splitmix64.c).
    assert int(tie_key(np.array([0]))[0]) == 0xE220A8397B1DCDAF


def test_keys_do_not_repeat_and_have_no_order():
    keys = tie_key(*np.meshgrid(np.arange(300), np.arange(300)))
    assert keys.shape == (300, 300) and len(np.unique(keys)) == 300 * 300
    # Spearman's correlation of 5,000 pairs has a standard deviation of 0.014.
    for seed in range(5):
        ranks = pd.Series(tie_key(np.arange(5000), seed=seed)).rank()
        assert abs(ranks.corr(pd.Series(np.arange(5000)))) < 0.06
    first, second = (pd.Series(tie_key(np.arange(5000), seed=s)).rank() for s in (0, 1))
    assert abs(first.corr(second)) < 0.06


def test_column_keys_are_kept_and_cannot_be_spoiled():
    key = column_key(50)
    assert key.tolist() == tie_key(np.arange(50)).tolist() and column_key(50) is key
    assert not key.flags.writeable
