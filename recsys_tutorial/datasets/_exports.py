"""Read a table as somebody exported it, however it is separated and encoded."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from recsys_tutorial.datasets._archives import unpack
from recsys_tutorial.datasets._delimited import ENCODINGS, SEPARATORS, DataFileError
from recsys_tutorial.datasets._tables import Table

STRAY = 0.01  # share of lines with another number of fields up to which they are left out


def read_table(
    path: str | os.PathLike,
    columns: Mapping[str, str | int | None],
    *,
    separator: str | None = None,
    encoding: str | None = None,
) -> pd.DataFrame:
    """Read delimited text (also .gz, .bz2, .xz), its columns renamed; others are left out.

    Parameters
    ----------
    path : path-like
    columns : {our name: the file's name, or None for a column that the file does not have}
        Positions from 0 instead of names for a file without a header; a first line of which no
        field is like those below it is left out as a header all the same.
    separator : str, optional
        "," ";" tab "|" or "::"; by default the one that splits the file best.
    encoding : str, optional
        By default UTF-8, or UTF-16 with its mark, or else Windows-1252, which holds Latin-1.

    Returns
    -------
    DataFrame of str
        Indexed by the line of each row; ``attrs`` tells `clean` what was recognised.

    Raises
    ------
    DataFileError
        A ValueError that names the file and the fault: missing, empty, not a table, a column that
        is not there (with those that are), or more than one line in a hundred with another number
        of fields.
    """
    path = Path(path).expanduser()
    names = {ours: theirs for ours, theirs in columns.items() if theirs is not None}
    by_name = [name for name in names.values() if isinstance(name, str)]
    encodings = ENCODINGS if encoding is None else (encoding,)
    table = Table(_content(path), path, separator=separator, encodings=encodings, wanted=by_name,
                  lenient=True)  # fmt: skip
    table.header = [name.strip() for name in table.header]
    wanted = _wanted(table, names)
    others: list = []
    frame, fault = table.rows(others)
    if fault is not None:
        raise fault
    if not len(frame) + len(others):
        raise DataFileError("there is no row below the header", path, 1)
    decisions = _decisions(table, len(frame), others)
    frame = frame[wanted].set_axis(list(names), axis=1)
    theirs = dict(zip(names, wanted, strict=True))
    frame.attrs = {"path": str(path), "columns": theirs, "decisions": decisions}
    return frame


def _decisions(table: Table, n_good: int, others: list) -> list[tuple[str, int, int, str]]:
    """Return rows of `clean`'s report; too many lines of another width are a fault."""
    n_rows = n_good + len(others)
    if len(others) > STRAY * n_rows:
        line, fields = others[0]
        more = f", as {len(others) - 1} more of {n_rows} lines" if len(others) > 1 else ""
        message = f"{table.say_width(fields)}{more}; is {table.separator!r} its separator?"
        raise DataFileError(message, table.path, line)
    encoding = {"utf-8-sig": "UTF-8", "cp1252": "Windows-1252"}.get(table.encoding, table.encoding)
    head = f"names on line {table.first_line}" if table.first_line else "no line of names"
    separated = f"{encoding}, separated by {SEPARATORS[table.separator]}, {head}"
    decisions = [(f"file {table.path.name}", n_rows, n_rows, separated)]
    if table.escape:
        done = "a backslash before a mark is left out"
        decisions.append(("quotation marks with backslashes", n_rows, n_rows, done))
    if others:
        first = f"left out; first on line {others[0][0]}"
        decisions.append(("line with another number of fields", len(others), n_rows, first))
    return decisions


def _content(path: Path) -> bytes:
    """The bytes of a file, decompressed."""
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.csv*")) if path.parent.is_dir() else []
        there = f"its folder has {', '.join(near)}" if near else "nor any CSV file beside it"
        raise DataFileError(f"there is no such file; {there}", path)
    try:
        data = unpack(path.read_bytes(), path)
    except OSError as error:
        raise DataFileError(f"it cannot be read ({error})", path) from None
    if data.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        message = "it is a spreadsheet or an archive; save the table as CSV, or unpack it"
        raise DataFileError(message, path)
    if data.lstrip()[:1] in (b"{", b"["):
        lines = ", lines=True" if data.lstrip()[:1] == b"{" else ""
        message = "it is JSON, not a table; make one of it: "
        message += f"pd.read_json({path.name!r}{lines}).to_csv('ratings.csv', index=False)"
        raise DataFileError(message, path)
    return data


def _wanted(table: Table, names: Mapping[str, str | int]) -> list[str]:
    """Return the columns as the table calls them: by their positions, where it has no header."""
    headed, width = table.has_header(), len(table.header)
    if not headed and all(isinstance(name, int) for name in names.values()):
        table.header, table.first_line = [str(n) for n in range(width)], 0
    wanted = []
    for ours, name in names.items():
        known = name in table.header if isinstance(name, str) else 0 <= name < width
        if not known:
            message = (
                f"it has no column {name!r}, only {', '.join(map(repr, table.header))}; name "
                f'the one that holds {ours} in the settings: "{ours}": "..."'
            )
            if width == 1:
                message += f"; none of {' '.join(SEPARATORS)} separates it: say separator="
            elif not headed:
                message += f', or its position from 0, if line 1 is no header: "{ours}": 0'
            raise DataFileError(message, table.path, table.first_line or 1)
        wanted.append(name if isinstance(name, str) else table.header[name])
        if table.header.count(wanted[-1]) > 1:
            raise DataFileError("twice in the header", table.path, table.first_line, wanted[-1])
    return wanted
