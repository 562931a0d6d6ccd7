"""The texts of users and items, and how a pair of them lies in one BERT sequence.

[CLS] Liked: Alien; Heat [SEP] Aliens (1986). Action, Horror. Liked with: Alien [SEP]
0     0  ...             0     1   ...                                      1     segment
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys_tutorial._likes import as_likes, check_history


def user_texts(
    history: sparse.csr_matrix, titles: Sequence[str], max_titles: int = 20
) -> list[str]:
    """What the cross-encoder reads of each user: "Liked: Alien; Heat".

    Of a longer history `max_titles` are taken, evenly spaced over the catalogue's order.
    """
    history = check_history(history, len(titles))
    rows = np.split(history.indices, history.indptr[1:-1])
    places = [np.linspace(0, len(row) - 1, min(len(row), max_titles)).round() for row in rows]
    chosen = [row[place.astype(int)] for row, place in zip(rows, places, strict=True)]
    return ["Liked: " + "; ".join(titles[column] for column in columns) for columns in chosen]


def liked_together(
    train: sparse.csr_matrix, n_items: int = 5, *, reg: float = 10.0
) -> list[np.ndarray]:
    """For each item the `n_items` that most speak for it: columns, strongest first.

    Strength is the cosine of the two columns of likes, with `reg` added to each length, so that
    one common user does not make a rare item the best neighbour. Only positive strengths count: an
    item that nobody liked has no neighbour.
    """
    train = as_likes(train, "train")
    counts = np.bincount(train.indices, minlength=train.shape[1])
    scaled = sparse.csc_matrix(train @ sparse.diags(1 / np.sqrt(counts + reg)))
    strength = sparse.csr_matrix(scaled.T @ scaled)  # (n_items, n_items), as sparse as co-likes
    strength.setdiag(0)
    strength.eliminate_zeros()
    strength.sort_indices()
    rows = zip(strength.indptr[:-1], strength.indptr[1:], strict=True)
    parts = [(strength.indices[a:b], strength.data[a:b]) for a, b in rows]
    # A stable sort of rounded values: equal strengths keep the order of the catalogue everywhere.
    return [columns[np.argsort(-s.round(9), kind="stable")[:n_items]] for columns, s in parts]


def item_texts(
    titles: Sequence[str], genres: Sequence[str], neighbours: Sequence[np.ndarray] | None = None
) -> list[str]:
    """What it reads of each item: "Aliens (1986). Action, Horror. Liked with: Alien; Heat".

    titles carry their year; genres are joined by "|"; neighbours : of `liked_together`, the
    collaborative evidence, or None.
    """
    texts = [f"{t}. {g.replace('|', ', ')}" for t, g in zip(titles, genres, strict=True)]
    if neighbours is None:
        return texts
    short = short_titles(titles)
    return [
        text + (". Liked with: " + "; ".join(short[j] for j in columns) if len(columns) else "")
        for text, columns in zip(texts, neighbours, strict=True)
    ]


def short_titles(titles: Sequence[str]) -> list[str]:
    """Titles without the year: "Aliens (1986)" -> "Aliens"."""
    return [title[:-7] if title[-1:] == ")" and title[-7:-5] == " (" else title for title in titles]


class Texts:
    """Texts as token numbers, without special tokens: each different text is tokenised once.

    ids : list of int32 ndarray, of the different texts; rows : ndarray (n,), which of them each is
    """

    def __init__(self, tokenizer, texts: Sequence[str], what: str):
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"{what} {position} is no text: {str(text)[:40]!r}")
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        self.rows = np.array([numbers[text] for text in texts], dtype=np.int64)
        self.texts, self.ids = list(numbers), []
        if numbers:
            found = tokenizer(self.texts, add_special_tokens=False, verbose=False)["input_ids"]
            self.ids = [np.array(ids, dtype=np.int64) for ids in found]
        self.lengths = np.array([len(ids) for ids in self.ids], dtype=np.int64)


class PairLayout:
    """[CLS] user [SEP] item [SEP]: the user is cut to fit, **the candidate never is**.

    Parameters
    ----------
    tokenizer : of transformers
    max_user_tokens : int, of the user's text; what is beyond is not read
    max_tokens : int, of the whole sequence, the three special tokens included
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
        """Tokenised and cut."""
        users = Texts(self.tokenizer, texts, "user")
        users.ids = [ids[: self.max_user_tokens] for ids in users.ids]
        users.lengths = np.minimum(users.lengths, self.max_user_tokens)
        return users

    def items(self, texts: Sequence[str]) -> Texts:
        """Tokenised, and refused where they could not be read whole."""
        items = Texts(self.tokenizer, texts, "item")
        most = self.max_tokens - 3 - self.max_user_tokens
        if len(items.ids) and items.lengths.max() > most:
            longest = int(items.lengths.argmax())
            raise ValueError(
                f"the candidate {items.texts[longest][:40]!r}... has {items.lengths[longest]} "
                f"tokens, and {most} fit beside {self.max_user_tokens} of the user: shorten it, "
                "or lower max_user_tokens"
            )
        return items

    def sequences(self, users: Sequence[np.ndarray], items: Sequence[np.ndarray]) -> dict:
        """Whole sequences, padded: input_ids, token_type_ids, attention_mask (batch, n_tokens)."""
        cls, sep = [self.tokenizer.cls_token_id], [self.tokenizer.sep_token_id]
        rows = [np.concatenate([cls, u, sep, i, sep]) for u, i in zip(users, items, strict=True)]
        batch = pad(rows, self.tokenizer.pad_token_id)
        starts = torch.tensor([len(u) + 2 for u in users])[:, None]  # (batch, 1)
        place = torch.arange(batch["input_ids"].shape[1])  # (n_tokens,)
        segment = (place >= starts) & (batch["attention_mask"] > 0)
        return {**batch, "token_type_ids": segment.long()}

    def prefixes(self, users: Sequence[np.ndarray]) -> dict:
        """[CLS] user [SEP] alone: input_ids, attention_mask (n_users, n_tokens)."""
        cls, sep = [self.tokenizer.cls_token_id], [self.tokenizer.sep_token_id]
        return pad([np.concatenate([cls, u, sep]) for u in users], self.tokenizer.pad_token_id)

    def suffixes(self, items: Sequence[np.ndarray]) -> dict:
        """Item [SEP] alone: input_ids, attention_mask (batch, n_tokens)."""
        sep = [self.tokenizer.sep_token_id]
        return pad([np.concatenate([i, sep]) for i in items], self.tokenizer.pad_token_id)


def pad(rows: Sequence[np.ndarray], pad_id: int) -> dict[str, Tensor]:
    """Rows of token numbers as one batch, and which places of it are tokens."""
    lengths = np.array([len(row) for row in rows])
    real = np.arange(lengths.max()) < lengths[:, None]  # (batch, n_tokens)
    ids = np.full(real.shape, pad_id, dtype=np.int64)
    ids[real] = np.concatenate(rows)
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(real.astype(np.int64)),
    }
