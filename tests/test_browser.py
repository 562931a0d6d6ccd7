"""What a reader of the pages does: copy code, read in the dark or on paper, follow links."""

import json
from pathlib import Path

import pytest

from tests import book_site
from tests.book_site import ROOT
from tests.browser_tabs import PHONE

pytestmark = pytest.mark.browser


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


def test_on_a_phone_the_letters_of_figures_can_be_read(new_tab):
    """A figure is as wide as its smallest letters need, in a frame that a keyboard can scroll."""
    wide = []
    for name in chapters()[:3]:
        page = new_tab(PHONE).open(name)
        frames = page.evaluate("""() => [...document.querySelectorAll(".figure-frame")].map(e => {
            const shown = [...e.querySelectorAll("img")].filter(i => i.offsetWidth);
            return [parseFloat(e.style.getPropertyValue("--least")), shown.length,
                    shown[0].offsetWidth, e.clientWidth, e.tabIndex]; })""")
        assert len(frames) >= 5
        for least, n_shown, width, seen, tab in frames:
            assert n_shown == 1 and width >= least - 1 and seen == PHONE[0]
            assert tab == 0 or width <= seen
        wide += [width for _, _, width, seen, _ in frames if width > seen]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert wide  # or nothing was tried


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
