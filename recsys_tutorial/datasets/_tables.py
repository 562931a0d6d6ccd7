"""Tables of delimited text: their rows, and the first of their rows at fault."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np
import pandas as pd

from recsys_tutorial.datasets._delimited import SEPARATORS, DataFileError, DelimitedText


class Table(DelimitedText):
    """The rows of delimited text, see `DelimitedText`; a fault names the line and the column."""

    def require(self, columns: Sequence[str]) -> None:
        """Raise unless the header has these columns, each once."""
        missing = next((name for name in columns if name not in self.header), None)
        if missing is not None and len(self.header) == 1:
            for separator, name in SEPARATORS.items():
                if separator in self.header[0]:
                    message = f"the columns are separated by {name}, expected commas"
                    raise DataFileError(message, self.path, self.first_line)
        if missing is not None:
            plain_names = {re.sub(r"[^a-z]", "", name.lower()): name for name in self.header}
            alike = (missing.lower(), missing.lower().replace("movie", "item"))
            found = next((plain_names[name] for name in alike if name in plain_names), None)
            mend = (
                f"rename {found!r} to {missing!r}" if found else f"found {', '.join(self.header)}"
            )
            raise DataFileError(f"not in the header; {mend}", self.path, self.first_line, missing)
        twice = next((name for name in self.header if self.header.count(name) > 1), None)
        if twice is not None:
            raise DataFileError("twice in the header", self.path, self.first_line, twice)

    def has_header(self) -> bool:
        """Tell whether the first line has no digit, and some column digits in all lines below."""
        rows = (fields for _, fields, _ in islice(self.records(), 100))
        digits = [[bool(re.search(r"\d", text)) for text in fields] for fields in rows]
        below = [column[1:] for column in zip(*digits, strict=False)]
        return not any(digits[0]) and any(column and all(column) for column in below)

    def rows(self, others: list | None = None) -> tuple[pd.DataFrame, DataFileError | None]:
        """Return the rows down to the first line that cannot be split, and what is wrong with it.

        Parameters
        ----------
        others : list, optional
            Takes the lines of another width than the header, as (line, fields); without it, such a
            line cannot be split.

        Returns
        -------
        rows : DataFrame of str
            The index is the line on which each row begins.
        fault : DataFileError or None
        """
        lines, rows, fault = [], [], None
        try:
            for line, fields, _ in islice(self.records(), int(self.first_line > 0), None):
                if len(fields) == len(self.header):
                    lines.append(line)
                    rows.append(fields)
                elif others is not None:
                    others.append((line, fields))
                else:
                    raise DataFileError(self.say_width(fields), self.path, line)
        except DataFileError as error:
            fault = error
        index = pd.Index(lines, name="line")
        return pd.DataFrame(rows, index=index, columns=self.header, dtype=object), fault

    def read(self, functions: Mapping[str, Callable[[str], object]]) -> pd.DataFrame:
        """Return columns, a function applied to each text.

        Parameters
        ----------
        functions : {column: function of str}
            Called once for each different text; raises ValueError for one that it refuses.

        Raises
        ------
        DataFileError
            For the first row with a text that is refused, or that cannot be split; for no row.
        """
        frame, fault = self.rows()
        columns, faults = {}, []
        for name, function in functions.items():
            codes, texts = pd.factorize(frame[name].to_numpy())
            values = []
            try:
                for text in texts:  # in the order of the rows where they first stand
                    values.append(function(text))
            except ValueError as error:
                row = int((codes == len(values)).argmax())
                faults.append((row, len(faults), name, str(error)))
            else:
                kind = object if values and isinstance(values[0], str) else None
                columns[name] = np.array(values, dtype=kind)[codes]
        if faults:
            row, _, name, message = min(faults)
            raise DataFileError(message, self.path, int(frame.index[row]), name)
        if fault is not None:
            raise fault
        if frame.empty:
            raise DataFileError("no row below the header", self.path, self.first_line)
        return pd.DataFrame(columns)

    def refuse(self, bad: np.ndarray, rows: pd.DataFrame, column: str, message: str) -> None:
        """Raise for the first bad row.

        Parameters
        ----------
        bad : ndarray of bool (n_rows,)
        rows : DataFrame (n_rows, n_values)
            What `message` is formatted with.
        column, message : str
            For the error.

        Raises
        ------
        DataFileError
            With the line of the first bad row, which is looked up only then.
        """
        if bad.any():
            row = int(bad.argmax())
            raise DataFileError(message.format(*rows.iloc[row]), self.path, self._line(row), column)

    def refuse_repeats(self, keys: pd.DataFrame, column: str, message: str) -> None:
        """Raise for the first row that repeats an earlier one, as `refuse` does.

        `message` is also given ``first``, the line of the earlier row.
        """
        again = keys.duplicated().to_numpy()
        if again.any():
            same = (keys == keys.iloc[int(again.argmax())]).all(axis=1).to_numpy()
            first = self._line(int(same.argmax()))
            self.refuse(again, keys, column, message.replace("{first}", str(first)))

    def _line(self, row: int) -> int:
        """Return the one-based line on which a row begins."""
        row += int(self.first_line > 0)
        return next(islice(self.records(), row, None))[0]

    def say_width(self, fields: Sequence[str]) -> str:
        """Say that a line has another number of fields than the header."""
        return f"{len(fields)} fields separated by {self.separator!r}, expected {len(self.header)}"
