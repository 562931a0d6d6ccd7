"""The search finds English and Chinese, and says where there is nothing."""

import pytest

pytestmark = pytest.mark.browser


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
