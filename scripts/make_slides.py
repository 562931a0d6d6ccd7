"""Make slides from each chapter: goals, figures and tables with what they show, the summary.

    .venv/bin/python scripts/make_slides.py        # every chapter, into _build/slides/
    .venv/bin/python scripts/make_slides.py 03 05  # those whose name starts so

Nothing is run: figures, tables and words are those stored in the notebook. A section of the
notebook becomes a column of slides, one for what it says and one per figure and table, with how the
prose after it begins, the finding, as its caption. A symbol is explained under the first formula
that has it, in the words of the page on notation. The prose becomes the speaker's notes (press S).
reveal.js and MathJax are copied beside the slides, so that they need no network.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.set_repository import notebooks  # noqa: E402

VENDOR = ROOT / "book" / "_static" / "vendor"
LEFT_OUT = ("exercises", "to think about", "further reading")
CLOSING = ("summary", "common mistakes")
FIGURES = ("image/svg+xml", "image/png")
MOST_ROWS = 9  # of a table
LONGEST = 320  # characters of prose that a slide shows


def plain(text: str) -> str:
    """Prose without HTML, and without links to notebooks, which do not lie beside the slides.

    >>> plain("see [chapter 1](01_x.ipynb) <details>more</details>")
    'see chapter 1 '
    """
    text = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\([^)\s]*\.ipynb[^)]*\)", r"\1", text)


def openings(text: str, longest: int) -> list[str]:
    r"""The first sentences of each paragraph, up to this many characters, but at least one.

    >>> openings("## Title\n\nOne idea. Another one.\n\n- a list\n\nMore.", 12)
    ['One idea.', 'More.']
    """
    found = []
    for paragraph in re.split(r"\n\s*\n", plain(text)):
        if re.match(r"\s*(#|\||[-*] |\d+\. |```|<)", paragraph) or not paragraph.strip():
            continue
        if "$$" in paragraph:  # formulas have a place of their own
            continue
        shown = ""
        for sentence in re.split(r"(?<=[.?!])\s+", " ".join(paragraph.split())):
            if shown and len(shown) + len(sentence) > longest:
                break
            shown = f"{shown} {sentence}".strip()
        found.append(re.sub(r"[:,]$", ".", shown))
    return found


def formulas(text: str) -> list[str]:
    """The first two displayed formulas of a text."""
    found = re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL)[:2]
    return [f"$${re.sub('[.,;]$', '', formula.strip())}$$" for formula in found]


def bare(formula: str) -> str:
    r"""A formula without what can be written in two ways.

    >>> bare(r"\hat r_{ui} = \mathbf p_u^\top \mathbf{q}_i")
    '\\hat{r}_{ui}=\\mathbf{p}_u^\\top\\mathbf{q}_i'
    """
    formula = re.sub(r"(\\(?:mathbf|hat|mathcal)) ?(\w)", r"\1{\2}", formula)
    return re.sub(r"(\\[A-Za-z]+(?= \w))?\s+", lambda m: f"{m[1]} " if m[1] else "", formula)


def notation(page: str) -> list[tuple[list[str], str]]:
    r"""[(symbols, "symbols: meaning")] of a page of tables, without letters of several meanings.

    >>> rows = "| symbol | meaning |\n|---|---|\n| $b_u$, $b_i$ | biases |\n| $a$ | age |\n"
    >>> notation(rows + "| letter | here |\n|---|---|\n| $a$ | an age | an action |")
    [(['b_u', 'b_i'], '$b_u$, $b_i$: biases')]
    """
    tables, _, again = page.partition("| letter |")
    twice = set(re.findall(r"^\| \$(\S+)\$ \|", again, re.M)) | {"x"}
    found = []
    for cell, meaning in re.findall(r"^\| (\$.+?) \| (.+?) \|", tables, re.M):
        written = [
            re.split(r" ?(?:\\in|>|=) ?", name)[0] for name in re.findall(r"\$(.+?)\$", cell)
        ]
        known = [bare(name) for name in written if name not in twice]
        if known:
            shown = ", ".join(f"${name}$" for name in written)
            found.append((known, f"{shown}: {meaning.partition(';')[0]}"))
    return found


def explained(shown: list[str], known: list[tuple[list[str], str]]) -> str:
    r"""What the symbols of these formulas mean; who is explained is taken off the list.

    >>> known = [(["u"], "$u$: a user"), ([r"\mu"], r"$\mu$: mean"), (["d"], "$d$: factors")]
    >>> explained([r"$$r_{u i} - \mu$$"], known)
    '<small>$u$: a user; $\\mu$: mean</small>'
    >>> explained([r"$$\mu \cdot d$$"], known)
    '<small>$d$: factors</small>'
    """
    text, said = bare(" ".join(shown)), []
    for entry in list(known):
        names, meaning = entry
        if any(stands_in(name, text) for name in names):
            said.append(meaning)
            known.remove(entry)
    return f"<small>{'; '.join(said)}</small>" if said else ""


def stands_in(name: str, formula: str) -> bool:
    r"""Whether a formula has the symbol, one letter also inside an index of several.

    >>> stands_in("i", "r_{ui}"), stands_in("i", r"\pi"), stands_in("b_u", "b_ux_u")
    (True, False, True)
    >>> stands_in("n", "n_i"), stands_in("n", "m + n")
    (False, True)
    """
    if re.fullmatch("[a-z]", name) and re.search(rf"_\{{[a-z]*{name}[a-z]*\}}", formula):
        return True
    after = r"(?![A-Za-z_])" if re.fullmatch(r"\w|\\[A-Za-z]+", name) else ""
    return re.search(rf"(?<![A-Za-z\\]){re.escape(name)}{after}", formula) is not None


def said(heading: str, prose: str, known: list) -> str:
    """A section's slide: how it begins, its formulas, and how its other paragraphs begin."""
    first, *others = openings(prose, LONGEST) or [""]
    displayed = formulas(prose)
    shown = [f"## {heading}", first, *displayed]
    room = 4 - len(displayed) * 2
    if displayed:
        shown.append(explained(displayed, known))
    points = [openings(text, 0)[0] for text in others]
    points = [point for point in points if len(point) < 160][: max(room, 0)]
    return "\n\n".join(filter(None, [*shown, "\n".join(f"- {point}" for point in points)]))


