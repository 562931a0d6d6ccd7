"""Every page of the site, wide and light, narrow and dark, and what is wrong with it.

What the browser reported of each visit is judged afterwards, by one test per question.
"""

from dataclasses import dataclass

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests import book_site
from tests.browser_tabs import PHONE, WIDE, open_tab, serving

pytestmark = pytest.mark.browser


# Without preload axe does not fetch style sheets a second time, at addresses that do not exist.
AXE_OPTIONS = {"preload": False, "resultTypes": ["violations"]}


REFERENCE = "book/api/"


# A chapter has thousands of coloured words of code, which cost axe seconds. Of those that look
# alike one stays; the others become plain text, in the code block's own colour. All are read
# before one is replaced: a style read after each change is computed anew, for the whole page.
KEEP_ONE_WORD_OF_EACH_COLOUR = """() => {
  const seen = new Set(), alike = [];
  for (const word of document.querySelectorAll(".highlight pre span")) {
    const style = getComputedStyle(word);
    const place = word.closest(".cell_input, .cell_output, .bd-article")?.className;
    const key = [place, word.className, style.color, style.backgroundColor].join();
    if (!word.children.length && seen.has(key)) alike.push(word);
    seen.add(key);
  }
  for (const word of alike) word.replaceWith(word.textContent);
}"""


@dataclass
class Visit:
    """What one page looked like at one width and in one colour scheme."""

    page: str
    errors: list
    foreign: list
    weight: int
    scroll_width: int
    width: int
    violations: list
    formulas: int
    set_formulas: int
    bad_formulas: int
    theme: str

    def __str__(self):
        return f"{self.page} at {self.width} px, {self.theme}"


LOOK = """() => ({
  scroll_width: document.documentElement.scrollWidth,
  width: window.innerWidth,
  formulas: document.querySelectorAll("span.math, div.math").length,
  set_formulas: document.querySelectorAll(":is(span, div).math mjx-container mjx-math").length,
  bad_formulas: document.querySelectorAll("mjx-merror, [data-mjx-error]").length,
  theme: document.documentElement.dataset.theme,
})"""


# Colours change with the scheme, and places with the width: each of them comes once.
WAYS = [(WIDE, "light"), (PHONE, "dark")]


@pytest.fixture(scope="session", params=WAYS, ids=[f"{s[0]} px, {scheme}" for s, scheme in WAYS])
def way(request):
    """A window's size and a colour scheme: each has the time limit to itself."""
    return request.param


@pytest.fixture(scope="session")
def visits(way, site, new_tab):
    """Every page in one of the two ways."""
    alone = ("index.html", "404.html")  # no theme; the latter has a test of its own
    axe, seen = Axe(), []
    tab = new_tab(*way)
    for name in book_site.read_pages(site):
        if name in alone:
            continue
        tab.errors, tab.foreign, tab.weight = [], [], 0
        page = tab.open(name)
        looks = page.evaluate(LOOK)
        page.evaluate(KEEP_ONE_WORD_OF_EACH_COLOUR)
        found = axe.run(page, options=AXE_OPTIONS).response["violations"]
        violations = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found]
        seen.append(
            Visit(name, tab.errors, tab.foreign, tab.weight, violations=violations, **looks)
        )
    return seen


def failures(visits, attribute):
    """What is wrong on which page, for a readable assertion."""
    return {str(v): getattr(v, attribute) for v in visits if getattr(v, attribute)}


def test_every_page_was_visited(site, visits, way):
    size, scheme = way
    names = {v.page for v in visits}
    reference = {name for name in names if name.startswith(REFERENCE)}
    assert len(visits) == len(names)
    assert {v.theme for v in visits} == {scheme}
    assert {v.width for v in visits} == {size[0]}
    expected = {f"{name}.html" for name in book_site.toc_files()}
    assert len(reference) >= 10
    assert expected <= names


def test_no_page_logs_an_error(visits):
    assert failures(visits, "errors") == {}


def test_no_page_asks_another_host(visits):
    assert failures(visits, "foreign") == {}


def test_no_page_scrolls_sideways(visits):
    assert {str(v): v.scroll_width for v in visits if v.scroll_width > v.width} == {}


def test_axe_finds_no_violation(visits):
    assert failures(visits, "violations") == {}


def test_formulas_are_set(visits):
    assert sum(v.formulas for v in visits) > 100
    assert failures(visits, "bad_formulas") == {}
    assert {
        str(v): (v.formulas, v.set_formulas) for v in visits if v.formulas > v.set_formulas
    } == {}


def test_no_page_weighs_more_than_two_megabytes(visits):
    """MathJax, the theme and the figures included."""
    assert min(v.weight for v in visits) > 100_000  # else nothing was weighed
    assert {str(v): v.weight for v in visits if v.weight > 2_000_000} == {}


def test_the_checks_see_planted_faults(site, chromium, tmp_path):
    """The guards of the tests above: each fault on this page must be noticed."""
    (tmp_path / "_static").symlink_to(site / "_static")
    (tmp_path / "planted.html").write_text(
        '<!doctype html><html><head><title>x</title><script src="https://example.org/x.js"></script>'
        '</head><body><img src="_static/logo.svg"><div style="width: 900px">wide</div>'
        "<p>\\(x\\)</p><script>console.error('planted'); undefined_function()</script>"
    )
    with serving(tmp_path) as base:
        tab = open_tab(chromium, tmp_path, base, PHONE)
        page = tab.open("planted.html")
        assert tab.foreign == ["https://example.org/x.js"]
        assert any("planted" in error for error in tab.errors)
        assert any("undefined_function" in error for error in tab.errors)
        assert page.evaluate(LOOK)["scroll_width"] > PHONE[0]
        violations = Axe().run(page, options=AXE_OPTIONS).response["violations"]
        assert {"image-alt", "html-has-lang"} <= {v["id"] for v in violations}
        page.goto(tab.base + "nowhere.html")
        assert any(error.startswith("404") for error in tab.errors)
        page.context.close()


def test_the_first_page_leads_to_the_landing_page(new_tab):
    tab = new_tab()
    tab.page.goto(tab.base, wait_until="commit")
    tab.page.wait_for_url("**/book/intro.html")
    tab.page.locator(".bd-article h1").wait_for(state="visible")
    assert tab.errors == []


def test_the_404_page_in_every_form(new_tab):
    for size in (WIDE, PHONE):
        for scheme in ("light", "dark"):
            tab = new_tab(size, scheme)
            page = tab.open("404.html")
            look = page.evaluate(LOOK)
            assert look["scroll_width"] <= look["width"]
            assert Axe().run(page, options=AXE_OPTIONS).response["violations"] == []
            assert tab.errors == tab.foreign == []
