"""Everything that is remembered: batches, the clock's anchor and the script. One SQLite file, or none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson

from bakehouse_emulator.batch import Batch
from bakehouse_emulator.members import Members

SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, workspace TEXT, version TEXT, betas TEXT, count INT,
  created REAL, duration REAL, expires REAL, ends REAL, cancel_initiated REAL, ended INT, deleted INT,
  succeeded INT, errored INT, canceled INT, expired INT);
CREATE INDEX IF NOT EXISTS batch_open ON batch (ends) WHERE ended = 0;
CREATE TABLE IF NOT EXISTS members (seq INTEGER PRIMARY KEY, positions BLOB, effects BLOB);
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value BLOB);
"""
NEW_BATCH = """
INSERT INTO batch VALUES (NULL, :id, :workspace, :version, :betas, :count, :created, :duration, :expires, :ends,
  :cancel_initiated, :ended, :deleted, :succeeded, :errored, :canceled, :expired)
"""
COLUMNS = [each.name for each in fields(Batch)]  # in the order of the table


class Store:
    """Named verbs over the database. Written without fsync: it outlives the process, not the machine."""

    def __init__(self, directory: Path | None) -> None:
        path = directory / "emulator.db" if directory else ":memory:"
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -65536")
        self._db.executescript(SCHEMA)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def accept(self, batch: Batch, members: Members) -> Batch:
        """Store a new batch. Returns it with its place in the list."""
        with self._transaction():
            seq = self._db.execute(NEW_BATCH, asdict(batch)).lastrowid
            self._db.execute("INSERT INTO members VALUES (?, ?, '[]')", (seq, members.to_bytes()))
        return self.batch(batch.workspace, batch.id) or batch

    def end(self, batch: Batch, members: Members, effects: list[Any]) -> None:
        """Store how a batch ended: its counts, and each item's end."""
        with self._transaction():
            counts = (batch.succeeded, batch.errored, batch.canceled, batch.expired)
            self._db.execute(
                "UPDATE batch SET ended = 1, succeeded = ?, errored = ?, canceled = ?, expired = ? WHERE seq = ?",
                (*counts, batch.seq),
            )
            self._db.execute(
                "UPDATE members SET positions = ?, effects = ? WHERE seq = ?",
                (members.to_bytes(), orjson.dumps(effects), batch.seq),
            )

    def cancel(self, batch: Batch) -> None:
        """Store that a cancel was asked for, and when the batch ends now."""
        self._db.execute(
            "UPDATE batch SET cancel_initiated = ?, ends = ? WHERE seq = ?",
            (batch.cancel_initiated, batch.ends, batch.seq),
        )

    def delete(self, batch: Batch) -> None:
        """Hide a batch from every call; the ledger keeps what it cost."""
        self._db.execute("UPDATE batch SET deleted = 1 WHERE seq = ?", (batch.seq,))

    def batch(self, workspace: str, batch_id: str) -> Batch | None:
        """The batch of this id, unless it is another workspace's or deleted."""
        found = self._batches("workspace = ? AND id = ? AND deleted = 0", (workspace, batch_id))
        return found[0] if found else None

    def due(self, now: float) -> list[Batch]:
        """Batches whose end has come but is not yet written."""
        return self._batches("ended = 0 AND ends <= ? ORDER BY ends, seq", (now,))

    def page(
        self, workspace: str, *, older_than: int | None, newer_than: int | None, before: float, limit: int
    ) -> list[Batch]:
        """Up to `limit` batches of a workspace created before a time, newest first; next to one place in the list."""
        where, values = "workspace = ? AND deleted = 0 AND created <= ?", [workspace, before]
        if newer_than is not None:
            rows = self._batches(f"{where} AND seq > ? ORDER BY seq LIMIT ?", (*values, newer_than, limit))
            return rows[::-1]
        if older_than is not None:
            where, values = where + " AND seq < ?", [*values, older_than]
        return self._batches(f"{where} ORDER BY seq DESC LIMIT ?", (*values, limit))

    def everything(self) -> list[Batch]:
        """All batches of all workspaces, deleted ones too."""
        return self._batches("1 ORDER BY seq", ())

    def queued(self, workspace: str) -> int:
        """How many requests of a workspace wait or run."""
        query = "SELECT coalesce(sum(count), 0) FROM batch WHERE ended = 0 AND workspace = ?"
        return int(self._db.execute(query, (workspace,)).fetchone()[0])

    def members(self, batch: Batch) -> tuple[Members, list[Any]]:
        """A batch's items and its scripted effects."""
        row = self._db.execute("SELECT positions, effects FROM members WHERE seq = ?", (batch.seq,)).fetchone()
        return Members.from_bytes(row[0]), orjson.loads(row[1])

    def note(self, name: str) -> Any:
        """A remembered JSON value, or None."""
        row = self._db.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return orjson.loads(row[0]) if row else None

    def remember(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name."""
        self._db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, orjson.dumps(value)))

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _batches(self, where: str, values: tuple[Any, ...]) -> list[Batch]:
        rows = self._db.execute(f"SELECT * FROM batch WHERE {where}", values)  # noqa: S608 - only this file's words
        return [_batch(row) for row in rows]


def _batch(row: tuple[Any, ...]) -> Batch:
    values = dict(zip(COLUMNS, row, strict=True))
    return Batch(**{**values, "ended": bool(values["ended"]), "deleted": bool(values["deleted"])})
