"""Station 0: what an application commits is accepted once, and what it rolls back is not, whoever dies on the way."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from journey_machine import wait_until
from redis_machine import running
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlmodel import Session as SQLModelSession

from bakehouse import ConfigurationError, InvalidRecord, enqueue_record, enqueue_records, inbox
from bakehouse.client import CHUNK_RECORDS, default_client
from bakehouse.outbox import TABLE, create_outbox, outbox_table, own_table
from bakehouse_worker import doctor, relay, status
from bakehouse_worker.accept import accept, waiting
from bakehouse_worker.metrics import InstallationCollector
from bakehouse_worker.relay import Moved
from bakehouse_worker.store import outbox as store
from bakehouse_worker.ticking import due_doorbells

PARAMS = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "a secret of ours"}]}
ORDERS = Table("orders", MetaData(), Column("number", Integer, primary_key=True))


class Application:
    """An application with a database of its own: its orders, and beside them the outbox."""

    def __init__(self, url):
        self.url = url
        self.engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        ORDERS.create(self.engine)
        create_outbox(self.engine)

    def order(self, session, number):
        """Order, and ask for something about the order, in one transaction."""
        session.execute(insert(ORDERS), {"number": number})
        return enqueue_record(PARAMS, custom_id=f"order-{number}", job="orders", session=session)

    def commit(self, *numbers):
        with Session(self.engine) as session:
            for number in numbers:
                self.order(session, number)
            session.commit()

    def rows(self):
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(own_table()))

    def orders(self):
        with self.engine.connect() as connection:
            return list(connection.scalars(select(ORDERS.c.number).order_by(ORDERS.c.number)))


@pytest.fixture(autouse=True)
def no_redis_for_the_application(tmp_path, monkeypatch):
    """The application is told of no Redis at all."""
    monkeypatch.chdir(tmp_path)
    default_client.cache_clear()
    yield
    default_client.cache_clear()


@pytest.fixture
def application(new_database, tmp_path):
    made = Application(new_database() or f"sqlite:///{tmp_path / 'app.db'}")
    yield made
    made.engine.dispose()


@pytest.fixture
def world(make_world, application):
    made = make_world(outbox_url=application.url)
    yield made
    made.runtime.outbox.engine.dispose()


@pytest.fixture
def only_postgresql(new_database):
    if not new_database():
        pytest.skip("SQLite has one writer at a time")


def accepted(world):
    """Accept what stands in the inbox; returns every record by its custom_id, with its state."""
    accept(world.runtime)
    return {custom_id: ending.state for custom_id, ending in world.all_records().items()}


SESSIONS = {
    "sqlalchemy": Session,
    "sqlmodel": SQLModelSession,
    "scoped": lambda engine: scoped_session(sessionmaker(engine)),
}


@pytest.mark.parametrize("kind", SESSIONS)
def test_what_is_committed_is_accepted_and_what_is_rolled_back_is_not(world, application, kind):
    session = SESSIONS[kind](application.engine)
    application.order(session, 1)
    session.rollback()
    assert relay.relay(world.runtime) == Moved(0)
    receipt = application.order(session, 2)
    assert relay.relay(world.runtime) == Moved(0)  # not before the commit
    session.commit()
    session.close()
    assert relay.relay(world.runtime) == Moved(1)
    assert application.orders() == [2]
    assert accepted(world) == {"order-2": "pending"}
    assert (receipt.job, receipt.custom_id) == ("orders", "order-2")
    assert application.rows() == 0


def test_an_asynchronous_session_takes_records_by_run_sync(only_postgresql, world, application):
    async def ask():
        engine = create_async_engine(application.url.replace("postgresql://", "postgresql+psycopg://"))
        async with AsyncSession(engine) as session:
            await session.run_sync(lambda s: application.order(s, 1))
            await session.rollback()
            await session.run_sync(lambda s: application.order(s, 2))
            await session.commit()
        await engine.dispose()

    asyncio.run(ask())
    assert relay.relay(world.runtime) == Moved(1)
    assert accepted(world) == {"order-2": "pending"}


def test_what_went_through_the_outbox_is_the_record_that_a_plain_call_makes(world, application):
    world.client.enqueue_record(PARAMS, custom_id="order-1", job="orders")
    application.commit(1)
    relay.relay(world.runtime)
    assert waiting(world.runtime) == 2
    assert accepted(world) == {"order-1": "pending"}  # the same record twice, not a conflict


def test_a_savepoint_that_is_rolled_back_takes_its_records_along(world, application):
    with Session(application.engine) as session:
        application.order(session, 1)
        nested = session.begin_nested()
        application.order(session, 2)
        nested.rollback()
        session.commit()
    relay.relay(world.runtime)
    assert accepted(world) == {"order-1": "pending"}


def test_the_store_s_own_database_may_hold_the_outbox(make_world, tmp_path):
    world = make_world()
    application = Application(world.database_url or f"sqlite:///{world.home / 'bakehouse.sqlite'}")
    application.commit(1)
    worker = world.worker(outbox_url="store", database_url=world.database_url)
    assert relay.relay(worker) == Moved(1)
    assert accepted(world) == {"order-1": "pending"}
    application.engine.dispose()
    worker.outbox.engine.dispose()


def test_many_records_go_on_in_the_order_in_which_they_were_written(world, application):
    many = 2 * CHUNK_RECORDS + 100
    with Session(application.engine) as session:
        records = ({"params": PARAMS, "custom_id": f"{number}"} for number in range(many))
        assert enqueue_records(records, job="orders", session=session) == many
        session.commit()
    assert relay.relay(world.runtime) == Moved(many)
    accept(world.runtime)
    assert list(world.all_records()) == [f"{number}" for number in range(many)]


def test_large_records_are_moved_a_few_at_a_time(world, application):
    with Session(application.engine) as session:
        large = {**PARAMS, "system": "x" * (relay.SPAN_BYTES // 3)}
        enqueue_records(({"params": large, "custom_id": f"{number}"} for number in range(5)), session=session)
        session.commit()
    with world.runtime.outbox.taken(relay.SPAN_ROWS, relay.SPAN_BYTES) as rows:
        assert len(rows) == 2
    with world.runtime.outbox.taken(relay.SPAN_ROWS, 1) as rows:  # a row of any size goes, alone
        assert len(rows) == 1


# What is refused


def test_an_invalid_record_is_refused_and_the_transaction_goes_on(world, application):
    with Session(application.engine) as session:
        application.order(session, 1)
        with pytest.raises(InvalidRecord, match="max_tokens"):
            enqueue_record({**PARAMS, "max_tokens": 0}, session=session)
        session.commit()
    relay.relay(world.runtime)
    assert accepted(world) == {"order-1": "pending"}


def test_durable_and_a_session_together_are_refused(application):
    with Session(application.engine) as session, pytest.raises(InvalidRecord, match="the commit of its database"):
        enqueue_record(PARAMS, session=session, durable=True)
    assert application.rows() == 0


def test_what_is_no_session_is_refused_by_its_type(application):
    with application.engine.connect() as connection, pytest.raises(InvalidRecord, match="not Connection"):
        enqueue_record(PARAMS, session=connection)


def test_an_asynchronous_session_is_refused_and_told_how(application):
    with pytest.raises(InvalidRecord, match=r"await session\.run_sync"):
        enqueue_record(PARAMS, session=AsyncSession())


def test_a_missing_table_is_told_in_one_sentence_with_what_makes_it(application):
    own_table().drop(application.engine)
    with Session(application.engine) as session:
        with pytest.raises(ConfigurationError, match=r"no table bakehouse_outbox: .*create_outbox\(engine\)") as caught:
            application.order(session, 1)
        session.rollback()
        assert "\n" not in str(caught.value)
        create_outbox(session.connection())
        application.order(session, 1)
        session.commit()
    assert application.rows() == 1


def test_creating_the_outbox_again_changes_nothing(application):
    application.commit(1)
    create_outbox(application.engine)
    assert application.rows() == 1


def test_the_table_that_migrations_make_is_the_one_that_is_created(application):
    metadata = MetaData(schema="shop")
    outbox_table(metadata)
    assert outbox_table(metadata) is outbox_table(metadata)
    with application.engine.connect() as connection:
        ours = {
            "include_object": lambda _object, name, kind, *_: kind != "table" or name == TABLE,
            "compare_type": True,
        }
        assert compare_metadata(MigrationContext.configure(connection, opts=ours), metadata) == []
    own_table().drop(application.engine)
    with application.engine.connect() as connection:
        made = render_python_code(
            produce_migrations(MigrationContext.configure(connection, opts=ours), metadata).upgrade_ops
        )
    assert f"op.create_table('{TABLE}'" in made
    assert "sqlite_autoincrement=True" in made  # an id is never used again
    assert "schema" not in made


def test_no_prompt_stands_in_the_error_of_a_database_that_refuses_the_row(application):
    own_table().drop(application.engine)
    blob = "BYTEA" if application.engine.dialect.name == "postgresql" else "BLOB"
    with application.engine.begin() as connection:
        small = f"CREATE TABLE {TABLE} (header {blob}, params {blob} CHECK (length(params) < 10))"
        connection.execute(text(small))
    with Session(application.engine) as session:
        with pytest.raises(DBAPIError) as caught:  # psycopg shows the beginning of what it was given
            enqueue_record({"system": "a secret", **PARAMS}, custom_id="order-1", session=session)
        assert "secret" not in str(caught.value)
        session.rollback()


# Processes that die

PROGRAM = """
import os, sys
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from bakehouse import enqueue_record

