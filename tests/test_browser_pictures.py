"""The pictures of the page "Try it": Python's lists, on demand, by keyboard, offline."""

import json
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from recsys_tutorial.datasets import load_clipart
from recsys_tutorial.serving.export import PagePictures, read_bundle
from scripts.machine_speed import limit
from tests.book_site import ROOT
from tests.browser_tabs import PHONE, WIDE

pytestmark = pytest.mark.browser

PATH = "book/try_it.html"
FOLDER = ROOT / "data" / "try_it" / "pictures"
READY = "!!document.querySelector('#picture-search')?.page"
N_QUERIES = 50
ODD = ["Réd CARS, please?", "a dog and a dog and a dog", "x-ray 2000!", "七人", "", "  ", "🐟 fish"]
# The page's own module, asked for the scores and lists of each text.
ASK = """async (texts) => {
  const pictures = await document.getElementById("picture-search").page.open();
  return texts.map((text) => {
    const scores = pictures.scores(text);
    return {rows: pictures.search(text), scores: scores && Array.from(scores)};
  });
}"""
DRAWN = "document.querySelectorAll('#picture-search img').length === 10"
# Of each drawing: was it decoded, and at which size.
SIZES = """() => Promise.all(Array.from(document.querySelectorAll("#picture-search img"),
  (image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])))"""


@pytest.fixture(scope="module")
def pictures():
    return PagePictures(read_bundle(FOLDER)[0])


@pytest.fixture(scope="module")
def queries():
    """Odd texts and titles with keywords of pictures all over the catalogue."""
    items = load_clipart().items
    said = items["title"] + " " + items["keywords"].str.replace("|", " ", regex=False)
    rows = np.linspace(0, len(items) - 1, N_QUERIES - len(ODD)).astype(int)
    return [*ODD, *said[rows]]


def opened(tab):
    page = tab.open(PATH)
    page.wait_for_function(READY)
    return page


def drawn(page):
    page.wait_for_function(DRAWN, timeout=limit(30) * 1000)


def field_of(page):
    return page.get_by_role("searchbox", name="Words, in English")


def test_lists_are_pythons_for_fifty_queries(new_tab, pictures, queries):
    """The same ten pictures in the same order, ties included, and the same numbers."""
    tab = new_tab(WIDE)
    found = opened(tab).evaluate(ASK, queries)
    lists = set()
    for text, answer in zip(queries, found, strict=True):
        assert answer["rows"] == pictures.search(text), text
        lists.add(tuple(answer["rows"]))
        if answer["scores"] is None:
            assert not answer["rows"] and not text.strip("七人 ")
            continue
        # Both compute in float64, in another order; the scores differ by tenths.
        expected = pictures.score([text])[0]
        np.testing.assert_allclose(answer["scores"], expected, rtol=0, atol=1e-9)
        assert np.ptp(expected) > 0.1
    assert len(found) == N_QUERIES and len(lists) > 0.8 * N_QUERIES
    assert tab.errors == tab.foreign == []


def test_nothing_is_fetched_before_somebody_asks_and_the_words_stay_here(new_tab):
    tab, asked = new_tab(WIDE), []
    tab.page.on("request", lambda request: asked.append(request))
    page = opened(tab)
    field = field_of(page)
    field.scroll_into_view_if_needed()
    field.focus()
    page.wait_for_load_state("networkidle")
    assert not any("/data/pictures/" in request.url for request in asked)
    n = len(asked)
    field.press_sequentially("secret fish")
    drawn(page)
    fetched = [request.url.removeprefix(tab.base) for request in asked[n:]]
    fetched = [url for url in fetched if not url.startswith("blob:") and "favicon" not in url]
    files = json.loads((FOLDER / "manifest.json").read_text("utf-8"))["files"]
    # Each once, and all of them whatever was asked: they say nothing of it.
    own = [f"_static/try_it/data/pictures/{name}" for name in ("manifest.json", *files)]
    assert sorted(fetched) == sorted(own)
    assert not any("secret" in request.url for request in asked)
    n = len(asked)
    field.fill("a house")
    page.get_by_text("pictures for “a house”").wait_for()
    assert all(request.url.startswith("blob:") for request in asked[n:])
    assert page.evaluate("document.cookie") == "" and tab.errors == tab.foreign == []


