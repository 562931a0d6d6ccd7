"""Figures are vectors: SVG that is the same at every run, small, and readable where it is shown."""

import base64
import doctest
import io
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import nbformat
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from recsys_tutorial import plotting
from scripts import execute_notebooks
from scripts.set_repository import notebooks

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import dark_figures  # noqa: E402
import phone_figures  # noqa: E402

# Still stored as PNG. `make notebooks NOTEBOOK=07` draws a chapter's figures again, as SVG; what
# the tests below then find too small or too large is mended in its cells (rasterized=True, a
# narrower figsize), and the chapter is taken off this list.
TO_CONVERT = {"08"}
SHOWN = 576  # points: the width of the site's text column, to which a wider figure is shrunk
SMALLEST = 8.9  # points; 9, but for what a tight bounding box adds to the width
LARGEST = 150_000  # bytes of one figure
LARGEST_FIGURES = 600_000  # of all of a notebook


def stored(path):
    """[(cell's number, kind, figure)] of a notebook."""
    found = []
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            found += [(number, kind, data[kind]) for kind in data if kind.startswith("image/")]
    return found


def text_sizes(svg):
    """The sizes of an SVG's letters, in points where it is shown."""
    width = float(phone_figures.WIDTH.search(svg)[1])
    return [size * min(1, SHOWN / width) for size in phone_figures.letter_sizes(svg)]


def faults(kind, figure):
    """What is wrong with a stored figure."""
    if kind != "image/svg+xml":
        return [f"is {kind}: plotting.use_style() makes it SVG"]
    wrong = []
    if len(figure) > LARGEST:
        wrong.append(f"has {len(figure):,} bytes: rasterized=True for what has many points")
    if "<dc:date>" in figure or "<metadata>" in figure:
        wrong.append("tells when it was made")
    if min(text_sizes(figure), default=SMALLEST) < SMALLEST:
        wrong.append(f"has letters of {min(text_sizes(figure)):.1f} points as it is shown")
    if re.search(r'href="(?!#|data:)', figure):
        wrong.append("fetches something")
    return wrong


@pytest.mark.parametrize("path", notebooks(ROOT, ""), ids=lambda path: path.stem)
def test_stored_figures_are_small_readable_vectors(path):
    figures = stored(path)
    found = [(n, wrong) for n, kind, figure in figures for wrong in faults(kind, figure)]
    if path.name[:2] in TO_CONVERT:
        found = [(n, wrong) for n, wrong in found if "tells when" in wrong]
    assert found == []
    assert sum(len(figure) for _, _, figure in figures) < LARGEST_FIGURES


def drawn(size=(4, 3), points=20, fontsize=11, letters="outlines", **options):
    with plt.rc_context():
        plotting.use_style(letters)
        fig, ax = plt.subplots(figsize=size)
        ax.scatter(*np.random.default_rng(0).normal(size=(2, points)), rasterized=points > 100)
        ax.text(0, 0, "a text", fontsize=fontsize)
        file = io.StringIO()
        fig.savefig(file, format="svg", **(plotting.VECTORS | options))
        plt.close(fig)
    return file.getvalue()


def test_a_figure_drawn_twice_is_the_same_file_and_has_no_fault():
    assert drawn() == drawn()
    assert faults("image/svg+xml", drawn()) == []
    assert len(drawn(points=5000)) < 3 * len(drawn())


@pytest.mark.parametrize(
    ("kind", "figure", "message"),
    [
        ("image/png", "", "use_style"),
        ("image/svg+xml", drawn(fontsize=8), "letters of 8.0 points"),
        ("image/svg+xml", drawn(fontsize=8, letters="text"), "letters of 8.0 points"),
        ("image/svg+xml", drawn(size=(10, 3), fontsize=10), "letters of 8."),
        ("image/svg+xml", drawn(metadata=None), "tells when"),
        ("image/svg+xml", drawn().replace("<defs>", '<a href="http://x"/><defs>', 1), "fetches"),
        ("image/svg+xml", drawn() + "x" * LARGEST, "rasterized=True"),
    ],
)
def test_a_fault_is_found(kind, figure, message):
    (wrong,) = faults(kind, figure)
    assert message in wrong


