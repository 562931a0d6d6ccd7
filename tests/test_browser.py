"""The site in a real browser, with every request to another host blocked.

Each page is visited in four ways, wide and narrow, light and dark, and what the browser reported
is then judged. Needs Chromium: skipped with a reason where there is none, a failure in CI.
"""

import functools
import gzip
import http.server
import json
import math
import os
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from scripts.machine_speed import limit
from tests import book_site
from tests.book_site import ROOT

pytestmark = pytest.mark.browser

WIDE, PHONE = (1280, 900), (375, 812)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Without preload axe does not fetch style sheets a second time, at addresses that do not exist.
AXE_OPTIONS = {"preload": False, "resultTypes": ["violations"]}
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


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *args):
        """Say nothing."""


REFERENCE = "book/api/"


@pytest.fixture(scope="session")
def site():
    """The folder of the built site."""
    return book_site.built_site()


@pytest.fixture(scope="session")
def base(site):
    """The address of a local server of the site."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def chromium():
    """One headless browser for all tests."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium in CI: install it, or name it in $CHROMIUM")
        pytest.skip("no Chromium here: install it, or name it in $CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@functools.cache
def served_bytes(path):
    """The size of a file as a web server sends it: text compressed."""
    data = path.read_bytes() if path.is_file() else b""
    return len(gzip.compress(data) if path.suffix in (".html", ".css", ".js", ".svg") else data)


@dataclass
class Tab:
    """A browser page that notes errors, and notes and blocks requests to other hosts."""

    page: object
    base: str
    errors: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    weight: int = 0

    def open(self, path):
        """Go to a page of the site and wait until its formulas are set."""
        self.page.goto(self.base + path, wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self.page


@pytest.fixture(scope="session")
def new_tab(chromium, site, base):
    """A function that opens a Tab in a fresh context, so with nothing remembered."""

    def make(size=WIDE, scheme="light", **options):
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",  # else axe sees colours half-way between two states
            **options,
        )
        context.set_default_timeout(limit(10) * 1000)
        tab = Tab(context.new_page(), base)

        def route(route):
            if route.request.url.startswith((base, "data:", "blob:")):
                route.continue_()
            else:
                tab.foreign.append(route.request.url)
                route.abort()

        def note(message):
            if message.type == "error":
                tab.errors.append(f"{message.text} ({message.location.get('url')})")

        def weigh(response):
            if response.status >= 400:
                tab.errors.append(f"{response.status} {response.url}")
            tab.weight += served_bytes(site / urlsplit(response.url).path.lstrip("/"))

        context.route("**/*", route)
        tab.page.on("console", note)
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.page.on("response", weigh)
        return tab

    tabs = []

    def keep(*args, **kwargs):
        tabs.append(make(*args, **kwargs))
        return tabs[-1]

    yield keep
    for tab in tabs:
        tab.page.context.close()


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


WAYS = [(size, scheme) for size in (WIDE, PHONE) for scheme in ("light", "dark")]


@pytest.fixture(scope="session", params=WAYS, ids=[f"{s[0]} px, {scheme}" for s, scheme in WAYS])
def way(request):
    """A window's size and a colour scheme: each has the time limit to itself."""
    return request.param


@pytest.fixture(scope="session")
def visits(way, site, new_tab):
    """Every page in one of the four ways.

    Pages of the reference are made by one program and take long: two of the four ways will do.
    """
    alone = ("index.html", "404.html")  # no theme; the latter has a test of its own
    axe, seen = Axe(), []
    tab = new_tab(*way)
    other = way in ((WIDE, "dark"), (PHONE, "light"))
    for name in book_site.read_pages(site):
        if name in alone or (other and name.startswith(REFERENCE)):
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


# --- Every page ----------------------------------------------------------------------------------


def test_every_page_was_visited(site, visits, way):
    size, scheme = way
    names = {v.page for v in visits}
    reference = {name for name in names if name.startswith(REFERENCE)}
    assert len(visits) == len(names)
    assert {v.theme for v in visits} == {scheme}
    assert {v.width for v in visits} == {size[0]}
    expected = {f"{name}.html" for name in book_site.toc_files()}
    if way in ((WIDE, "dark"), (PHONE, "light")):
        assert not reference
        expected = {name for name in expected if not name.startswith(REFERENCE)}
    else:
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


def test_the_checks_see_planted_faults(site, new_tab):
    """The guards of the tests above: each fault on this page must be noticed."""
    planted = site / "planted.html"
    planted.write_text(
        '<!doctype html><html><head><title>x</title><script src="https://example.org/x.js"></script>'
        '</head><body><img src="_static/logo.svg"><div style="width: 900px">wide</div>'
        "<p>\\(x\\)</p><script>console.error('planted'); undefined_function()</script>"
    )
    try:
        tab = new_tab(PHONE)
        page = tab.open("planted.html")
        assert tab.foreign == ["https://example.org/x.js"]
        assert any("planted" in error for error in tab.errors)
        assert any("undefined_function" in error for error in tab.errors)
        assert page.evaluate(LOOK)["scroll_width"] > PHONE[0]
        violations = Axe().run(page, options=AXE_OPTIONS).response["violations"]
        assert {"image-alt", "html-has-lang"} <= {v["id"] for v in violations}
        page.goto(tab.base + "nowhere.html")
        assert any(error.startswith("404") for error in tab.errors)
    finally:
        planted.unlink()


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


# --- Quizzes -------------------------------------------------------------------------------------


def test_a_quiz_answers_to_the_keyboard(new_tab):
    tab = new_tab(PHONE)
    page = tab.open("book/quizzes.html")
    question = page.locator(".quiz-question").first
    answers = question.locator("details")
    answers.first.locator("summary").focus()
    for number in range(answers.count()):
        answer = answers.nth(number)
        assert not answer.locator("p").is_visible()
        page.keyboard.press("Enter")
        assert re.match(r"(Right|Wrong)\. \S", answer.locator("p").inner_text())
        assert answer.locator("p").is_visible()
        page.keyboard.press("Tab")
    assert question.locator(".quiz-right").count() == 1
    assert tab.errors == []


# --- The slider for the temperature ---------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_temperature_answers_to_the_keyboard_and_is_right(new_tab, scheme):
    tab = new_tab(PHONE, scheme)
    page = tab.open("book/math_toolbox.html")
    box = page.locator("div.temperature")
    slider, said = box.get_by_role("slider"), box.locator(".temperature-said")

    def state():
        tau = 10 ** float(slider.input_value())
        shown = box.locator("tbody td:last-child").all_inner_texts()
        return tau, [float(text.rstrip("\u00a0%")) / 100 for text in shown]

    seen = []
    for key in ("Home", "ArrowRight", "End"):
        slider.focus()
        page.keyboard.press(key)
        tau, shares = state()
        powers = [math.exp((s - 0.9) / tau) for s in (0.9, 0.7, 0.5, 0.1)]
        assert shares == pytest.approx([p / sum(powers) for p in powers], abs=0.006)
        loss = float(re.search(r"Loss (\d+\.\d\d)", said.inner_text())[1])
        assert loss == pytest.approx(math.log(sum(powers)), abs=0.006)
        assert slider.get_attribute("aria-valuetext").startswith("temperature ")
        seen.append(tau)
    assert seen[0] < seen[1] < seen[2]
    bars = box.locator(".bar > div")
    widths = [bars.nth(n).bounding_box()["width"] for n in range(4)]
    assert max(widths) < 1.15 * min(widths)  # at temperature 10 all are alike
    page.keyboard.press("Home")
    assert bars.nth(0).bounding_box()["width"] > 15 * bars.nth(3).bounding_box()["width"]
    assert box.bounding_box()["width"] < PHONE[0]
    assert tab.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_funnel_answers_to_the_keyboard_and_is_right(new_tab, scheme):
    tab = new_tab(PHONE, scheme)
    page = tab.open("book/concepts.html")
    box = page.locator("div.funnel")
    slider, said = box.get_by_role("slider"), box.locator(".temperature-said")
    one_pass, dots = 6 * (12 * 384**2 * 64 + 2 * 384 * 64**2), 64_000_000
    for key, k in (("Home", 1), ("End", 1_000_000)):
        slider.focus()
        page.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == f"{k:,} candidates"
        shares = [
            float(x.rstrip("\u00a0%")) for x in box.locator("tbody td:last-child").all_inner_texts()
        ]
        ranking = 100 * k * one_pass / (k * one_pass + dots)
        assert shares == pytest.approx([100 - ranking, ranking], abs=0.06)
    assert "takes 1.9 hours: 0.64 milliseconds for 1,000,000 dot products" in said.inner_text()
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "794,328 candidates"
    assert box.bounding_box()["width"] < PHONE[0]
    assert tab.errors == []


# --- Search --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, page, anchor",
    [
        ("two-tower model", "glossary", "term-two-tower-model"),
        ("negative sampling", "glossary", "term-negative-sampling"),
        ("双塔模型", "glossary", None),
        ("推荐系统", "glossary", None),
        ("推荐", "glossary", None),  # a part of longer words
        ("负样本的对比损失", "glossary", None),  # a phrase from a definition, not a term
        ("checksum", "setup", None),
        ("user_id", "notation", None),  # an underscore does not cut a word
    ],
)
def test_search_finds(new_tab, query, page, anchor):
    tab = new_tab()
    tab.open("search.html?q=" + query)
    results = tab.page.locator("#search-results li a")
    results.first.wait_for()
    # Results are shown one after the other; the summary comes with the last.
    tab.page.locator("#search-results p.search-summary", has_text="finished").wait_for()
    links = results.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert any(f"book/{page}.html" in link for link in links), links
    if anchor:
        assert any(link.endswith(f"#{anchor}") for link in links), links
    assert tab.errors == []


