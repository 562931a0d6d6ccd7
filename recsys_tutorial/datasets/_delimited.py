"""Delimited text as people have it: encoding, separator and quotation marks, found or refused."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", "::": "'::'"}
ENCODINGS = ("utf-8-sig", "utf-16", "cp1252", "latin-1")  # cp1252: what Windows calls Latin-1
# A backslash before a quotation mark that does not end the field: MySQL escapes marks like this.
ESCAPED = re.compile(rb'\\"[^",;|\t\r\n]')


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


class DelimitedText:
    """A file of delimited text: how it is written, and its lines.

    Parameters
    ----------
    data : bytes
        Content of the file.
    path : path-like
        Its name, for error messages.
    names : sequence of str, optional
        The columns of a file that has no header and in which quotation marks mean nothing.
    separator : str, optional
        One of `SEPARATORS`; by default the one that splits the first lines most evenly.
    encodings : sequence of str
        Those that are tried in turn; UTF-16 needs its byte order mark.
    wanted : sequence of str
        Column names by which the right separator is known at once.
    lenient : bool
        Blanks before a field do not count, and a backslash may stand before a quotation mark.

    Attributes
    ----------
    header : list of str
        Names of the columns; without `names` the fields of the first line that is not blank.
    first_line : int
        One-based line on which the header begins; 0 where there is none.
    header_lines : int
        How many lines there are down to the end of the header.
    encoding, separator : str

    Raises
    ------
    DataFileError
        For an empty file, another encoding or a zero byte.
    """

    def __init__(self, data: bytes, path, *, names: Sequence[str] | None = None, separator=None,
                 encodings: Sequence[str] = ENCODINGS, wanted: Sequence[str] = (),
                 lenient: bool = False):  # fmt: skip
        self.data, self.path, self.quoted, self.lenient = data, path, names is None, lenient
        if not data.strip():
            raise DataFileError("the file is empty", path, 1)
        self.encoding, wrong = _encoding_of(data, encodings)
        if self.encoding not in encodings:
            raise DataFileError("the file is in UTF-16; save it as UTF-8", path, 1)
        if self.encoding != "utf-8-sig":
            self.data = data.decode(self.encoding, "replace").encode()
        self.escape = "\\" if lenient and ESCAPED.search(self.data) else None
        self.separator = separator or self._best_separator(wanted)
        self.header, self.first_line, self.header_lines = list(names or ()), 0, 0
        if self.quoted:
            first = next(self.records(), None)
            if first is None:
                raise DataFileError("the file is empty", path, 1)
            self.first_line, self.header, self.header_lines = first
        if wrong is not None:
            name = {"utf-8-sig": "UTF-8"}.get(encodings[0], encodings[0])
            message = f"byte 0x{data[wrong]:02x} is not {name}; convert the file, for example "
            message += "with: iconv -f latin1 -t utf-8"
            raise DataFileError(message, path, *self._place(wrong))
        if b"\0" in self.data:
            message = "a zero byte in a text file; the file is damaged, or UTF-16 without a mark"
            raise DataFileError(message, path, *self._place(self.data.index(b"\0")))

    def records(self) -> Iterator[tuple[int, list[str], int]]:
        """Yield (line on which it begins, fields, line on which it ends) of all but blank lines."""
        lines = io.TextIOWrapper(io.BytesIO(self.data), "utf-8-sig", "replace", newline="")
        reader = self._split(lines, self.separator, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                message = f"{error}; look for a quotation mark that is not closed"
                raise DataFileError(message, self.path, line) from None
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield line, fields, reader.line_num

    def _split(self, lines: Iterable[str], separator: str, strict: bool):
        if separator == "::":  # csv splits at one character: the "unit separator" of ASCII
            separator = "\x1f"
            lines = (line.replace("\x1f", "\x1e").replace("::", "\x1f") for line in lines)
        quoting = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        return csv.reader(
            lines, delimiter=separator, strict=strict, quoting=quoting, escapechar=self.escape,
            skipinitialspace=self.lenient,
        )  # fmt: skip

    def _best_separator(self, wanted: Sequence[str]) -> str:
        """Return the separator with most wanted names in the first line, or of even lines."""
        sample = self.data[:65536].decode("utf-8-sig", "replace").splitlines()
        sample = [line for line in sample if line.strip()][:200]

        def merit(separator: str) -> tuple[int, float, int]:
            rows = list(self._split(sample[:-1] or sample, separator, strict=False))
            (width, n_even), *_ = Counter(map(len, rows)).most_common(1)
            named = len(set(wanted) & {name.strip() for name in rows[0]})
            return named, (width > 1) * n_even / len(rows), width

        return max(SEPARATORS, key=merit) if sample else ","

    def _place(self, offset: int) -> tuple[int, str | None]:
        """Return (line, column) of a byte."""
        above = self.data[:offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        before = above[above.rfind(b"\n") + 1 :].decode("latin-1")
        index = len(next(self._split([before], self.separator, strict=False), [""])) - 1
        column = self.header[index] if index < len(self.header) else None
        return above.count(b"\n") + 1, column


def _encoding_of(data: bytes, encodings: Sequence[str]) -> tuple[str, int | None]:
    """Return (the first encoding that fits, None), or one that does not and the byte at fault."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16", None
    wrong = None
    for encoding in encodings:
        if encoding == "utf-16" and len(encodings) > 1:  # it would fit anything
            continue
        try:
            if not data.isascii():
                data.decode(encoding.removesuffix("-sig"))
            return encoding, None
        except UnicodeDecodeError as error:
            wrong = error.start if wrong is None else wrong
    return encodings[0], wrong