def words(text: str, slide_type: str):
    """A Markdown cell of the slides."""
    metadata = {"slideshow": {"slide_type": slide_type}}
    return nbformat.v4.new_markdown_cell(text, metadata=metadata)


def results(cell) -> list:
    """Cells that show a notebook cell's figures, with their alternative text, and its tables."""
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        drawn = {kind: data[kind] for kind in FIGURES if kind in data}
        if not drawn and "<table" in data.get("text/html", ""):
            drawn = {"text/html": short_table(data["text/html"])}
        if drawn:
            shown = nbformat.v4.new_output("display_data", drawn)
            metadata = {"slideshow": {"slide_type": "-"}, "alt": alt or "A figure of the chapter"}
            found.append(nbformat.v4.new_code_cell("", outputs=[shown], metadata=metadata))
    return found


def short_table(html: str) -> str:
    """A table without pandas' style, and of a long one the first rows, with a line that says so.

    >>> row = "<tr><td>{}</td></tr>"
    >>> table = "<table><thead><tr></tr></thead>" + "".join(map(row.format, range(12))) + "</table>"
    >>> short = short_table(f"<div><style>p</style>{table}</div>")
    >>> "<td>8<" in short, "<td>9<" in short, "3 more rows" in short, "style" in short
    (True, False, True, False)
    """
    (table,) = re.findall(r"<table.*?</table>", html, re.DOTALL)
    (head,) = re.findall(r"<thead>.*?</thead>", table, re.DOTALL)
    rows = re.findall(r"<tr.*?</tr>", table.replace(head, ""), re.DOTALL)
    more = len(rows) - MOST_ROWS
    note = f"<p><small>... and {more} more rows in the chapter</small></p>" if more > 0 else ""
    return f"<table>{head}<tbody>{''.join(rows[:MOST_ROWS])}</tbody></table>{note}"


