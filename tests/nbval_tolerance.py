"""Compare the stored outputs of notebooks, with tolerance for floats alone.

nbval runs a notebook's cells and compares what they print with what is stored, as text: a float
whose last digit depends on the processor fails, while a cell that was never run passes. This plugin
replaces the comparison (and nothing else) of nbval 0.11.0:

- text and integers must match exactly; a run of blanks counts as one, since the width of a printed
  column follows its floats;
- floats must match to ``rtol`` 1e-5, in streams, plain text, HTML tables, LaTeX and JSON alike;
- a cell may carry a tag ``rtol=1e-3``, or ``last-digit`` (one unit in the last printed digit), with
  the reason in a comment; tests/test_notebooks.py caps how many do;
- pictures are not compared, but there must be as many of them, of the same kind, on both sides;
- stderr is ignored: warnings and progress bars go there;
- a code cell without an execution count fails: nothing would be compared there. The notebooks of a
  folder named ``exercises`` or ``capstone`` are not collected: the reader is meant to fill them.

What nbval waits for beside the cells, the kernel's start and its outputs, is given more time on a
slow or busy machine. At the end of a run it prints the seconds of each notebook.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import defaultdict
from pathlib import Path

import nbval
import nbval.plugin
import pytest

from scripts.machine_speed import VARIABLE, factor, limit

NBVAL_VERSION = "0.11.0"
# float64 results moved by 1e-14 between machines, and a printed digit is at least 1e-5 of most
# numbers shown: this accepts the former and rejects a change of any digit that a reader sees.
DEFAULT_RTOL = 1e-5
LAST_DIGIT = "last-digit"

# A float has a point or an exponent. "v1.2" and "1.2.3" are names, not numbers: a letter, a digit
# or a point before it, or a second point after it, leave it to the exact comparison.
FLOAT = re.compile(
    r"(?<![\w.])[-+]?(?:(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?![\d]|\.\d)"
)
BLANKS = re.compile(r"[ \t]+")
IGNORED_KEYS = {"metadata", "traceback", "output_type", "execution_count"}


def last_digit_unit(text: str) -> float:
    """Return the value of one unit in the last printed digit of a float: 0.01 for "0.12"."""
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals)


def close(stored: str, new: str, rtol: float, last_digit: bool) -> bool:
    """Say whether two printed floats agree."""
    a, b = float(stored), float(new)
    if math.isclose(a, b, rel_tol=rtol, abs_tol=0.0):
        return True
    if not last_digit:
        return False
    # A little more than one unit, since 0.3 - 0.2 is not 0.1 in binary.
    return abs(a - b) <= 1.001 * max(last_digit_unit(stored), last_digit_unit(new))


def difference(
    stored: str, new: str, rtol: float = DEFAULT_RTOL, last_digit: bool = False
) -> str | None:
    """Return None when two texts agree, else one line that says where they do not.

    Parameters
    ----------
    stored, new : str
        The output in the file and the output of this run.
    rtol : float
        Relative tolerance of floats.
    last_digit : bool
        Whether floats may also differ by one unit in the last printed digit.
    """
    texts = [BLANKS.sub(" ", FLOAT.sub("\0", text)).split("\0") for text in (stored, new)]
    floats = [FLOAT.findall(text) for text in (stored, new)]
    if texts[0] != texts[1]:
        for i, (a, b) in enumerate(zip(*texts, strict=False)):
            if a != b:
                before = "" if i == 0 else f" after {floats[0][i - 1]!r}"
                return f"text differs{before}: stored {a!r}, new {b!r}"
        return f"stored has {len(floats[0])} floats, new has {len(floats[1])}"
    for i, (a, b) in enumerate(zip(*floats, strict=True)):
        if not close(a, b, rtol, last_digit):
            allowed = f"rtol {rtol:g}" + (" or one unit in the last digit" if last_digit else "")
            return f"float {i + 1} differs by more than {allowed}: stored {a}, new {b}"
    return None


def tolerance_of(tags: list[str]) -> tuple[float, bool]:
    """Return (rtol, whether the last digit may differ) from a cell's tags."""
    rtols = [tag.removeprefix("rtol=") for tag in tags if tag.startswith("rtol")]
    if not rtols:
        return DEFAULT_RTOL, LAST_DIGIT in tags
    try:
        rtol = float(rtols[0])
        valid = len(rtols) == 1 and 0 < rtol < 1
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            f"a cell's tag must read like rtol=1e-3, with one number in (0, 1): {tags}"
        )
    return rtol, LAST_DIGIT in tags


