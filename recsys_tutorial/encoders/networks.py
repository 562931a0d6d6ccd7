"""Where a network runs, and how many tokens of texts at a time."""

from collections.abc import Iterator

import numpy as np
import torch


def best_device() -> str:
    """Return "cuda", "mps" or "cpu": the first that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def length_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Yield the rows of batches of about equal lengths, so that there is next to no padding.

    The longest come first: where memory does not suffice, it runs out at once.

    Parameters
    ----------
    lengths : int ndarray (n,), tokens in each row, at least 1
    batch_tokens : int, tokens in a batch, padding included; a longer row has a batch of its own

    Yields
    ------
    int ndarray, rows of one batch; each row is in one of them

    Examples
    --------
    >>> [rows.tolist() for rows in length_batches(np.array([2, 7, 3, 2]), batch_tokens=6)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + max(1, batch_tokens // int(lengths[order[start]]))
        yield order[start:stop]
        start = stop
