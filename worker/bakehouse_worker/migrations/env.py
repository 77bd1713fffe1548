"""Alembic runs migrations through this file, on the connection that `schema.migrate` holds the lock with."""

from alembic import context
from sqlmodel import SQLModel

from bakehouse_worker import tables  # noqa: F401  (defines the metadata)

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True, transaction_per_migration=False
)
context.run_migrations()
