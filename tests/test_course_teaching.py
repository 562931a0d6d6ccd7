"""The model of a few words that chapter 15 teaches: its tokens, and what it cannot know yet."""

import numpy as np
import pytest
import torch

from recsys_tutorial import course, language


def test_every_word_is_one_token_and_lines_end_with_one():
    model = course.word_model(["likes Heat\nfilm:", "Alien (1979)"])
    tokens = model.tokens("likes Heat film: Alien\n")
    assert len(tokens) == len(set(tokens)) == 5 and 0 not in tokens
    assert len(model.tokenizer) == 1 + 6
    prompt = model.tokens("likes\nfilm:")
    assert model.tokens("likes\nfilm: Heat\n")[: len(prompt)] == prompt
    assert model.tokens("Gigli Heat") == [0, *model.tokens("Heat")]


def test_it_is_a_model_of_text_in_float64_and_hangs_on_its_seed_alone():
    words = ["likes Heat film: Alien\n"]
    args = ["likes Heat film:"] * 4, [f" {w}" for w in ("likes", "Heat", "film:", "Alien")]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = course.word_model(words)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert next(one.model.parameters()).dtype == torch.float64
    found = one.log_likelihood(*args)
    np.testing.assert_allclose(course.word_model(words).log_likelihood(*args), found, atol=1e-12)
    assert not np.allclose(course.word_model(words, seed=1).log_likelihood(*args), found, atol=1e-3)
    # With the two words that are left, the line break and the unknown one, it is a distribution.
    assert np.exp(found).sum() < 1


def test_it_takes_an_adapter_and_soft_tokens():
    model = course.word_model(["likes film: Heat\n"], dim=16, n_layers=3)
    assert (model.dim, model.n_layers) == (16, 3)
    assert language.add_adapter(model, rank=2) > 0
    names = language.add_soft_tokens(model, np.eye(3))
    at = model.tokens(f"likes {names[1]} film:")
    assert len(at) == 3 and at[1] == len(model.tokenizer) - 2


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        ([], {}, "no word"),
        (["  "], {}, "no word"),
        (["a"], {"dim": 12}, "multiple of 8, got 12"),
        (["a"], {"dim": 0}, "multiple of 8, got 0"),
        (["a"], {"n_layers": 0}, "n_layers"),
    ],
)
def test_bad_input(texts, settings, message):
    with pytest.raises(ValueError, match=message):
        course.word_model(texts, **settings)