def flatten(outputs: list) -> dict[str, list[str]]:
    """Return {kind of output: its texts in order}; a picture's text is empty, PNG or SVG alike."""
    found: dict[str, list[str]] = defaultdict(list)
    for output in outputs:
        if output["output_type"] == "stream":
            if output["name"] != "stderr":
                found[output["name"]].append(output["text"])
            continue
        for key, value in output.items():
            if key in IGNORED_KEYS:
                continue
            for kind, content in value.items() if key == "data" else [(key, value)]:
                if kind.startswith("image/"):
                    kind, content = "image", ""
                elif not isinstance(content, str):
                    content = json.dumps(content, sort_keys=True)
                found[kind].append(content)
    return found


def compare(stored: list, new: list, rtol: float, last_digit: bool) -> list[str]:
    """Return the differences between two lists of outputs; an empty list when they agree."""
    a, b = flatten(stored), flatten(new)
    wrong = []
    for kind in sorted(a.keys() | b.keys()):
        if len(a[kind]) != len(b[kind]):
            wrong.append(f"{kind}: {len(a[kind])} outputs stored, {len(b[kind])} new")
            continue
        for old_text, new_text in zip(a[kind], b[kind], strict=True):
            message = difference(old_text, new_text, rtol, last_digit)
            if message:
                wrong.append(f"{kind}: {message}\n--- stored\n{old_text}\n--- new\n{new_text}")
    return wrong


def compare_outputs(cell, test, ref, skip_compare=None):
    """Take the place of nbval's method: say whether the new outputs agree with the stored ones."""
    rtol, last_digit = tolerance_of(cell.cell.metadata.get("tags", []))
    cell.comparison_traceback = compare(ref, test, rtol, last_digit)
    return not cell.comparison_traceback


@pytest.hookimpl(trylast=True)  # after the cell has run, so that later cells find its names
def pytest_runtest_call(item):
    """Fail a cell that was stored without having been run; nbval would pass it."""
    if not isinstance(item, nbval.plugin.IPyNbCell):
        return
    if item.cell.execution_count is None and item.cell.source.strip():
        item.raise_cell_error("Stored without having been run: nothing would be compared")


def pytest_configure(config):
    """Put the comparison in nbval's place."""
    if nbval.__version__ != NBVAL_VERSION:
        raise pytest.UsageError(
            f"nbval {nbval.__version__} is installed, but tests/nbval_tolerance.py knows "
            f"{NBVAL_VERSION}: pip install nbval=={NBVAL_VERSION}, or read what changed in nbval"
        )
    # The class itself cannot be replaced by a subclass: nbval's own methods call
    # super(IPyNbCell, self) and would then look one class too far down.
    nbval.plugin.IPyNbCell.compare_outputs = compare_outputs
    option = config.option
    if option.nbval:
        os.environ.setdefault(VARIABLE, str(factor()))  # for the workers, which need not measure
        given = int(option.nbval_kernel_startup_timeout)
        option.nbval_kernel_startup_timeout = max(given, limit(60))


def pytest_collection_modifyitems(items):
    """Give a busy machine more than nbval's 5 seconds from a cell's end to its last output."""
    for item in items:
        if isinstance(item, nbval.plugin.IPyNbCell):
            item.output_timeout = limit(item.output_timeout)


def pytest_ignore_collect(collection_path: Path):
    """Leave out what a reader is meant to fill; None lets others decide."""
    folders = ("exercises", "capstone")
    if collection_path.suffix == ".ipynb" and collection_path.parent.name in folders:
        return True
    return None


def pytest_terminal_summary(terminalreporter):
    """Print the seconds of each notebook, slowest first."""
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            name = getattr(report, "nodeid", "").split("::")[0]
            if name.endswith(".ipynb"):
                seconds[name] += getattr(report, "duration", 0.0)
    if seconds:
        terminalreporter.section("seconds of each notebook")
        for name, value in sorted(seconds.items(), key=lambda pair: -pair[1]):
            terminalreporter.write_line(f"{value:8.1f}  {name}")
