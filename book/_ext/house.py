"""The picture of the package, drawn from the import contract in pyproject.toml.

    ```{house}
    what it shows
    ```                     the rooms, layer upon layer, as SVG in the page's own colours

`python3 book/_ext/house.py` writes the same as a list into CONTRIBUTING.md.
"""

import functools
import html
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARKS = ("<!-- layers: written by book/_ext/house.py -->\n", "<!-- end of layers -->\n")
# Of the picture, in its own units: so narrow that a phone shows its text in a readable size.
WIDTH, LEFT, PAD, LINE, LETTER = 460, 44, 8, 30, 8.45


@functools.cache
def layers():
    """The rooms and modules of the import contract: lists, the uppermost layer first."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    (rows,) = (contract["layers"] for contract in contracts if contract["id"] == "layers")
    return [[name.strip() for name in row.split(":")] for row in rows]


def listing(rows):
    """The layers as a block of Markdown, one per line.

    >>> print(listing([["models"], ["losses", "encoders"]]))
        models
        losses  encoders
    """
    return "\n".join("    " + "  ".join(row) for row in rows)


def places(row):
    """Where the boxes of a layer stand: [(name, x, line, width)], broken into lines.

    >>> places(["models"])
    [('models', 52, 0, 67)]
    """
    found, x, line = [], LEFT + PAD, 0
    for name in row:
        width = round(len(name) * LETTER) + 2 * PAD
        if x + width > WIDTH - PAD and found:
            x, line = LEFT + PAD, line + 1
        found.append((name, x, line, width))
        x += width + PAD
    return found


def svg(rows):
    """The layers as an SVG element: a band each, with a box per room."""
    parts, top = [], PAD
    for row in rows:
        boxes = places(row)
        height = (boxes[-1][2] + 1) * (LINE + PAD) + PAD
        parts.append(
            f'<rect class="layer" x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 1}" '
            f'height="{height}" rx="6"/>'
        )
        for name, x, line, width in boxes:
            y = top + PAD + line * (LINE + PAD)
            parts.append(
                f'<rect class="room" x="{x}" y="{y}" width="{width}" height="{LINE}" rx="4"/>'
                f'<text x="{x + PAD}" y="{y + 20}">{html.escape(name)}</text>'
            )
        top += height + PAD
    middle, end = LEFT / 2, top - 2 * PAD
    parts.append(
        f'<path class="arrow" d="M{middle} {PAD} V{end} m-7 -10 l7 10 l7 -10"/>'
        f'<text transform="translate({middle - 8} {end / 2 + 30}) rotate(-90)">imports</text>'
    )
    label = "From top to bottom, each line importing only itself and what is below: "
    label += "; ".join(", ".join(row) for row in rows)
    return (
        f'<svg class="house" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
    )


def written(text):
    """CONTRIBUTING.md's text with the list of today's contract between its marks."""
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{listing(layers())}\n\n{MARKS[1]}{after}"


def setup(app):
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class House(SphinxDirective):
        has_content = True

        def run(self):
            self.env.note_dependency(str(ROOT / "pyproject.toml"))
            caption = nodes.caption()
            self.state.nested_parse(self.content, self.content_offset, caption)
            caption.children = caption[0].children if caption.children else []
            return [nodes.figure("", nodes.raw("", svg(layers()), format="html"), caption)]

    app.add_directive("house", House)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    path = ROOT / "CONTRIBUTING.md"
    path.write_text(written(path.read_text("utf-8")), encoding="utf-8")
