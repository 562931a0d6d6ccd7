"""Find the two files of a release in a folder or a zip archive; read them whole or not at all."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath, PureWindowsPath
from typing import NamedTuple

from recsys_tutorial.datasets._delimited import DataFileError

# ratings, films, and the kinds of table that they are
LAYOUTS = (
    ("ratings.csv", "movies.csv", "csv", "csv"),
    ("ratings.dat", "movies.dat", "dat", "dat"),
    ("u.data", "u.item", "data", "item"),
)
DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}


class File(NamedTuple):
    """A file of a release, in a folder or in an archive, and its kind of table."""

    path: Path | zipfile.Path
    kind: str

    def read(self) -> bytes:
        """Return its content, decompressed.

        Raises
        ------
        DataFileError
            For a damaged file, or one that needs a password.
        """
        try:
            data = self.path.read_bytes()
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            message = f"the member of the zip archive is damaged ({error}); fetch it again"
            raise DataFileError(message, self.path) from None
        except RuntimeError as error:  # this is how zipfile says that a password is needed
            raise DataFileError(str(error), self.path) from None
        return unpack(data, self.path)


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
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    found = []
    for listing in _listings(path if path.is_dir() else _open_archive(path)):
        found.extend(listing)
        for rating_name, item_name, *kinds in LAYOUTS:
            names = rating_name, item_name
            both = [listing.get(name) or listing.get(name + ".gz") for name in names]
            if all(both):
                return tuple(map(File, both, kinds))
    wanted = ", or ".join(f"{layout[0]} and {layout[1]}" for layout in LAYOUTS)
    there = ", ".join(found[:8]) or "no files"
    raise FileNotFoundError(f"{path} must hold {wanted}; found {there}")


def _listings(root: Path | zipfile.Path) -> Iterator[dict[str, Path | zipfile.Path]]:
    """Yield {name: file} of a folder, then of the folders in it; of an archive, of all folders."""
    level, depth = [root], 0
    while level and (depth < 2 or isinstance(root, zipfile.Path)):
        deeper = []
        for folder in level:
            try:
                entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
            except PermissionError:
                continue
            yield {entry.name: entry for entry in entries if entry.is_file()}
            deeper += [entry for entry in entries if entry.is_dir()]
        level, depth = deeper, depth + 1


def _open_archive(path: Path) -> zipfile.Path:
    try:
        archive = zipfile.Path(path)
    except zipfile.BadZipFile:
        message = f"no zip archive, or cut off after {path.stat().st_size:,} bytes; fetch it again"
        raise DataFileError(message, path) from None
    for member in archive.root.namelist():
        check_member(member, path)
    return archive


def unpack(data: bytes, path) -> bytes:
    """Return the content of a file, decompressed where its name ends in .gz, .bz2 or .xz.

    Raises
    ------
    DataFileError
        For a compressed file that is empty, cut off or damaged.
    """
    decompress = DECOMPRESS.get(PurePath(str(path)).suffix)
    if decompress is None:
        return data
    if not data:
        raise DataFileError("the file is empty", path, 1)
    try:
        return decompress(data)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        message = f"the compressed file of {len(data):,} bytes is damaged or cut off ({error})"
        raise DataFileError(f"{message}; fetch it again", path) from None


def check_member(member: str, archive) -> None:
    """Refuse a member that would land outside the folder into which its archive is unpacked.

    Parameters
    ----------
    member : str
        Its name in the archive.
    archive : path-like
        The archive, for the message.

    Raises
    ------
    DataFileError
        When the name is absolute, has a drive, or goes up by "..".
    """
    windows = PureWindowsPath(member)  # splits at both kinds of slash
    if ".." in windows.parts or windows.drive or windows.root:
        message = f"the member {member!r} points out of the archive's folder; do not unpack it"
        raise DataFileError(message, archive)
