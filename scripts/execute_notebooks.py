"""Run notebooks from the top and store their outputs in place.

    .venv/bin/python scripts/execute_notebooks.py          # all of them, as `make notebooks`
    .venv/bin/python scripts/execute_notebooks.py 02 intro # those whose path contains one of these

A notebook is written only when all its cells ran, and whole: a failing or interrupted run leaves
the file as it was. The leaderboard's rows are written too (``RECSYS_TUTORIAL_RECORD=1``). What
differs from run to run without meaning anything is not stored: times of cells, stderr (printed here
instead), versions in the metadata. Figures are SVG; what is rasterised in them is stored with a
palette of 256 colours, a third of its size. Seconds and peak memory of each notebook are printed;
memory is that of the kernel and its children, sampled ten times a second.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import threading
import time
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from recsys_tutorial._files import whole  # noqa: E402
from scripts.machine_speed import kernel_limits  # noqa: E402
from scripts.set_repository import notebooks  # noqa: E402

CELL_TIMEOUT = 1800
LONGEST_CELL = 60  # seconds on two idle cores; what takes longer is named
# mystnb holds the alternative texts of figures, which the site shows.
KEPT_CELL_METADATA = {"tags", "slideshow", "mystnb"}
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# What Colab reads of a notebook's metadata: that it opens with a graphics card.
KEPT_NOTEBOOK_METADATA = {"accelerator"}


class PeakMemory(threading.Thread):
    """The largest resident memory of a process and its children, in MB, sampled."""

    def __init__(self, pid: int, interval: float = 0.1) -> None:
        super().__init__(daemon=True)
        self.megabytes = 0.0
        self._process = psutil.Process(pid)
        self._interval = interval
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sample until told to stop or the process is gone."""
        while not self._stopped.is_set():
            try:
                family = [self._process, *self._process.children(recursive=True)]
                total = sum(process.memory_info().rss for process in family)
            except psutil.Error:  # one of them ended between the two lines
                total = 0
            self.megabytes = max(self.megabytes, total / 2**20)
            self._stopped.wait(self._interval)

    def stop(self) -> float:
        """Stop sampling and return the peak."""
        self._stopped.set()
        self.join()
        return self.megabytes


def find_notebooks(
    words: list[str], root: Path = ROOT, left_out: Collection[str] = ("exercises", "capstone")
) -> list[Path]:
    """Return the notebooks whose path contains one of the words, but of some folders none.

    By default exercises and the capstone are left out: the reader fills them.
    """
    folder = root / "notebooks"
    paths = [
        path for path in notebooks(root) if not set(left_out) & set(path.relative_to(folder).parts)
    ]
    if not words:
        return paths
    return [p for p in paths if any(word in str(p.relative_to(folder)) for word in words)]


def strip(notebook) -> list[str]:
    """Remove what differs from run to run without a meaning; return the stderr removed."""
    messages = []
    kept = {key: notebook.metadata[key] for key in KEPT_NOTEBOOK_METADATA & set(notebook.metadata)}
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA | kept)
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        is_stderr = [o.output_type == "stream" and o.name == "stderr" for o in cell.outputs]
        messages += [o.text for o, err in zip(cell.outputs, is_stderr, strict=True) if err]
        cell.outputs = [o for o, err in zip(cell.outputs, is_stderr, strict=True) if not err]
    return messages


def with_palette(png: str) -> str:
    """Return a PNG (in base64, as notebooks hold it) with at most 256 colours, if that is smaller.

    A picture of fewer pixels than 100 x 100 has at most 128: the palette is a good part of it.

    No dithering: areas of one colour, of which plots are made, stay so. What is transparent, as
    the ground of a rasterised part of a figure, stays so too.
    """
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    colors = 128 if picture.width * picture.height < 10_000 else 256
    if picture.mode == "RGBA" and picture.getextrema()[3][0] < 255:
        method = Image.Quantize.FASTOCTREE  # the one that knows of transparency
        few = picture.quantize(colors, method=method, dither=Image.Dither.NONE)
    else:
        few = picture.convert("RGB").quantize(colors, dither=Image.Dither.NONE)
    stored = io.BytesIO()
    few.save(stored, "PNG", optimize=True, dpi=picture.info.get("dpi", (100, 100)))
    smaller = base64.b64encode(stored.getvalue()).decode() + "\n"
    return min(png, smaller, key=len)


