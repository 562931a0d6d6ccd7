"""Find the two files of a release in a folder or a zip archive; read them whole or not at all."""

import contextlib
import functools
import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from recsys_tutorial.datasets._tables import DataFileError

# ratings, films, and the kinds of table that they are
LAYOUTS = (
    ("ratings.csv", "movies.csv", "csv", "csv"),
    ("ratings.dat", "movies.dat", "dat", "dat"),
    ("u.data", "u.item", "data", "item"),
)


class File(NamedTuple):
    """A file of a release: its name for messages, its kind of table, and how to read it."""

    name: str
    kind: str
    read: Callable[[], bytes]


def find_release(path: Path) -> tuple[File, File]:
    """Return the ratings and the films of the release in a folder or a zip archive.

    The files may lie one folder deeper, as in GroupLens's archives, and be compressed with gzip.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or no ratings with films in it.
    DataFileError
        For an archive that is damaged, or has a member outside its own folder.
    """
    if path.is_dir():
        listings = _folder_listings(path)
    elif path.is_file():
        listings = _zip_listings(path)
    else:
        raise FileNotFoundError(f"there is no file or folder {path}")
    found = []
    for folder, listing in listings:
        found.extend(listing)
        for rating_name, item_name, rating_kind, item_kind in LAYOUTS:
            ratings, items = _pick(listing, rating_name), _pick(listing, item_name)
            if ratings and items:
                return (
                    File(str(folder / ratings), rating_kind, listing[ratings]),
                    File(str(folder / items), item_kind, listing[items]),
                )
    wanted = ", or ".join(f"{layout[0]} and {layout[1]}" for layout in LAYOUTS)
    there = ", ".join(found[:8]) or "no files"
    raise FileNotFoundError(f"{path} must hold {wanted}; found {there}")


def _pick(listing: dict, name: str) -> str | None:
    return next((candidate for candidate in (name, name + ".gz") if candidate in listing), None)


def _folder_listings(path: Path) -> Iterator[tuple[Path, dict]]:
    """Yield (folder, {file name: reader}) for a folder, then for the folders in it."""
    for folder in (path, *sorted(entry for entry in path.iterdir() if entry.is_dir())):
        with contextlib.suppress(PermissionError):
            names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
            yield folder, {name: functools.partial(_read_file, folder / name) for name in names}


def _read_file(path: Path) -> bytes:
    return _unpack(path.read_bytes(), path)


def _unpack(data: bytes, path) -> bytes:
    """Return the content of a file, decompressed where its name ends in .gz."""
    if not str(path).endswith(".gz"):
        return data
    if not data:
        raise DataFileError("the file is empty", path, 1)
    try:
        return gzip.decompress(data)
    except EOFError:
        message = f"the gzip file is cut off after {len(data):,} bytes; fetch it again"
        raise DataFileError(message, path) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        message = f"the gzip file is damaged ({error}); fetch it again"
        raise DataFileError(message, path) from None


def _zip_listings(path: Path) -> Iterator[tuple[Path, dict]]:
    """Yield (folder, {file name: reader}) for the folders of an archive, shallowest first."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile:
        message = f"no zip archive, or cut off after {path.stat().st_size:,} bytes; fetch it again"
        raise DataFileError(message, path) from None
    for member in members:
        check_member(member, path)
    parents = {PurePosixPath(member).parent for member in members}
    for parent in sorted(parents, key=lambda parent: (len(parent.parts), str(parent))):
        inside = [m for m in members if PurePosixPath(m).parent == parent and m[-1] != "/"]
        yield (
            path / parent,
            {PurePosixPath(m).name: functools.partial(_read_member, path, m) for m in inside},
        )


def _read_member(path: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpack(archive.read(member), path / member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        message = f"the member of the zip archive is damaged ({error}); fetch it again"
        raise DataFileError(message, path / member) from None
    except RuntimeError as error:  # this is how zipfile says that a password is needed
        raise DataFileError(str(error), path / member) from None


def check_member(member: str, archive) -> None:
    """Refuse a member that would land outside the folder into which its archive is unpacked."""
    windows = PureWindowsPath(member)  # splits at both kinds of slash
    if ".." in windows.parts or windows.drive or windows.root:
        message = f"the member {member!r} points out of the archive's folder; do not unpack it"
        raise DataFileError(message, archive)
