"""What measurements have in common that take long: files of results, a line for each arm, a limit.

For scripts called as `make.py PART [SEEDS [SECONDS]]`: after so many seconds no further arm begins.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import pandas as pd

BEGAN, LIMIT = time.time(), float(sys.argv[3]) if len(sys.argv) > 3 else math.inf


def save(frame: pd.DataFrame, path: Path) -> None:
    """Write a table in the order of its index; the same bytes for the same rows, packed or not."""
    packed = {"method": "gzip", "mtime": 0} if path.suffix == ".gz" else None
    frame.sort_index().to_csv(path, compression=packed)


def table(path: Path, index: list[str]) -> pd.DataFrame:
    """What `save` wrote, or a table without a row; `index` names the columns that it goes by."""
    if path.exists():
        return pd.read_csv(path, index_col=index).sort_index()
    levels = [[]] * len(index)
    empty = pd.MultiIndex.from_arrays(levels, names=index) if len(index) > 1 else pd.Index([])
    return pd.DataFrame(index=empty.rename(index if len(index) > 1 else index[0]))


def say(*words) -> None:
    """Print what an arm found and how long it took; stop where the time is up."""
    *words, began = words
    print(*words, f"{time.time() - began:.0f} s", flush=True)
    if time.time() - BEGAN > LIMIT:
        sys.exit(3)
