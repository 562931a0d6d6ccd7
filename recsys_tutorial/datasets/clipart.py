"""The clip-art catalogue: its table, checked line by line, and its pictures, opened on demand."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from recsys_tutorial._files import data_dir
from recsys_tutorial.datasets._delimited import DataFileError
from recsys_tutorial.datasets._fields import filled, one_of, whole_number
from recsys_tutorial.datasets._tables import Table
from recsys_tutorial.datasets.pictures import open_picture

TEXT_COLUMNS = ("title", "keywords", "category", "creator", "path")
COLUMNS = ("item_id", *TEXT_COLUMNS)
PLURALS = {"category": "categories", "creator": "creators"}
MEND = "restore it with `git checkout -- data/clipart`, or install the package again with "
MEND += "`pip install --force-reinstall --no-deps`"


@dataclass(frozen=True, eq=False)
class ClipArt:
    """A catalogue of captioned pictures.

    Attributes
    ----------
    items : DataFrame
        One row per picture, in the order of the file: ``item_id`` int64; ``title`` str;
        ``keywords`` str (joined by "|", "" where there are none); ``category`` str (such as
        "animals/birds"); ``creator`` str ("unknown" where nobody is named); ``path`` str, below
        `folder`;
        ``candidate`` bool, True for the pictures that a retrieval test may rank, no two of which
        have the same title and keywords; ``series`` int64, the ``item_id`` of the first of those
        pictures by the same creator that have the same title up to colours and numbers, or look
        almost the same: keep ``item_id == series`` for a test without such relatives.
    folder : Path
        Where the pictures are.

    Examples
    --------
    >>> from recsys_tutorial.datasets import load_clipart
    >>> clipart = load_clipart()
    >>> clipart.image(1).size
    (128, 128)
    """

    items: pd.DataFrame
    folder: Path

    def __repr__(self) -> str:
        """Say how much it holds, not where it lies."""
        kinds = (f"{self.items[name].nunique()} {plural}" for name, plural in PLURALS.items())
        n_candidates = int(self.items["candidate"].sum())
        return f"ClipArt({len(self.items)} pictures, {n_candidates} candidates, {', '.join(kinds)})"

    def paths(self, item_ids: Iterable[int] | None = None) -> list[Path]:
        """Return the files of the pictures, by default of all in the order of `items`.

        Parameters
        ----------
        item_ids : iterable of int, optional
            In any order, repeats allowed.

        Returns
        -------
        list of Path
            One for each id; `images` says when one is not there.

        Raises
        ------
        ValueError
            For an id that the catalogue does not have.
        """
        if item_ids is None:
            return [self.folder / path for path in self.items["path"]]
        item_ids = item_ids if hasattr(item_ids, "__len__") else list(item_ids)
        item_ids = np.asarray(item_ids, dtype=object)
        rows = pd.Index(self.items["item_id"]).get_indexer(item_ids)
        if (rows < 0).any():
            place = int((rows < 0).argmax())
            wrong = f"item_id {item_ids[place]!r} (position {place}) is not in the catalogue"
            raise ValueError(f"{wrong}; take the ids from `items['item_id']`")
        return [self.folder / path for path in self.items["path"].to_numpy()[rows]]

    def image(self, item_id: int) -> Image.Image:
        """Return one picture as RGB.

        Parameters
        ----------
        item_id : int
            Errors are those of `images`.
        """
        return self.images([item_id])[0]

    def images(self, item_ids: Iterable[int] | None = None) -> list[Image.Image]:
        """Open pictures, by default all in the order of `items`.

        Parameters
        ----------
        item_ids : iterable of int, optional
            In any order, repeats allowed.

        Returns
        -------
        list of PIL.Image.Image
            RGB; those that come with the package are 128 x 128 pixels, drawn on white.

        Raises
        ------
        ValueError
            For an id that the catalogue does not have.
        DataFileError
            A ValueError that names the picture that is missing or damaged, and the mend.
        """
        return [_open_listed(path) for path in self.paths(item_ids)]


def _open_listed(path: Path) -> Image.Image:
    """Open a picture of the catalogue; a fault names the file and the mend."""
    if not path.is_file():
        raise DataFileError(f"the picture is missing; {MEND}", path)
    try:
        return open_picture(path)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DataFileError(f"the picture cannot be read ({reason}); {MEND}", path) from None


def _parse_catalogue(data: bytes, path: Path, folder: Path) -> pd.DataFrame:
    """Parse ``items.csv`` and check that each picture it names is there.

    Raises
    ------
    DataFileError
        Naming the first line and column at fault, or the first picture that is missing.
    """
    table = Table(data, path, separator=",", encodings=["utf-8-sig"])
    table.require(COLUMNS)
    functions = {"item_id": whole_number} | dict.fromkeys(TEXT_COLUMNS, filled)
    functions |= {"keywords": str, "path": _path_inside}
    others = {"candidate": one_of(("False", "True")), "series": whole_number}
    items = table.read(functions | {name: others[name] for name in others if name in table.header})
    table.refuse_repeats(items[["item_id"]], "item_id", "{0} is also on line {first}")
    missing = [name for name in items["path"] if not (folder / name).is_file()]
    if missing:
        more = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise DataFileError(f"the picture is missing{more}; {MEND}", folder / missing[0])
    for name, default in {"candidate": True, "series": items["item_id"]}.items():
        items[name] = items.get(name, default)
    return items


def _path_inside(text: str) -> str:
    inside = PurePosixPath(filled(text))
    if inside.is_absolute() or ".." in inside.parts or "\\" in text or ":" in text:
        raise ValueError(f"{text!r} must be a path below the folder of items.csv, with slashes")
    return text


def load_clipart(folder: str | os.PathLike | None = None) -> ClipArt:
    """Load the clip-art catalogue: pictures in the public domain with words that describe them.

    Parameters
    ----------
    folder : str or path-like, optional
        By default the catalogue that comes with the package, drawn from the Open Clip Art Library.
        Or a folder of your own with ``items.csv`` (columns ``item_id``, ``title``, ``keywords``
        joined by "|", ``category``, ``creator``, ``path``; ``candidate`` and ``series`` may be
        left out) and the pictures that its ``path`` column names.

    Returns
    -------
    ClipArt
        ``.items``, a frame with one row per picture; ``.image(item_id)`` and ``.images(item_ids)``,
        the pictures themselves.

    Raises
    ------
    DataFileError
        A ValueError that names the file, the line and the column of the first fault, or the
        picture that is missing or damaged, and the mend.

    Examples
    --------
    >>> clipart = load_clipart()
    >>> clipart.items.loc[0, "category"]
    'animals'
    """
    folder = data_dir() / "clipart" if folder is None else Path(folder).expanduser()
    path = folder / "items.csv"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataFileError(f"the file is missing; {MEND}", path) from None
    return ClipArt(_parse_catalogue(data, path, folder), folder)
