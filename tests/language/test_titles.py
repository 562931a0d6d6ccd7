"""The tree of titles: what may come next, and where a title ends."""

import pytest

from recsys_tutorial.language import TitleTrie
from tests.language.conftest import tiny_tokenizer

TITLES = ["alien", "aliens", "the matrix", "alien"]


def walk(trie, tokens):
    """Every title that the tree leads to from these tokens."""
    title = trie.title(tokens)
    found = [] if title is None else [title]
    for token in trie.allowed(tokens):
        found += walk(trie, [*tokens, token])
    return found


def test_every_title_is_reached_once_and_nothing_else():
    trie = TitleTrie(tiny_tokenizer(), TITLES)
    assert len(trie) == 3 and sorted(walk(trie, [])) == sorted(set(TITLES))
    assert trie.titles == TITLES[:3]


def test_titles_end_with_the_line_break():
    tokenizer = tiny_tokenizer()
    trie = TitleTrie(tokenizer, TITLES)
    tokens = tokenizer(" alien\n")["input_ids"]
    assert trie.title(tokens) == "alien" and trie.allowed(tokens) == []
    assert trie.title(tokens[:-1]) is None and trie.allowed(tokens[:-1]) == tokens[-1:]
    assert trie.longest == max(len(tokenizer(f" {title}\n")["input_ids"]) for title in TITLES)


def test_the_lead_belongs_to_the_title():
    plain = TitleTrie(tiny_tokenizer(), TITLES, lead="")
    assert plain.title(tiny_tokenizer()("the matrix\n")["input_ids"]) == "the matrix"
    assert TitleTrie(tiny_tokenizer(), TITLES).allowed([]) != plain.allowed([])


def test_tokens_of_no_title_are_refused():
    with pytest.raises(KeyError):
        TitleTrie(tiny_tokenizer(), TITLES).allowed([0, 0])


@pytest.mark.parametrize(
    ("titles", "message"),
    [([], "no title"), (["heat", " "], "title ' ' is empty"), (["a\nb"], "has a line break")],
)
def test_bad_titles(titles, message):
    with pytest.raises(ValueError, match=message):
        TitleTrie(tiny_tokenizer(), titles)
