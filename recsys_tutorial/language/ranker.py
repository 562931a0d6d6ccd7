"""A language model as a second stage: titles by how well they follow a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsys_tutorial._checks import check_at_least, check_within
from recsys_tutorial._likes import as_likes, check_train
from recsys_tutorial.language.model import LanguageModel
from recsys_tutorial.language.prompts import LEAD, fill, one_line
from recsys_tutorial.models._events import in_order
from recsys_tutorial.models._histories import choose_likes
from recsys_tutorial.protocols import Recommender
from recsys_tutorial.ranking import rank

__all__ = ["LanguageModelRanker"]


class LanguageModelRanker:
    """score(u, j) = log p(title_j | prompt_u) - prior_weight log p(title_j | "A film:").

    With ``prior_weight=1`` it is the pointwise mutual information of title and prompt: how much
    likelier the prompt makes the title (Church & Hanks 1990, Computational Linguistics 16(1)).
    Only the retriever's best candidates are read; all others score -inf. A title counts with the
    line break that ends it.

    Parameters
    ----------
    language_model : LanguageModel
    titles : sequence of str (n_items,), as they stand in prompts: "The Matrix (1999)"
    retriever : Recommender without times, of which `fit` fits a first stage
    n_candidates : int >= 1
    n_likes : int >= 1, titles in a prompt: the last ones where times are known
    prior_weight : float, 0 to 1

    Attributes
    ----------
    reads_times : True

    Raises
    ------
    ValueError
        For a number out of range, and a title of which nothing is left on one line.
    """

    reads_times = True

    def __init__(
        self,
        language_model: LanguageModel,
        titles: Sequence[str],
        retriever: Recommender,
        *,
        n_candidates: int = 30,
        n_likes: int = 12,
        prior_weight: float = 1.0,
    ):
        check_at_least(1, n_candidates=n_candidates, n_likes=n_likes)
        check_within(0, 1, prior_weight=prior_weight)
        self.language_model, self.retriever = language_model, retriever
        self.titles = [one_line(title) for title in titles]
        self.n_candidates, self.n_likes = n_candidates, n_likes
        self.prior_weight = prior_weight
        self._prior: dict[int, float] = {}

    def fit(
        self, train: sparse.csr_matrix, times: np.ndarray | sparse.csr_matrix | None = None
    ) -> LanguageModelRanker:
        """Fit the retriever; the language model learns nothing. Return self.

        Parameters
        ----------
        train : csr_matrix (n_users, n_items), > 0 where liked
        times : not looked at

        Raises
        ------
        ValueError
            When there is not a title for each item.
        """
        train = check_train(train)
        if train.shape[1] != len(self.titles):
            raise ValueError(f"{len(self.titles)} titles for {train.shape[1]} items")
        self.retriever.fit(train)
        return self

    def prompts(
        self,
        history: sparse.csr_matrix,
        times: np.ndarray | sparse.csr_matrix | None = None,
        words: Sequence[str | None] | None = None,
    ) -> list[str]:
        """What the model reads of each user.

        Parameters
        ----------
        history : csr_matrix (n_users, n_items), > 0 where liked
        times : csr_matrix or ndarray (history.nnz,), seconds, optional
            The last `n_likes` are read, the latest at the end; without times some that are
            spread over the catalogue.
        words : sequence of str or None (n_users,), optional
            What each says of films, see `datasets.load_wishes`.

        Returns
        -------
        list of str (n_users,); who neither liked nor said anything has the prior's prompt

        Raises
        ------
        ValueError
            For times or words that do not fit.
        """
        likes = as_likes(history, "history", len(self.titles))
        n_users = likes.shape[0]
        words = [None] * n_users if words is None else list(words)
        if len(words) != n_users:
            raise ValueError(f"{len(words)} words for {n_users} users")
        rows = _last_likes(likes, times, self.n_likes)
        found = []
        for columns, said in zip(rows, words, strict=True):
            slots = {"likes": [self.titles[column] for column in columns]} if columns else {}
            slots |= {"words": said} if said else {}
            name = {"likes": "likes", "words": "wish", "": "title"}.get("".join(slots))
            found.append(fill(name or "likes and wish", **slots))
        return found

    def score(
        self,
        history: sparse.csr_matrix,
        times: np.ndarray | sparse.csr_matrix | None = None,
        words: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """How much each user's prompt speaks for each candidate; -inf for all other items.

        Parameters
        ----------
        history, times, words : as in `prompts`

        Returns
        -------
        ndarray (n_users, n_items), float64; what a user liked is no candidate

        Raises
        ------
        ValueError
            As `prompts` does.
        """
        prompts = self.prompts(history, times, words)
        likes = as_likes(history, "history", len(self.titles))
        ranked = rank(self.retriever.score(likes), likes, self.n_candidates)  # (n_users, n)
        users, places = np.nonzero(ranked >= 0)
        columns = ranked[users, places]
        values = self.language_model.log_likelihood(
            [prompts[user] for user in users], [self._ending(column) for column in columns]
        )
        if self.prior_weight:
            values = values - self.prior_weight * self._log_prior(columns)
        scores = np.full(likes.shape, -np.inf)
        scores[users, columns] = values
        return scores

    def _ending(self, column: int) -> str:
        return f"{LEAD}{self.titles[column]}\n"

    def _log_prior(self, columns: np.ndarray) -> np.ndarray:
        """Log p(title | "A film:") of columns, each computed once."""
        new = [int(c) for c in dict.fromkeys(columns.tolist()) if c not in self._prior]
        endings = [self._ending(column) for column in new]
        values = self.language_model.log_likelihood([fill("title")] * len(new), endings)
        self._prior |= dict(zip(new, values.tolist(), strict=True))
        return np.array([self._prior[column] for column in columns.tolist()])


def _last_likes(likes: sparse.csr_matrix, times, n: int) -> list[list[int]]:
    """Columns of each user's last likes, the latest at the end."""
    if times is None:
        columns, there = choose_likes(likes, n, None)
        return [row[here].tolist() for row, here in zip(columns, there, strict=True)]
    _, items, _ = in_order(likes, times)
    return [part[-n:].tolist() for part in np.split(items, likes.indptr[1:-1])]
