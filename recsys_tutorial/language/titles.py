"""Titles as a tree of tokens: which token may come next if one of them is to come out.

`semantic_ids.CodeTree` is the other tree. There all codes are of one length, and arrays answer for
many users' beams at once; titles end anywhere, are read one prompt at a time, and a dict serves.
"""

from __future__ import annotations

from collections.abc import Iterable


class TitleTrie:
    """Titles that a language model may write, each ended by a line break.

    Titles of which one begins another ("Alien", "Alien 3") are told apart by the line break.

    Parameters
    ----------
    tokenizer : of transformers
    titles : iterable of str, none empty, each on one line
    lead : str, what stands between the prompt and a title: the space of "Films: Heat"

    Attributes
    ----------
    titles : list of str, each once
    longest : int, tokens of the longest title with lead and line break

    Raises
    ------
    ValueError
        For no title, an empty one, and one with a line break.

    Examples
    --------
    >>> class Letters:
    ...     def __call__(self, text, add_special_tokens=False):
    ...         return {"input_ids": [ord(letter) for letter in text]}
    >>> trie = TitleTrie(Letters(), ["Up", "Us"], lead="")
    >>> [chr(token) for token in trie.allowed([ord("U")])]
    ['p', 's']
    """

    def __init__(self, tokenizer, titles: Iterable[str], lead: str = " "):
        self.titles = list(dict.fromkeys(titles))
        if not self.titles:
            raise ValueError("no title to choose from")
        self._root: dict = {}
        self.longest = 0
        for title in self.titles:
            if not title.strip() or "\n" in title:
                raise ValueError(f"the title {title!r} is empty or has a line break")
            tokens = tokenizer(f"{lead}{title}\n", add_special_tokens=False)["input_ids"]
            node = self._root
            for token in tokens:
                node = node.setdefault(token, {})
            node[None] = title
            self.longest = max(self.longest, len(tokens))

    def __len__(self) -> int:
        return len(self.titles)

    def _node(self, tokens: list[int]) -> dict:
        node = self._root
        for token in tokens:
            node = node[token]
        return node

    def allowed(self, tokens: list[int]) -> list[int]:
        """Tokens with which a title goes on.

        Parameters
        ----------
        tokens : list of int, with which a title begins

        Returns
        -------
        list of int, empty where the title has ended

        Raises
        ------
        KeyError
            For tokens with which no title begins.
        """
        return [token for token in self._node(tokens) if token is not None]

    def title(self, tokens: list[int]) -> str | None:
        """The title that these tokens are, or None.

        Parameters
        ----------
        tokens : list of int, with which a title begins

        Returns
        -------
        str or None

        Raises
        ------
        KeyError
            For tokens with which no title begins.
        """
        return self._node(tokens).get(None)
