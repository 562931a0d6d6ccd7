"""Files and folders that are written whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary name for the block to write to; what stands there becomes `path` at its end.

    ::

        with whole("table.csv") as temporary:
            frame.to_csv(temporary)

    A block that raises leaves the old file, or none, and so does a process that is killed: the
    rename is one step. The temporary name is of this process and in the same folder, which is
    created; it is gone after the block.

    Parameters
    ----------
    path : file name

    Yields
    ------
    Path
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """`whole` for a folder, empty at first; one that is there is replaced at the end of the block.

    What a killed process left of one is removed by the next. Two processes at once need a lock.

    Parameters
    ----------
    path : folder name

    Yields
    ------
    Path
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():  # a rename onto a full folder would fail
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