url, committed, way = sys.argv[1:]
session = Session(create_engine(url.replace("postgresql://", "postgresql+psycopg://")))
session.execute(text("INSERT INTO orders (number) VALUES (1)"))
body = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
enqueue_record(body, custom_id="order-1", job="orders", session=session)
if committed == "committed":
    session.commit()
if way == "exit":
    os._exit(9)
print("now", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("way", ["exit", "kill"])
@pytest.mark.parametrize("committed", ["committed", "not committed"])
def test_a_process_that_dies_has_enqueued_what_it_committed_and_nothing_else(world, application, committed, way):
    argv = [sys.executable, "-c", PROGRAM, application.url, committed, way]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == (b"now\n" if way == "kill" else b"")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    relay.relay(world.runtime)
    assert accepted(world) == ({"order-1": "pending"} if committed == "committed" else {})
    assert application.orders() == ([1] if committed == "committed" else [])
    assert relay.relay(world.runtime) == Moved(0)


def test_a_relay_that_dies_between_append_and_delete_loses_nothing_and_doubles_nothing(world, application, monkeypatch):
    application.commit(1, 2, 3)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "_delete", crash)
        with pytest.raises(KeyboardInterrupt):
            relay.relay(world.runtime)
    assert (application.rows(), waiting(world.runtime)) == (3, 3)
    assert relay.relay(world.worker()) == Moved(3)
    assert waiting(world.runtime) == 6
    assert set(accepted(world).values()) == {"pending"}
    assert world.job("orders").states == {"pending": 3}


