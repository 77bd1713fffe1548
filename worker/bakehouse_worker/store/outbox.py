"""The application's outbox: records that it committed in a database of its own, which need not be the store's.

What stands in this file is all that the workers ever do there. Its connections give up soon, and nothing here changes how that
database works: no schema, no journal mode, no setting that outlives a transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, func, select, text, type_coerce
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.types import NullType

from bakehouse import BakehouseError, ConfigurationError
from bakehouse.outbox import TABLE, is_missing, own_table
from bakehouse_worker.settings import Settings
from bakehouse_worker.store.database import sqlite_driver

#: Seconds to connect, for one statement, for SQLite's lock, and that a transaction may stand still while Redis is written to.
CONNECT, STATEMENT, BUSY, IDLE = 3, 10, 3, 15
#: Seconds for which a row is passed over that Redis refused, so that those behind it go on.
PASSED_OVER = 30.0
#: Rows that are counted at most.
COUNTED = 1_000_000

#: An entry as it stands in the outbox: id, header, params. The two are bytes, unless somebody's hand wrote them on SQLite.
Row = tuple[int, Any, Any]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in an outbox: how many rows (at most COUNTED), and for how many seconds the oldest, by that database's own clock."""

    rows: int
    age: float


@dataclass(slots=True)
class Outbox:
    """One outbox. `shown` is its URL without any password. Connects on use; every verb may raise SQLAlchemyError.

    `to_disk`: whether rows are deleted only when Redis has them on disk; False once it has said that it cannot tell.
    """

    engine: Engine = field(repr=False)
    shown: str
    to_disk: bool = True
    _refused: dict[int, float] = field(default_factory=dict)

    def waits(self) -> bool:
        """Tell whether a row waits that may be moved now."""
        query = select(own_table().c.id).where(self._movable()).limit(1)
        with self._transaction() as connection:
            return connection.execute(query).first() is not None

    @contextmanager
    def taken(self, most: int, size: int) -> Iterator[list[Row]]:
        """Yield the oldest committed rows, at most so many and of about so many bytes; the block moves them, then they are deleted.

        An error in the block deletes none. Ids come in the order of writing, commits do not, so the oldest is looked for each time.
        PostgreSQL: they are locked meanwhile, and another relay takes others. SQLite, whose lock is the whole database's: they are
        not, and two relays may move the same row, which acceptance knows.
        """
        if self.engine.dialect.name == "sqlite":
            with self._transaction() as connection:
                rows = self._oldest(connection, most, size)
            yield rows
            with self._transaction("IMMEDIATE") as connection:
                _delete(connection, rows)
            return
        with self._transaction() as connection:
            rows = self._oldest(connection, most, size)
            yield rows
            _delete(connection, rows)

    def pass_over(self, row_id: int) -> None:
        """Leave a row that Redis refused alone for a while."""
        self._refused[row_id] = time.monotonic() + PASSED_OVER

    def backlog(self) -> Backlog:
        """Count what waits and tell the age of the oldest row."""
        table = own_table()
        with self._transaction() as connection:
            rows = connection.scalar(select(func.count()).select_from(select(table.c.id).limit(COUNTED).subquery()))
            if self.engine.dialect.name == "sqlite":
                since = (func.julianday("now") - func.julianday(table.c.created_at)) * 86_400
            else:
                since = func.extract("epoch", func.clock_timestamp() - table.c.created_at)
            age = connection.scalar(select(type_coerce(since, NullType())).order_by(table.c.id).limit(1))
        return Backlog(int(rows or 0), max(0.0, float(age or 0)))

    def _movable(self) -> Any:
        now = time.monotonic()
        self._refused = {row_id: until for row_id, until in self._refused.items() if until > now}
        return own_table().c.id.not_in(list(self._refused))

    def _oldest(self, connection: Connection, most: int, size: int) -> list[Row]:
        """Choose by size first: a row may weigh as much as a batch, and only what is moved is read."""
        table = own_table()
        weight = func.length(table.c.header) + func.length(table.c.params)
        query = select(table.c.id, weight).where(self._movable()).order_by(table.c.id).limit(most)
        chosen: list[int] = []
        for row_id, weighs in connection.execute(query.with_for_update(skip_locked=True)):
            size -= weighs
            if chosen and size < 0:
                break
            chosen.append(row_id)
        found = select(table.c.id, *(type_coerce(each, NullType()) for each in (table.c.header, table.c.params)))
        read = connection.execute(found.where(table.c.id.in_(chosen)).order_by(table.c.id))
        return [(row_id, header, params) for row_id, header, params in read]

    @contextmanager
    def _transaction(self, begin: str = "DEFERRED") -> Iterator[Connection]:
        engine = self.engine.execution_options(bakehouse_begin=begin)
        with engine.begin() as connection:
            yield connection