def test_search_finds_nothing_where_there_is_nothing(new_tab):
    page = new_tab().open("search.html?q=zyxwvut")
    page.locator("#search-results p.search-summary", has_text="did not match").wait_for()
    page = new_tab().open("search.html?q=鲸鱼航海")
    page.locator("#search-results p.search-summary", has_text="did not match").wait_for()


def test_search_from_the_keyboard(new_tab):
    tab = new_tab()
    page = tab.open("book/intro.html")
    page.keyboard.press("Control+K")
    page.keyboard.type("冷启动")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    page.locator("#search-results li a[href*='#term']").first.click()
    page.wait_for_url("**/glossary.html*#*")
    assert page.locator("dt", has_text="冷启动").first.is_visible()
    assert tab.errors == []


def test_query_and_index_cut_words_alike(new_tab):
    """A query's words must be among the words the same text is indexed under."""
    from tests.test_book import extension

    split_for_index = extension("chinese_search").split_for_index
    texts = [
        "双塔模型 (two-tower)", "用 softmax 计算", "塔", "recall@10, NDCG", "user_id 与 item_id",
        "k=10；τ>0", "naïve café", "A/B 测试", "2016年", "",
    ]  # fmt: skip
    page = new_tab().open("search.html")
    cut = page.evaluate("texts => texts.map(text => splitQuery(text))", texts)
    for text, words in zip(texts, cut, strict=True):
        assert set(words) <= set(split_for_index(text)), text
        assert bool(words) == bool(text), text


