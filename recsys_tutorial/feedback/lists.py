"""Lists of pictures: the best by scores, random ones, and the best with some chance."""

import numpy as np


def top_slots(scores: np.ndarray, n_slots: int) -> np.ndarray:
    """The columns of the n_slots highest scores of each row, best first, ties by lower column.

    A few passes of argmax are several times faster than sorting when n_slots is small.

    Parameters
    ----------
    scores : ndarray (n_rows, n_items); overwritten
    n_slots : int, at most n_items

    Returns
    -------
    int ndarray (n_rows, n_slots)
    """
    rows = np.arange(len(scores))
    top = np.empty((len(scores), n_slots), dtype=np.int64)
    for slot in range(n_slots):
        top[:, slot] = scores.argmax(axis=1)
        scores[rows, top[:, slot]] = -np.inf
    return top


def random_lists(stock: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Lists of different pictures, all equally likely.

    Parameters
    ----------
    stock : int ndarray (n_stock,), columns to choose from
    shape : (n_shoppers, n_slots)
    rng : numpy Generator

    Returns
    -------
    int ndarray (n_shoppers, n_slots), columns of the stock

    Raises
    ------
    ValueError
        When the stock does not fill a list.
    """
    n_slots = shape[1]
    if len(stock) < n_slots:
        raise ValueError(f"{len(stock)} pictures in stock do not fill {n_slots} slots")
    places = rng.integers(len(stock), size=shape)
    while True:  # few lists hold a picture twice; they are drawn again
        ordered = np.sort(places, axis=1)
        twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if not len(twice):
            return stock[places]
        places[twice] = rng.integers(len(stock), size=(len(twice), n_slots))


def with_chance(
    shown: np.ndarray, stock: np.ndarray, epsilon: float, rng: np.random.Generator
) -> np.ndarray:
    """In each slot, with probability epsilon, a random picture that the list does not hold.

    Parameters
    ----------
    shown : int ndarray (n_shoppers, n_slots), columns of the stock
    stock : int ndarray (n_stock,), columns to choose from
    epsilon : float in [0, 1]
    rng : numpy Generator

    Returns
    -------
    int ndarray (n_shoppers, n_slots)
    """
    chance = rng.random(shown.shape) < epsilon
    other = random_lists(stock, shown.shape, rng)
    chance &= ~(other[:, :, None] == shown[:, None, :]).any(axis=2)
    return np.where(chance, other, shown)