def sections(notebook) -> list[tuple[str, list]]:
    """[(heading, its cells)], a Markdown cell with several headings cut at each."""
    found: list[tuple[str, list]] = []
    for cell in notebook.cells[1:]:
        if cell.cell_type != "markdown":
            if found:
                found[-1][1].append(cell)
            continue
        for part in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
            heading = re.match(r"## (.+)", part)
            if heading:
                found.append((heading[1].strip(), []))
                part = part[heading.end() :]
            if found and part.strip():
                found[-1][1].append(nbformat.v4.new_markdown_cell(part.strip()))
    return found


def beside(parts: list, place: int) -> tuple[str, str]:
    """The prose before a section's cell, and the prose after it."""
    prose = [(i, cell.source) for i, cell in enumerate(parts) if cell.cell_type == "markdown"]
    before = [text for i, text in prose if i < place]
    after = [text for i, text in prose if i > place]
    return (before or [""])[-1], (after or [""])[0]


def slides_of(notebook):
    """Return the notebook of the slides.

    Raises
    ------
    ValueError
        When the first cell has no title or no list of goals.
    """
    first = notebook.cells[0].source
    title = re.match(r"# (.+)", first)
    goals = re.findall(r"^- .+?[;.]$", first, re.MULTILINE | re.DOTALL)
    if not title or not goals:
        raise ValueError("the first cell must have a title and the list of goals")
    cells = [words(f"# {title[1]}\n\nYou will be able to\n\n" + "\n".join(goals), "slide")]
    known = notation((ROOT / "book" / "notation.md").read_text("utf-8"))
    for heading, parts in sections(notebook):
        if heading.lower() in LEFT_OUT:
            continue
        prose = "\n\n".join(c.source for c in parts if c.cell_type == "markdown")
        if heading.lower() in CLOSING:
            cells.append(words(f"## {heading}\n\n{plain(prose)}", "slide"))
            continue
        cells += [words(said(heading, prose, known), "slide"), words(plain(prose), "notes")]
        for place, cell in enumerate(parts):
            if cell.cell_type != "code":
                continue
            before, after = beside(parts, place)
            asked, found = openings(before, 200)[-1:], openings(after, 240)[:1]
            for result in results(cell):
                text = "\n\n".join([f"## {heading}", *asked])
                cells += [words(text, "subslide"), result]
                cells += [words(f"> {text}", "-") for text in found]
                cells.append(words(plain(f"{before}\n\n{after}"), "notes"))
    metadata = dict(notebook.metadata) | {"title": title[1]}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def html_of(slides) -> str:
    """Return the slides as a page that loads its scripts from ./vendor."""
    exporter = SlidesExporter(
        extra_template_basedirs=[str(ROOT / "scripts")],
        template_name="slides_template",
        exclude_input=True,
        exclude_output_prompt=True,
    )
    page, _ = exporter.from_notebook_node(slides)
    return page


def write(paths: list[Path], out: Path) -> list[Path]:
    """Write the slides of these notebooks, and what they load, below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("reveal", "mathjax"):
        shutil.copytree(VENDOR / name, out / "vendor" / name, dirs_exist_ok=True)
    written = []
    for path in paths:
        try:
            page = html_of(slides_of(nbformat.read(path, as_version=4)))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        target = out / f"{path.stem}.html"
        target.write_text(page, encoding="utf-8")
        written.append(target)
    return written


def main(argv: list[str] | None = None) -> int:
    """Write the slides that were asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "slides")
    parser.add_argument("chapters", nargs="*", help="starts of names, such as 03; default: all")
    options = parser.parse_args(argv)
    paths = notebooks(ROOT, "")
    if options.chapters:
        paths = [p for p in paths if p.name.startswith(tuple(options.chapters))]
    if not paths:
        print(f"slides: no chapter starts with {options.chapters}", file=sys.stderr)
        return 1
    for target in write(paths, options.out):
        count = len(re.findall(r"<section", target.read_text("utf-8")))
        print(f"slides: {target} ({count} sections)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
