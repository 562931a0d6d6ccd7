"""How the texts of a user and of an item lie in one BERT sequence.

[CLS] Liked: Alien; Heat [SEP] Aliens (1986). Action, Horror. Liked with: Alien [SEP]
0     0  ...             0     1   ...                                      1     segment
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

# Where the texts come from; the first edition had them here.
from recsys_tutorial.models.pair_texts import item_texts, liked_together, short_titles, user_texts

__all__ = ["PairLayout", "Texts", "item_texts", "liked_together", "short_titles", "user_texts"]


@dataclass
class Texts:
    """Texts as token numbers, without special tokens; equal texts are there once.

    Parameters
    ----------
    ids : list of int64 ndarray (n_tokens,), numbers of the tokens of the different texts
    rows : int64 ndarray (n,), which of them each text is
    """

    ids: list[np.ndarray]
    rows: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each of the different texts."""
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


class PairLayout:
    """[CLS] user [SEP] item [SEP]: the user is cut to fit, **the candidate never is**.

    Parameters
    ----------
    tokenizer : of transformers
    max_user_tokens : int, of the user's text; what is beyond is not read
    max_tokens : int, of the whole sequence, the three special tokens included

    Raises
    ------
    ValueError
        Where `max_user_tokens` leaves no room for a candidate.
    """

    def __init__(self, tokenizer, max_user_tokens: int, max_tokens: int):
        if not 1 <= max_user_tokens <= max_tokens - 4:
            raise ValueError(
                f"max_user_tokens must be 1 to {max_tokens - 4}, so that three special tokens and "
                f"a candidate fit into {max_tokens}; got {max_user_tokens}"
            )
        self.tokenizer = tokenizer
        self.max_user_tokens, self.max_tokens = max_user_tokens, max_tokens

    def users(self, texts: Sequence[str]) -> Texts:
        """Return users' `Texts`, tokenised and cut at their ends.

        Parameters
        ----------
        texts : sequence of str (n,); ValueError for anything else
        """
        _, users = self._tokens(texts, "user")
        return Texts([ids[: self.max_user_tokens] for ids in users.ids], users.rows)

    def items(self, texts: Sequence[str]) -> Texts:
        """Return candidates' `Texts`, tokenised, never cut.

        Parameters
        ----------
        texts : sequence of str (n,)

        Raises
        ------
        ValueError
            For something that is no str, and for a text that could not be read whole.
        """
        different, items = self._tokens(texts, "item")
        most = self.max_tokens - 3 - self.max_user_tokens
        for text, ids in zip(different, items.ids, strict=True):
            if len(ids) > most:
                raise ValueError(
                    f"the candidate {text[:40]!r}... has {len(ids)} tokens, and {most} fit beside "
                    f"{self.max_user_tokens} of the user: shorten it, or lower max_user_tokens"
                )
        return items

    def _tokens(self, texts: Sequence[str], what: str) -> tuple[list[str], Texts]:
        """The different texts, and all as token numbers."""
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"{what} {position} is no text: {str(text)[:40]!r}")
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        found = []
        if numbers:
            options = {"add_special_tokens": False, "verbose": False}
            found = self.tokenizer(list(numbers), **options)["input_ids"]
        rows = np.array([numbers[text] for text in texts], dtype=np.int64)
        return list(numbers), Texts([np.array(ids, dtype=np.int64) for ids in found], rows)

    def sequences(
        self, users: Sequence[np.ndarray], items: Sequence[np.ndarray]
    ) -> dict[str, Tensor]:
        """Lay out whole sequences, padded.

        Parameters
        ----------
        users, items : sequences of int ndarray (batch,), token numbers of each pair

        Returns
        -------
        dict of int64 Tensor (batch, n_tokens)
            "input_ids", "token_type_ids" (0 for the user, 1 for the item), "attention_mask".
        """
        cls, sep = [self.tokenizer.cls_token_id], [self.tokenizer.sep_token_id]
        pairs = list(zip(users, items, strict=True))
        return self._pad(
            input_ids=[np.concatenate([cls, user, sep, item, sep]) for user, item in pairs],
            token_type_ids=[np.repeat([0, 1], [len(u) + 2, len(i) + 1]) for u, i in pairs],
        )

    def prefixes(self, users: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Lay out [CLS] user [SEP] alone: "input_ids", "attention_mask" (n_users, n_tokens).

        Parameters
        ----------
        users : sequence of int ndarray (n_users,)
        """
        cls, sep = [self.tokenizer.cls_token_id], [self.tokenizer.sep_token_id]
        return self._pad(input_ids=[np.concatenate([cls, user, sep]) for user in users])

    def suffixes(self, items: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Lay out item [SEP] alone: "input_ids", "attention_mask" (batch, n_tokens).

        Parameters
        ----------
        items : sequence of int ndarray (batch,)
        """
        sep = [self.tokenizer.sep_token_id]
        return self._pad(input_ids=[np.concatenate([item, sep]) for item in items])

    def _pad(self, **rows: list[np.ndarray]) -> dict[str, Tensor]:
        # At the end, whatever the tokenizer's custom is: positions count from the first token.
        return dict(self.tokenizer.pad(rows, padding_side="right", return_tensors="pt"))