def open_outbox(settings: Settings) -> Outbox | None:
    """Open the outbox that the settings name; None if they name none. Connects to nothing yet."""
    if not settings.outbox_url:
        return None
    if settings.outbox_url == "store" and not settings.database_url:
        return _on_sqlite(settings.sqlite_path)
    try:
        url = make_url(settings.database_url if settings.outbox_url == "store" else settings.outbox_url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("BAKEHOUSE_OUTBOX_URL cannot be read as a URL of a database") from None
    if not url.get_backend_name().startswith("sqlite"):
        return _on_server(url)
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("BAKEHOUSE_OUTBOX_URL names no file: write sqlite:////PATH/app.db")
    return _on_sqlite(Path(url.database))


def reason(error: BaseException) -> str:
    """Return why an outbox cannot be read, as the rest of a sentence that begins with it. No password, and no content."""
    if isinstance(error, BakehouseError):
        return f"cannot be used: {error}"
    orig = getattr(error, "orig", None)
    if is_missing(orig):
        return f"has no table {TABLE} (bakehouse.outbox.create_outbox(engine) makes it)"
    said = str(orig).strip().splitlines() if orig is not None else []
    if isinstance(error, SQLAlchemyError | TimeoutError):
        return f"does not answer ({said[0][:200] if said else str(error)[:200] or type(error).__name__})"
    return f"cannot be read ({type(error).__name__})"


def _delete(connection: Connection, rows: Sequence[Row]) -> None:
    """Delete exactly these rows, by id and by what they hold: where an id could be used again, another record stays."""
    if rows:
        gone = text(f"DELETE FROM {TABLE} WHERE id = :id AND header = :header")  # noqa: S608
        connection.execute(gone, [{"id": row_id, "header": header} for row_id, header, _ in rows])


def _on_server(url: URL) -> Outbox:
    limits = {
        "connect_timeout": CONNECT,
        "tcp_user_timeout": STATEMENT * 1000,
        "keepalives_idle": STATEMENT,
        "keepalives_interval": CONNECT,
        "keepalives_count": 3,
        "prepare_threshold": None,  # a pooler in between may not know what was prepared
    }
    url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url, pool_size=2, pool_pre_ping=True, hide_parameters=True, connect_args=limits)

    @event.listens_for(engine, "begin")
    def _limit(connection: Connection) -> None:  # for the transaction alone: a pooler hands the connection on
        connection.exec_driver_sql(
            f"SELECT set_config('statement_timeout', '{STATEMENT}s', true), "
            f"set_config('lock_timeout', '{BUSY}s', true), "
            f"set_config('idle_in_transaction_session_timeout', '{IDLE}s', true)"
        )

    shown = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
    return Outbox(engine, shown)


def _on_sqlite(path: Path) -> Outbox:
    driver = sqlite_driver()

    def connect() -> Any:  # mode=rw: a file that is missing is told, not made
        connection = driver.connect(
            f"file:{quote(str(path.absolute()))}?mode=rw", uri=True, timeout=float(BUSY), check_same_thread=False
        )
        connection.isolation_level = None  # transactions are begun below, by name
        connection.execute("PRAGMA secure_delete=ON")  # prompts that went on do not stay in free pages
        return connection

    engine = create_engine(
        "sqlite+pysqlite://", module=driver, creator=connect, poolclass=NullPool, hide_parameters=True
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('bakehouse_begin', 'DEFERRED')}")

    return Outbox(engine, f"sqlite:///{path}")
