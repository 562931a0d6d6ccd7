"""A browser's tab on a local server of the site, with every request to another host blocked."""

import contextlib
import functools
import gzip
import http.server
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from scripts.machine_speed import limit

WIDE, PHONE = (1280, 900), (375, 812)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *args):
        """Say nothing."""


@contextlib.contextmanager
def serving(folder):
    """The address of a local server of a folder, for the block."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


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


def open_tab(chromium, site, base, size=WIDE, scheme="light", **options):
    """A Tab in a fresh context, so with nothing remembered."""
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