def test_a_relay_that_dies_before_its_append_has_deleted_nothing(world, application, monkeypatch):
    application.commit(1, 2, 3)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(relay, "_append", crash)
        with pytest.raises(KeyboardInterrupt):
            relay.relay(world.runtime)
    assert application.rows() == 3
    assert relay.relay(world.worker()) == Moved(3)
    assert len(accepted(world)) == 3


# Several at once


def test_two_relays_at_once_move_each_record_and_acceptance_knows_it_once(world, application):
    application.commit(*range(10))
    other = world.worker()
    with world.runtime.outbox.taken(4, relay.SPAN_BYTES) as rows:
        moved = relay.relay(other).rows
        world.runtime.redis.ping()
        relay.Inbox(world.runtime.redis, world.runtime.keys).append([row[1:] for row in rows])
    locks = application.engine.dialect.name == "postgresql"
    assert moved == (6 if locks else 10)
    assert (application.rows(), waiting(world.runtime)) == (0, 10 if locks else 14)
    accept(world.runtime)
    assert world.job("orders").states == {"pending": 10}
    other.outbox.engine.dispose()


def test_a_slow_relay_deletes_no_row_that_it_has_not_moved_though_it_has_the_id_of_one_that_it_has(world, application):
    application.commit(1)
    with world.runtime.outbox.taken(10, relay.SPAN_BYTES) as rows:
        if application.engine.dialect.name == "postgresql":
            pytest.skip("there the row is locked")
        other = world.worker()
        assert relay.relay(other) == Moved(1)
        with Session(application.engine) as session:
            application.order(session, 2)
            session.execute(text(f"UPDATE {TABLE} SET id = {rows[0][0]}"))  # as where ids are not AUTOINCREMENT
            session.commit()
    assert application.rows() == 1
    relay.relay(world.runtime)
    assert set(accepted(world)) == {"order-1", "order-2"}


def test_rows_that_commit_out_of_their_order_are_not_passed_over(only_postgresql, world, application):
    first, second = Session(application.engine), Session(application.engine)
    application.order(first, 1)
    application.order(second, 2)
    second.commit()
    assert relay.relay(world.runtime) == Moved(1)
    first.commit()
    assert relay.relay(world.runtime) == Moved(1)
    assert set(accepted(world)) == {"order-1", "order-2"}
    first.close()
    second.close()


