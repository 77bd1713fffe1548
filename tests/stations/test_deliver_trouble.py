"""Station 7, and what an application's code may do to it: raise odd things, hang in an import, end its session, be overtaken."""

from __future__ import annotations

import asyncio
import sys
import time
import types

import pytest
from sqlalchemy import text

from bakehouse import handler
from bakehouse.record import build
from bakehouse_worker import sinks
from bakehouse_worker.accept import accept
from bakehouse_worker.deliver import Tried, deliver
from bakehouse_worker.states import RecordState
from bakehouse_worker.store import deadletters, deliveries, erasing, reading, undelivered


@pytest.fixture
def application(monkeypatch):
    """A module of the application's, with a handler that remembers."""
    module = types.ModuleType("an_application")
    module.seen = []
    module.save = lambda outcome: module.seen.append(outcome)
    monkeypatch.setitem(sys.modules, "an_application", module)
    sinks.find.cache_clear()
    return module


def done(world, count=3, **more):
    """Records that have ended and wait to be delivered."""
    world.enqueue(count, **more)
    before = reading.deliveries(world.runtime.database).get("waiting", 0)
    for _ in range(20):
        if reading.deliveries(world.runtime.database).get("waiting", 0) == before + count:
            return
        world.pass_time(61)
        world.tick_without_delivery()
    raise AssertionError("not ready to be delivered")


def rows(world):
    with world.runtime.database.read() as connection:
        query = text("SELECT state, attempts, error FROM delivery ORDER BY record_id, generation")
        return [tuple(row) for row in connection.execute(query)]


class Unspeakable(Exception):
    """An error whose text cannot be had."""

    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("half of a pair: \ud83d"), "ValueError: half of a pair: \\ud83d"),
        (ValueError("a NUL: \0"), "ValueError: a NUL: \\0"),
        (Unspeakable(), "Unspeakable"),
    ],
)
def test_an_error_that_no_database_takes_as_it_is_holds_nobody_else_up(world, application, error, told):
    """Noting it failed, the turn with it, and each of its outcomes was taken for one that ends its worker."""

    def save(outcome):
        if outcome.custom_id == "item 0":
            raise error
        application.seen.append(outcome)

    application.save = save
    done(world, 3, on_result="an_application:save")
    assert deliver(world.runtime) == Tried(delivered=2, failed=1, reason=type(error).__name__)
    assert rows(world) == [("waiting", 1, told), ("delivered", 1, None), ("delivered", 1, None)]


def test_a_handler_that_raises_what_is_no_exception_has_only_failed(world, application):
    """An asyncio handler lets CancelledError out; it ended the turn, and cost all that was in hand an attempt and a lease."""

    def save(outcome):
        if outcome.custom_id == "item 0":
            raise asyncio.CancelledError
        application.seen.append(outcome)

    application.save = save
    done(world, 3, on_result="an_application:save")
    assert deliver(world.runtime) == Tried(delivered=2, failed=1, reason="CancelledError")


