"""Build the site into _build/html, warnings being errors, and check that it works offline.

    .venv/bin/python scripts/build_book.py          # what `make book` runs

Every page is read again each time (it takes seconds): a warning in a page that an earlier build has
already seen would otherwise pass.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
# What a browser fetches by itself when it opens a page; a link that a reader may follow is no such.
FETCHED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "video": ("src", "poster"),
}
FETCHED_RELS = {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload",
                "icon", "manifest", "apple-touch-icon"}  # fmt: skip
REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
CSS_REMOTE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.I)


class RemoteReferences(HTMLParser):
    """Collect what a page would fetch from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._style = False

    def handle_starttag(self, tag, attrs):
        """Look at the attributes that make a browser fetch."""
        values = {name: value or "" for name, value in attrs}
        names = FETCHED.get(tag, ())
        if tag == "link" and FETCHED_RELS & set(values.get("rel", "").lower().split()):
            names = ("href",)
        for name in names:
            # srcset is a list of addresses, each with a size after it
            parts = values.get(name, "").split(",") if name == "srcset" else [values.get(name, "")]
            self.found += [part.strip() for part in parts if REMOTE.match(part)]
        self.found += CSS_REMOTE.findall(values.get("style", ""))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        """Leave a style element."""
        self._style = self._style and tag != "style"

    def handle_data(self, data):
        """Look at the rules of a style element."""
        if self._style:
            self.found += CSS_REMOTE.findall(data)


def remote_references(folder: Path) -> list[str]:
    """Return "page: address" for everything that the site would fetch from another host."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        parser = RemoteReferences()
        parser.feed(path.read_text(encoding="utf-8", errors="replace"))
        found += [f"{path.relative_to(folder)}: {address}" for address in parser.found]
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(folder)}: {address}" for address in CSS_REMOTE.findall(text)]
    return found


def main() -> int:
    """Build, check, and return the exit code."""
    start = time.monotonic()
    started = time.time()
    # Not .venv/bin/jupyter-book: that file names the place where the environment was made.
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()",
               "build", ".", "--all", "-W", "-n", "--keep-going", "-q"]  # fmt: skip
    print("book: jupyter-book build . --all -W -n --keep-going", flush=True)
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    # Every build writes the search index; index.html is kept from an earlier one.
    written = HTML / "searchindex.js"
    if done.returncode or not written.is_file() or written.stat().st_mtime < started - 2:
        print("book: the build failed, see the warnings above", file=sys.stderr)
        return done.returncode or 1
    remote = remote_references(HTML)
    if remote:
        print("book: the site would fetch from another host:", *remote, sep="\n  ", file=sys.stderr)
        return 1
    pages = len(list(HTML.rglob("*.html")))
    print(
        f"book: {pages} pages in {time.monotonic() - start:.0f} s, nothing fetched from elsewhere"
    )
    print(f"book: open {(HTML / 'index.html').relative_to(ROOT)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