def test_the_application_goes_on_writing_while_a_span_is_on_its_way_to_redis(world, application):
    application.commit(1)
    with world.runtime.outbox.taken(10, relay.SPAN_BYTES):
        application.commit(2)  # on SQLite it would wait for a lock, and give up
    assert application.rows() == 1


# Rows and servers that are not as they should be


def test_rows_that_are_no_entries_are_set_aside_by_acceptance_and_block_nobody(world, application):
    with application.engine.begin() as connection:
        connection.execute(insert(own_table()), [{"header": b"no entry", "params": b""}])
        connection.execute(insert(own_table()), [{"header": b'{"v": 99}', "params": b"{}"}])
    application.commit(1)
    assert relay.relay(world.runtime) == Moved(3)
    assert accepted(world) == {"order-1": "pending"}
    assert world.runtime.redis.xlen(world.runtime.keys.parked) == 2


def test_rows_that_somebody_wrote_as_text_are_moved_and_go(world, application):
    if application.engine.dialect.name == "postgresql":
        pytest.skip("a BYTEA takes no text")
    with application.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {TABLE} (header, params) VALUES ('by hand', 'text')"))
    application.commit(1)
    assert relay.relay(world.runtime) == Moved(2)
    assert application.rows() == 0
    assert accepted(world) == {"order-1": "pending"}


def test_a_row_that_redis_refuses_is_passed_over_and_the_others_go_on(world, application):
    application.commit(1)
    with Session(application.engine) as session:
        enqueue_record({**PARAMS, "system": "x" * 2_000_000}, custom_id="order-2", job="orders", session=session)
        session.commit()
    application.commit(3)
    world.runtime.redis.config_set("proto-max-bulk-len", 1_048_576)
    try:
        assert relay.relay(world.runtime).rows == 2
        assert set(accepted(world)) == {"order-1", "order-3"}
        assert application.rows() == 1
        assert not relay.is_due(world.runtime)
    finally:
        world.runtime.redis.config_set("proto-max-bulk-len", 512 * 1_048_576)
    assert relay.relay(world.worker()) == Moved(1)


def test_while_the_inbox_is_full_rows_wait_and_later_they_move(make_world, application):
    world = make_world(outbox_url=application.url, max_inbox_bytes=1_000)
    world.enqueue(5)
    application.commit(1, 2)
    assert relay.relay(world.runtime) == Moved(0, "the inbox is full")
    assert application.rows() == 2
    accept(world.runtime)
    assert relay.relay(world.runtime) == Moved(2)
    accept(world.runtime)
    assert world.job("orders").states == {"pending": 2}
    world.runtime.outbox.engine.dispose()


@pytest.fixture
def new_server(monkeypatch):
    """The server in the wheel, which is newer than many a distribution's."""
    monkeypatch.setenv("PATH", "/nowhere")


def test_a_row_goes_only_when_redis_has_its_entry_on_disk(world, application, tmp_path, new_server, monkeypatch):
    with running(tmp_path / "redis", "appendonly yes", "appendfsync everysec") as server:
        worker = world.worker(redis_url=f"redis://127.0.0.1:{server.port}/0")
        application.commit(1)
        with monkeypatch.context() as patched:
            patched.setattr(inbox, "DISK_TIMEOUT", 0.001)  # no disk is so fast
            moved = relay.relay(worker)
        assert moved.rows == 0
        assert "not known to be on disk: Redis did not sync" in moved.waits
        assert application.rows() == 1
        assert relay.relay(worker) == Moved(1)
        worker.outbox.engine.dispose()


def test_a_redis_that_is_never_on_disk_gets_the_rows_all_the_same(world, application, tmp_path, new_server):
    with running(tmp_path / "redis", "appendonly no") as server:
        worker = world.worker(redis_url=f"redis://127.0.0.1:{server.port}/0")
        application.commit(1)
        assert relay.relay(worker) == Moved(1)
        application.commit(2)
        assert relay.relay(worker) == Moved(1)
        assert waiting(worker) == 2
        assert application.rows() == 0
        worker.outbox.engine.dispose()


# The tick, and what people are told


def rung(world):
    return [name for name, _ in due_doorbells(world.runtime)]


def screen(world):
    return " ".join("\n".join(status.told(status.take(world.runtime), 200)).split())


def finding(world):
    [found] = [each for each in doctor.examine(world.runtime) if each.check == "outbox"]
    return found


def scraped(world):
    """What Prometheus reads of the outbox; None if there is none."""
    found = {metric.name: metric.samples for metric in InstallationCollector(world.runtime).collect()}
    return found["bakehouse_outbox_up"][0].value if "bakehouse_outbox_up" in found else None


