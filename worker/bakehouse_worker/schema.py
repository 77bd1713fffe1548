"""The schema's version, by alembic: applied at start under a lock, or by `bakehouse migrate`.

The stamp is read first and alembic imported only when it differs, because importing it costs 0.4 s in every process.
"""

from __future__ import annotations

from pathlib import Path

from bakehouse import ConfigurationError
from bakehouse_worker.store import schema_stamp
from bakehouse_worker.store.database import Database

#: The newest revision in `migrations/versions`; a test compares them. Revisions are four digits and grow. A migration only adds, with
#: defaults, so that workers of the release before go on while hosts are upgraded one by one.
HEAD = "0004"


def ensure(database: Database, *, auto_migrate: bool) -> bool:
    """Bring the schema to HEAD, or refuse in one sentence; returns whether anything was changed."""
    found = schema_stamp.read(database)
    if found == HEAD:
        return False
    if found is not None and found > HEAD:
        raise ConfigurationError(
            f"the database is at {found}, of a newer release than this one, which knows {HEAD}: upgrade this host"
        )
    if not auto_migrate:
        state = f"is at {found}" if found else "has no schema"
        raise ConfigurationError(
            f"the database {state} and this release needs {HEAD}: run `bakehouse migrate` (BAKEHOUSE_AUTO_MIGRATE is off)"
        )
    migrate(database)
    return True


def migrate(database: Database) -> None:
    """Apply every migration up to HEAD; several starts at once wait for each other."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.write() as connection:
        database.exclusive(connection, "migrate")
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