# --- Reading -------------------------------------------------------------------------------------


def chapters():
    """The chapters' pages."""
    names = [f"notebooks/{path.stem}.html" for path in book_site.notebooks()]
    assert names  # every loop over them checks something
    return names


def code_cells(name):
    """The code of a chapter's cells."""
    path = ROOT / Path(name).with_suffix(".ipynb")
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_copy_button_copies_the_code(new_tab):
    tab = new_tab(permissions=["clipboard-read", "clipboard-write"])
    name = chapters()[0]
    page = tab.open(name)
    cell = page.locator(".cell_input .highlight").nth(1)
    cell.hover()
    cell.locator("button.copybtn").click()
    page.locator("button.copybtn.success").wait_for()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied.strip() == code_cells(name)[1].strip()


def test_every_code_block_has_a_copy_button(new_tab):
    tab = new_tab()
    for name in ["book/intro.html", "book/setup.html", *chapters()]:
        page = tab.open(name)
        blocks = page.locator(".bd-article div.highlight pre")
        assert blocks.count() > 0
        assert page.locator(".bd-article div.highlight button.copybtn").count() == blocks.count()


CONTRAST = """() => {
  const luminance = (element, property) => {
    const [r, g, b] = getComputedStyle(element)[property].match(/[\\d.]+/g).map(Number)
      .map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const text = luminance(document.querySelector(".bd-article p"), "color");
  const ground = luminance(document.body, "backgroundColor");
  const [low, high] = [text, ground].sort((a, b) => a - b);
  return {dark: ground < text, ratio: (high + 0.05) / (low + 0.05)};
}"""