def test_the_ten_best_are_drawn_with_name_and_creator(new_tab, pictures):
    tab = new_tab(WIDE)
    page = opened(tab)
    field_of(page).fill("flower")
    drawn(page)
    rows = pictures.search("flower")
    shown = page.locator("#picture-search li")
    assert [int(li.get_attribute("data-row")) for li in shown.all()] == rows
    for li, row in zip(shown.all(), rows, strict=True):
        assert li.locator("img").get_attribute("alt") == pictures.titles[row]
        said = li.locator("figcaption").inner_text()
        assert pictures.titles[row].split()[0] in said and f"by {pictures.creators[row]}" in said
    side = read_bundle(FOLDER)[1]["side"]
    assert page.evaluate(SIZES) == [[side, side]] * 10
    # What is in the pictures is what Python has.
    bytes_of = """async (image) => Array.from(new Uint8Array(
        await (await fetch(image.src)).arrayBuffer()))"""
    first = page.locator("#picture-search img").first.evaluate(bytes_of)
    assert bytes(first) == pictures.thumbnails[rows[0]]
    field_of(page).fill("七人")
    page.get_by_text("No word of this is known").wait_for()
    assert shown.count() == 0
    field_of(page).fill("")
    page.wait_for_function("!document.querySelector('#picture-search .said').textContent")
    assert tab.errors == tab.foreign == []


def test_suggestions_answer_to_the_keyboard(new_tab, pictures):
    tab = new_tab(WIDE)
    page = opened(tab)
    buttons = page.locator("#picture-search button")
    assert buttons.count() >= 5
    field_of(page).focus()
    for button in buttons.all():
        page.keyboard.press("Tab")
        assert button.evaluate("button => button === document.activeElement")
        assert button.locator("[lang=zh]").inner_text()
    page.keyboard.press("Enter")
    drawn(page)
    text = field_of(page).input_value()
    assert text and text in page.locator("#picture-search .said").inner_text()
    shown = page.locator("#picture-search li").first
    assert int(shown.get_attribute("data-row")) == pictures.search(text)[0]
    assert tab.errors == []


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_in_use(new_tab, size, scheme):
    tab = new_tab(size, scheme)
    page = opened(tab)
    page.locator("#picture-search button").nth(1).click()
    drawn(page)
    options = {"preload": False, "resultTypes": ["violations"]}
    found = Axe().run(page, context="#picture-search", options=options).response["violations"]
    assert [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    white = page.locator("#picture-search .drawing").first.evaluate(
        "drawing => getComputedStyle(drawing).backgroundColor"
    )
    assert white == "rgb(255, 255, 255)"  # the drawings were made for paper
    assert tab.errors == []


def test_touch_on_a_phone(new_tab):
    tab = new_tab(PHONE, has_touch=True, is_mobile=True)
    page = opened(tab)
    button = page.locator("#picture-search button").first
    size = button.bounding_box()
    assert min(size["width"], size["height"]) >= 24  # WCAG 2.2, 2.5.8
    button.tap()
    drawn(page)
    assert tab.errors == []


def test_a_damaged_file_is_said_and_the_next_try_reads_it_anew(new_tab):
    tab = new_tab(WIDE)
    data = (FOLDER / "thumbnails.bin.gz").read_bytes()
    damaged = "**/pictures/thumbnails.bin.gz"
    tab.page.route(damaged, lambda route: route.fulfill(body=data[:-1] + b"!"))
    page = opened(tab)
    field_of(page).fill("fish")
    page.get_by_text(re.compile("thumbnails.bin.gz differs from its checksum")).wait_for()
    assert page.locator("#picture-search li").count() == 0
    tab.page.unroute(damaged)
    field_of(page).fill("fishes")
    drawn(page)