def test_the_tick_rings_for_an_outbox_with_rows_and_for_no_other(world, make_world, application):
    assert "relay" not in rung(world)
    application.commit(1)
    assert rung(world)[-1] == "relay"
    relay.relay(world.runtime)
    assert "relay" not in rung(world)
    assert "accept" in rung(world)
    accept(world.runtime)


def test_doctor_says_how_many_rows_wait_and_since_when(world, application):
    assert scraped(world) == 1
    assert finding(world).told.endswith("is empty: all that was committed was moved on")
    application.commit(1, 2)
    assert (finding(world).ok, finding(world).told.split(",")[0].split(" in ")[0]) == (True, "2 rows wait")
    with application.engine.begin() as connection:
        past = (
            "now() - interval '5 minutes'"
            if connection.dialect.name == "postgresql"
            else "datetime('now', '-5 minutes')"
        )
        connection.execute(text(f"UPDATE {TABLE} SET created_at = {past}"))
    found = finding(world)
    assert found.ok is False
    assert "the oldest for 5 min" in found.told
    relay.relay(world.runtime)
    accept(world.runtime)


def test_an_application_without_its_table_is_told_and_control_goes_on(world, application):
    own_table().drop(application.engine)
    world.enqueue(1)
    assert "accept" in rung(world)
    assert "has no table bakehouse_outbox" in screen(world)
    assert finding(world).ok is False
    create_outbox(application.engine)
    world.clock.now += relay.AGAIN
    rung(world)
    accept(world.runtime)
    assert "bakehouse_outbox" not in screen(world)


@pytest.fixture
def black_hole():
    """A port on which connections are taken and nothing is ever said."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


@pytest.fixture
def closed():
    """A port that is taken but that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("port", ["closed", "black_hole"])
def test_a_database_that_is_away_holds_nothing_up_and_is_told(make_world, monkeypatch, request, port):
    port = request.getfixturevalue(port)
    url = f"postgresql://shop:correct-horse@127.0.0.1:{port}/shop?sslpassword=correct-horse"
    world = make_world(outbox_url=url)
    world.enqueue(2)
    started = time.monotonic()
    assert "accept" in rung(world)  # it comes before the look, and the look comes to an end
    assert time.monotonic() - started < relay.LOOK + 2
    accept(world.runtime)
    assert world.job().states == {"pending": 2}
    told = screen(world)
    assert scraped(world) == 0
    assert "outbox away" in told
    assert f"postgresql://shop:***@127.0.0.1:{port}/shop does not answer" in told
    assert "since" in told
    started = time.monotonic()
    rung(world)  # not asked again so soon
    assert time.monotonic() - started < 1
    found = finding(world)
    assert (found.ok, "since" in found.told) == (False, True)
    assert "correct-horse" not in told + found.told + repr(world.runtime) + status.as_json(status.take(world.runtime))
    monkeypatch.setattr(world, "books_agree", lambda: None)  # doctor finds the outbox away, on purpose


def test_a_table_that_is_locked_holds_control_up_for_seconds_only(only_postgresql, world, application):
    application.commit(1)
    with application.engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE"))
        started = time.monotonic()
        assert "relay" not in rung(world)
        assert time.monotonic() - started < relay.LOOK + 2
    assert "does not answer" in screen(world)

    def looked_at_again():
        world.clock.now += relay.AGAIN
        return "relay" in rung(world)

    wait_until(looked_at_again, "the outbox is read again")
    assert "outbox" not in screen(world)
    relay.relay(world.runtime)
    accept(world.runtime)


def test_a_file_that_is_not_there_is_told_and_not_made(make_world, tmp_path, monkeypatch):
    world = make_world(outbox_url=f"sqlite:///{tmp_path / 'nowhere.db'}")
    assert "relay" not in rung(world)
    assert "does not answer (unable to open database file)" in screen(world)
    assert not (tmp_path / "nowhere.db").exists()
    Application(f"sqlite:///{tmp_path / 'nowhere.db'}").commit(1)
    world.clock.now += relay.AGAIN
    assert "relay" in rung(world)
    assert relay.relay(world.runtime) == Moved(1)
    accept(world.runtime)


def test_without_an_outbox_nothing_is_asked_and_nothing_told(make_world):
    world = make_world()
    assert world.runtime.outbox is None
    assert not relay.is_due(world.runtime)
    assert relay.relay(world.runtime) == Moved(0)
    assert "outbox" not in screen(world)
    assert scraped(world) is None
    assert [each for each in doctor.examine(world.runtime) if each.check == "outbox"] == []
