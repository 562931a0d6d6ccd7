"""The site as files: it builds without a warning, holds together and needs nothing from outside."""

import doctest
import html as html_module
import importlib.util
import json
import re
import shutil
import sys

import pytest
from pybtex.database import parse_file

from tests import book_site
from tests.book_site import ROOT

EXTENSIONS = ROOT / "book" / "_ext"
sys.path.append(str(EXTENSIONS))  # one extension may import another, as under Sphinx


@pytest.fixture(scope="session")
def site():
    """The folder of the built site."""
    return book_site.built_site()


@pytest.fixture(scope="session")
def pages(site):
    """The pages by path."""
    return book_site.read_pages(site)


def extension(name):
    """One of the site's Sphinx extensions, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXTENSIONS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- Building ------------------------------------------------------------------------------------


def test_every_file_of_the_toc_became_a_page(site, pages):
    names = book_site.toc_files()
    assert len(names) > 20
    assert [name for name in names if f"{name}.html" not in pages] == []


def test_broken_references_fail_the_build(tmp_path):
    """Guards the flags: without -W and -n the build would end with success."""
    broken = {
        "[broken](nowhere.md)": "nowhere",
        "{ref}`no-such-label`": "no-such-label",
        "{cite:p}`nobody1999nothing`": "nobody1999nothing",
        "{term}`no such term`": "no such term",
    }
    source = tmp_path / "source"
    shutil.copytree(ROOT / "book", source / "book")
    shutil.copy(ROOT / "_config.yml", source)
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/references\n")
    with open(source / "book" / "references.md", "a", encoding="utf-8") as file:
        file.write("\n" + "\n\n".join(broken) + "\n")
    result = book_site.build(source, tmp_path)
    assert result.returncode != 0
    warnings = [line for line in result.stderr.splitlines() if "WARNING" in line]
    for complaint in broken.values():
        assert any(complaint in line for line in warnings), complaint


def test_toc_lists_every_chapter_in_order():
    listed = [name for name in book_site.toc_files() if name.startswith("notebooks/")]
    expected = [f"notebooks/{path.stem}" for path in book_site.notebooks()]
    assert listed == expected, "write the chapters of notebooks/ into _toc.yml, in order"


def test_toc_lists_every_prose_page():
    listed = {name for name in book_site.toc_files() if name.startswith("book/")}
    paths = [*(ROOT / "book").glob("*.md"), *(ROOT / "book" / "api").glob("*.rst")]
    assert listed == {path.relative_to(ROOT).with_suffix("").as_posix() for path in paths}


# --- Links ---------------------------------------------------------------------------------------


def test_internal_links_and_anchors_exist(site, pages):
    assert not book_site.broken_links(site, pages)


def test_the_link_checker_sees_what_is_broken(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "index.html").write_text('<p id="here"><a href="deep/page.html#there">x</a>')
    (tmp_path / "deep" / "page.html").write_text(
        '<h1 id="there"><a href="../index.html#here">ok</a><a href="#gone">x</a>'
        '<a href="../lost.html">x</a><img src="lost.png"><a href="https://example.org/#y">ok</a>'
        '<link rel="stylesheet" href="lost.css">'
    )
    broken = book_site.broken_links(tmp_path, book_site.read_pages(tmp_path))
    assert [line.split()[1] for line in broken] == [
        "#gone",
        "../lost.html",
        "lost.png",
        "lost.css",
    ]


def test_every_page_can_be_reached_from_the_first(pages):
    seen, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in pages:
            continue
        seen.add(name)
        targets = [book_site.target_of(name, link) for link in pages[name].links]
        waiting += [target[0] for target in targets if target]
    # The search page is opened by the search box, which every page carries; 404.html by the server.
    assert set(pages) - seen - {"search.html", "404.html"} == set()


# --- Nothing from outside ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["exercises", "solutions"])
def test_the_notebooks_to_practise_with_come_with_the_site(site, pages, folder):
    """A class without a network downloads them from the page; it leads to the chapters, too."""
    page = pages["book/practice.html"]
    files = {}
    for link in page.links:
        target = book_site.target_of("book/practice.html", link)
        if target and target[0].startswith("_downloads/"):
            content = (site / target[0]).read_bytes()
            files[content] = target[0]
    expected = sorted((ROOT / "notebooks" / folder).glob("*.ipynb"))
    missing = [path.name for path in expected if path.read_bytes() not in files]
    assert missing == []
    if folder == "exercises":
        assert expected
        chapters = {link for link in page.links if re.search(r"notebooks/\d\d_\w+\.html$", link)}
        assert len(chapters) == len(expected)
    capstone = ROOT / "notebooks" / "capstone" / "bring_your_own_ratings.ipynb"
    assert capstone.read_bytes() in files


def test_no_page_loads_anything_from_another_host(pages):
    loads = {
        name: [url for url in page.loads if book_site.is_foreign(url)]
        for name, page in pages.items()
    }
    assert not {name: urls for name, urls in loads.items() if urls}
    # Nearly all load the site's own scripts and styles: what is fetched is seen.
    assert sum(bool(urls.loads) for urls in pages.values()) > 20


def test_no_style_sheet_loads_anything_from_another_host(site):
    sheets = list(site.rglob("*.css"))
    assert len(sheets) > 5
    foreign = {
        sheet.name: [u for u in book_site.css_urls(sheet.read_text("utf-8")) if "//" in u[:8]]
        for sheet in sheets
    }
    assert not {name: urls for name, urls in foreign.items() if urls}


def test_mathjax_and_its_fonts_are_part_of_the_site(site):
    folder = site / "_static" / "vendor" / "mathjax"
    assert (folder / "LICENSE").is_file()
    assert (folder / "es5" / "tex-mml-chtml.js").stat().st_size > 1_000_000
    assert len(list((folder / "es5/output/chtml/fonts/woff-v2").glob("*.woff"))) == 23


def test_only_the_search_reads_its_index(pages):
    """The largest of what the theme lets every page wait for, and nobody asks it there."""
    names = ("searchindex.js", "searchtools.js", "language_data.js")
    reading = [
        name for name, page in pages.items() if any(n in u for u in page.loads for n in names)
    ]
    assert reading == ["search.html"]


# --- Chapters ------------------------------------------------------------------------------------


def test_colab_and_binder_links_of_every_chapter(site, pages):
    repository = book_site.repository_url().removeprefix("https://github.com/")
    assert book_site.notebooks()
    for path in book_site.notebooks():
        place = f"notebooks/{path.name}"
        links = pages[f"notebooks/{path.stem}.html"].links
        colab = f"https://colab.research.google.com/github/{repository}/blob/main/{place}"
        binder = f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/{place}"
        assert colab in links
        assert binder in links


def test_every_figure_has_an_alternative_text(pages):
    """In a notebook: cell metadata `"mystnb": {"image": {"alt": "what the figure shows"}}`."""
    without = [
        f"{name}: {image['src']}"
        for name, page in pages.items()
        for image in page.images
        if "_images/" in image["src"]
        and (len(image.get("alt", "")) < 15 or image["alt"].endswith((".png", ".svg", ".jpg")))
    ]
    assert not without
    figures = [image for page in pages.values() for image in page.images]
    assert sum("_images/" in image["src"] for image in figures) > 20


@pytest.mark.parametrize("path", book_site.notebooks(), ids=lambda path: path.stem)
def test_bold_terms_lead_to_the_glossary(site, path):
    """A chapter introduces terms, and at least some of its bold ones are in the glossary."""
    html = (site / "notebooks" / f"{path.stem}.html").read_text("utf-8")
    assert html.count('class="glossary-term') >= 3


# --- The package's reference ---------------------------------------------------------------------


@pytest.mark.parametrize("path", book_site.notebooks(), ids=lambda path: path.stem)
def test_check_cells_are_folded_away(site, path):
    """On the page a check is one line to open; the cells that teach stand open."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    checks = sum("check" in cell["metadata"].get("tags", []) for cell in cells)
    html = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<summary>\s*<p class=\"collapsed[^>]*>Show the check", html)) == checks


