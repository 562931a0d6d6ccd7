"""A browser's tab on a local server of the site, with every request to another host blocked."""

import contextlib
import functools
import gzip
import http.server
import threading
from dataclasses import dataclass, field

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
