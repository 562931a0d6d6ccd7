"""Build the site and read its pages: what tests/test_book.py and tests/test_browser*.py share."""

import atexit
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import yaml

from scripts import run_tests, set_repository
from scripts.machine_speed import limit

ROOT = Path(__file__).resolve().parents[1]


def build(source: Path, output: Path) -> subprocess.CompletedProcess:
    """Build the book of `source` as `make book` does, warnings being errors, under `output`."""
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(source), "-W", "-n"]
    command += ["--keep-going", "--path-output", str(output)]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit(300))


@functools.cache
def built_site() -> Path:
    """The folder of the site: the one that was built just now, or built for this process."""
    if folder := os.environ.get(run_tests.SITE_VARIABLE):
        assert (Path(folder) / "index.html").is_file(), f"no site in {folder}"
        return Path(folder)
    output = Path(tempfile.mkdtemp(prefix="book-"))
    atexit.register(shutil.rmtree, output, ignore_errors=True)
    result = build(ROOT, output)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return output / "_build" / "html"


def toc_files() -> list[str]:
    """The files of _toc.yml in reading order, without suffix, the landing page first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    pages = [page for chapter in chapters for page in (chapter, *chapter.get("sections", []))]
    return [toc["root"], *(page["file"] for page in pages)]


def repository_url() -> str:
    """The repository's URL from its one place."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"]


def site_address() -> str:
    """The address under which the site is published, which follows from the repository's."""
    owner, name = repository_url().removeprefix("https://github.com/").split("/")
    return f"https://{owner}.github.io/{name}/"


def notebooks() -> list[Path]:
    """The chapters, in order."""
    return set_repository.notebooks(ROOT, "")


def markdown_of(notebook: Path) -> str:
    """All prose of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


class Page(HTMLParser):
    """The anchors, links, loaded files and images of one HTML page.

    links : what a reader can follow; loads : what a browser fetches by itself.
    """

    def __init__(self, html: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.images: list[dict[str, str]] = []
        self.title = ""
        self._in_title = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        """Collect from one tag."""
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self._in_title = tag == "title"
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "href" in values:
            # Next, previous and search pages are named here for the browser, not fetched.
            fetched = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "manifest"}
            (self.loads if fetched & set(values.get("rel", "").split()) else self.links).append(
                values["href"]
            )
        elif tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.links.append(values["content"].partition("url=")[2])
        elif tag in ("script", "img", "iframe", "source", "video", "audio", "embed", "track"):
            if values.get("src"):
                self.loads.append(values["src"])
            self.loads += [part.split()[0] for part in values.get("srcset", "").split(",") if part]
            if tag == "img":
                self.images.append(values)

    def handle_data(self, data):
        """Keep the title."""
        if self._in_title:
            self.title += data

    def handle_endtag(self, tag):
        """The title is over."""
        self._in_title = False


def read_pages(site: Path) -> dict[str, Page]:
    """Every HTML page below `site`, by its path from there."""
    paths = [p for p in sorted(site.rglob("*.html")) if "_static" not in p.parts]
    return {p.relative_to(site).as_posix(): Page(p.read_text("utf-8")) for p in paths}


def is_foreign(url: str) -> bool:
    """Whether the URL leads away from the site."""
    return bool(urlsplit(url).netloc) or urlsplit(url).scheme in ("http", "https")


def target_of(page: str, link: str) -> tuple[str, str] | None:
    """The (file, anchor) that a link of `page` means, or None if it leads away or runs a script."""
    parts = urlsplit(link)
    if is_foreign(link) or parts.scheme in ("mailto", "javascript", "data"):
        return None
    path = unquote(urlsplit(urljoin(f"/{page}", parts.path)).path).lstrip("/")
    return (path if parts.path else page), unquote(parts.fragment)


def broken_links(site: Path, pages: dict[str, Page]) -> list[str]:
    """Links and loaded files that lead nowhere, as "page: link"."""
    broken = []
    for name, page in pages.items():
        for link in page.links + page.loads:
            target = target_of(name, link)
            if target is None:
                continue
            path, anchor = target
            known = pages.get(path)
            if known is None and not (site / path).is_file():
                broken.append(f"{name}: {link} (no such file)")
            elif known is not None and anchor and anchor not in known.anchors:
                broken.append(f"{name}: {link} (no such anchor)")
    return broken


def css_urls(css: str) -> list[str]:
    """What a style sheet fetches."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    return re.findall(r"""url\(\s*['"]?([^'")]+)""", css) + re.findall(
        r"""@import\s+['"]([^'"]+)""", css
    )