def test_every_public_room_and_module_has_one_place_in_the_reference():
    pages = "\n".join(path.read_text("utf-8") for path in (ROOT / "book" / "api").glob("*.rst"))
    shown = re.findall(r"^\.\. api:: (\S+)$", pages, re.M)
    assert sorted(shown) == sorted(extension("api_pages").modules())


def test_every_public_name_can_be_linked_to(pages):
    api = extension("api_pages")
    anchors = {anchor for name, page in pages.items() if "/api/" in name for anchor in page.anchors}
    missing = []
    for name in api.modules():
        full = f"{api.PACKAGE}.{name}"
        names = [f"{full}.{member}" for member in api.members(importlib.import_module(full))]
        missing += [name for name in (f"module-{full}", *names) if name not in anchors]
    assert len(anchors) > 200
    assert missing == []


def test_a_docstring_is_shown_as_it_was_meant(site):
    """What reStructuredText reads otherwise: `x_` as a link, an indented formula as a quotation."""
    html = (site / "book" / "api" / "models.html").read_text("utf-8")
    text = html_module.unescape(re.sub(r"<[^>]+>", "", html))
    assert "user_factors_, item_factors_" in text
    assert "c_ui (p_ui - x_u . y_i)^2 + sum_u reg_u |x_u|^2" in text
    html = (site / "book" / "api" / "sampling.html").read_text("utf-8")
    assert 'href="protocols.html#recsys_tutorial.protocols.Negatives"' in html


