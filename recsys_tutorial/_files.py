"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
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
