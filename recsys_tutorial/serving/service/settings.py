"""What a service is told: where its files are, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys_tutorial._checks import check_at_least, check_one_of, check_positive
from recsys_tutorial.serving.service.indexes import KINDS

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """Where a service finds its versions and keeps what it is told, and what it bears.

    Attributes
    ----------
    folder : Path, with the versions' folders in `versions`; nothing is written there
    state : Path or None, folder of the feedback and of which version is on; `folder` by default
    max_body_bytes : int, of a request; more is answered by 413
    max_likes : int, stored likes that a user's answer is made of: the last
    rate : float, requests of a client per second in the long run; more are answered by 429
    burst : int, requests of a client at once
    max_waiting : int, requests in work at the same time; more are answered by 503
    timeout : float, seconds for the work on a request; then 503
    change_timeout : float, the same for a change of versions, which has to load one
    body_timeout : float, seconds in which a request's body must arrive; then 408
    batch_size : int, queries that are answered in one step; 1 is no batching
    batch_wait : float, seconds that a query waits for others; 0 takes those that are there
    index : "exact", "hnsw", "int8" or "pq", see `VectorIndex`
    admin_token : str or None, whoever brings it may change versions; None: who comes from this
        machine may
    hosts : tuple of str, names under which the service may be called; "*" for any

    Raises
    ------
    ValueError for a limit out of its range.
    """

    folder: Path
    state: Path | None = None
    max_body_bytes: int = 16_384
    max_likes: int = 500
    rate: float = 50.0
    burst: int = 100
    max_waiting: int = 256
    timeout: float = 10.0
    change_timeout: float = 120.0
    body_timeout: float = 10.0
    batch_size: int = 32
    batch_wait: float = 0.0
    index: str = "exact"
    admin_token: str | None = None
    hosts: tuple[str, ...] = LOCAL

    def __post_init__(self):
        whole = ("max_body_bytes", "max_likes", "burst", "max_waiting", "batch_size")
        check_at_least(1, **{name: getattr(self, name) for name in whole})
        times = ("timeout", "change_timeout", "body_timeout")
        check_positive(rate=self.rate, **{name: getattr(self, name) for name in times})
        check_at_least(0, batch_wait=self.batch_wait)
        check_one_of(KINDS, index=self.index)

    @property
    def versions(self) -> Path:
        """Folder with a folder for each version."""
        return Path(self.folder) / "versions"

    @property
    def database(self) -> Path:
        """File of the feedback."""
        return Path(self.state or self.folder) / "feedback.sqlite3"

    @property
    def deployment(self) -> Path:
        """File that says which version is on."""
        return Path(self.state or self.folder) / "deployment.json"
