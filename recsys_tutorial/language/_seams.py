"""Tokens of a prompt and its continuation, where the two meet."""

from __future__ import annotations

from typing import NamedTuple


class Joined(NamedTuple):
    """A prompt and a continuation as the model reads them.

    Attributes
    ----------
    tokens : list of int, of the joined text
    n_prompt : int, tokens that hold nothing of the continuation
    n_alike : int, at most n_prompt: how far they are those of the prompt alone
    """

    tokens: list[int]
    n_prompt: int
    n_alike: int


def joined_tokens(tokenizer, prompts: list[str], continuations: list[str]) -> list[Joined]:
    """Tokenise joined texts, and say where each continuation begins.

    A merge may reach across the seam: "12" + "3 Monkeys" are other tokens than "123 Monkeys", and a
    prompt that ends in a space leaves it to the next word. The joined text is what is
    read, so its tokens are taken; the first token that holds a character of the continuation begins
    it, even if characters of the prompt stand in it, too.

    Parameters
    ----------
    tokenizer : of transformers
    prompts, continuations : list of str, in pairs

    Returns
    -------
    list of Joined

    Raises
    ------
    ValueError
        For a continuation of which the tokenizer leaves nothing.
    """
    texts = [a + b for a, b in zip(prompts, continuations, strict=True)]
    whole = tokenizer(texts, add_special_tokens=False)["input_ids"]
    different = list(dict.fromkeys(prompts))
    alone = dict(
        zip(different, tokenizer(different, add_special_tokens=False)["input_ids"], strict=True)
    )
    found = []
    for row, (prompt, tokens) in enumerate(zip(prompts, whole, strict=True)):
        own = alone[prompt]
        pairs = zip(tokens, own, strict=False)
        n_alike = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(tokens), len(own)))
        n_prompt = n_alike
        if n_alike < len(own):  # a merge across the seam, which may have moved those before it
            while n_prompt < len(tokens) and _n_letters(tokenizer, tokens, n_prompt + 1) <= len(
                prompt
            ):
                n_prompt += 1
        if n_prompt == len(tokens):
            raise ValueError(f"row {row}: {continuations[row]!r} has no token behind its prompt")
        found.append(Joined(list(tokens), n_prompt, n_alike))
    return found


def _n_letters(tokenizer, tokens: list[int], n: int) -> int:
    """How long the text of the first n tokens is; a part of a letter counts as one."""
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    return len(tokenizer.decode(tokens[:n], **options))
