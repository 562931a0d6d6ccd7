"""The site, built once, and tabs in which its pages are opened."""

from urllib.parse import urlsplit

import pytest

from scripts.machine_speed import limit
from tests import book_site
from tests.browser.tabs import WIDE, Tab, served_bytes, serving


@pytest.fixture(scope="session")
def site():
    """The folder of the built site."""
    return book_site.built_site()


@pytest.fixture(scope="session")
def base(site):
    """The address of a local server of the site."""
    with serving(site) as address:
        yield address


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
