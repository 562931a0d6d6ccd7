"""Pieces are BERT's; a student learns what its teacher knows of words, and no more."""

import numpy as np
import pytest

from recsys_tutorial.serving.export import distilled, small_vocabulary, word_pieces

PIECES = ["a", "b", "c", "##a", "##b", "##s", "film", "funny", "war", "not", "1990", ",", "real"]
PLACES = {piece: place for place, piece in enumerate(PIECES)}


def cut(text):
    return [PIECES[place] for place in word_pieces(text, PLACES)]


@pytest.mark.parametrize(
    "text, pieces",
    [
        ("Funny films, 1990s", ["funny", "film", "##s", ",", "1990", "##s"]),
        ("RÉAL", ["real"]),
        ("abba", ["a", "##b", "##b", "##a"]),
        ("xyz war", ["war"]),
        ("七人の侍 \n", []),
        ("", []),
    ],
)
def test_pieces_of_texts(text, pieces):
    assert cut(text) == pieces


def test_with_the_whole_vocabulary_the_pieces_are_those_of_berts_tokenizer(bert):
    vocabulary = bert.tokenizer.get_vocab()
    names = sorted(vocabulary, key=vocabulary.get)
    for text in (
        "something about thieves that's funny, and NOT another heist!",
        "Amélie (2001). Comedy, Romance",
        "goodfellas but funnier; 80s killer-robots... unhappily-ever-after?",
    ):
        expected = bert.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert [vocabulary[names[p]] for p in word_pieces(text, vocabulary)] == expected


def test_the_small_vocabulary_is_the_beginning_of_the_large_one():
    names = ["[PAD]", "!", "a", "ß", "##a", "中", "the", "##ing", "film"]
    assert small_vocabulary(names, 4) == ["!", "a", "##a", "the"]
    assert small_vocabulary(names, 99) == ["!", "a", "##a", "the", "##ing", "film"]
    with pytest.raises(ValueError, match="n must be"):
        small_vocabulary(names, 0)


def world(n=400, seed=0):
    """Texts of planted words whose teacher adds up the words' vectors."""
    rng = np.random.default_rng(seed)
    names = [f"w{i}" for i in range(40)]
    vectors = rng.normal(size=(40, 6))
    draws = [rng.integers(0, 40, rng.integers(2, 6)) for _ in range(n)]
    texts = [" ".join(names[i] for i in draw) for draw in draws]
    targets = np.array([vectors[draw].sum(axis=0) / len(draw) ** 0.5 for draw in draws])
    return names, texts, targets


def agreement(student, texts, targets):
    units = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    return (student.encode(texts) * units).sum(axis=1)


def test_a_teacher_that_adds_up_words_is_learned_and_a_shuffled_one_is_not():
    names, texts, targets = world()
    student = distilled(texts[:300], targets[:300], names, reg=0.01)
    assert student.short.numbers.dtype == np.int8
    assert agreement(student, texts[300:], targets[300:]).min() > 0.97
    shuffled = distilled(texts[:300], np.roll(targets[:300], 1, axis=0), names, reg=0.01)
    assert agreement(shuffled, texts[300:], targets[300:]).mean() < 0.3


def test_texts_without_a_known_piece_are_zero():
    names, texts, targets = world()
    student = distilled(texts, targets, [*names, "never"], reg=1.0)
    encoded = student.encode(["", "unknown", "never", "w3"])
    assert (encoded[:3] == 0).all()
    assert np.linalg.norm(encoded[3]) == pytest.approx(1)


@pytest.mark.parametrize(
    "texts, targets, reg, message",
    [
        (["w1"], np.zeros((2, 3)), 1.0, "1 texts need as many targets, got 2"),
        (["w1"], np.array([[np.nan]]), 1.0, "row 0 of targets holds nan"),
        (["w1"], np.zeros((1, 3)), 0.0, "reg must be positive"),
        (["none"], np.zeros((1, 3)), 1.0, "no text has a piece of the vocabulary"),
    ],
)
def test_bad_lessons_are_refused(texts, targets, reg, message):
    with pytest.raises(ValueError, match=message):
        distilled(texts, targets, ["w1", "w2"], reg)
