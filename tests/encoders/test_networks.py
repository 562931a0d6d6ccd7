"""The device, and batches of about equal lengths."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys_tutorial.encoders.networks import best_device, length_batches


def test_the_best_device_works():
    assert torch.ones(2, device=best_device()).sum() == 2


def test_rows_of_one_length_keep_their_order():
    lengths = np.tile([2, 7], 30)  # more than an unstable sort leaves as they are
    rows = np.concatenate(list(length_batches(lengths, 50)))
    assert rows.tolist() == [*range(1, 60, 2), *range(0, 60, 2)]


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_row_once_and_keep_to_their_budget(lengths, batch_tokens):
    lengths = np.array(lengths, dtype=np.int64)
    batches = list(length_batches(lengths, batch_tokens))
    rows = np.concatenate([np.empty(0, np.int64), *batches])
    assert sorted(rows) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) <= 0).all()  # the longest first
    longest = [lengths[batch].max() for batch in batches]
    for number, batch in enumerate(batches):
        assert len(batch) == 1 or len(batch) * longest[number] <= batch_tokens
        if number < len(batches) - 1:  # one more would not fit
            assert (len(batch) + 1) * longest[number] > batch_tokens
