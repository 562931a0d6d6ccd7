"""What a service bears: the size and the number of requests, and how long one may take.

Outside of the application, so that what is too much costs next to nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from recsys_tutorial.serving.service.errors import ServiceError
from recsys_tutorial.serving.service.settings import Settings

_CLIENTS = 10_000  # whose buckets are kept; who comes after them has a full one
_ALWAYS = ("/health", "/metrics")  # what watches the service must see it when it is busiest


class TokenBuckets:
    """A bucket of tokens for each client: a request takes one, and they come back at a rate.

    Parameters
    ----------
    rate : float, tokens a second
    burst : int, tokens of a full bucket
    clock : callable -> float, seconds
    """

    def __init__(self, rate: float, burst: int, clock=time.monotonic):
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token: 0, or the seconds until there is one.

        Parameters
        ----------
        client : str

        Returns
        -------
        float, seconds
        """
        now = self._clock()
        tokens, then = self._buckets.pop(client, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return wait


class Limits:
    """The application behind its limits (ASGI).

    A body is read here, whole, before the application sees the request: then its size and its
    slowness are answered alike, whatever the header said.

    Parameters
    ----------
    app : ASGI application
    settings : Settings
    """

    def __init__(self, app, settings: Settings):
        self._app, self._settings = app, settings
        self._buckets = TokenBuckets(settings.rate, settings.burst)
        self._working = 0

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def tracked(message):
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        counted = scope["path"] not in _ALWAYS
        try:
            self._check_host(scope)
            if counted:
                self._admit(scope)
            self._working += counted
            try:
                body = await self._body(scope, receive)
                if body is not None:
                    await self._answer(scope, _replayed(body, receive), tracked)
            finally:
                self._working -= counted
        except ServiceError as error:
            if started:
                raise
            await error.response()(scope, receive, send)

    def _check_host(self, scope) -> None:
        """Refuse other names: a page elsewhere could have its own name point to this machine."""
        if "*" in self._settings.hosts:
            return
        name = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name not in self._settings.hosts:
            names = ", ".join(self._settings.hosts)
            message = f"this service answers as {names}, not as {name[:80]!r}"
            raise ServiceError(421, "misdirected", message, "header.host")

    def _admit(self, scope) -> None:
        if self._working >= self._settings.max_waiting:
            message = f"{self._working} requests are in work: try again later"
            raise ServiceError(503, "busy", message, headers={"Retry-After": "1"})
        wait = self._buckets.take((scope.get("client") or ("",))[0])
        if wait:
            message = f"more than {self._settings.rate:g} requests a second: wait {wait:.2f} s"
            headers = {"Retry-After": str(int(wait) + 1)}
            raise ServiceError(429, "too_many_requests", message, "client", headers)

    async def _answer(self, scope, receive, send) -> None:
        changes = scope["path"].startswith("/models/")
        seconds = self._settings.change_timeout if changes else self._settings.timeout
        try:
            async with asyncio.timeout(seconds):
                await self._app(scope, receive, send)
        except TimeoutError:
            message = f"it took more than {seconds:g} s: try again later"
            raise ServiceError(503, "timeout", message, headers={"Retry-After": "1"}) from None

    async def _body(self, scope, receive) -> bytes | None:
        """The whole body; None when the client has gone."""
        most, body, more = self._settings.max_body_bytes, b"", True
        too_long = ServiceError(
            413, "body_too_long", f"a body may have {most} bytes", "body", {"Connection": "close"}
        )
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if stated.isdigit() and int(stated[:20]) > most:
            raise too_long
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise too_long
        except TimeoutError:
            message = f"the body did not arrive in {self._settings.body_timeout:g} s"
            headers = {"Connection": "close"}
            raise ServiceError(408, "body_timeout", message, "body", headers) from None
        return body


def _replayed(body: bytes, receive):
    """`receive` that gives a body which was read already, and then goes on."""
    sent = False

    async def again():
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
