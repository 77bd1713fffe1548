"""A database that is full, held by somebody else, or of another release: said in a sentence, nothing lost, and it goes on."""

from __future__ import annotations

import contextlib
import time

import pytest
from sqlalchemy import event, text

from bakehouse import ConfigurationError
from bakehouse_worker import collect as station
from bakehouse_worker import schema
from bakehouse_worker.accept import accept
from bakehouse_worker.chunk import chunk
from bakehouse_worker.collect import collect
from bakehouse_worker.poll import poll
from bakehouse_worker.settle import settle
from bakehouse_worker.store.database import open_database, reach, sqlite_driver
from bakehouse_worker.submit import submit
from bakehouse_worker.telling import broke

only_sqlite = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)


@contextlib.contextmanager
def pragmas(database, **values):
    """Give every connection to SQLite these settings for a while."""

    def prepare(connection, *_):
        for name, value in values.items():
            connection.execute(f"PRAGMA {name}={value}")

    database.engine.dispose()
    event.listen(database.engine, "connect", prepare)
    try:
        yield
    finally:
        event.remove(database.engine, "connect", prepare)
        database.engine.dispose()


@contextlib.contextmanager
def held(database):
    """What every writer needs is in somebody else's hands."""
    with database.engine.connect().execution_options(bakehouse_begin="IMMEDIATE") as other, other.begin():
        if not database.sqlite:
            for name in ("record", "batch", "result", "meta"):
                other.execute(text(f"LOCK TABLE {name} IN EXCLUSIVE MODE"))
        yield


def impatient(database):
    """Wait for locks a tenth of a second."""
    if database.sqlite:
        return pragmas(database, busy_timeout=100)
    return _postgres_patience(database)


@contextlib.contextmanager
def _postgres_patience(database):
    def prepare(connection):
        connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")

    event.listen(database.engine, "begin", prepare)
    try:
        yield
    finally:
        event.remove(database.engine, "begin", prepare)


@only_sqlite
@pytest.mark.parametrize("spare", [0, 3, 6])
def test_a_disk_that_is_full_while_results_are_written_loses_none_of_them(world, monkeypatch, spare):
    monkeypatch.setattr(station, "SPAN", 10)
    (batch,) = world.ended(60)
    database = world.runtime.database
    with database.read() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
    with pragmas(database, max_page_count=pages + spare), pytest.raises(Exception, match="full") as trouble:
        collect(world.runtime, batch)
    assert "database or disk is full" in broke(trouble.value)
    world.pass_time(2 * world.settings.lease)
    assert world.run_to_end()["succeeded"] == 60
    assert (world.server.totals()["accepted"], world.server.totals()["billed"]) == (60, 60)


@only_sqlite
def test_a_disk_that_is_full_leaves_what_was_not_accepted_in_redis(world):
    world.enqueue(800)
    database = world.runtime.database
    with database.read() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
    with pragmas(database, max_page_count=pages), pytest.raises(Exception, match="full"):
        accept(world.runtime)
    accept(world.runtime, stale_after=0.0)  # Redis counts the time since by its own clock
    assert world.run_to_end()["succeeded"] == 800


def test_a_database_that_somebody_holds_stops_every_station_with_a_reason_and_nothing_else(make_world):
    world = make_world(lease=30)
    database = world.runtime.database
    steps = [
        lambda: accept(world.runtime),
        lambda: chunk(world.runtime),
        lambda: submit(world.runtime, 1),
        lambda: poll(world.runtime),
        lambda: collect(world.runtime, 1),
        lambda: settle(world.runtime, 1),
    ]
    world.enqueue(40)
    for step in steps:
        with impatient(database), held(database), pytest.raises(Exception, match="lock") as trouble:
            step()
        assert "lock" in broke(trouble.value)
        world.pass_time(61)
        step()
    assert world.run_to_end()["succeeded"] == 40
    assert world.server.totals()["accepted_twice"] == 0


def test_a_schema_that_is_not_there_yet_is_told_where_migrating_is_for_people(make_world):
    world = make_world()
    with world.runtime.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(ConfigurationError, match=r"is at 0000 and this release needs 0004: run `bakehouse migrate`"):
        schema.ensure(world.runtime.database, auto_migrate=False)
    with world.runtime.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))


def test_a_schema_of_a_newer_release_is_left_alone_and_told(world):
    with world.runtime.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for automatic in (True, False):
        with pytest.raises(ConfigurationError, match=r"is at 9999.* newer .*upgrade this host"):
            schema.ensure(world.runtime.database, auto_migrate=automatic)
    with world.runtime.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))


def test_a_worker_of_this_release_works_on_when_the_next_one_has_added_to_the_schema(world):
    """Migrations only add, and what they add has a default: that is what makes a rolling upgrade possible."""
    world.submitted(5)
    with world.runtime.database.write() as connection:
        for statement in (
            "ALTER TABLE record ADD COLUMN tint VARCHAR NOT NULL DEFAULT 'none'",
            "ALTER TABLE batch ADD COLUMN weight FLOAT",
            "CREATE TABLE later (id INTEGER PRIMARY KEY)",
        ):
            connection.execute(text(statement))
    world.enqueue(5, text="after", job="after")
    assert world.run_to_end()["succeeded"] == 5
    assert world.run_to_end("after")["succeeded"] == 5


def test_workers_that_meet_on_a_new_sqlite_file_wait_for_each_other(tmp_path, monkeypatch):
    """Until the first has switched the file to its log, SQLite refuses the others at once instead of letting them wait."""
    file = tmp_path / "new.sqlite"
    other = sqlite_driver().connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # as within its own switch
    monkeypatch.setattr(time, "sleep", lambda seconds: other.execute("ROLLBACK"))  # the other goes on while we wait
    database = open_database("", file)
    reach(database)
    with database.read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    database.close()
    other.close()
