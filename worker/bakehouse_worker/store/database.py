"""One database: its engine, its transactions and its clock.

SQLite: WAL, synchronous=FULL, and BEGIN IMMEDIATE for every transaction that writes, so that read-then-write cannot be overtaken.
Both databases take the same verbs; what differs between them stands in this file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, OperationalError, StatementError
from sqlmodel import SQLModel

from bakehouse import ConfigurationError
from bakehouse_worker.store.clock import LocalClock, ServerClock
from bakehouse_worker.tables import table

#: The first SQLite with the fix for a WAL reset that could lose committed pages, and the branches it was carried back to.
SQLITE_FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
#: Seconds that SQLite waits for another's transaction.
BUSY = 30.0
#: Keeps a statement's bound values well below any driver's limit.
SPAN = 1_000

T = TypeVar("T")


class RowRefused(Exception):
    """The database refuses a row for what is in it; the same row again is refused again."""


class Database:
    """A store. `now()` tells the time that leases are measured by, in seconds since 1970: one clock for all workers."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self.engine = engine
        self.sqlite = engine.dialect.name == "sqlite"
        self.now = clock

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that writes; commits at the end, rolls back on any error."""
        with self.engine.connect().execution_options(bakehouse_begin="IMMEDIATE") as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a short reading transaction: one consistent view."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Turn an error about a row's content into RowRefused; an error of the connection passes as it is."""
        try:
            yield
        except (OperationalError, InterfaceError):
            raise
        except (DataError, IntegrityError, StatementError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise RowRefused(reason[:200]) from error

    def insert(self, model: type[SQLModel]) -> Any:
        """Return the dialect's INSERT, which knows ON CONFLICT on both databases."""
        return (sqlite if self.sqlite else postgresql).insert(table(model))

    def exclusive(self, connection: Connection, name: str) -> None:
        """Hold `name` until the transaction ends. SQLite's BEGIN IMMEDIATE does so already."""
        if not self.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"bakehouse.{name}"})

    def empty_journal(self) -> bool:
        """Move SQLite's write-ahead log into the database and cut it: deleted content stands in it until then.

        False if a reader or writer held it for longer than the busy time-out. A server's journal is its own affair: True.
        """
        if not self.sqlite:
            return True
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        finally:
            connection.close()

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def open_database(url: str, sqlite_path: Path, clock: Callable[[], float] | None = None) -> Database:
    """Open the store at `url`, or SQLite at `sqlite_path` when the URL is empty. Connects lazily; checks the SQLite library.

    `clock` is injected by tests; without one, it is PostgreSQL's, or this machine's for SQLite.
    """
    if url:
        engine = _server_engine(url)
        return Database(engine, clock or ServerClock(engine, sqlite_path.parent / "clock").now)
    return Database(_sqlite_engine(sqlite_path), clock or LocalClock(sqlite_path.parent / "clock").now)


def reach(database: Database) -> None:
    """Connect once. Raises ConfigurationError with one sentence if the database does not answer."""
    try:
        with database.read() as connection:
            connection.execute(text("SELECT 1"))
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise ConfigurationError(
            f"the database at {database.engine.url.render_as_string()} does not answer: {reason}"
        ) from None


def away(error: BaseException) -> str | None:
    """Return what the driver says of a database that is away or busy; None if the error is another one."""
    if isinstance(error, OperationalError | InterfaceError) and error.orig is not None:
        return str(error.orig).strip().splitlines()[0][:200]
    return None


def sqlite_is_fixed(version: tuple[int, ...]) -> bool:
    """Tell whether an SQLite release has the WAL-reset fix."""
    return version >= SQLITE_FIXED[0] or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in SQLITE_FIXED[1:]
    )


def spans(items: Sequence[T], size: int = SPAN) -> Iterator[Sequence[T]]:
    """Cut a sequence into spans of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _server_engine(url: str) -> Engine:
    for short in ("postgresql://", "postgres://"):
        if url.startswith(short):
            url = "postgresql+psycopg://" + url.removeprefix(short)
    if not url.startswith("postgresql+psycopg://"):
        raise ConfigurationError(
            "BAKEHOUSE_DATABASE_URL must start with postgresql://; leave it empty for SQLite in the data directory"
        )
    return create_engine(url, pool_size=4, pool_pre_ping=True, hide_parameters=True)


def _sqlite_engine(path: Path) -> Engine:
    driver = sqlite_driver()
    _adapt_at_once(driver)
    engine = create_engine(
        f"sqlite+pysqlite:///{path}", module=driver, connect_args={"timeout": BUSY}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, by name
        _keep_a_log(connection, driver)
        for pragma in (
            "synchronous=FULL",
            f"busy_timeout={BUSY * 1000:.0f}",
            "cache_size=-8000",
            "journal_size_limit=67108864",
            "secure_delete=ON",  # in every connection: copies that a page split leaves behind are zeroed only where they arise
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('bakehouse_begin', 'DEFERRED')}")

    return engine


def _keep_a_log(connection: Any, driver: Any) -> None:
    """Switch to a write-ahead log, which a new file takes from whoever is first.

    SQLite refuses it at once while another connection is within its own switch, and does not wait as it does everywhere else: where
    four workers met on a new file, one in a hundred ended.
    """
    give_up = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except driver.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _adapt_at_once(driver: Any) -> None:
    """Name an adapter for NULL and for bytes, which go to SQLite as they are.

    Without one, the driver asks each such value for ways to adapt itself and throws three exceptions away: a microsecond for each
    of them, where an insert of ten columns takes two.
    """
    driver.register_adapter(type(None), {None: None}.get)
    driver.register_adapter(bytes, bytes)


def sqlite_driver() -> Any:
    """Return a driver whose SQLite keeps what it commits. Raises ConfigurationError if there is none."""
    import sqlite3

    if sqlite_is_fixed(sqlite3.sqlite_version_info):
        return sqlite3
    try:
        import pysqlite3
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"this Python links SQLite {sqlite3.sqlite_version}, which can lose committed pages; pip install 'pysqlite3>=0.6.1'"
        ) from None
    if not sqlite_is_fixed(pysqlite3.sqlite_version_info):
        raise ConfigurationError(
            f"pysqlite3 brings SQLite {pysqlite3.sqlite_version}, which can lose committed pages; upgrade it"
        )
    return pysqlite3
