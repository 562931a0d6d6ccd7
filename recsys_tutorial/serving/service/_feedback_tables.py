"""The tables of the feedback, and the two things that are written into them."""

from __future__ import annotations

import sqlite3

VERSION = 1
WAYS = ("like", "unlike", "hide")
SCHEMA = """
CREATE TABLE feedback (
    id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, item_id INTEGER NOT NULL, value TEXT NOT NULL,
    list_id TEXT, message TEXT, time REAL NOT NULL, UNIQUE (user_id, message)
);
CREATE INDEX feedback_by_list ON feedback (list_id) WHERE list_id IS NOT NULL;
CREATE TABLE latest (
    user_id TEXT NOT NULL, item_id INTEGER NOT NULL, value TEXT NOT NULL, id INTEGER NOT NULL,
    PRIMARY KEY (user_id, item_id)
) WITHOUT ROWID;
CREATE TABLE lists (
    list_id TEXT PRIMARY KEY, user_id TEXT NOT NULL, version TEXT NOT NULL, time REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE shown (
    list_id TEXT NOT NULL, item_id INTEGER NOT NULL, PRIMARY KEY (list_id, item_id)
) WITHOUT ROWID
"""
LATEST = "SELECT item_id, value FROM latest WHERE user_id = ? ORDER BY id DESC"
WAS_SHOWN = """
SELECT 1 FROM lists JOIN shown USING (list_id) WHERE list_id = ? AND user_id = ? AND item_id = ?
"""
# For each user and version: items shown, and how many of them the user liked in that list.
RATES = """
SELECT lists.version, lists.user_id, COUNT(*), COUNT(liked.item_id)
FROM lists JOIN shown USING (list_id)
LEFT JOIN (SELECT DISTINCT list_id, item_id FROM feedback
           WHERE value = 'like' AND list_id IS NOT NULL) AS liked
    ON liked.list_id = shown.list_id AND liked.item_id = shown.item_id
WHERE lists.version IN (?, ?) GROUP BY lists.version, lists.user_id
"""


class Refused(ValueError):
    """A message that contradicts what is stored; `where` names its field."""

    def __init__(self, where: str, message: str):
        super().__init__(message)
        self.where = where


def record(connection: sqlite3.Connection, row: tuple) -> tuple[int, bool]:
    """Write one message: its id, and whether it was there already; Refused for a contradiction."""
    user_id, item_id, value, list_id, key, _ = row
    if key is not None:
        query = "SELECT id, item_id, value FROM feedback WHERE user_id = ? AND message = ?"
        if before := connection.execute(query, (user_id, key)).fetchone():
            if before[1:] != (item_id, value):
                raise Refused("key", f"{key!r} was used for {before[2]} of item {before[1]}")
            return before[0], True
    shown = list_id is None or connection.execute(WAS_SHOWN, (list_id, user_id, item_id)).fetchone()
    if not shown:
        message = f"no list {list_id!r} with item {item_id} was shown to this user"
        raise Refused("list_id", message)
    names = "user_id, item_id, value, list_id, message, time"
    done = connection.execute(f"INSERT INTO feedback ({names}) VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.execute(
        "INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)",
        (user_id, item_id, value, done.lastrowid),
    )
    return done.lastrowid, False


def record_list(connection: sqlite3.Connection, row: tuple, item_ids: list[int]) -> None:
    """Write one list that was shown."""
    connection.execute("INSERT INTO lists VALUES (?, ?, ?, ?)", row)
    connection.executemany("INSERT INTO shown VALUES (?, ?)", [(row[0], item) for item in item_ids])
