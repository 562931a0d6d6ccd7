"""Where the data are that come with the package, and where downloads and vectors are kept."""

import os
from importlib.resources import files
from pathlib import Path


def data_dir() -> Path:
    """Return the folder of the data that come with the package, installed or in a checkout."""
    packaged = Path(str(files("recsys_tutorial"))) / "_data"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "data"


def cache_dir() -> Path:
    """Return the folder for downloads: ``$RECSYS_TUTORIAL_CACHE``, or the system's cache folder."""
    chosen = os.environ.get("RECSYS_TUTORIAL_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import pooch  # here: linting and other scripts that only write files do without it

    return Path(pooch.os_cache("recsys_tutorial"))
