"""An encoder of texts that fits into a page: a vector for each piece of a word, learned from BERT.

A BERT of 22 million numbers does not fit into a page that is to open at once. Its student is a
table: a text is the sum of its pieces' vectors, which a ridge regression fits to what the teacher
makes of many texts. Word order is lost; what single words say stays. (Static vectors distilled from
a sentence encoder are what model2vec makes, too, by another way: from each piece alone.)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from recsys_tutorial._checks import check_at_least, check_positive, finite_vectors
from recsys_tutorial.models import unit_rows
from recsys_tutorial.serving.export.tables import ShortVectors, short_vectors

__all__ = ["WordVectors", "distilled", "piece_vectors", "small_vocabulary", "word_pieces"]

_MARK = "##"  # before a piece that goes on with a word
_WORDS = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
_PLAIN = re.compile(r"(##)?[a-z0-9]+|[!-~]")


def small_vocabulary(vocabulary: Sequence[str], n: int) -> list[str]:
    """The first n pieces of a WordPiece vocabulary that are ASCII letters, digits or a sign.

    BERT's has its single characters first, and then what was frequent.

    Parameters
    ----------
    vocabulary : sequence of str, in the order of their numbers; "##" goes on with a word
    n : int >= 1, at most

    Returns
    -------
    list of str

    Examples
    --------
    >>> small_vocabulary(["[PAD]", "a", "é", "##s", "the", "film"], 3)
    ['a', '##s', 'the']
    """
    check_at_least(1, n=n)
    return [piece for piece in vocabulary if _PLAIN.fullmatch(piece)][:n]


def word_pieces(text: str, places: dict[str, int]) -> list[int]:
    """Cut a text into pieces of a vocabulary: of each word the longest beginning, again and again.

    (Wu et al. 2016, arXiv:1609.08144; the greedy way is BERT's.) Letters are made small, and lose
    their accents. A word that cannot be cut into known pieces is left out.

    Parameters
    ----------
    text : str
    places : {piece: its number}

    Returns
    -------
    list of int

    Examples
    --------
    >>> word_pieces("Réal films?", {"real": 0, "film": 1, "##s": 2})
    [0, 1, 2]
    """
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not _is_accent(c))
    return [place for word in _WORDS.findall(text) for place in _pieces_of(word, places)]


def _is_accent(character: str) -> bool:
    return unicodedata.category(character) == "Mn"


def _pieces_of(word: str, places: dict[str, int]) -> list[int]:
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = _MARK * (start > 0) + word[start:end]
            if piece in places:
                break
        else:
            return []
        found.append(places[piece])
        start = end
    return found


@dataclass(frozen=True)
class WordVectors:
    """text -> the sum of its pieces' vectors, scaled to length 1.

    Attributes
    ----------
    pieces : tuple of str (n,)
    short : ShortVectors (n, dim)
    """

    pieces: tuple[str, ...]
    short: ShortVectors

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts.

        Parameters
        ----------
        texts : sequence of str (n_texts,)

        Returns
        -------
        float64 ndarray (n_texts, dim), of length 1; 0 for a text without a known piece
        """
        return unit_rows(_counts(texts, self.pieces) @ self.short.vectors)


def distilled(
    texts: Sequence[str], targets: np.ndarray, pieces: Sequence[str], reg: float = 1.0
) -> WordVectors:
    """The vectors of `piece_vectors`, rounded to int8.

    Parameters
    ----------
    texts, targets, pieces, reg : as there

    Returns
    -------
    WordVectors; a piece that no text has is 0

    Raises
    ------
    ValueError
        As there.
    """
    return WordVectors(tuple(pieces), short_vectors(piece_vectors(texts, targets, pieces, reg)))


def piece_vectors(
    texts: Sequence[str], targets: np.ndarray, pieces: Sequence[str], reg: float = 1.0
) -> np.ndarray:
    """Fit pieces' vectors so that what they add up to is the teacher's vector of a text.

        E = argmin |A E - Y|^2 + reg |E|^2,    A_tp = count of piece p in t / sqrt(pieces of t)

    The root is between a sum, in which long texts count most, and a mean, in which a word counts
    the less, the more stand beside it. Only the direction of a text's vector is used later.

    Parameters
    ----------
    texts : sequence of str (n_texts,), what the student learns from
    targets : ndarray (n_texts, dim), Y, what the teacher makes of them
    pieces : sequence of str, see `small_vocabulary`
    reg : float > 0

    Returns
    -------
    float64 ndarray (n_pieces, dim); 0 for a piece that no text has

    Raises
    ------
    ValueError
        For another number of targets, targets that are not finite, a reg that is not positive, and
        texts in which no piece is.
    """
    check_positive(reg=reg)
    targets = finite_vectors("targets", targets).astype(np.float64, copy=False)
    if len(targets) != len(texts):
        raise ValueError(f"{len(texts)} texts need as many targets, got {len(targets)}")
    counts = _counts(texts, pieces)
    known = np.unique(counts.indices)
    if not len(known):
        raise ValueError("no text has a piece of the vocabulary: there is nothing to learn")
    lengths = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    shares = sparse.csr_matrix(sparse.diags(lengths**-0.5) @ counts)[:, known]
    gram = (shares.T @ shares).toarray()
    gram[np.diag_indices(len(gram))] += reg
    vectors = np.zeros((len(pieces), targets.shape[1]))
    vectors[known] = linalg.solve(gram, shares.T @ targets, assume_a="pos")
    return vectors


def _counts(texts: Sequence[str], pieces: Sequence[str]) -> sparse.csr_matrix:
    """How often each piece is in each text: csr_matrix (n_texts, n_pieces)."""
    places = {piece: place for place, piece in enumerate(pieces)}
    rows = [word_pieces(text, places) for text in texts]
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.array([place for row in rows for place in row], dtype=np.int64)
    counts = sparse.csr_matrix((np.ones(ends[-1]), columns, ends), shape=(len(texts), len(pieces)))
    counts.sum_duplicates()
    return counts
