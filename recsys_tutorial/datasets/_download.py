"""Download a file from the first place that has it, whole and with the right checksum."""

import errno
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pooch
import requests

_ATTEMPTS = 3  # at each place
_TIMEOUT = 30.0  # seconds without an answer, or between two pieces of it, that end an attempt
_WAIT = 1.0  # seconds before the second round over the places, doubled before each later one
_BLOCK = 1 << 16  # bytes that are written at a time
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_THERE = ("HTTP 401", "HTTP 403", "HTTP 404", "HTTP 410")  # asking again will not help


class DownloadError(OSError):
    """No place had the file; the message says what was tried and how to go on by hand."""


def fetch(
    urls: Sequence[str], path: Path, known_hash: str, *, page: str, size: int = 0,
    progress: bool | None = None,
) -> Path:  # fmt: skip
    """Return `path`, downloaded first unless it is there with the right checksum.

    Parameters
    ----------
    urls : sequence of str
        The same file in several places. Every place is tried before one is tried again.
    path : Path
        Where the file shall be. It appears there complete and verified, or not at all: until then
        it has a temporary name in the same folder.
    known_hash : str
        Algorithm and digest, "md5:..." or "sha256:...", as the publisher gives it.
    page : str
        Address of the page on which a person finds the file.
    size : int
        Bytes that must be free on the disk before anything is fetched; 0 when unknown.
    progress : bool or None
        Show a progress bar on stderr; None: in a terminal or a notebook.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    DownloadError
        When no place gave the file or the disk is full or not writable; an OSError.
    """
    algorithm, _, digest = known_hash.partition(":")
    stale = ""
    if path.is_file():
        if pooch.file_hash(str(path), alg=algorithm) == digest:
            return path
        stale = f"\n(The file that is at {path} now has another checksum.)"
    by_hand = (
        f"Or take it from {page}\nand put it at {path}\n({algorithm} {digest}), then call again."
    )
    bar = sys.stderr.isatty() or _in_notebook() if progress is None else progress
    get = pooch.HTTPDownloader(progressbar=bar, chunk_size=_BLOCK, timeout=_TIMEOUT)
    tried, places = [], list(urls)
    try:
        _make_room(path.parent, size)
        for attempt in range(1, _ATTEMPTS + 1):
            if attempt > 1 and places:
                time.sleep(_WAIT * 2 ** (attempt - 2))
            for url in list(places):
                if not (problem := _try_download(url, path, known_hash, get)):
                    return path
                tried.append(f"  {url} (attempt {attempt}): {problem}")
                if problem.startswith(_NOT_THERE):
                    places.remove(url)
    except OSError as error:
        what = "the disk is full" if error.errno in _DISK_FULL else "the folder cannot be written"
        raise DownloadError(
            f"{path.name} was not downloaded, {what}: {error}\n"
            f"Free some space in {path.parent}, or set RECSYS_TUTORIAL_CACHE to another folder.\n"
            f"{by_hand}"
        ) from error
    raise DownloadError(
        f"{path.name} could not be downloaded:\n" + "\n".join(tried) + f"\n{by_hand}{stale}"
    )


def _in_notebook() -> bool:
    """Tell whether this code runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _make_room(folder: Path, size: int) -> None:
    """Make the folder; OSError when the disk has less than `size` bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free")


def _try_download(url: str, path: Path, known_hash: str, get: pooch.HTTPDownloader) -> str:
    """Download to `path`; return why that failed, "" when it did not; OSError for the disk's."""
    logger = pooch.get_logger()
    level = logger.level
    try:
        logger.setLevel(logging.WARNING)  # the bar says what pooch would announce
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=get)
        return ""
    except requests.RequestException as error:  # an OSError: the network's, not the disk's
        return _reason_of_failure(error)
    except ValueError:
        return f"what came has the wrong {known_hash.partition(':')[0]}"
    finally:
        logger.setLevel(level)


def _reason_of_failure(error: requests.RequestException) -> str:
    """Return one line that says why a request failed."""
    if error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not valid (expired, or replaced by a proxy)"
    if "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer was cut off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return f"{type(error).__name__}: {str(error)[:160]}"
