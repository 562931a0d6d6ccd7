"""Items by words: by the vectors of a text encoder, or by counted words where there is none."""

from __future__ import annotations

import functools
import threading

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_tutorial.datasets import film_texts
from recsys_tutorial.ranking import rank
from recsys_tutorial.serving.service.artefacts import Artefact

_ONE_AT_A_TIME = threading.Lock()  # a tokenizer is not made for several threads


@functools.lru_cache(maxsize=1)  # versions share theirs
def _encoder(name: str):
    from recsys_tutorial.encoders import TextEncoder  # here: torch takes seconds

    return TextEncoder(name, device="cpu", use_cache=False, progress=False)


class TextSearch:
    """Finds items whose text is near a query's, or near another item's.

    Parameters
    ----------
    artefact : Artefact; with `text_vectors` the queries are read by its encoder, which is loaded
        here. Without, words are counted (TF-IDF)

    Attributes
    ----------
    by : "text" or "words"

    Raises
    ------
    WeightsNotFound
        When the encoder's weights are not on this machine and cannot be fetched.
    """

    def __init__(self, artefact: Artefact):
        if artefact.text_vectors is not None:
            encoder = _encoder(artefact.encoder)
            self.by, self._vectors = "text", artefact.text_vectors
            self._encode = lambda text: encoder.encode([text])
        else:
            words = TfidfVectorizer(sublinear_tf=True)
            self.by = "words"
            self._vectors = sparse.csr_matrix(words.fit_transform(film_texts(artefact.items)))
            self._encode = lambda text: words.transform([text])

    def search(self, text: str, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The items nearest to a query.

        Parameters
        ----------
        text : str
        k : int >= 1

        Returns
        -------
        columns, scores : ndarray, k or fewer: by counted words only what shares a word; a score is
            a cosine
        """
        with _ONE_AT_A_TIME:
            query = self._encode(text)
        return self._nearest(query, k)

    def similar(self, column: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The items whose text is nearest to another's.

        Parameters
        ----------
        column : int, of the other
        k : int >= 1

        Returns
        -------
        columns, scores : as of `search`
        """
        return self._nearest(self._vectors[[column]], k, column)

    def _nearest(self, query, k: int, own: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        scores = self._vectors @ query.T  # (n_items, 1)
        scores = scores.toarray() if sparse.issparse(scores) else np.asarray(scores)
        scores = scores.T.astype(np.float64)  # (1, n_items)
        if self.by == "words":
            scores[scores <= 0] = -np.inf
        if own is not None:
            scores[0, own] = -np.inf
        columns = rank(scores, None, k)[0]
        columns = columns[columns >= 0]
        return columns, scores[0, columns]
