"""A browser's tab on a local server of the site, with every request to another host blocked."""

import contextlib
import functools
import gzip
import http.server
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from scripts.machine_speed import limit

WIDE, PHONE = (1280, 900), (375, 812)


TEXT = (".html", ".css", ".js", ".json", ".svg")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request, and text compressed, as a site's host does."""

    def do_GET(self):
        """Send a file."""
        path = Path(self.translate_path(self.path))
        if path.suffix not in TEXT or not path.is_file():
            return super().do_GET()
        body = sent_bytes(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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
def sent_bytes(path):
    """A file as a web server sends it: text compressed."""
    data = path.read_bytes() if path.is_file() else b""
    return gzip.compress(data) if path.suffix in TEXT else data


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
        tab.weight += len(sent_bytes(site / urlsplit(response.url).path.lstrip("/")))

    context.route("**/*", route)
    tab.page.on("console", note)
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.page.on("response", weigh)
    return tab