def rounded(number: str | Decimal) -> str:
    """A number of an SVG to a hundredth of a point, in as few characters as it can have.

    >>> rounded("12.3456"), rounded("0.5"), rounded("-0.2049"), rounded("-0.001"), rounded("60")
    ('12.35', '.5', '-.2', '0', '60')
    """
    text = f"{Decimal(number):.2f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0(?=\.)", r"\1", "0" if text == "-0" else text)


def relative(path: str) -> str:
    """Return an SVG's path with each point as its distance from the one before.

    >>> relative("M 628 4666 L 1259 4666 L 1259 531 Q 2500 0.5 3169 -10 z M 1 2 L 3 4")
    'M628 4666l631 0 0-4135q1241-530.5 1910-541zM1 2l2 2'
    """
    words = re.findall(r"[A-Za-z]|-?[\d.]+", path)
    if not set(words) <= set("MLQCz") | {word for word in words if not word.isalpha()}:
        return path  # written so before, or by something else
    said, at, start, last = [], (Decimal(0), Decimal(0)), None, ""
    while words:
        letter = words.pop(0)
        if letter == "z":
            said, at, last = [*said, "z"], start, "z"
            continue
        n_numbers = {"M": 2, "L": 2, "Q": 4, "C": 6}[letter]
        numbers = [Decimal(rounded(words.pop(0))) for _ in range(n_numbers)]
        end = tuple(numbers[-2:])
        if letter == "M":
            start = end
        else:
            letter = letter.lower()
            numbers = [number - at[i % 2] for i, number in enumerate(numbers)]
        said.append(letter if letter != last or letter == "M" else " ")
        said.append(" ".join(rounded(number) for number in numbers))
        at, last = end, letter
    return "".join(said).replace(" -", "-")


FONTS = "DejaVu Sans, Verdana, sans-serif"  # of the same widths, or the reader's
# Where an SVG says the same in fewer characters, each with what stands in its place.
SHORTER = [
    (re.compile(r"\A.*?(?=<svg )", re.DOTALL), ""),  # what kind of XML this is
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"(?<=>)\s+(?=<)"), ""),
    (re.compile(r'(?<= d=")[^"]*'), lambda path: relative(path[0])),
    (re.compile(r'<g id="[\w.]+_\d+">'), "<g>"),  # nothing refers to a group
    (re.compile(r'(?<=["#])DejaVuSans-'), "d"),  # a letter's outline
    # Of a grid each cell is to be seen, of a photograph or a drawing not.
    (
        re.compile(r'<image [^>]* width="(?:[5-9]\d|\d{3,})"[^>]*>'),
        lambda image: re.sub(r' style="image-rendering:[^"]*"', "", image[0]),
    ),
    (re.compile(r'(?<=" )transform="translate\((\S+) 0\)"(?=/>)'), r'x="\1"'),  # its place
    # Letters that are text: their font is the whole figure's.
    (re.compile(r"(?<=<svg )(?!font-family)(?=[^\0]*<text)"), f'font-family="{FONTS}" '),
    (re.compile(r"; font-family: [^;\"]*"), ""),
    (re.compile(r' transform="rotate\(-?0 [^)]*\)"(?=>)'), ""),
]
# Below 1 it may be a scale, by which all is multiplied.
NUMBER = re.compile(r"(?<![\w.#])-?[1-9]\d*\.\d{3,}(?![\w.])")
# Marks or letters that are all of one style: the group says it once.
OF_ONE_STYLE = re.compile(
    r'<g((?: clip-path="[^"]*")?)>(<use [^>]*?( style="[^"]*")/>(?:<use [^>]*?\3/>)+)</g>'
)


