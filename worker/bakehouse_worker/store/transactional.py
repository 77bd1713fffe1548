"""The mark that an outcome was delivered, in one transaction with what the application writes: exactly once in effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlmodel import Session

from bakehouse_worker.store.database import Database
from bakehouse_worker.store.deliveries import Key, mark


@contextmanager
def with_mark(database: Database, keys: Sequence[Key]) -> Iterator[tuple[Session, list[Key]]]:
    """Open a transaction in which these outcomes are delivered, and a session of it for the application's own writes.

    Yields the session and the keys that are marked: those of them that somebody else delivered meanwhile are not. Everything is
    committed at the end, or nothing if an error passes. A commit within the session commits nothing by itself.
    """
    with database.write() as connection:
        taken = [key for key in keys if mark(connection, key)]
        session = _Lent(bind=connection, join_transaction_mode="create_savepoint")
        try:
            yield session, taken
            session.commit()
        finally:
            Session.close(session)


class _Lent(Session):
    """A session that the application does not own: at the end of a `with session:` of its own, nothing it wrote is taken back."""

    def close(self) -> None:
        """Leave it open: who lent it closes it."""
