"""Begin a chapter: a notebook of the right form that runs, to be rewritten from the top.

    .venv/bin/python scripts/new_chapter.py 12 sequences "Sequences: what comes next"

writes notebooks/12_sequences.ipynb from scripts/chapter_template.txt, a jupytext py:percent file.
CONTRIBUTING.md says how it goes on from there.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.set_repository import current, with_links_line  # noqa: E402

TEMPLATE = ROOT / "scripts" / "chapter_template.txt"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def chapter(number: int, name: str, title: str):
    """Return the notebook of a new chapter.

    Raises
    ------
    ValueError
        For a number outside 1 to 99, a name that is no file name, or an empty title.
    """
    if not 1 <= number <= 99:
        raise ValueError(f"the number must be within 1 to 99, got {number}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"the name must be like two_tower_text (a-z, 0-9, _), got {name!r}")
    if not title.strip() or "\n" in title:
        raise ValueError("the title must be one line of words")
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("{number}", str(number)).replace("{title}", title.strip())
    notebook = jupytext.reads(text, fmt="py:percent")
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:02d}"
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    repository = current(ROOT)
    first = notebook.cells[0]
    first.source = with_links_line(
        first.source, repository.links_line(f"notebooks/{number:02d}_{name}.ipynb")
    )
    for cell in notebook.cells:  # the install line of this repository, also in a fork
        cell.source = re.sub(r'%pip install -q "recsys-tutorial.*"', repository.install_line(),
                             cell.source)  # fmt: skip
    notebook.metadata = nbformat.from_dict(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the notebook, unless there is one of this number, and say what is next."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("number", type=int)
    parser.add_argument("name", help="for the file, such as two_tower_text")
    parser.add_argument("title", help="for readers")
    options = parser.parse_args(argv)
    try:
        notebook = chapter(options.number, options.name, options.title)
    except ValueError as error:
        print(f"new-chapter: {error}", file=sys.stderr)
        return 2
    folder = root / "notebooks"
    taken = sorted(folder.glob(f"{options.number:02d}_*.ipynb"))
    if taken:
        print(f"new-chapter: {taken[0].name} has this number", file=sys.stderr)
        return 2
    path = folder / f"{options.number:02d}_{options.name}.ipynb"
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    print(f"new-chapter: {path}")
    print(f"new-chapter: next: its line in _toc.yml; make notebooks NOTEBOOK={options.number:02d}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
