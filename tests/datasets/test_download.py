"""Downloads against a server on this machine that fails in every way a real one does."""

import contextlib
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pooch
import pytest

from recsys_tutorial.datasets import DataFileError, DownloadError, load_movielens
from recsys_tutorial.datasets import _download as download
from recsys_tutorial.datasets import movielens as datasets
from recsys_tutorial.datasets._download import fetch
from tests.datasets.movielens_files import LAYOUTS, assert_same, expected, write, zipped

CONTENT = bytes(range(256)) * 2000  # half a megabyte: several pieces of a transfer
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
PAGE = "https://example.org/page"


class Server(ThreadingHTTPServer):
    """Serves `contents[path]` in the manners that `manners[path]` lists, the last one for ever."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents, self.manners, self.requests = {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def url(self, path, content=CONTENT, manners=("whole",)) -> str:
        self.contents[path], self.manners[path] = content, list(manners)
        return self.address + path

    def count(self, path) -> int:
        return self.requests.count(path)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, path = self.server, self.path
        server.requests.append(path)
        manners = server.manners.get(path, ["404"])
        manner = manners.pop(0) if len(manners) > 1 else manners[0]
        if manner.isdigit():
            self.send_error(int(manner))
            return
        content = server.contents[path]
        if manner == "other content":
            content = b"<html>Please sign in to this network</html>"
        if manner == "silent":
            time.sleep(1.5)
            return
        self.send_response(200)
        if manner != "cut, length unknown":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = manner.startswith("cut")
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[: len(content) // 2] if half else content)
            if manner == "cut by silence":
                time.sleep(1.5)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(urls, path, attempts=3, wait=0.0, progress=False, known_hash=MD5, **options):
    settings = {"_ATTEMPTS": attempts, "_WAIT": wait, "_TIMEOUT": 0.5}
    with mock.patch.multiple(download, **settings):
        return fetch(urls, path, known_hash, page=PAGE, progress=progress, **options)


def test_file_arrives_whole_and_is_not_fetched_again(server, tmp_path):
    url, path = server.url("/a.bin"), tmp_path / "deep" / "er" / "a.bin"
    assert get([url], path) == path
    assert path.read_bytes() == CONTENT
    assert get([url], path) == path
    assert server.count("/a.bin") == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


FAILURES = ["cut", "cut, length unknown", "cut by silence", "other content", "silent", "500", "503"]


@pytest.mark.parametrize("failure", FAILURES)
def test_passing_failure_is_tried_again(server, tmp_path, failure):
    url, path = server.url("/a.bin", manners=[failure, failure, "whole"]), tmp_path / "a.bin"
    assert get([url], path).read_bytes() == CONTENT
    assert server.count("/a.bin") == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


REASONS = {
    "cut": "the transfer was cut off",
    "cut, length unknown": "what came has the wrong md5",
    "cut by silence": "no answer in time",
    "other content": "what came has the wrong md5",
    "silent": "no answer in time",
    "500": "HTTP 500",
}


@pytest.mark.parametrize("failure", REASONS)
def test_lasting_failure_leaves_nothing_and_says_what_was_tried(server, tmp_path, failure):
    urls = [server.url("/a.bin", manners=[failure]), server.url("/b.bin", manners=[failure])]
    with pytest.raises(DownloadError) as caught:
        get(urls, tmp_path / "a.bin", attempts=2)
    message = str(caught.value)
    for url in urls:
        for attempt in (1, 2):
            assert f"{url} (attempt {attempt}): {REASONS[failure]}" in message
    assert f"put it at {tmp_path / 'a.bin'}" in message
    assert PAGE in message
    assert MD5.removeprefix("md5:") in message
    assert list(tmp_path.iterdir()) == []


def test_second_place_is_tried_before_the_first_is_tried_again(server, tmp_path):
    first, second = server.url("/a.bin", manners=["other content"]), server.url("/b.bin")
    assert get([first, second], tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.requests == ["/a.bin", "/b.bin"]


def test_a_place_without_the_file_is_not_asked_again(server, tmp_path):
    urls = [server.address + "/missing", server.url("/b.bin", manners=["500"])]
    with pytest.raises(DownloadError, match=r"missing \(attempt 1\): HTTP 404"):
        get(urls, tmp_path / "a.bin", attempts=3)
    assert server.count("/missing") == 1
    assert server.count("/b.bin") == 3


def test_no_server_at_all(tmp_path):
    with pytest.raises(DownloadError, match="no connection to the server"):
        get(["http://127.0.0.1:9/a.bin"], tmp_path / "a.bin", attempts=1)
    assert list(tmp_path.iterdir()) == []


def test_waiting_doubles_from_round_to_round(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    with pytest.raises(DownloadError):
        get([server.url("/a.bin", manners=["500"])], tmp_path / "a.bin", attempts=4, wait=1.0)
    assert waits == [1.0, 2.0, 4.0]


def test_each_place_is_asked_three_times_with_half_a_minute_of_patience(
    server, tmp_path, monkeypatch
):
    waits, asked, downloader = [], [], pooch.HTTPDownloader
    monkeypatch.setattr(download.time, "sleep", waits.append)

    def noted(**settings):
        asked.append(settings["timeout"])
        return downloader(**settings)

    monkeypatch.setattr(pooch, "HTTPDownloader", noted)
    url = server.url("/a.bin", manners=["500"])
    with pytest.raises(DownloadError, match=r"\(attempt 3\): HTTP 500"):
        fetch([url], tmp_path / "a.bin", MD5, page=PAGE, progress=False)
    assert server.count("/a.bin") == 3 and waits == [1.0, 2.0] and asked == [30.0]


def test_where_no_place_is_left_nobody_waits(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    with pytest.raises(DownloadError, match=r"missing \(attempt 1\): HTTP 404"):
        get([server.address + "/missing"], tmp_path / "a.bin", wait=1.0)
    assert waits == []


def test_file_with_another_checksum_is_replaced_only_by_the_right_one(server, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"half of it")
    with pytest.raises(DownloadError, match=r"that is at .* now has another checksum"):
        get([server.url("/a.bin", manners=["other content"])], path, attempts=1)
    assert path.read_bytes() == b"half of it"
    assert get([server.url("/a.bin")], path).read_bytes() == CONTENT


def test_progress_goes_to_stderr_and_only_when_asked(server, tmp_path, capsys):
    get([server.url("/a.bin")], tmp_path / "a.bin", progress=True)
    shown = capsys.readouterr()
    assert "100%" in shown.err
    assert shown.out == ""
    get([server.url("/a.bin")], tmp_path / "b.bin")
    get([server.url("/a.bin")], tmp_path / "c.bin", progress=None)  # neither terminal nor notebook
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "terminal, ipython, shown",
    [
        (False, None, False),
        (True, None, True),
        (False, SimpleNamespace(get_ipython=lambda: None), False),
        (False, SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=None)), False),
        (False, SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel="one")), True),
    ],
    ids=["neither", "terminal", "IPython is imported", "IPython in a terminal", "notebook"],
)
def test_unasked_there_is_progress_in_terminals_and_notebooks(
    server, tmp_path, monkeypatch, capsys, terminal, ipython, shown
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    if ipython:
        monkeypatch.setitem(sys.modules, "IPython", ipython)
    get([server.url("/a.bin")], tmp_path / "a.bin", progress=None)
    assert ("100%" in capsys.readouterr().err) == shown


def test_the_downloader_announces_nothing_and_its_logger_is_as_before(server, tmp_path):
    said, logger = [], pooch.get_logger()
    handler = logging.Handler()
    handler.emit = said.append
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        get([server.url("/a.bin")], tmp_path / "a.bin")
        assert said == [] and logger.level == logging.DEBUG
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


# ------------------------------------------------------------------------------------- full disks


def test_disk_that_fills_up_leaves_nothing(server, tmp_path, monkeypatch):
    """The downloader writes a piece, then meets the error that a full device really gives."""

    def write_until_full(self, url, output_file, pooch, check_only=False):
        Path(output_file).write_bytes(CONTENT[:1000])
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(CONTENT)

    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", write_until_full)
    with pytest.raises(DownloadError, match=r"(?s)disk is full.*RECSYS_TUTORIAL_CACHE.*put it at"):
        get([server.url("/a.bin")], tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import sys
from pathlib import Path
from recsys_tutorial.datasets._download import DownloadError, fetch
folder = Path(sys.argv[2])
try:
    fetch([sys.argv[1]], folder / "a.bin", sys.argv[3], page="page", progress=False)
except DownloadError as error:
    print(error)
print("left:", [entry.name for entry in folder.iterdir()])
"""


