"""Which packages a software project needs: Debian's index as likes, with words on both sides."""

import gzip
import io
import os
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from recsys_tutorial.datasets._snapshots import read_snapshot

FILES = ["sources.csv.gz", "packages.csv.gz", "needs.npz"]


class Packages(NamedTuple):
    """Source packages, the packages that they need, and who needs what.

    Attributes
    ----------
    sources : DataFrame
        The users, one row each: ``source`` str, its name; ``group`` int, its maintainer as a
        number; ``section`` str, such as "games"; ``description`` str, one line in the maintainer's
        words.
    packages : DataFrame
        The items, one row each: ``package``, ``section``, ``description``, all str.
    needs : csr_matrix (n_sources, n_packages), float64, 1 where a source needs a package
    """

    sources: pd.DataFrame
    packages: pd.DataFrame
    needs: sparse.csr_matrix


def load_packages(
    folder: str | os.PathLike | None = None, *, min_needs: int = 4, max_share: float = 0.1
) -> Packages:
    """Load what Debian's source packages need.

    Parameters
    ----------
    folder : str or path-like, optional
        By default the snapshot that comes with the package, of Debian 12; or a folder that
        ``data/packages/make.py`` wrote from another release's index.
    min_needs : int
        Sources with fewer needs, the generic ones not counted, are left out.
    max_share : float, 0 to 1
        Packages that a larger share of all sources need are left out as generic. At 0.1 they are
        five, which compilers and packaging tools add by themselves: libc6, libgcc-s1, libstdc++6,
        perl and python3.

    Returns
    -------
    Packages
        The named tuple ``(sources, packages, needs)``, with the packages that are needed at least
        once by the sources that are kept.

    Raises
    ------
    DataFileError
        A ValueError that names a file that is missing or differs from its checksum.
    ValueError
        For settings that leave no source.

    Examples
    --------
    >>> sources, packages, needs = load_packages()
    >>> needs.shape, needs.nnz
    ((12458, 24237), 134795)
    """
    *tables, matrix = read_snapshot("packages", FILES, folder)
    sources, packages = (
        pd.read_csv(io.BytesIO(gzip.decompress(table)), keep_default_na=False) for table in tables
    )
    with np.load(io.BytesIO(matrix)) as arrays:
        indptr, indices = arrays["indptr"], arrays["indices"].astype(np.int32)
    needs = sparse.csr_matrix(
        (np.ones(len(indices)), indices, indptr), shape=(len(sources), len(packages))
    )
    counts = np.bincount(needs.indices, minlength=needs.shape[1])
    needs = needs[:, counts <= max_share * len(sources)]
    packages = packages[counts <= max_share * len(sources)]
    enough = np.diff(needs.indptr) >= min_needs
    if not enough.any():
        raise ValueError(f"no source has {min_needs} needs that at most {max_share:.0%} share")
    needs, sources = needs[enough], sources[enough]
    needed = np.bincount(needs.indices, minlength=needs.shape[1]) > 0
    return Packages(
        sources.reset_index(drop=True),
        packages[needed].reset_index(drop=True),
        sparse.csr_matrix(needs[:, needed]),
    )
