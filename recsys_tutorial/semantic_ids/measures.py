"""What codes are worth: how many words are used, who shares a code, what a prefix says."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recsys_tutorial._checks import check_within

__all__ = ["codebook_usage", "collision_rate", "prefix_purity", "with_extra_level"]


def checked_codes(codes: np.ndarray) -> np.ndarray:
    """`codes` as int64 ndarray (n_items, n_levels).

    Parameters
    ----------
    codes : array of whole numbers

    Raises
    ------
    ValueError
        Unless there is at least one item and one level, and all are whole numbers >= 0.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size:
        raise ValueError(f"codes must be (n_items, n_levels), got shape {codes.shape}")
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"codes must be whole numbers, got {codes.dtype}")
    bad = (codes < 0).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"item {row} has the code {codes[row].tolist()}: no word may be below 0")
    return codes.astype(np.int64)


def collision_rate(codes: np.ndarray) -> float:
    """Share of the items whose code is another item's, too.

    Parameters
    ----------
    codes : int ndarray (n_items, n_levels)

    Raises
    ------
    ValueError
        See `checked_codes`.

    Examples
    --------
    >>> collision_rate([[0, 1], [0, 1], [0, 2], [1, 1]])
    0.5
    """
    _, inverse, counts = np.unique(
        checked_codes(codes), axis=0, return_inverse=True, return_counts=True
    )
    return float((counts[inverse.ravel()] > 1).mean())


def with_extra_level(codes: np.ndarray) -> np.ndarray:
    """Codes with one word more, which numbers the items that share the others: 0, 1, 2, ...

    The items of a code are numbered in their own order. (Rajput et al. 2023, arXiv:2305.05065,
    section 3.1.)

    Parameters
    ----------
    codes : int ndarray (n_items, n_levels)

    Returns
    -------
    int64 ndarray (n_items, n_levels + 1), no two rows alike

    Raises
    ------
    ValueError
        See `checked_codes`.

    Examples
    --------
    >>> with_extra_level([[3, 1], [0, 2], [3, 1]]).tolist()
    [[3, 1, 0], [0, 2, 0], [3, 1, 1]]
    """
    codes = checked_codes(codes)
    _, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.ravel()
    order = np.argsort(inverse, kind="stable")
    extra = np.empty(len(codes), np.int64)
    extra[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.column_stack([codes, extra])


def codebook_usage(codes: np.ndarray, sizes: tuple[int, ...]) -> pd.DataFrame:
    """How many of each level's words are in use, and how evenly.

    Parameters
    ----------
    codes : int ndarray (n_items, n_levels)
    sizes : int for each level, how many words there are

    Returns
    -------
    DataFrame, a row for each level: ``words``, ``used`` (how many some item has), ``perplexity``
    (exp of the entropy of their shares: how many words there would be if all were used alike)

    Raises
    ------
    ValueError
        For a size that does not fit; see also `checked_codes`.

    Examples
    --------
    >>> codebook_usage([[0, 1], [0, 0], [1, 0], [1, 1]], (4, 2))
       words  used  perplexity
    0      4     2         2.0
    1      2     2         2.0
    """
    codes, rows = checked_codes(codes), []
    if len(sizes) != codes.shape[1]:
        raise ValueError(f"{codes.shape[1]} levels need as many sizes, got {len(sizes)}")
    for level, (words, size) in enumerate(zip(codes.T, sizes, strict=True)):
        check_within(0, size - 1, **{f"a word of level {level}": int(words.max())})
        share = np.bincount(words, minlength=size) / len(words)
        entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum()
        rows.append((size, int((share > 0).sum()), float(np.exp(entropy))))
    return pd.DataFrame(rows, columns=["words", "used", "perplexity"])


def prefix_purity(codes: np.ndarray, labels: np.ndarray, depth: int = 1) -> tuple[float, float]:
    """Of pairs of items whose codes begin alike, the share with the same label; and by chance.

    Parameters
    ----------
    codes : int ndarray (n_items, n_levels)
    labels : ndarray (n_items,), a genre or category
    depth : int, how many words must be the same, 1 to n_levels

    Returns
    -------
    purity, chance : float, chance being the share among all pairs; nan where no two codes begin
    alike

    Raises
    ------
    ValueError
        For a depth or labels that do not fit; see also `checked_codes`.

    Examples
    --------
    >>> prefix_purity([[0, 0], [0, 1], [1, 0], [1, 1]], ["war", "war", "noir", "war"])
    (0.5, 0.5)
    """
    codes, labels = checked_codes(codes), np.asarray(labels)
    check_within(1, codes.shape[1], depth=depth)
    if labels.shape != (len(codes),):
        raise ValueError(f"labels must be one for each of {len(codes)} items, got {labels.shape}")
    prefix = np.unique(codes[:, :depth], axis=0, return_inverse=True)[1].ravel()
    label = np.unique(labels, return_inverse=True)[1].ravel()
    both = prefix * (label.max() + 1) + label
    same, same_both = _pairs(prefix), _pairs(both)
    everyone = len(codes) * (len(codes) - 1) // 2
    purity = same_both / same if same else float("nan")
    return purity, _pairs(label) / everyone if everyone else float("nan")


def _pairs(groups: np.ndarray) -> int:
    """How many pairs of rows are of one group."""
    n = np.bincount(groups)
    return int((n * (n - 1) // 2).sum())