# --- Glossary and references ---------------------------------------------------------------------


def glossary_entries():
    """Of each entry: its terms and the lines of its definitions."""
    text = (ROOT / "book" / "glossary.md").read_text("utf-8")
    entries = []
    for block in re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for entry in re.split(r"\n\n(?=\S)", block.strip()):
            lines = [line for line in entry.split("\n") if line.strip()]
            terms = [line for line in lines if not line.startswith(" ")]
            entries.append((terms, [line.strip() for line in lines if line.startswith(" ")]))
    return entries


def test_glossary_is_bilingual():
    is_chinese = extension("bilingual_glossary").is_chinese
    entries = glossary_entries()
    assert len(entries) >= 60
    for terms, definitions in entries:
        assert [is_chinese(line) for line in definitions] == [False, True], terms
        assert not is_chinese(terms[0]), terms
    # A few names (BERT, softmax) are the same in Chinese texts.
    assert sum(any(map(is_chinese, terms)) for terms, _ in entries) >= 0.9 * len(entries)


def test_glossary_terms_are_unique_and_have_stable_anchors(pages):
    terms = [term.lower() for terms, _ in glossary_entries() for term in terms]
    assert len(set(terms)) == len(terms)
    anchors = pages["book/glossary.html"].anchors
    for terms, _ in glossary_entries():
        assert "term-" + re.sub(r"[^A-Za-z0-9]+", "-", terms[0]).strip("-") in anchors, terms[0]


def bibliography():
    """The entries of references.bib by key."""
    return parse_file(str(ROOT / "book" / "references.bib"), "bibtex").entries


def identifier(entry):
    """The DOI or arXiv number of an entry, in lower case; else its address."""
    names = ("doi", "eprint", "url")
    return next((entry.fields[name].lower() for name in names if name in entry.fields), "")


def test_every_reference_can_be_found_by_its_readers():
    entries = bibliography()
    assert len(entries) > 20
    for key, entry in entries.items():
        assert re.fullmatch(r"[a-z]+\d{4}[a-z0-9]+", key), key
        assert re.fullmatch(r"10\.\d{4,9}/\S+|\d{4}\.\d{4,5}|https://\S+", identifier(entry)), key
        assert entry.persons.get("author"), key
        assert key[re.search(r"\d", key).start() :][:4] == entry.fields["year"], key
    identifiers = [identifier(entry) for entry in entries.values()]
    assert len(set(identifiers)) == len(identifiers)


SEARCHES = {  # a Chinese term and the chapter that introduces it
    "双塔模型": "04",
    "矩阵分解": "02",
    "交叉编码器": "07",
    "归一化折损累计增益": "01",
}


def test_a_chinese_term_finds_the_chapters_that_treat_it(site):
    """Not the glossary alone: each pair of characters that a query is cut into leads there."""
    text = (site / "searchindex.js").read_text("utf-8")
    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)\s*", text, re.S)[1])
    found = {}
    for term in SEARCHES:
        pages = []
        for word in (term[i : i + 2] for i in range(len(term) - 1)):
            pages.append(set())
            for kind in ("terms", "titleterms"):  # what stands in a title stands there alone
                places = index[kind].get(word, [])
                pages[-1] |= {places} if isinstance(places, int) else set(places)
        found[term] = {index["docnames"][n] for n in set.intersection(*pages)}
    for term, number in SEARCHES.items():
        assert any(name.startswith(f"notebooks/{number}_") for name in found[term]), term
    assert all("book/glossary" in pages for pages in found.values())


