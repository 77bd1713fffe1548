"""Reads which schema revision a database has, without alembic."""

from __future__ import annotations

from sqlalchemy import inspect, text

from bakehouse_worker.store.database import Database


def read(database: Database) -> str | None:
    """Return the revision that alembic stamped, or None for an empty database."""
    with database.read() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return None if found is None else str(found)
