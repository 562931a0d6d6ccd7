"""The pictures' page: words in, pictures out; which tables it needs, and the same model in NumPy.

A page that fetched single pictures would tell its server what was found, and so what was asked
for. So all thumbnails are one file, and whoever asks for something fetches the whole of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys_tutorial.ranking import rank
from recsys_tutorial.serving.export.bundle import lines
from recsys_tutorial.serving.export.tables import ShortVectors, short_vectors
from recsys_tutorial.serving.export.words import WordVectors

__all__ = ["PagePictures", "pictures_files"]

_LARGEST = 2**16 - 1  # of uint16, in which the page reads how long a thumbnail is


def pictures_files(
    titles: Sequence[str],
    creators: Sequence[str],
    vectors: np.ndarray,
    words: WordVectors,
    thumbnails: Sequence[bytes],
) -> dict[str, dict]:
    """What `write_bundle` is to write for the pictures' page.

    Parameters
    ----------
    titles, creators : sequences of str (n,), what is said of each picture, a line each
    vectors : ndarray (n, dim), the picture tower's
    words : WordVectors of the same dim, which stand for the text tower
    thumbnails : sequence of bytes (n,), pictures in a format that browsers show, such as WebP

    Returns
    -------
    {file: {name: array}}: gallery, words, thumbnails

    Raises
    ------
    ValueError
        For unequal numbers of parts, words of another length, text of more than a line, and a
        thumbnail that is empty or of 64 KiB and more.
    """
    n, short = len(titles), short_vectors(vectors)
    parts = {"creators": creators, "vectors": vectors, "thumbnails": thumbnails}
    for name, part in parts.items():
        if len(part) != n:
            raise ValueError(f"{n} titles need as many {name}, got {len(part)}")
    if words.short.numbers.shape[1] != vectors.shape[1]:
        dims = words.short.numbers.shape[1], vectors.shape[1]
        raise ValueError(f"words have {dims[0]} numbers, the pictures' vectors {dims[1]}")
    for row, (title, creator) in enumerate(zip(titles, creators, strict=True)):
        if len(f"{title}{creator}".splitlines()) != 1:
            raise ValueError(f"title and creator of picture {row} must be one line each")
    sizes = np.array([len(data) for data in thumbnails])
    if n and not 0 < sizes.min() <= sizes.max() <= _LARGEST:
        row = int(np.flatnonzero((sizes < 1) | (sizes > _LARGEST))[0])
        raise ValueError(f"thumbnail {row} has {sizes[row]} bytes, not 1 to {_LARGEST}")
    names = {"titles": "\n".join(titles), "creators": "\n".join(creators)}
    return {
        "gallery": names | vars(short),
        "words": {"pieces": "\n".join(words.pieces), **vars(words.short)},
        "thumbnails": {
            "sizes": sizes.astype(np.uint16),
            "pictures": np.frombuffer(b"".join(thumbnails), np.uint8),
        },
    }


class PagePictures:
    """The page's pictures and words, read from the tables of `pictures_files`.

    Parameters
    ----------
    files : {file: {name: array}}, as `read_bundle` gives them

    Attributes
    ----------
    titles, creators : list of str (n,)
    thumbnails : list of bytes (n,)
    vectors : float64 ndarray (n, dim)
    words : WordVectors: its vector of a text times a picture's is how well they fit
    """

    def __init__(self, files: Mapping[str, Mapping[str, np.ndarray]]):
        gallery, words, thumbnails = (files[name] for name in ("gallery", "words", "thumbnails"))
        self.titles, self.creators = lines(gallery["titles"]), lines(gallery["creators"])
        self.vectors = ShortVectors(gallery["numbers"], gallery["scales"]).vectors
        short = ShortVectors(words["numbers"], words["scales"])
        self.words = WordVectors(tuple(lines(words["pieces"])), short)
        ends = np.cumsum(thumbnails["sizes"].astype(np.int64))[:-1]
        self.thumbnails = [part.tobytes() for part in np.split(thumbnails["pictures"], ends)]

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """How well each picture fits each text.

        Parameters
        ----------
        texts : sequence of str (n_texts,)

        Returns
        -------
        float64 ndarray (n_texts, n); zeros for a text without a known piece
        """
        return self.words.encode(texts) @ self.vectors.T

    def search(self, text: str, k: int = 10) -> list[int]:
        """The pictures that the page shows.

        Parameters
        ----------
        text : str
        k : int >= 1

        Returns
        -------
        list of int, at most k rows, best first; empty for a text without a known piece
        """
        query = self.words.encode([text])
        if not query.any():
            return []
        scores = np.round(query @ self.vectors.T, 9)
        return rank(scores, None, k)[0, : len(self.titles)].tolist()