def test_a_notebook_shows_svg_once_the_style_is_set(tmp_path):
    code = [
        "import matplotlib.pyplot as plt\nfrom recsys_tutorial import plotting\n"
        "plotting.use_style()",
        "plt.plot([1, 2])\nplt.show()",
        "plt.plot([1, 2])\nplt.show()",
    ]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, code)))
    path = tmp_path / "figures.ipynb"
    nbformat.write(notebook, path)
    execute_notebooks.execute(path)
    first, second = stored(path)
    assert first[1:] == second[1:]
    assert faults(*first[1:]) == []


def raster_of(svg):
    data = dark_figures.RASTER.search(svg)[2]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")


def test_what_is_rasterised_has_a_palette_and_stays_transparent():
    svg = drawn(points=5000)
    small = execute_notebooks.lean(svg)
    assert len(small) < len(svg) and execute_notebooks.lean(small) == small
    before, after = (np.asarray(raster_of(x)).astype(int) for x in (svg, small))
    seen = before[..., 3:] > 0
    assert np.abs((after - before) * seen).mean() < 3  # of 255
    assert (after[..., 3][~seen[..., 0]] == 0).all()


def absolute(path):
    """The numbers of an SVG's path, each a place."""
    words, numbers, letter = re.findall(r"[A-Za-z]|-?[\d.]+", path), [], ""
    at = start = (0.0, 0.0)
    while words:
        letter = words.pop(0) if words[0].isalpha() else letter
        if letter == "z":
            at = start
            continue
        n_numbers = {"m": 2, "l": 2, "q": 4, "c": 6}[letter.lower()]
        step = [float(words.pop(0)) for _ in range(n_numbers)]
        if letter.islower():
            step = [number + at[i % 2] for i, number in enumerate(step)]
        at = tuple(step[-2:])
        start = at if letter == "M" else start
        numbers += step
    return " ".join(f"{number:.6f}" for number in numbers)


def drawn_parts(svg):
    """Of each shape of an SVG, in order: its place and look, numbers apart from words."""
    root, found = ElementTree.fromstring(svg), []

    def walk(element, style):
        style = element.get("style", style)
        for child in element:
            walk(child, style)
        said = {k: v for k, v in element.attrib.items() if k not in {"id", "style"}}
        if along := re.fullmatch(r"translate\((\S+) 0\)", said.get("transform", "")):
            said = {k: v for k, v in said.items() if k != "transform"} | {"x": along[1]}
        if not element.tag.endswith("}g") or "transform" in said:
            said |= {"d": absolute(said["d"])} if "d" in said else {}
            words = [f"{k}={v}" for k, v in said.items() if "href" not in k]
            look = " ".join([element.tag, style, *words])
            numbers = np.array(re.findall(r"-?\d+(?:\.\d+)?", look), float)
            found.append((re.sub(r"[-\d.\s]+", "", look), numbers))

    walk(root, "")
    return found


def test_a_lean_figure_says_the_same_in_fewer_characters():
    """To a hundredth of a point; a scale of letters is not rounded, they would grow by 2 %."""
    svg = drawn()
    small = execute_notebooks.lean(svg)
    assert len(small) < 0.85 * len(svg) and len(small.splitlines()) == 1
    assert execute_notebooks.lean(small) == small
    assert text_sizes(small) == text_sizes(svg)
    before, after = map(drawn_parts, (svg, small))
    assert [look for look, _ in after] == [look for look, _ in before]
    for (_, a), (_, b) in zip(before, after, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=0.00501)
    rounded = drawn_parts(small.replace("0.015625", "0.016"))
    assert any((np.abs(a - b) > 1e-4).any() for (_, a), (_, b) in zip(after, rounded, strict=True))


