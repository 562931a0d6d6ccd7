"""What Prometheus reads: how many requests, how long they took, what was stored and shown."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_METHODS = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"}


class Monitor:
    """The counters of one service, in a registry of their own.

    Attributes
    ----------
    requests, seconds, working : of HTTP, by route
    feedback, lists, lost_lists, steps, changes : what the service did
    """

    def __init__(self):
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "recsys_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "recsys_request_seconds", "Seconds of a request, its body's arrival included",
            ["route"], buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.working = Gauge("recsys_requests_in_work", "Requests in work", registry=registry)
        self.feedback = Counter(
            "recsys_feedback", "Messages acknowledged", ["value"], registry=registry
        )
        self.lists = Counter(
            "recsys_lists", "Lists shown", ["version", "arm", "basis"], registry=registry
        )
        self.lost_lists = Counter(
            "recsys_lists_not_recorded", "Lists shown and not recorded", registry=registry
        )
        self.steps = Histogram(
            "recsys_batch_queries", "Queries answered in one step",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=registry,
        )  # fmt: skip
        self.changes = Counter(
            "recsys_version_changes", "Changes of who is given which version", registry=registry
        )

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)


class Measured:
    """An application whose requests are counted and timed (ASGI).

    Parameters
    ----------
    app : ASGI application
    monitor : Monitor
    """

    def __init__(self, app, monitor: Monitor):
        self._app, self._monitor = app, monitor

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = "500", time.perf_counter()

        async def watched(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        self._monitor.working.inc()
        try:
            await self._app(scope, receive, watched)
        finally:
            self._monitor.working.dec()
            # Labels of a bounded number: the pattern of a known route, never a client's words.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._monitor.requests.labels(method, route, status).inc()
            self._monitor.seconds.labels(route).observe(time.perf_counter() - start)
