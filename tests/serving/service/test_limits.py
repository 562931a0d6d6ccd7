"""What is too much is refused before it costs anything."""

import asyncio

import pytest

from recsys_tutorial.serving.service import Settings
from recsys_tutorial.serving.service import limits as module
from recsys_tutorial.serving.service.limits import Limits, TokenBuckets
from scripts.machine_speed import limit


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_fills_at_its_rate_and_no_further():
    clock = Clock()
    buckets = TokenBuckets(rate=2.0, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0  # has one of its own
    clock.now = 0.25
    assert buckets.take("a") == 0.25
    clock.now = 0.5
    assert buckets.take("a") == 0 and buckets.take("a") == 0.5
    clock.now = 1000.0
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_clients_that_come_and_go_take_no_more_memory(monkeypatch):
    monkeypatch.setattr(module, "_CLIENTS", 10)
    buckets = TokenBuckets(1.0, 1, Clock())
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10
    assert buckets.take("999") > 0  # the newest are those that are kept


async def answered(app, settings, pieces=(b"",), headers=(), path="/recommend", client="1.2.3.4"):
    """(status, body) of one request whose body comes in pieces; a piece None never comes."""
    scope = {"type": "http", "method": "POST", "path": path, "client": (client, 1),
             "headers": [(b"host", b"localhost:8000"), *headers]}  # fmt: skip
    left, sent = list(pieces), []

    async def receive():
        if left and left[0] is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent).decode()


async def echo(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


async def never(scope, receive, send):
    await asyncio.Event().wait()


def ask(app, pieces=(b"",), headers=(), path="/recommend", n=1, **settings):
    limited = Limits(app, Settings("none", **settings))

    async def all_of_them():
        return [await answered(limited, None, pieces, headers, path) for _ in range(n)]

    return asyncio.run(asyncio.wait_for(all_of_them(), limit(60)))


def test_a_body_in_pieces_arrives_whole():
    assert ask(echo, [b"ab", b"", b"c"]) == [(200, "abc")]


@pytest.mark.parametrize(
    "pieces, headers",
    [
        ([b"x" * 11], []),
        ([b"x" * 6, b"x" * 6], []),  # no length stated
        ([b"x" * 6, b"x" * 6], [(b"content-length", b"3")]),  # a wrong one
        ([None], [(b"content-length", b"11")]),  # not even waited for
    ],
)
def test_a_long_body_is_refused(pieces, headers):
    ((status, body),) = ask(echo, pieces, headers, max_body_bytes=10)
    assert status == 413 and "a body may have 10 bytes" in body
    assert ask(echo, [b"x" * 10], max_body_bytes=10) == [(200, "x" * 10)]


def test_a_body_that_does_not_come_is_not_waited_for():
    ((status, body),) = ask(echo, [b"{", None], body_timeout=0.05)
    assert status == 408 and "did not arrive in 0.05 s" in body


def test_work_that_takes_too_long_ends():
    ((status, body),) = ask(never, timeout=0.05)
    assert status == 503 and '"code":"timeout"' in body and "more than 0.05 s" in body
    ((_, body),) = ask(never, path="/models/activate", timeout=600.0, change_timeout=0.06)
    assert "more than 0.06 s" in body


def test_too_many_at_once_are_told_to_wait_and_the_watch_is_let_through():
    answers = ask(echo, n=3, burst=2, rate=0.001)
    assert [status for status, _ in answers] == [200, 200, 429]
    assert "more than 0.001 requests a second: wait " in answers[2][1]
    assert [s for s, _ in ask(echo, n=3, burst=1, rate=0.001, path="/health")] == [200] * 3


def test_a_busy_service_says_so():
    async def two():
        limited = Limits(never, Settings("none", max_waiting=1, timeout=600.0))
        first = asyncio.create_task(answered(limited, None))
        await asyncio.sleep(0)
        second = await answered(limited, None)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return second, limited._working

    (status, body), working = asyncio.run(two())
    assert status == 503 and "1 requests are in work" in body
    assert working == 0  # who is cancelled counts no more


@pytest.mark.parametrize("host", [b"evil.example", b"evil.example:8000", b"", b"[::2]:8000"])
def test_another_name_is_refused(host):
    ((status, body),) = ask(echo, headers=[(b"host", host)])
    assert status == 421 and "localhost" in body


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:80", b"[::1]:8000"])
def test_its_own_names_are_taken(host):
    assert ask(echo, [b"x"], [(b"host", host)]) == [(200, "x")]


def test_bad_settings_are_refused():
    for bad, message in (
        ({"burst": 0}, "burst must be .* at least 1, got 0"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"batch_wait": -1.0}, "batch_wait must be .* at least 0"),
        ({"index": "tree"}, "index must be 'exact', .* got 'tree'"),
    ):
        with pytest.raises(ValueError, match=message):
            Settings("none", **bad)