@pytest.mark.parametrize(
    ("body", "reason", "told"),
    [
        ("raise SystemExit(0)", "SystemExit", "SystemExit: 0"),
        ("import time; time.sleep(60)", "TimeoutError", "TimeoutError: its import took longer than 0.5 s"),
    ],
)
def test_a_module_that_leaves_or_hangs_in_its_import_stops_nobody_else(
    make_world, application, tmp_path, monkeypatch, body, reason, told
):
    (tmp_path / "bad_application.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    world = make_world(deliver_timeout=0.5)
    done(world, 2, text="bad", on_result="bad_application:save")
    done(world, 2, on_result="an_application:save", job="good")
    assert deliver(world.runtime) == Tried(delivered=2, failed=2, reason=reason)
    assert rows(world)[:2] == [("waiting", 1, told)] * 2
    assert len(application.seen) == 2


def test_of_what_was_overtaken_nothing_is_handed_over_to_any_sink(make_world, application):
    """With nothing left in hand, all of it counted as held: the outcomes of the other sinks went out without a lease."""
    world = make_world(lease=1, deliver_timeout=1)

    def freeze(outcome):
        application.seen.append(outcome)
        world.clock.now += 100
        while lost := deliveries.claim_lost(world.runtime.database, 1000, 5):
            deliveries.let_go(world.runtime.database, lost.sink)  # another worker takes over all that is left

    application.freeze = freeze
    done(world, 2, text="frozen", on_result="an_application:freeze")
    done(world, 2, on_result="an_application:save", job="other")
    deliver(world.runtime)
    assert len(application.seen) == 1


def test_one_outcome_that_is_withdrawn_in_hand_costs_the_others_nothing(make_world, application):
    """It was erased meanwhile; the lease of all the others was let go, and each came back as if its worker had been lost."""
    world = make_world(lease=1, deliver_timeout=1)

    def slow(outcome):
        application.seen.append(outcome.custom_id)
        if len(application.seen) == 1:
            world.clock.now += 15
            erasing.erase(world.runtime.database, "item 1")

    application.slow = slow
    done(world, 4, on_result="an_application:slow")
    assert deliver(world.runtime).delivered == 3
    assert application.seen == ["item 0", "item 2", "item 3"]
    assert [(state, attempts) for state, attempts, _ in rows(world)] == [
        ("delivered", 1),
        ("failed", 0),
        ("delivered", 1),
        ("delivered", 1),
    ]


def test_an_outcome_that_waits_is_withdrawn_when_its_record_is_replaced(world, application):
    """It was claimed again and again without being there to hand over, until it was given up for a lost worker."""
    done(world, 1, on_result="an_application:save")
    world.client.append([build(world.params("new"), custom_id="item 0", job="job", replace=True)])
    accept(world.runtime)
    assert rows(world) == []


def test_what_was_given_up_of_a_record_that_goes_again_is_no_dead_letter_any_more(make_world, application):
    """Sent again by `dead requeue --deliveries`, it was of an outcome that is no more, and could only be given up again."""
    world = make_world(max_attempts=1)
    world.let_go("none")
    world.client.enqueue_record(world.params(model="none"), custom_id="bad", job="job", on_result="an_application:none")
    world.run_to_end()
    deliver(world.runtime)
    assert [state for state, _, _ in rows(world)] == ["failed"]
    assert deadletters.requeue(world.runtime.database, [1], RecordState.FAILED) == 1
    assert undelivered.given_up(world.runtime.database) == []
    assert undelivered.send_again(world.runtime.database, (), None) == 0


def test_a_transactional_handler_that_closes_its_session_loses_nothing_it_wrote(world, application):
    """`with session:` is how people write it: its end took back what was written, and the outcome was marked as delivered."""
    with world.runtime.database.write() as connection:
        connection.execute(text("CREATE TABLE effect (custom_id TEXT)"))

    @handler(transaction=True)
    def save(outcome, session):
        with session:
            session.execute(text("INSERT INTO effect VALUES (:custom_id)"), {"custom_id": outcome.custom_id})
            if outcome.custom_id == "item 1":
                raise ValueError("after all not")

    application.save = save
    done(world, 3, on_result="an_application:save")
    assert deliver(world.runtime) == Tried(delivered=2, failed=1, reason="ValueError")
    with world.runtime.database.read() as connection:
        assert sorted(connection.execute(text("SELECT custom_id FROM effect")).scalars()) == ["item 0", "item 2"]


def test_a_handler_that_waits_inside_postgresql_is_ended_in_time_and_its_query_too(make_world, application):
    """The time was over, but its transaction could not be ended before the query had: for as long as that took, without a limit."""
    world = make_world()
    if world.runtime.database.sqlite:
        pytest.skip("SQLite waits inside its library: the watchdog's case")

    @handler(transaction=True, timeout=0.5)
    def wait(_outcome, session):
        session.execute(text("SELECT pg_sleep(60)"))

    application.wait = wait
    done(world, 1, on_result="an_application:wait")
    began = time.monotonic()
    assert deliver(world.runtime) == Tried(failed=1, reason="TimeoutError")
    assert time.monotonic() - began < 20
    with world.runtime.database.read() as connection:
        left = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"
        assert connection.execute(text(left)).scalar() == 0
