"""How a user and an item lie in one sequence: what is cut, what is refused, what is padding."""

import copy

import numpy as np
import pytest
import torch

from recsys_tutorial.models.pair_layout import PairLayout

USERS = ["Liked: Alien; Heat; The Big Lebowski", "Liked: Toy Story", "Liked: "]
ITEMS = ["Aliens (1986). Action, Horror", "Bambi (1942). Animation, Children, Drama", ""]


@pytest.fixture
def tokenizer(bert):
    return bert.tokenizer


@pytest.fixture
def layout(tokenizer):
    return PairLayout(tokenizer, 128, 256)


def test_sequences_are_the_tokenizers_own(layout, tokenizer):
    batch = layout.sequences(layout.users(USERS).ids, layout.items(ITEMS).ids)
    expected = tokenizer(USERS, ITEMS, padding=True, return_tensors="pt")
    assert set(batch) == set(expected)
    for name, values in batch.items():
        assert values.dtype == torch.int64
        torch.testing.assert_close(values, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_prefix_and_a_suffix_are_the_whole(tokenizer, side):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = side  # positions are counted from the first token: padding is behind
    layout = PairLayout(tokenizer, 128, 256)
    users, items = layout.users(USERS).ids, layout.items(ITEMS).ids
    whole = layout.sequences(users, items)
    halves = layout.prefixes(users), layout.suffixes(items)
    for row in range(len(USERS)):
        ids = [half["input_ids"][row][half["attention_mask"][row] > 0] for half in halves]
        n = sum(map(len, ids))
        assert whole["input_ids"][row][:n].tolist() == torch.cat(ids).tolist()
        real = whole["attention_mask"][row]
        assert real[:n].all() and real.sum() == n
        assert whole["token_type_ids"][row].sum() == len(ids[1])


def test_equal_texts_are_tokenised_once(layout):
    users = layout.users(["Alien", "Heat", "Alien", "The Big Lebowski"])
    assert users.rows.tolist() == [0, 1, 0, 2] and len(users.ids) == 3
    assert users.lengths.tolist() == [len(ids) for ids in users.ids]
    assert layout.tokenizer.decode(users.ids[2]) == "the big lebowski"
    nothing = layout.items([])
    assert nothing.ids == [] and nothing.rows.shape == nothing.lengths.shape == (0,)
    assert nothing.rows.dtype == nothing.lengths.dtype == np.int64


def test_a_long_user_is_cut_at_the_end_and_the_candidate_never(tokenizer):
    layout = PairLayout(tokenizer, 12, 256)
    long = "Liked: " + "; ".join(["Alien"] * 20)
    (cut,) = layout.users([long]).ids
    np.testing.assert_array_equal(cut, tokenizer(long, add_special_tokens=False)["input_ids"][:12])
    words = layout.sequences([cut], layout.items(ITEMS[:1]).ids)["input_ids"][0]
    assert tokenizer.decode(words).endswith("[SEP] aliens ( 1986 ). action, horror [SEP]")


def test_a_candidate_that_does_not_fit_is_refused(layout):
    with pytest.raises(ValueError, match=r"'word word.*126 tokens, and 125 fit beside 128"):
        layout.items(["short", "word " * 126])
    assert len(layout.items(["word " * 125]).ids[0]) == 125


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda layout: layout.users(["a", None]), "user 1 is no text: 'None'"),
        (lambda layout: layout.items([3]), "item 0 is no text: '3'"),
        (
            lambda layout: PairLayout(layout.tokenizer, 253, 256),
            "1 to 252, .* into 256; got 253",
        ),
        (lambda layout: PairLayout(layout.tokenizer, 0, 256), "1 to 252.* got 0"),
    ],
)
def test_bad_input(layout, call, message):
    with pytest.raises(ValueError, match=message):
        call(layout)


def test_one_token_of_a_user_is_the_least_and_all_but_four_the_most(tokenizer):
    user, film = PairLayout(tokenizer, 1, 5), "a film"
    assert [len(ids) for ids in user.users(["one two three"]).ids] == [1]
    for bad in (0, 2):
        with pytest.raises(ValueError, match="max_user_tokens must be 1 to 1"):
            PairLayout(tokenizer, bad, 5)
    with pytest.raises(ValueError, match="token"):
        user.items([film])  # two tokens do not fit beside the user's and three special ones