def test_really_full_disk(server, tmp_path):
    """On a file system of 256 kB, mounted where only a child process sees it."""
    mount = f"mount -t tmpfs -o size=256k none {tmp_path}"
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*unshare, mount], check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    url = server.url("/a.bin")
    command = f'{mount} && exec "$0" "$@"'
    result = subprocess.run(
        [*unshare, command, sys.executable, "-c", FULL_DISK, url, str(tmp_path), MD5],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(download.__file__).parents[1],
    )
    assert "the disk is full: [Errno 28]" in result.stdout
    assert result.stdout.endswith("left: []\n")
    assert server.count("/a.bin") == 1  # no use in trying again


def test_too_little_space_is_noticed_before_the_first_request(server, tmp_path):
    with pytest.raises(DownloadError, match=r"disk is full: .* 1,000,000,000,000 MB needed"):
        get([server.url("/a.bin")], tmp_path / "a.bin", size=10**18)
    assert server.requests == []


def test_a_disk_with_just_enough_room_is_enough(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    get([server.url("/a.bin")], tmp_path / "a.bin", size=10**6)
    with pytest.raises(DownloadError, match=r"disk is full: .* 1 MB needed, 1 MB free"):
        get([server.url("/b.bin")], tmp_path / "b.bin", size=10**6 + 1)


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="the folder cannot be written"):
        get([server.url("/a.bin")], tmp_path / "file" / "a.bin")
    assert server.requests == []


