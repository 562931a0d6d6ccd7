"""From a version of a model and what users liked to lists: many users in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import sparse

from recsys_tutorial.models import ImplicitALS
from recsys_tutorial.ranking import rank
from recsys_tutorial.serving.service.artefacts import Artefact
from recsys_tutorial.serving.service.indexes import VectorIndex
from recsys_tutorial.serving.service.searching import TextSearch


@dataclass(frozen=True)
class Query:
    """One user's question.

    Attributes
    ----------
    likes : sequence of int, columns of the items they like
    hidden : sequence of int, columns that must not be shown beside these
    k : int, how many items they want
    """

    likes: Sequence[int]
    hidden: Sequence[int] = ()
    k: int = 10


class Engine:
    """Answers queries with one version. Nothing of it changes: threads may share it.

    A user's likes are folded in by the model's own `score`, so an answer is what the Python model
    says: no table of users has to be made anew. Who likes nothing is shown what is popular.

    Parameters
    ----------
    artefact : Artefact
    index : "exact", "hnsw", "int8" or "pq", how the vectors of `ImplicitALS` are searched; other
        models have none
    search : TextSearch or None, of the same artefact

    Attributes
    ----------
    columns : dict item_id -> column

    Raises
    ------
    ValueError for another index.
    """

    def __init__(self, artefact: Artefact, index: str = "exact", search: TextSearch | None = None):
        self.artefact, self.search = artefact, search
        ids = artefact.items["item_id"].tolist()
        self.columns = {item_id: column for column, item_id in enumerate(ids)}
        self._records = artefact.items[["item_id", "title", "genres"]].to_dict("records")
        self._index = None
        if isinstance(artefact.model, ImplicitALS):
            self._index = VectorIndex(artefact.model.item_factors_, index)

    @property
    def n_items(self) -> int:
        """Items of the catalogue."""
        return len(self.artefact.items)

    def record(self, column: int) -> dict:
        """An item's item_id, title and genres.

        Parameters
        ----------
        column : int

        Returns
        -------
        dict
        """
        return self._records[column]

    def recommend(self, queries: Sequence[Query]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best items of each query, as one step for all.

        Parameters
        ----------
        queries : sequence of Query

        Returns
        -------
        list of (columns, scores): int64 and float64 ndarray of the same length, k or fewer when
        nothing is left; best first
        """
        if not queries:
            return []
        history = seen = self._rows([query.likes for query in queries])
        if any(query.hidden for query in queries):
            seen = self._rows([[*query.likes, *query.hidden] for query in queries])
        k = max(query.k for query in queries)
        columns = np.full((len(queries), k), -1)
        scores = np.full((len(queries), k), -np.inf)
        known = np.diff(history.indptr) > 0
        for rows, find in ((known, self._by_model), (~known, self._by_popularity)):
            if rows.all():  # of a sparse matrix even the selection of all rows takes its time
                columns, scores = find(history, seen, k)
            elif rows.any():
                columns[rows], scores[rows] = find(history[rows], seen[rows], k)
        answers = []
        for query, row, values in zip(queries, columns, scores, strict=True):
            row, values = row[: query.k], values[: query.k]
            answers.append((row[row >= 0], values[row >= 0]))
        return answers

    def similar(self, column: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """What the model recommends to who likes this item and nothing else.

        Parameters
        ----------
        column : int, of the item
        k : int >= 1

        Returns
        -------
        columns, scores : as of `recommend`
        """
        return self.recommend([Query([column], k=k)])[0]

    def _by_model(self, history, seen, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self._index is not None:
            return self._index.search(self.artefact.model.fold_in(history), k, seen)
        return _best(self.artefact.model.score(history), seen, k)

    def _by_popularity(self, history, seen, k: int) -> tuple[np.ndarray, np.ndarray]:
        return _best(np.broadcast_to(self.artefact.popularity, history.shape), seen, k)

    def _rows(self, parts: Sequence[Sequence[int]]) -> sparse.csr_matrix:
        """A row with ones for each sequence of columns."""
        parts = [sorted(set(part)) for part in parts]
        ends = np.cumsum([0, *map(len, parts)])
        indices = np.fromiter(chain.from_iterable(parts), np.int64, ends[-1])
        return sparse.csr_matrix(
            (np.ones(len(indices)), indices, ends), shape=(len(parts), self.n_items)
        )


def _best(scores: np.ndarray, seen: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """`rank`, and the scores of what it found."""
    columns = rank(scores, seen, k)
    values = np.take_along_axis(scores, np.maximum(columns, 0), axis=1)
    return columns, np.where(columns < 0, -np.inf, values)