def said_once(group: re.Match) -> str:
    """A group whose members' style stands at the group."""
    return f"<g{group[1]}{group[3]}>{group[2].replace(group[3], '')}</g>"


def lean(svg: str) -> str:
    """Return an SVG in fewer characters that looks the same; rasterised parts have a palette.

    A notebook holds text line by line, each in quotes: lines that are few cost less, too.
    """
    # By a matrix all pixels of a picture are multiplied; a path is looked at as a whole.
    parts = re.split(r"""(matrix\([^)]*\)| d="[^"]*")""", svg)
    parts[::2] = [NUMBER.sub(lambda m: rounded(m[0]), part) for part in parts[::2]]
    svg = "".join(parts)
    for pattern, shorter in SHORTER:
        svg = pattern.sub(shorter, svg)
    svg = OF_ONE_STYLE.sub(said_once, svg)
    return re.sub(r"(?<=data:image/png;base64,)[^\"]+", lambda m: with_palette(m[0]), svg)


def shrink(notebook) -> None:
    """Give all that is rasterised in a notebook's figures a palette."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind, smaller in (("image/png", with_palette), ("image/svg+xml", lean)):
                if kind in output.get("data", {}):
                    output.data[kind] = smaller(output.data[kind])


def execute(path: Path, timeout: int | None = None) -> tuple[float, float, list[str]]:
    """Run one notebook in place.

    Parameters
    ----------
    path : Path
        The notebook.
    timeout : int or None
        Seconds that a cell may take; None: CELL_TIMEOUT on the reference machine.

    Returns
    -------
    tuple of (float, float, list of str)
        Seconds, peak memory in MB, and the stderr texts that were not stored.

    Raises
    ------
    nbclient.exceptions.CellExecutionError, CellTimeoutError, DeadKernelError
        The notebook is left as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    limits = kernel_limits(CELL_TIMEOUT)
    if timeout is not None:
        limits["timeout"] = timeout
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        **limits,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    start = time.monotonic()
    with client.setup_kernel():
        memory = PeakMemory(client.km.provisioner.pid)
        memory.start()
        try:
            for number, cell in enumerate(notebook.cells):
                began = time.monotonic()
                client.execute_cell(cell, number)
                taken = time.monotonic() - began
                if taken > LONGEST_CELL:
                    print(f"{path.name}: cell {number} took {taken:.0f} s", flush=True)
        finally:
            peak = memory.stop()
    seconds = time.monotonic() - start
    messages = strip(notebook)
    shrink(notebook)
    nbformat.validate(notebook)
    with whole(path) as temporary:
        temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return seconds, peak, messages


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the notebooks chosen and return 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="parts of the paths; default: all notebooks")
    words = parser.parse_args(argv).words
    paths = find_notebooks(words, root)
    if not paths:
        print(f"no notebook whose path contains {' or '.join(words) or 'anything'}")
        return 1
    os.environ["RECSYS_TUTORIAL_RECORD"] = "1"
    # The leaderboard tells the seconds of two cores, on any machine.
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    # A kernel of that name in the user's home may belong to another Python.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    failed = []
    for path in paths:
        name = path.relative_to(root)
        print(f"{name} ...", flush=True)
        try:
            seconds, peak, messages = execute(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"{name}: failed, the file is as it was\n{error}", file=sys.stderr, flush=True)
            failed.append(str(name))
            continue
        for message in messages:
            print(f"{name}: stderr, not stored: {message.rstrip()}", file=sys.stderr)
        size = path.stat().st_size / 1e3
        print(f"{name}: {seconds:.0f} s, peak {peak:.0f} MB, {size:.0f} KB stored", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
