"""The outbox: records written into a table of the application's own database, inside the application's own transaction.

A transaction that rolls back enqueues nothing; what it commits is moved into the inbox by the workers' relay, which finds the
database by BAKEHOUSE_OUTBOX_URL. SQLAlchemy is the application's own: it is imported when one of these functions is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bakehouse.errors import ConfigurationError, InvalidRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData, Table
    from sqlalchemy.orm import Session, scoped_session

    #: What a caller may pass as `session`; SQLModel's Session is one of SQLAlchemy's.
    AnySession = Session | scoped_session[Any]

TABLE = "bakehouse_outbox"


def outbox_table(metadata: MetaData) -> Table:
    """Return the outbox as a table of the application's own metadata, for its migrations and its `create_all()`.

    Its columns: id, the order of writing; header and params, one entry as the inbox takes it; created_at, by the database's clock.
    It stands in the database's default schema, whatever the metadata's is: statements name it without one.
    """
    from sqlalchemy import BLANK_SCHEMA, BigInteger, Column, DateTime, Integer, LargeBinary, Table, func

    if TABLE in metadata.tables:
        return metadata.tables[TABLE]
    return Table(
        TABLE,
        metadata,
        Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
        Column("header", LargeBinary, nullable=False),
        Column("params", LargeBinary, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        schema=BLANK_SCHEMA,
        sqlite_autoincrement=True,  # an id that was used is never used again
    )


@lru_cache(maxsize=1)
def own_table() -> Table:
    """Return the outbox's table for statements: always the same, so that SQLAlchemy compiles each once."""
    from sqlalchemy import MetaData

    return outbox_table(MetaData())


def create_outbox(bind: Engine | Connection) -> None:
    """Create the outbox's table where it is missing. On a Connection it becomes part of that one's transaction."""
    from sqlalchemy import Connection
    from sqlalchemy.schema import CreateTable

    statement = CreateTable(own_table(), if_not_exists=True)
    if isinstance(bind, Connection):
        bind.execute(statement)
        return
    with bind.begin() as connection:
        connection.execute(statement)


def write(session: AnySession, entries: Sequence[tuple[bytes, bytes]]) -> None:
    """Add entries to the outbox in the session's transaction; commits nothing and flushes nothing.

    Raises InvalidRecord for what is no session, ConfigurationError where the table is missing. Whatever else the database says is
    raised as SQLAlchemy raises it, but without the records. After an error the session is as SQLAlchemy leaves it: roll it back.
    """
    from sqlalchemy import insert
    from sqlalchemy.exc import DBAPIError, UnboundExecutionError

    rows = [{"header": header, "params": params} for header, params in entries]
    try:
        _checked(session).execute(insert(own_table()).inline(), rows)  # inline: no id is asked for
    except UnboundExecutionError:
        raise ConfigurationError(
            f"the session has no engine for the table {TABLE}: give it one for all tables, Session(bind=engine, ...)"
        ) from None
    except DBAPIError as error:
        if is_missing(error.orig):
            raise ConfigurationError(
                f"the session's database has no table {TABLE}: bakehouse.outbox.create_outbox(engine) makes it, or "
                "outbox_table(metadata) in your migrations; the session is to be rolled back as after any error of SQLAlchemy"
            ) from None
        error.hide_parameters = True  # the error's text goes into logs, and prompts do not
        raise


def is_missing(error: BaseException | None) -> bool:
    """Tell whether a driver's error says that the outbox's table is not there. PostgreSQL says so in many languages, and by 42P01."""
    states = (getattr(error, "sqlstate", None), getattr(error, "pgcode", None))
    return TABLE in str(error) and ("42P01" in states or "no such table" in str(error))


def _checked(session: object) -> Session:
    from sqlalchemy.orm import Session, scoped_session

    if isinstance(session, scoped_session):
        session = session()
    if isinstance(session, Session):
        return session
    if type(session).__name__ in ("AsyncSession", "async_scoped_session"):
        raise InvalidRecord(
            "session", "is an AsyncSession: await session.run_sync(lambda s: enqueue_record(..., session=s))"
        )
    raise InvalidRecord("session", f"must be a Session of SQLAlchemy or SQLModel, not {type(session).__name__}")
