"""Slides hold each chapter's figures and goals, load nothing from elsewhere, and fit."""

import doctest
import re
from pathlib import Path

import nbformat
import pytest

from scripts import make_slides
from scripts.build_book import remote_references
from scripts.set_repository import notebooks
from tests.browser_tabs import serving

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = notebooks(ROOT, "")


EDGES = """() => {
  const parts = "h1, h2, p, li, img, table, mjx-math";
  const shown = [...Reveal.getCurrentSlide().querySelectorAll(parts)]
    .filter(element => !element.closest("aside"))
    .map(element => element.getBoundingClientRect());
  return [Math.max(...shown.map(r => r.right)), Math.max(...shown.map(r => r.bottom))];
}"""


def n_figures(path):
    cells = nbformat.read(path, as_version=4).cells
    kinds = [set(o.get("data", {})) for c in cells for o in c.get("outputs", [])]
    return sum(not kind.isdisjoint(make_slides.FIGURES) for kind in kinds)


def n_tables(path):
    cells = nbformat.read(path, as_version=4).cells
    shown = [o.get("data", {}).get("text/html", "") for c in cells for o in c.get("outputs", [])]
    return sum("<table" in html for html in shown)


TABLE = "<div><style>p {}</style><table><thead><tr><th></th><th>NDCG</th></tr></thead><tbody>"
TABLE += "<tr><th>EASE</th><td>0.2</td></tr></tbody></table></div>"


def a_chapter(kind="image/svg+xml", figure="<svg/>"):
    picture = nbformat.v4.new_output("display_data", {kind: figure})
    table = nbformat.v4.new_output("display_data", {"text/html": TABLE, "text/plain": "EASE"})
    code = nbformat.v4.new_code_cell("secret_code()", outputs=[picture, table])
    code.metadata["mystnb"] = {"image": {"alt": 'a line "up"'}}
    texts = [
        "# 9. A chapter\n\n- do this;\n- do\n  that.\n",
        "## One\n\nFirst claim, see [chapter 1](01_x.ipynb). Second.\n\n$$x = y,$$\n\n"
        "where $y = b_u$ and\n\n$$y = b_u$$\n\nThe figure shows it:",
        "It rises. And more.",
        "## Exercises\n\n1. Count.",
        "## Summary\n\n- It works.",
    ]
    cells = [nbformat.v4.new_markdown_cell(text) for text in texts]
    cells.insert(2, code)
    return nbformat.v4.new_notebook(cells=cells)


def test_examples():
    assert doctest.testmod(make_slides).failed == 0


def test_a_chapter_becomes_slides():
    cells = make_slides.slides_of(a_chapter()).cells
    kinds = [c.metadata["slideshow"]["slide_type"] for c in cells]
    shown = ["subslide", "-", "-", "notes"]  # what is asked, the result, what it says
    assert kinds == ["slide", "slide", "notes", *shown, *shown, "slide"]
    assert cells[0].source.endswith("- do this;\n- do\n  that.")
    assert cells[1].source.startswith("## One\n\nFirst claim, see chapter 1. Second.\n\n$$x = y$$")
    assert "; $b_u$, $b_i$: bias of user $u$, of item $i$</small>" in cells[1].source
    assert cells[3].source == "## One\n\nThe figure shows it."
    assert cells[5].source == cells[9].source == "> It rises. And more."
    assert "<style>" not in cells[8].outputs[0].data["text/html"]
    page = make_slides.html_of(make_slides.slides_of(a_chapter()))
    assert "secret_code" not in page
    assert "data:image/svg+xml;base64,PHN2Zy8+" in page and "<td>0.2</td>" in page
    old = make_slides.html_of(make_slides.slides_of(a_chapter("image/png", "iVBORw0KGgo=")))
    assert "data:image/png;base64,iVBORw0KGgo=" in old
    assert "alt='a line \"up\"'" in page
    assert "Count." not in page
    assert "<title>9. A chapter</title>" in page


def test_a_notebook_that_is_no_chapter_is_named(tmp_path):
    path = tmp_path / "x.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("hi")]), path)
    with pytest.raises(ValueError, match=r"x\.ipynb: the first cell must have a title"):
        make_slides.write([path], tmp_path)
    assert make_slides.main(["99", "--out", str(tmp_path)]) == 1


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """The folder with the slides of every chapter."""
    folder = tmp_path_factory.mktemp("slides")
    make_slides.write(CHAPTERS, folder)
    return folder


def test_every_chapter_has_slides_with_all_its_figures_and_tables(decks):
    for path in CHAPTERS:
        page = (decks / f"{path.stem}.html").read_text("utf-8")
        assert page.count("<img ") == n_figures(path) >= 2, path.name
        assert page.count("<table><thead>") == n_tables(path) > 2, path.name
        assert page.count("<small>$") + page.count("<small>\\(") > 0, path.name  # symbols explained
        assert 'alt=""' not in page
        assert len(page) < 1_000_000


def test_slides_fetch_nothing_from_elsewhere(decks):
    assert remote_references(decks) == []
    for path in CHAPTERS:
        page = (decks / f"{path.stem}.html").read_text("utf-8")
        names = re.findall(r'(?:src|href)="(vendor/[^"]+)"', page)
        assert [name for name in names if not (decks / name).is_file()] == []
        assert len(names) > 2, path.name  # reveal.js, its theme and MathJax


@pytest.mark.browser
def test_slides_open_offline_and_fit(decks, chromium):
    errors = []
    with serving(decks) as base:
        context = chromium.new_context(viewport={"width": 1100, "height": 700})
        context.route("**/*", lambda route: _local(route, base, errors))
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        for path in CHAPTERS:
            page.goto(f"{base}{path.stem}.html")
            page.wait_for_function("window.Reveal?.isReady() && window.MathJax?.startup?.promise")
            page.evaluate("MathJax.startup.promise")
            total = page.evaluate("Reveal.getTotalSlides()")
            assert total > 8
            for number in range(total):
                right, bottom = page.evaluate(EDGES)
                assert right <= 1100, (path.name, number)
                assert bottom <= 700, (path.name, number)
                page.evaluate("Reveal.next(), window.formulasSet")
            assert page.evaluate("Reveal.isLastSlide()")
        context.close()
    assert errors == []


def _local(route, base, errors):
    if route.request.url.startswith((base, "data:")):
        route.continue_()
    else:
        errors.append(route.request.url)
        route.abort()
