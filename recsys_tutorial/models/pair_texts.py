"""What a model that reads words is told of users and of items."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsys_tutorial._likes import as_likes, check_history


def user_texts(
    history: sparse.csr_matrix,
    titles: Sequence[str],
    max_titles: int = 20,
    *,
    prefix: str = "Liked: ",
) -> list[str]:
    """What a model that reads texts reads of each user: "Liked: Alien; Heat".

    Parameters
    ----------
    history : csr_matrix (n_users, n_items), > 0 where liked
    titles : sequence of str (n_items,)
    max_titles : int; of a longer history so many, evenly spaced over the catalogue's order
    prefix : str, what each text begins with, also that of a user who liked nothing

    Returns
    -------
    list of str (n_users,)

    Raises
    ------
    ValueError
        For a history that is no matrix of likes of these items.
    """
    history = check_history(history, len(titles))
    texts = []
    for columns in np.split(history.indices, history.indptr[1:-1]):
        places = np.linspace(0, len(columns) - 1, min(len(columns), max_titles)).round()
        texts.append(prefix + "; ".join(titles[column] for column in columns[places.astype(int)]))
    return texts


def liked_together(train: sparse.csr_matrix, n_items: int = 5) -> list[np.ndarray]:
    """For each item those that most speak for it: that the same users liked.

    Strength is the cosine of the two columns of likes, with 10 users added to each squared length,
    so that one common user does not make a rare item the best neighbour. Only positive strengths
    count: an item that nobody liked has no neighbour.

    Parameters
    ----------
    train : csr_matrix (n_users, n_items), > 0 where liked
    n_items : int, the most neighbours of an item

    Returns
    -------
    list of int ndarray (at most n_items,), columns of each item's neighbours, strongest first

    Raises
    ------
    ValueError
        For what is no matrix of likes.
    """
    train = as_likes(train, "train")
    counts = np.bincount(train.indices, minlength=train.shape[1])
    scaled = sparse.csc_matrix(train @ sparse.diags(1 / np.sqrt(counts + 10.0)))
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
    """What the cross-encoder reads of each item.

    Parameters
    ----------
    titles : sequence of str (n_items,), with the year
    genres : sequence of str (n_items,), joined by "|"
    neighbours : of `liked_together`, the collaborative evidence, or None

    Returns
    -------
    list of str (n_items,)

    Examples
    --------
    >>> item_texts(["Alien (1979)", "Aliens (1986)"], ["Horror|Sci-Fi", "Action"], [[], [0]])
    ['Alien (1979). Horror, Sci-Fi', 'Aliens (1986). Action. Liked with: Alien']
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
    """Return a list of titles without their years: "Aliens (1986)" -> "Aliens".

    Parameters
    ----------
    titles : sequence of str
    """
    return [title[:-7] if title[-1:] == ")" and title[-7:-5] == " (" else title for title in titles]
