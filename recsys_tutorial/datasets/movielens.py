"""Read MovieLens in any of GroupLens's formats."""

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from recsys_tutorial._files import cache_dir, data_dir
from recsys_tutorial.datasets._archives import find_release
from recsys_tutorial.datasets._download import fetch
from recsys_tutorial.datasets._movielens_formats import parse_items, parse_ratings

GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
# Byte-identical copies kept by the Recommenders project for when GroupLens's server is down. They
# exist for these two releases only: the later ones have no second place that is known to be whole.
MIRROR = "/datasets/Recommenders/MovieLens/resolve/main/"
MIRRORED = ("100k", "1m")


class Release(NamedTuple):
    """A release that can be downloaded: the checksum that GroupLens publishes for its archive, the
    archive's size in megabytes, rounded up, and the lowest and highest rating in stars.
    """

    md5: str
    megabytes: int
    scale: tuple[float, float]


RELEASES = {
    "100k": Release("0e33842e24a9c977be4e0107933c0723", 5, (1, 5)),
    "1m": Release("c4d9eecfca2ab87c1945afe126590906", 6, (1, 5)),
    "25m": Release("6b51fb2759a8657d3bfcbfc42b592ada", 262, (0.5, 5)),
    "32m": Release("d472be332d4daa821edc399621853b57", 239, (0.5, 5)),
}


class MovieLens(NamedTuple):
    """A MovieLens release as two frames.

    Attributes
    ----------
    ratings : DataFrame
        One row per rating, in the order of the file: ``user_id`` int64, ``item_id`` int64,
        ``rating`` float64 (stars), ``timestamp`` int64 (seconds since 1970-01-01 UTC). No
        (user, item) pair occurs twice.
    items : DataFrame
        One row per film, in the order of the file: ``item_id`` int64, ``title`` str (as in the
        file, so "Toy Story (1995)"), ``year`` Int64 (of release, missing where the title has
        none), ``genres`` str (joined by "|"). Holds every ``item_id`` of `ratings`.
    """

    ratings: pd.DataFrame
    items: pd.DataFrame


def load_movielens(
    source: str | os.PathLike = "small",
    *,
    rating_scale: tuple[float, float] | None = None,
    progress: bool | None = None,
) -> MovieLens:
    """Load a MovieLens release, or data of your own in the same format.

    Parameters
    ----------
    source : str or path-like
        - "small": latest-small of 2016 (100,004 ratings, half stars), which comes with the package;
        - "100k", "1m" (whole stars), "25m", "32m" (half stars): downloaded from GroupLens into
          `cache_dir` on first use, 5, 6, 262 and 239 MB, and checked against GroupLens's checksum;
        - the path of a folder, or of a zip archive, with ``ratings.csv`` and ``movies.csv``
          (each may be compressed: ``ratings.csv.gz``), with ``ratings.dat`` and ``movies.dat``
          (fields joined by ``::``), or with ``u.data`` and ``u.item``.
    rating_scale : (float, float), optional
        Lowest and highest rating of the scale, in stars. By default that of the release; 1 to 5 for
        ``u.data`` and 0.5 to 5 for any other folder.
    progress : bool, optional
        Show the progress of a download on stderr; by default in a terminal or a notebook.

    Returns
    -------
    MovieLens
        The named tuple ``(ratings, items)``.

    Raises
    ------
    DataFileError
        A ValueError that names the file, the line and the column of the first fault: a missing
        column, text where a number belongs, a rating outside the scale, a negative or too large
        id, a film that the film file does not have, a repeated (user, film) pair, a damaged file.
    DownloadError
        An OSError that says what was tried, and where to put the file by hand.
    FileNotFoundError
        When a folder does not hold a release.
    ValueError
        For a name that is neither a release nor a path.

    Notes
    -----
    The licences of 100K, 1M and 25M do not allow passing the files on, so only "small" comes with
    the package. All are for research use and ask for a citation: F. M. Harper and J. A. Konstan
    (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4):19, doi 10.1145/2827872.

    Examples
    --------
    >>> ratings, items = load_movielens()
    >>> ratings.shape, items.shape
    ((100004, 4), (9066, 4))
    """
    name = source.lower() if isinstance(source, str) else None
    if name == "small":
        path, scale = data_dir() / "movielens-small", (0.5, 5)
    elif name in RELEASES:
        path, scale = _download(name, progress), RELEASES[name].scale
    else:
        path, scale = Path(source).expanduser(), None
        if isinstance(source, str) and not path.exists():
            names = ", ".join(["small", *RELEASES])
            raise ValueError(f"{source!r} is neither a release ({names}) nor a path that exists")
    rating_file, item_file = find_release(path)
    scale = rating_scale or scale or ((1, 5) if rating_file.kind == "data" else (0.5, 5))
    items = parse_items(item_file.read(), item_file.path, item_file.kind)
    item_ids, (path, kind) = items["item_id"].to_numpy(), rating_file
    return MovieLens(parse_ratings(rating_file.read(), path, kind, item_ids, scale), items)


def _download(name: str, progress: bool | None) -> Path:
    """Return the archive of a release in the cache, fetched on first use."""
    release, archive = RELEASES[name], f"ml-{name}.zip"
    urls = [GROUPLENS + archive]
    if name in MIRRORED:
        hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        urls.append(hub.rstrip("/") + MIRROR + archive)
    return fetch(
        urls,
        cache_dir() / "movielens" / archive,
        f"md5:{release.md5}",
        page=f"https://grouplens.org/datasets/movielens/{name}/",
        size=release.megabytes * 1_000_000,
        progress=progress,
    )
