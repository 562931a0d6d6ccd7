"""What users said, kept safe: acknowledged only when it is on the disk.

One thread writes. It takes all that waits for it into one transaction, so a hundred likes at once
cost one wait for the disk, and says so to each when that is over. The module is a little long,
since what the one class promises is said in it.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from filelock import FileLock, Timeout

from recsys_tutorial.serving.service._feedback_tables import (
    LATEST,
    SCHEMA,
    VERSION,
    WAYS,
    Refused,
    record,
    record_list,
)

_MOST_WAITING = 10_000  # writes; more are refused, so that memory has a bound
_MOST_AT_ONCE = 500  # in a transaction: the first must not wait for too many others

__all__ = ["FeedbackStore", "Refused", "StoreError"]


class StoreError(RuntimeError):
    """What was to be written is not safe: the disk is full or fails, or the store is closed."""


class FeedbackStore:
    """Feedback and the lists that were shown, in one file of SQLite.

    The file is in write-ahead mode with a wait for the disk at each commit (`synchronous=FULL`):
    what was acknowledged outlives the process, however it ends, and the machine's power, as far as
    the disk keeps its word. One process at a time may have a store open.

    Parameters
    ----------
    path : Path, created where there is none

    Raises
    ------
    StoreError
        When another process has it open, and for a file that is none of this store's.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Not of one thread: it is closed by another one than it was opened by.
        self._lock = FileLock(f"{self.path}.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(f"{self.path} is open in another process: stop it first") from None
        try:
            self._writing, self._reading = self._open(), self._open()
        except (sqlite3.DatabaseError, StoreError) as error:
            self._lock.release()
            raise StoreError(f"{self.path} cannot be read: {error}; move it away") from error
        self._reader = threading.Lock()
        self._waiting: queue.Queue = queue.Queue(_MOST_WAITING)
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="feedback", daemon=True)
        self._thread.start()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise StoreError(f"its tables have version {version}, this package knows {VERSION}")
        if version == 0:
            connection.executescript(f"BEGIN;{SCHEMA};PRAGMA user_version={VERSION};COMMIT")
        return connection

    def add(
        self,
        user_id: str,
        item_id: int,
        value: str,
        *,
        list_id: str | None = None,
        key: str | None = None,
    ) -> Future:
        """Write what a user said of an item; the last word on an item holds.

        Parameters
        ----------
        user_id : str
        item_id : int
        value : "like", "unlike" (take it back) or "hide" (never show it)
        list_id : str or None, the list in which the user met the item
        key : str or None, the client's own name for this message: sent again under the same key it
            is written once

        Returns
        -------
        Future of (id, whether it was there already), done once it is safe. Its exceptions:
        `Refused` for an unknown list or a key that was used for something else, `StoreError` when
        it could not be written.

        Raises
        ------
        ValueError for another value; StoreError when the store is closed or too much waits.
        """
        if value not in WAYS:
            raise ValueError(f"value must be one of {', '.join(WAYS)}, got {value!r}")
        row = (user_id, item_id, value, list_id, key, time.time())
        return self._enqueue(lambda connection: record(connection, row))

    def add_list(self, list_id: str, user_id: str, version: str, item_ids: Sequence[int]) -> Future:
        """Write which list a user was shown; nobody has to wait for it.

        Parameters
        ----------
        list_id : str, unique
        user_id : str
        version : str, which version made it
        item_ids : sequence of int, best first

        Returns
        -------
        Future

        Raises
        ------
        StoreError as `add`.
        """
        row = (list_id, user_id, version, time.time())
        items = list(item_ids)
        return self._enqueue(lambda connection: record_list(connection, row, items))

    def history(self, user_id: str, limit: int = 500) -> tuple[list[int], list[int]]:
        """What a user likes and what they do not want to see, the last words first.

        Parameters
        ----------
        user_id : str
        limit : int, likes that are read; those not read count as hidden, so nothing comes twice

        Returns
        -------
        likes, hidden : lists of item ids
        """
        with self._reader:
            rows = self._reading.execute(LATEST, (user_id,)).fetchall()
        likes = [item for item, value in rows if value == "like"]
        hidden = [item for item, value in rows if value == "hide"]
        return likes[:limit], hidden + likes[limit:]

    def read(self, query: str, arguments: tuple = ()) -> list[tuple]:
        """Rows of a query, of all that was acknowledged; by a connection of its own, for long ones.

        Parameters
        ----------
        query : str, SQL
        arguments : tuple, for its question marks

        Returns
        -------
        list of tuple
        """
        with contextlib.closing(self._open()) as connection:
            return connection.execute(query, arguments).fetchall()

    @property
    def works(self) -> bool:
        """Whether it is open and its thread is there to write."""
        return not self._closed and self._thread.is_alive()

    def close(self) -> None:
        """Write what waits, and close; again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        while not self._waiting.empty():  # came in while it was closing
            if entry := self._waiting.get():
                entry[1].set_exception(StoreError("the store is closed"))
        with self._reader:
            self._reading.close()
        self._writing.close()
        self._lock.release()

    def _enqueue(self, work: Callable) -> Future:
        future: Future = Future()
        if self._closed:
            raise StoreError("the store is closed")
        try:
            self._waiting.put_nowait((work, future))
        except queue.Full:
            raise StoreError(f"{_MOST_WAITING} writes wait for the disk: try again later") from None
        return future

    def _write(self) -> None:
        going_on = True
        while going_on:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get())
            going_on = None not in batch
            self._commit([entry for entry in batch if entry is not None])

    def _commit(self, batch: list[tuple[Callable, Future]]) -> None:
        """One transaction; the futures are done after it, and only then."""
        outcomes = []
        try:
            self._writing.execute("BEGIN IMMEDIATE")
            for work, _ in batch:
                try:
                    outcomes.append((work(self._writing), None))
                except Refused as refused:  # found before it wrote anything
                    outcomes.append((None, refused))
            self._writing.execute("COMMIT")
        except sqlite3.Error as error:
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            failed = StoreError(f"{self.path} cannot be written: {error}")
            outcomes = [(None, failed)] * len(batch)
        for (_, future), (result, error) in zip(batch, outcomes, strict=True):
            if not future.set_running_or_notify_cancel():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
