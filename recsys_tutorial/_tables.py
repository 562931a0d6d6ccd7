"""Walk a text table line by line and name the file, line and column of whatever is wrong in it."""

import csv
import io
import math
import re
from collections.abc import Iterator

SEPARATORS = {"csv": ",", "dat": "::", "data": "\t", "item": "|"}
INT64_MAX = 2**63 - 1


class DataFileError(ValueError):
    """A data file that cannot be used; the message names the file, the line and the column.

    Attributes
    ----------
    path : str
        The file, or ``archive.zip/member``.
    line : int or None
        One-based line, where the fault has one.
    column : str or None
        The column as the file calls it, where the fault has one.
    """

    def __init__(self, message: str, path, line: int | None = None, column: str | None = None):
        self.path, self.line, self.column = str(path), line, column
        place = [self.path]
        place += [f"line {line}"] if line is not None else []
        place += [f"column {column}"] if column is not None else []
        super().__init__(f"{', '.join(place)}: {message}")


class Table:
    """The lines of one file, each split into fields.

    Parameters
    ----------
    data : bytes
        Content of the file.
    path : path-like
        Its name, for error messages.
    kind : {"csv", "dat", "data", "item"}
        Comma-separated with a header, or without one and separated by ``::``, tab or ``|``.
    columns : tuple of str
        The columns that are needed. A file with a header may have them in any order, among others.
    latin1 : bool
        Read as Latin-1 what is not UTF-8, as the films of MovieLens 100K and 1M are.

    Raises
    ------
    DataFileError
        For an empty file, a wrong encoding, a zero byte, a wrong separator or a wrong header.
    """

    def __init__(self, data: bytes, path, kind: str, columns: tuple[str, ...], latin1=False):
        self.data, self.path, self.kind = data, path, kind
        self.header, self.first_line, self.encoding = list(columns), 0, "utf-8-sig"
        if not data.strip():
            raise DataFileError("the file is empty", path, 1)
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataFileError("the file is in UTF-16; save it as UTF-8", path, 1)
        if kind == "csv":
            self.header, self.first_line = header_of(data, path)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            if not latin1:
                message = (
                    f"byte 0x{data[error.start]:02x} is not UTF-8; convert the file, "
                    "for example with: iconv -f latin1 -t utf-8"
                )
                raise DataFileError(message, path, *self._place(error.start)) from None
            self.encoding = "latin-1"
        if b"\0" in data:
            message = "a zero byte in a text file; the file is damaged"
            raise DataFileError(message, path, *self._place(data.index(b"\0")))
        if kind == "csv":
            self._check_header(columns)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (one-based line, fields) of each line below the header that is not blank."""
        lines = io.TextIOWrapper(io.BytesIO(self.data), self.encoding, newline="")
        if self.kind == "csv":
            rows = csv_rows(lines, self.path)
        else:
            separator = SEPARATORS[self.kind]
            split = (content.rstrip("\r\n").split(separator) for content in lines)
            rows = enumerate(split, start=1)
        for line, fields in rows:
            if line > self.first_line and (len(fields) > 1 or (fields and fields[0].strip())):
                yield line, fields

    def check_width(self, fields: list[str], width: int, line: int) -> None:
        """Raise unless a line has as many fields as it must have."""
        if len(fields) != width:
            separator = SEPARATORS[self.kind]
            message = f"{len(fields)} fields separated by {separator!r}, expected {width}"
            raise DataFileError(message, self.path, line)

    def whole_number(self, text: str, line: int, column: str) -> int:
        """Return a non-negative integer that fits into 64 bits."""
        try:
            number = int(plain(text))
        except ValueError:
            raise DataFileError(
                f"{text!r} is not a whole number", self.path, line, column
            ) from None
        if number < 0:
            raise DataFileError(f"{number} is negative", self.path, line, column)
        if number > INT64_MAX:
            message = f"{number} does not fit into 64 bits (largest: {INT64_MAX})"
            raise DataFileError(message, self.path, line, column)
        return number

    def rating(self, text: str, line: int, scale: tuple[float, float]) -> float:
        """Return a finite number between the ends of the scale."""
        try:
            number = float(plain(text))
        except ValueError:
            raise DataFileError(f"{text!r} is not a number", self.path, line, "rating") from None
        if not math.isfinite(number):
            raise DataFileError(f"{text} is not a finite number", self.path, line, "rating")
        if not scale[0] <= number <= scale[1]:
            message = f"{text} is outside the scale from {scale[0]:g} to {scale[1]:g}"
            raise DataFileError(message, self.path, line, "rating")
        return number

    def _place(self, offset: int) -> tuple[int, str | None]:
        """Return (line, column) of a byte."""
        above = self.data[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        before = above[above.rfind(b"\n") + 1 :].decode("latin-1")
        if self.kind == "csv":
            index = len(next(csv.reader([before]), [""])) - 1
        else:
            index = before.count(SEPARATORS[self.kind])
        column = self.header[index] if index < len(self.header) else None
        return above.count(b"\n") + 1, column

    def _check_header(self, columns: tuple[str, ...]) -> None:
        header, line, path = self.header, self.first_line, self.path
        missing = next((name for name in columns if name not in header), None)
        if missing is not None and len(header) == 1:
            for separator, name in (
                (";", "semicolons"),
                ("\t", "tabs"),
                ("::", "'::'"),
                ("|", "|"),
            ):
                if separator in header[0]:
                    message = f"the columns are separated by {name}, expected commas"
                    raise DataFileError(message, path, line)
        if missing is not None:
            plain_names = {re.sub(r"[^a-z]", "", name.lower()): name for name in header}
            wanted = (missing.lower(), missing.lower().replace("movie", "item"))
            found = next((plain_names[name] for name in wanted if name in plain_names), None)
            mend = f"rename {found!r} to {missing!r}" if found else f"found {', '.join(header)}"
            raise DataFileError(f"not in the header; {mend}", path, line, missing)
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise DataFileError("twice in the header", path, line, twice)


def plain(text: str) -> str:
    """Refuse the spellings of a number that Python reads and a C parser does not."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return text


def header_of(data: bytes, path="") -> tuple[list[str], int]:
    """Return (fields of the first line that is not blank, its one-based number)."""
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", errors="replace", newline="")
    for line, fields in csv_rows(lines, path):
        if len(fields) > 1 or (fields and fields[0].strip()):
            return fields, line
    return [], 1


def csv_rows(lines, path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the record begins, fields); a record in quotes may span lines."""
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = f"{error}; look for a quotation mark that is not closed"
            raise DataFileError(message, path, line) from None
        yield line, fields