def test_dark_mode_is_switched_on_stays_on_and_is_legible(new_tab):
    tab = new_tab(scheme="light")
    page = tab.open("book/intro.html")
    assert page.evaluate(CONTRAST)["dark"] is False
    for _ in range(3):  # the button goes round light, dark and the system's choice
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator("button.theme-switch-button").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    for name in ["book/intro.html", "book/glossary.html", chapters()[0]]:
        looks = tab.open(name).evaluate(CONTRAST)
        assert looks["dark"] is True
        assert looks["ratio"] >= 7  # WCAG's enhanced level for body text
    assert tab.errors == []


def test_paper_is_white_also_when_the_screen_is_dark(new_tab):
    page = new_tab(scheme="dark").open("book/notation.html")
    page.emulate_media(media="print")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    page.wait_for_timeout(500)  # colours change over some frames
    looks = page.evaluate(CONTRAST)
    assert looks["dark"] is False
    assert looks["ratio"] >= 7
    page.emulate_media(media="screen")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")


def test_figures_lie_on_white_in_the_dark_unless_they_have_a_dark_twin(new_tab):
    tab = new_tab(scheme="dark")
    for name in chapters():
        figures = tab.open(name).locator(".cell_output img")
        grounds = figures.evaluate_all(
            "all => all.filter(img => getComputedStyle(img).display != 'none').map(img =>"
            " [img.classList.contains('only-dark'), getComputedStyle(img).backgroundColor"
            " + ' ' + getComputedStyle(img).filter])"
        )
        assert grounds, name
        for is_twin, ground in grounds:
            on = "rgba(0, 0, 0, 0)" if is_twin else "rgb(255, 255, 255)"
            assert ground == f"{on} none", name


def test_keyboard_reader_can_skip_to_the_text(new_tab):
    page = new_tab().open("book/intro.html")
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.textContent.trim()")
    assert focused == "Skip to main content"
    page.keyboard.press("Enter")
    page.wait_for_url("**/intro.html#main-content")


def test_wide_content_scrolls_inside_itself_by_keyboard(new_tab):
    """On a phone long code lines and tables are reached without moving the page."""
    page = new_tab(PHONE).open(chapters()[0])
    wide = page.evaluate("""() => [...document.querySelectorAll(".bd-article *")]
        .filter(e => e.scrollWidth > e.clientWidth + 1
                     && /auto|scroll/.test(getComputedStyle(e).overflowX))
        .map(e => [e.tagName, e.tabIndex, e.querySelectorAll("a, button").length])""")
    assert wide
    assert [e for e in wide if e[1] < 0 and e[2] == 0] == []


def test_colab_link_of_every_chapter(new_tab):
    repository = book_site.repository_url().removeprefix("https://github.com/")
    tab = new_tab()
    for name in chapters():
        page = tab.open(name)
        page.locator(".dropdown-launch-buttons > button").click()
        link = page.locator(".dropdown-launch-buttons a", has_text="Colab")
        link.wait_for(state="visible")
        path = f"{repository}/blob/main/{name.removesuffix('.html')}.ipynb"
        assert link.get_attribute("href") == f"https://colab.research.google.com/github/{path}"


def test_chinese_is_marked_and_the_glossary_tooltip_shows_the_definition(new_tab):
    page = new_tab().open("book/glossary.html")
    assert page.locator("dt[lang=zh]").count() > 60
    assert page.locator("p[lang=zh]").count() > 60
    page = new_tab().open(chapters()[0])
    term = page.locator("a.glossary-term").first
    assert len(term.get_attribute("title")) > 20
    term.click()
    page.wait_for_url("**/glossary.html#term-*")
