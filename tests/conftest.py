"""What several test files share."""

import os
import shutil

import pytest

# Minutes: begun last, it would run alone while the other workers have nothing left to do.
FIRST = ("test_gpu_settings.py", "test_leaderboard_script.py")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups behind it
def pytest_collection_modifyitems(items):
    """Begin with the longest files; the others stay in their order.

    The site's tests are dealt by group: a file is one, the pages in each of two ways are two.
    """
    items.sort(key=lambda item: item.path.name not in FIRST)
    for item in items:
        way = getattr(item, "callspec", None) and item.callspec.params.get("way")
        group = f"{way[0][0]}-{way[1]}" if way else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="module")
def one_thread():
    """The models of these tests are so small that threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bert():
    """The small BERT, loaded once and without the cache; who trains one makes one of their own."""
    from recsys_tutorial.encoders import TextEncoder

    encoder = TextEncoder(device="cpu", use_cache=False)
    yield encoder
    assert not encoder.changed and not encoder.n_trainable, "a test has trained everybody's BERT"


@pytest.fixture(scope="session")
def vit():
    """The small ViT for pictures of 56 x 56, likewise."""
    from recsys_tutorial.encoders import ImageEncoder

    encoder = ImageEncoder(image_size=56, device="cpu", use_cache=False)
    yield encoder
    assert not encoder.changed and not encoder.n_trainable, "a test has trained everybody's ViT"


@pytest.fixture(scope="session")
def chromium():
    """One headless browser for all tests, of the site and of the slides."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium in CI: install it, or name it in $CHROMIUM")
        pytest.skip("no Chromium here: install it, or name it in $CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site():
    """The folder of the site, built once."""
    from tests import book_site

    return book_site.built_site()


@pytest.fixture(scope="session")
def base(site):
    """The address of a local server of the site."""
    from tests.browser_tabs import serving

    with serving(site) as address:
        yield address


@pytest.fixture(scope="session")
def new_tab(chromium, site, base):
    """A function that opens a Tab of `browser_tabs`; all are closed at the end."""
    from tests.browser_tabs import open_tab

    tabs = []

    def keep(*args, **kwargs):
        tabs.append(open_tab(chromium, site, base, *args, **kwargs))
        return tabs[-1]

    yield keep
    for tab in tabs:
        tab.page.context.close()