# --------------------------------------------------------------------------- MovieLens by its name


@pytest.fixture
def grouplens(server, tmp_path, monkeypatch):
    """Put a small MovieLens 1M on the local server, in GroupLens's place and in the mirror's."""

    def publish(contents, grouplens=("whole",), mirror=("whole",)):
        data = zipped({f"ml-1m/{name}": content for name, content in contents.items()})
        server.url("/gl/ml-1m.zip", data, grouplens)
        server.url(datasets.MIRROR + "ml-1m.zip", data, mirror)
        monkeypatch.setitem(
            datasets.RELEASES, "1m", datasets.Release(hashlib.md5(data).hexdigest(), 1, (1, 5))
        )
        return data

    monkeypatch.setattr(datasets, "GROUPLENS", server.address + "/gl/")
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    return publish


def test_release_is_downloaded_once_and_read_from_its_archive(server, grouplens, tmp_path):
    grouplens(LAYOUTS["dat"])
    assert_same(load_movielens("1m", progress=False), expected())
    assert_same(load_movielens("1M", progress=False), expected())
    assert server.requests == ["/gl/ml-1m.zip"]
    kept = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept == ["ml-1m.zip"]
    assert (datasets.cache_dir() / "movielens" / "ml-1m.zip").is_file()


def test_a_release_shows_its_progress_when_asked(grouplens, capsys):
    grouplens(LAYOUTS["dat"])
    load_movielens("1m", progress=True)
    assert "100%" in capsys.readouterr().err


def test_mirror_serves_when_grouplens_does_not(server, grouplens):
    grouplens(LAYOUTS["dat"], grouplens=("503",))
    assert_same(load_movielens("1m", progress=False), expected())
    assert server.requests == ["/gl/ml-1m.zip", datasets.MIRROR + "ml-1m.zip"]


def test_archive_put_by_hand_is_used_without_the_network(server, grouplens, tmp_path):
    data = grouplens(LAYOUTS["dat"], grouplens=("404",), mirror=("404",))
    with pytest.raises(DownloadError, match="put it at") as caught:
        load_movielens("1m", progress=False)
    place = str(caught.value).split("put it at ")[1].splitlines()[0]
    write(Path(place).parent, {Path(place).name: data})
    requests = list(server.requests)
    assert_same(load_movielens("1m", progress=False), expected())
    assert server.requests == requests


def test_archive_with_a_member_outside_is_refused_though_its_checksum_is_right(grouplens, tmp_path):
    grouplens(LAYOUTS["dat"] | {"../../evil.sh": b"evil"})
    with pytest.raises(DataFileError, match="points out of the archive's folder"):
        load_movielens("1m", progress=False)
    assert not list(tmp_path.rglob("evil*"))


def test_half_stars_are_off_the_scale_of_1m(grouplens):
    content = LAYOUTS["dat"]["ratings.dat"].replace(b"::4::", b"::3.5::", 1)
    grouplens(LAYOUTS["dat"] | {"ratings.dat": content.replace(b"::3.5::", b"::0.5::")})
    with pytest.raises(DataFileError, match=r"0\.5 is outside the scale from 1 to 5"):
        load_movielens("1m", progress=False)


def test_published_checksums_are_whole():
    """GroupLens publishes an MD5 beside each archive; a digit lost here would lock readers out."""
    assert set(datasets.RELEASES) == {"100k", "1m", "25m", "32m"}
    for release in datasets.RELEASES.values():
        assert len(bytes.fromhex(release.md5)) == 16


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", str(tmp_path))
    assert datasets.cache_dir() == tmp_path
    monkeypatch.setenv("RECSYS_TUTORIAL_CACHE", "~/somewhere")
    assert datasets.cache_dir() == Path.home() / "somewhere"
    monkeypatch.delenv("RECSYS_TUTORIAL_CACHE")
    assert datasets.cache_dir().name == "recsys_tutorial"


def test_what_is_held_at_a_time_is_neither_little_nor_much():
    assert 2**12 <= download._BLOCK <= 2**20  # 4 kB to 1 MB