def test_letters_as_text_are_smaller_and_named_once():
    """The reader's font draws them, so it is named; where they stand is what matplotlib says."""
    svg, outlines = drawn(letters="text"), execute_notebooks.lean(drawn())
    small = execute_notebooks.lean(svg)
    assert execute_notebooks.lean(small) == small and len(small) < 0.7 * len(outlines)
    assert faults("image/svg+xml", small) == []
    assert small.count("font-family") == 1 and "Verdana, sans-serif" in small[:200]
    assert sorted(text_sizes(small)) == sorted(text_sizes(outlines))
    said = [re.findall(r"<text[^>]*>(.*?)</text>", text) for text in (svg, small)]
    assert said[0] == said[1] and "a text" in said[1]
    places = [re.findall(r' x="([\d.]+)" y="([\d.]+)"', text) for text in (svg, small)]
    np.testing.assert_allclose(*(np.array(p, float) for p in places), atol=0.00501)
    with pytest.raises(ValueError, match="outlines, text"):
        plotting.use_style("outline")


def test_on_a_phone_a_figure_is_as_wide_as_its_smallest_letters_need():
    for letters in ("outlines", "text"):
        least = phone_figures.least_width(drawn(size=(7, 3), letters=letters))
        assert least == pytest.approx(7 * 72 / 11 * phone_figures.READABLE, abs=1)
        assert least <= phone_figures.PHONE  # the course's usual figure needs no scrolling
        small = phone_figures.least_width(drawn(size=(7, 3), fontsize=9, letters=letters))
        assert small / least == pytest.approx(11 / 9, abs=0.01) and small > phone_figures.PHONE
        spared = phone_figures.least_width(drawn(size=(7, 3), fontsize=10, letters=letters))
        assert spared == phone_figures.PHONE  # 409 by its letters: 0.7 pixels are missing then
    assert phone_figures.least_width('<svg width="300pt"><path d="M0 0"/></svg>') == 0


@pytest.mark.parametrize(("side", "smooth"), [(12, False), (64, True)])
def test_a_picture_is_stored_with_its_own_pixels(side, smooth):
    """Those of a grid are shown as squares; a place is to be that which matplotlib gave it."""
    with plt.rc_context():
        plotting.use_style()
        fig, ax = plt.subplots(figsize=(4, 3))
        ax.imshow(np.random.default_rng(0).random((side, side, 3)))
        file = io.StringIO()
        fig.savefig(file, format="svg", **plotting.VECTORS)
        plt.close(fig)
    svg = file.getvalue()
    small = execute_notebooks.lean(svg)
    assert raster_of(small).size == (side, side)
    assert ("image-rendering" in small) != smooth
    (before,), (after,) = (re.findall(r"matrix\([^)]*\)", text) for text in (svg, small))
    assert before == after


def contrast(a, b):
    """WCAG's contrast of two colours as SVG writes them."""
    rgb = [np.frombuffer(bytes.fromhex(color[1:]), np.uint8) / 255 for color in (a, b)]
    return dark_figures.contrast(*(dark_figures.linear(x) @ dark_figures.WEIGHTS for x in rgb))


@pytest.mark.parametrize("color", [*plotting.COLORS, "#a33a00", "#595959"])
def test_on_dark_pages_each_colour_stands_out_as_a_graphic_must(color):
    """WCAG asks for 3 to 1."""
    turned = map(dark_figures.turned_color, (color, "#ffffff"))
    assert contrast(*turned) >= 3


def test_a_dark_twin_has_light_letters_and_turns_rasters_unless_they_are_pictures():
    svg = drawn(points=5000)
    dark = dark_figures.dark(svg)
    ink, ground = dark_figures.turned_color("#000000"), dark_figures.turned_color("#ffffff")
    assert contrast(ink, ground) > 7
    assert f'<svg fill="{ink}"' in dark and f"fill: {ground}" in dark and "#ffffff" not in dark
    before, after = (np.asarray(raster_of(x)).astype(float) for x in (svg, dark))
    np.testing.assert_array_equal(before[..., 3], after[..., 3])
    seen = before[..., 3] > 200
    assert after[seen, :3].mean() > before[seen, :3].mean() + 10  # a dark blue becomes a light one
    kept = dark_figures.dark(svg, pictures=True)
    assert dark_figures.RASTER.search(kept)[2] == dark_figures.RASTER.search(svg)[2]
    assert f"fill: {ground}" in kept and len(kept) < len(svg) + 100


def test_examples():
    for module in (dark_figures, phone_figures):
        tried = doctest.testmod(module)
        assert tried.attempted and not tried.failed
