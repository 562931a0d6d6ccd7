"""The clip-art catalogue: its table, checked line by line, and its pictures, opened on demand."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from recsys_tutorial._tables import DataFileError, Table

TEXT_COLUMNS = ("title", "keywords", "category", "creator", "path")
COLUMNS = ("item_id", *TEXT_COLUMNS)
MEND = (
    "restore it with `git checkout -- data/clipart`, or install the package again "
    "with `pip install --force-reinstall --no-deps`"
)


@dataclass(frozen=True, eq=False)
class ClipArt:
    """A catalogue of captioned pictures.

    Attributes
    ----------
    items : DataFrame
        One row per picture, in the order of the file: ``item_id`` int64; ``title`` str;
        ``keywords`` str (joined by "|", "" where there are none); ``category`` str (such as
        "animals/birds");
        ``creator`` str ("unknown" where nobody is named); ``path`` str, below `folder`;
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
        return (
            f"ClipArt({len(self.items)} pictures, {int(self.items['candidate'].sum())} candidates, "
            f"{self.items['category'].nunique()} categories, "
            f"{self.items['creator'].nunique()} creators)"
        )

    def paths(self, item_ids: Iterable[int] | None = None) -> list[Path]:
        """Return the files of the pictures, by default of all in the order of `items`.

        Raises
        ------
        ValueError
            For an id that the catalogue does not have.
        """
        if item_ids is None:
            return [self.folder / path for path in self.items["path"]]
        item_ids = np.asarray(
            item_ids if hasattr(item_ids, "__len__") else list(item_ids), dtype=object
        )
        rows = pd.Index(self.items["item_id"]).get_indexer(item_ids)
        if (rows < 0).any():
            position = int(np.flatnonzero(rows < 0)[0])
            raise ValueError(
                f"item_id {item_ids[position]!r} (position {position}) is not in the catalogue; "
                "take the ids from `items['item_id']`"
            )
        return [self.folder / path for path in self.items["path"].to_numpy()[rows]]

    def image(self, item_id: int) -> Image.Image:
        """Return one picture as RGB; see `images`."""
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
        return [open_picture(path) for path in self.paths(item_ids)]


def open_picture(path: Path) -> Image.Image:
    """Read a picture as RGB, what is transparent on white; a fault names the file."""
    try:
        with Image.open(path) as picture:
            picture.load()
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                page = Image.new("RGBA", picture.size, "white")
                page.alpha_composite(picture)
                picture = page
            return picture.convert("RGB")
    except FileNotFoundError:
        raise DataFileError(f"the picture is missing; {MEND}", path) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace(repr(str(path)), "it")
        raise DataFileError(f"the picture cannot be read ({reason}); {MEND}", path) from None


def parse_catalogue(data: bytes, path: Path, folder: Path) -> pd.DataFrame:
    """Parse ``items.csv`` and check that each picture it names is there.

    Raises
    ------
    DataFileError
        Naming the first line and column at fault, or the first picture that is missing.
    """
    table = Table(data, path, "csv", COLUMNS)
    where = {name: table.header.index(name) for name in table.header}
    columns = {name: [] for name in (*COLUMNS, "candidate", "series")}
    line_of = {}
    for line, fields in table.rows():
        table.check_width(fields, len(table.header), line)
        item_id = table.whole_number(fields[where["item_id"]], line, "item_id")
        if item_id in line_of:
            message = f"{item_id} is also on line {line_of[item_id]}"
            raise DataFileError(message, path, line, "item_id")
        line_of[item_id] = line
        columns["item_id"].append(item_id)
        for name in TEXT_COLUMNS:
            text = fields[where[name]]
            if not text.strip() and name != "keywords":
                raise DataFileError("is empty", path, line, name)
            columns[name].append(text)
        inside = PurePosixPath(columns["path"][-1])
        if (
            inside.is_absolute()
            or ".." in inside.parts
            or "\\" in str(inside)
            or ":" in str(inside)
        ):
            message = f"{str(inside)!r} must be a path below the folder of items.csv, with slashes"
            raise DataFileError(message, path, line, "path")
        columns["candidate"].append(_flag(fields, where, line, path))
        series = where.get("series")
        columns["series"].append(
            item_id if series is None else table.whole_number(fields[series], line, "series")
        )
    if not line_of:
        raise DataFileError("no pictures below the header", path, 1)
    items = pd.DataFrame(columns)
    missing = [name for name in items["path"] if not (folder / name).is_file()]
    if missing:
        others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise DataFileError(f"the picture is missing{others}; {MEND}", folder / missing[0])
    return items.astype({"item_id": "int64", "series": "int64", "candidate": "bool"})


def _flag(fields: list[str], where: dict[str, int], line: int, path: Path) -> bool:
    """Return the field ``candidate``, True where the file has no such column."""
    text = fields[where["candidate"]] if "candidate" in where else "True"
    if text not in ("True", "False"):
        raise DataFileError(f"{text!r} is neither True nor False", path, line, "candidate")
    return text == "True"