@pytest.mark.parametrize("path", book_site.notebooks(), ids=lambda path: path.stem)
def test_works_cited_in_a_chapter_are_in_the_bibliography(path):
    names = ("doi", "eprint")  # a work may be cited by either
    known = {e.fields.get(name, "").lower() for e in bibliography().values() for name in names}
    prose = book_site.markdown_of(path)
    cited = re.findall(r"doi\.org/(10\.[^\s)\"<>]+)", prose)
    cited += re.findall(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", prose)
    assert cited, "a chapter closes with further reading"
    assert {work.lower() for work in cited} - known == set()


def test_references_page_shows_every_work(pages):
    shown = " ".join(pages["book/references.html"].links).lower()
    missing = [key for key, entry in bibliography().items() if identifier(entry) not in shown]
    assert not missing


# --- Found from outside ---------------------------------------------------------------------------


def test_every_page_tells_a_link_preview_what_it_is(site):
    base = book_site.site_address()
    for name in book_site.toc_files():
        html = (site / f"{name}.html").read_text("utf-8")
        found = dict(re.findall(r'<meta property="og:(\S+)" content="([^"]*)"', html))
        assert found["url"] == f"{base}{name}.html"
        assert found["image"].startswith(base)
        assert (site / found["image"].removeprefix(base)).is_file()
        assert len(found["title"]) > 3
        assert len(found.get("description", "")) <= 160
        assert f'<link rel="canonical" href="{base}{name}.html"' in html


def test_the_picture_of_link_previews_has_the_size_it_claims(site):
    data = (site / "_static" / "social_card.png").read_bytes()
    assert [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)] == [1200, 630]
    assert len(data) < 300_000


def test_the_sitemap_lists_every_page(site):
    addresses = re.findall(r"<loc>(.*?)</loc>", (site / "sitemap.xml").read_text("utf-8"))
    expected = {f"{book_site.site_address()}{name}.html" for name in book_site.toc_files()}
    assert set(addresses) == expected
    assert len(addresses) == len(expected)


def test_the_404_page_stands_alone(site, pages):
    """A server shows it at any address, so nothing in it may depend on where it is."""
    page = pages["404.html"]
    assert page.loads == ["data:,"]  # no icon, and no request for one
    base = book_site.site_address()
    assert len(page.links) >= 3
    assert all(link.startswith(base) for link in page.links)
    assert all((site / link.removeprefix(base)).is_file() for link in page.links)


# --- What the pages say --------------------------------------------------------------------------


def test_the_landing_page_code_runs(capsys):
    text = (ROOT / "book" / "intro.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(compile(code, "book/intro.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "ndcg@10" in printed
    assert names["scores"].shape == names["split"].test.history.shape


def test_make_targets_named_on_the_pages_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    prose = "".join(path.read_text("utf-8") for path in (ROOT / "book").glob("*.md"))
    targets = set(re.findall(r"(?:`|^\s*)make ([a-z-]+)", prose, re.MULTILINE))
    assert {"book", "test"} <= targets
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []


# --- Extensions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in EXTENSIONS.glob("*.py")))
def test_extension_examples(name):
    result = doctest.testmod(extension(name))
    assert result.failed == 0


@pytest.mark.parametrize(
    "before, after",
    [
        ("<th></th>", "<td></td>"),
        ('<th class="blank">&nbsp;</th>', "<td></td>"),
        ("<th>genre</th>", "<th>genre</th>"),
        (
            '<i class="theme-switch fa-sun" data-mode="light" title="Light"></i>',
            '<i class="theme-switch fa-sun" data-mode="light" aria-hidden="true"></i>',
        ),
        ('<summary aria-label="Toggle hidden content">', "<summary>"),
        (
            '<summary><span class="toctree-toggle" role="presentation">',
            '<summary aria-label="Pages of this part"><span class="toctree-toggle" '
            'role="presentation">',
        ),
        ('<div class="citation" role="doc-biblioentry">', '<div class="citation" role="listitem">'),
    ],
)
def test_mends(before, after):
    mend = extension("page_mends").mend
    assert mend(before) == after
    assert mend(mend(before)) == after


def test_mends_still_find_what_they_mend(site):
    """A rule for markup that the theme no longer writes would be dead weight."""
    html = (site / "book" / "references.html").read_text("utf-8")
    assert 'role="region" aria-label="Sidebar"' in html
    assert 'role="listitem"' in html
    assert '<summary aria-label="Pages of this part">' in html
    assert re.search(r'<i class="theme-switch [^>]*aria-hidden="true"', html)
    assert "THEBE_JS_URL" not in html
